"""Facts about the data sets known by name: classes, sources, licences, mirrors, sizes and hashes.

Hashes are those of the uncompressed files, so that a mirror that compresses anew still verifies.
"""

from dataclasses import dataclass

from lrnet_cli.errors import UsageError, suggestion

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@dataclass(frozen=True)
class CatalogFile:
    """One file: its name without ``.gz``, its size in bytes and a hash of its content, both uncompressed.

    ``git_blob_sha1`` is the SHA-1 of ``blob <size>``, a zero byte and the content; it is for the file whose
    SHA-256 nobody published.
    """

    name: str
    size: int
    sha256: str | None = None
    git_blob_sha1: str | None = None


@dataclass(frozen=True)
class CatalogEntry:
    """A downloadable data set of grey 28×28 images in four IDX files.

    ``mirrored_keeps_class`` says whether an image's mirror image shows the same class: a garment's does, a digit's or
    a character's does not.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    licence: str
    source: str
    train: int
    test: int
    mirrors: tuple[str, ...]
    files: tuple[CatalogFile, ...]
    mirrored_keeps_class: bool = False


CATALOG = {
    entry.name: entry
    for entry in (
        CatalogEntry(
            name="digits",
            title="MNIST handwritten digits",
            classes=tuple("0123456789"),
            licence="CC BY-SA 3.0",
            source="LeCun, Cortes, Burges 1998",
            train=60000,
            test=10000,
            mirrors=(
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            files=(
                CatalogFile(TRAIN_IMAGES, 47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
                CatalogFile(TRAIN_LABELS, 60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
                CatalogFile(TEST_IMAGES, 7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
                CatalogFile(TEST_LABELS, 10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
            ),
        ),
        CatalogEntry(
            name="fashion",
            title="Fashion-MNIST",
            classes=(
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
            licence="MIT",
            source="Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747",
            train=60000,
            test=10000,
            mirrors=(
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            files=(
                CatalogFile(TRAIN_IMAGES, 47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
                CatalogFile(TRAIN_LABELS, 60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
                CatalogFile(TEST_IMAGES, 7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
                CatalogFile(TEST_LABELS, 10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
            ),
            mirrored_keeps_class=True,
        ),
        CatalogEntry(
            name="oracle",
            title="Oracle-MNIST",
            classes=("big", "sun", "moon", "cattle", "next", "field", "not", "arrow", "time", "wood"),
            licence="Apache-2.0 (repository licence)",
            source="Wang, Deng 2024, Scientific Data 11:87, arXiv:2205.09442",
            train=27222,
            test=3000,
            mirrors=(
                "https://raw.githubusercontent.com/wm-bupt/oracle-mnist/"
                "b6cb263f84d39a8bbb94c5b806d846b600068924/data/oracle/",
            ),
            files=(
                CatalogFile(TRAIN_IMAGES, 21342064, git_blob_sha1="60595bc623c8e7bae065caae97112f6dfb5dbb15"),
                CatalogFile(TRAIN_LABELS, 27230, "58e2bd5ab6d402175dc2015d3272eb0c9ec4c1ae29f3c3fbcc0c99231fbe74d4"),
                CatalogFile(TEST_IMAGES, 2352016, "f32a9c0759ad0012e43e0431b080abbda9262ca30ee7bcc86d044db90d11dca0"),
                CatalogFile(TEST_LABELS, 3008, "38d88fc1f0475c167145abae0013241634d7634998c98efee06d361fcf7626b2"),
            ),
        ),
    )
}
EMBEDDED = "optdigits"
ALIASES = {"mnist": "digits", "fashion-mnist": "fashion", "oracle-mnist": "oracle"}
KNOWN_NAMES = (*CATALOG, EMBEDDED)


def canonical_name(name: str) -> str:
    """Return the catalog's name for ``name`` or its alias, in any case; anything else is returned unchanged."""
    lowered = name.lower()
    known = ALIASES.get(lowered, lowered)
    return known if known in KNOWN_NAMES else name


def catalog_entry(name: str) -> CatalogEntry:
    """Return a downloadable data set by name or alias; raises ``UsageError`` for a name that is not one."""
    known = canonical_name(name)
    if known == EMBEDDED:
        raise UsageError(f"{EMBEDDED} is part of the installation and needs no download.")
    if known not in CATALOG:
        raise UsageError(
            f"There is no data set {name!r} to download; choose from: {', '.join(CATALOG)}, all."
            + suggestion(name, (*CATALOG, *ALIASES))
        )
    return CATALOG[known]
