from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli.data.catalog import CatalogEntry, canonical_name
from lrnet_cli.data.datasets import Dataset, load_dataset, with_classes_of
from lrnet_cli.data.images import ImageOptions
from lrnet_cli.data.splits import Split, cut_of, limited, stratified_cut
from lrnet_cli.errors import DataError, DownloadError, UsageError
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.place import Source


@pytest.fixture(scope="module")
def optdigits() -> Dataset:
    return load_dataset("optdigits")


def class_folders(root: Path, counts: dict[str, int], value: int = 0) -> Path:
    """Write images whose grey tells their number: background ``value``, a stroke of another grey."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((40, 20), value, np.uint8)
            pixels[10:30, 8:12] = 100 + number
            Image.fromarray(pixels).save(root / name / f"{number:03}.png")
    return root


def test_the_embedded_set_is_the_1797_scans_cut_the_same_way_each_time(optdigits: Dataset) -> None:
    assert (len(optdigits.train), len(optdigits.test)) == (1438, 359)
    assert optdigits.train.images.shape[1:] == (1, 8, 8)
    assert optdigits.train.images.dtype == torch.uint8
    assert optdigits.train.images.max() == 255
    assert optdigits.preprocessing.polarity == "light-on-dark"
    assert load_dataset("OptDigits").content_sha256 == optdigits.content_sha256
    assert optdigits.test.labels.bincount().min() >= 35


def test_a_catalog_set_is_downloaded_on_first_use(tiny: CatalogEntry, tiny_folder: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    reporter = Reporter()
    reporter.message = messages.append
    source = Source(data_dir=tmp_path / "c", mirror=str(tiny_folder))
    loaded = load_dataset("tiny", source=source, reporter=reporter)
    assert (len(loaded.train), len(loaded.test), loaded.classes) == (40, 20, ("even", "odd"))
    assert "downloading" in messages[0]
    again = load_dataset("tiny", source=Source(data_dir=tmp_path / "c"), reporter=reporter)
    assert len(messages) == 1
    assert again.content_sha256 == loaded.content_sha256


def test_a_read_only_cache_that_is_complete_is_used(tiny: CatalogEntry, tiny_folder: Path, tmp_path: Path) -> None:
    load_dataset("tiny", source=Source(data_dir=tmp_path / "c", mirror=str(tiny_folder)))
    (tmp_path / "c" / "tiny" / ".lock").unlink()
    load_dataset("tiny", source=Source(data_dir=tmp_path / "c"))
    assert not (tmp_path / "c" / "tiny" / ".lock").exists()


def test_a_set_that_cannot_be_had_is_an_error(tiny: CatalogEntry, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="4 of 4 files"):
        load_dataset("tiny", source=Source(data_dir=tmp_path, mirror=str(tmp_path / "nowhere")))


def test_class_folders_become_28_grey_pixels_unless_told_otherwise(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "strokes", {"a": 10, "b": 10})
    loaded = load_dataset(str(root))
    assert loaded.train.images.shape == (16, 1, 28, 28)
    assert (len(loaded.test), loaded.name) == (4, "strokes")
    assert loaded.preprocessing.polarity == "light-on-dark"
    assert load_dataset(str(root), ImageOptions(12, 3)).train.images.shape == (16, 3, 12, 12)


def test_a_paths_dark_on_light_images_are_left_as_they_are_and_noted(tmp_path: Path) -> None:
    loaded = load_dataset(str(class_folders(tmp_path / "ink", {"a": 5, "b": 5}, value=255)))
    assert loaded.preprocessing.polarity == "dark-on-light"
    assert loaded.train.images[0, 0, 0, 0] == 255


def test_arrays_are_resized_by_the_function_that_resizes_images(tmp_path: Path, optdigits: Dataset) -> None:
    larger = load_dataset("optdigits", ImageOptions(16))
    assert larger.train.images.shape == (1438, 1, 16, 16)
    expected = Image.fromarray(optdigits.train.images[0, 0].numpy()).resize((16, 16), Image.Resampling.LANCZOS)
    assert (larger.train.images[0, 0].numpy() == np.asarray(expected)).all()


def test_a_damaged_image_among_class_folders_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 3, "b": 3})
    (root / "b" / "001.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"001\.png: is not an image.*fix or remove it"):
        load_dataset(str(root), ImageOptions(on_error="stop"))


def test_too_few_images_for_a_test_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too few images"):
        load_dataset(str(class_folders(tmp_path / "set", {"a": 1, "b": 1})))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no data set 'cifar'.*digits, fashion, oracle, optdigits"):
        load_dataset("cifar")


@pytest.mark.parametrize(("alias", "name"), [("MNIST", "digits"), ("Fashion-MNIST", "fashion"), ("./x", "./x")])
def test_aliases(alias: str, name: str) -> None:
    assert canonical_name(alias) == name


def test_the_content_hash_changes_with_one_pixel(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    before = load_dataset(str(root)).content_sha256
    image = np.array(Image.open(root / "a" / "000.png"))
    image[20, 10] ^= 64
    Image.fromarray(image).save(root / "a" / "000.png")
    assert load_dataset(str(root)).content_sha256 != before


def test_stratified_cut_takes_its_share_of_each_class_and_never_all() -> None:
    labels = torch.tensor([0] * 50 + [1] * 20 + [2] * 1 + [3] * 2)
    kept, cut = stratified_cut(labels, 0.5, seed=3)
    assert labels[cut].bincount(minlength=4).tolist() == [25, 10, 0, 1]
    assert sorted(torch.cat([kept, cut]).tolist()) == list(range(73))
    assert (stratified_cut(labels, 0.5, seed=3)[1] == cut).all()
    assert (stratified_cut(labels, 0.5, seed=4)[1] != cut).any()


def test_limited_draws_the_same_images_for_a_seed(optdigits: Dataset) -> None:
    first, second = limited(optdigits.train, 100, seed=1), limited(optdigits.train, 100, seed=1)
    assert len(first) == 100
    assert (first.images == second.images).all()
    assert limited(optdigits.train, 10**6, seed=1) is optdigits.train


def test_classes_are_matched_by_name_not_by_position(tmp_path: Path) -> None:
    loaded = load_dataset(str(class_folders(tmp_path / "set", {"b": 5, "c": 5})))
    matched = with_classes_of(loaded, ["c", "a", "b"])
    assert set(matched.train.labels.tolist()) == {0, 2}
    assert (matched.train.labels == torch.where(loaded.train.labels == 0, 2, 0)).all()
    with pytest.raises(DataError, match=r"1 classes that the weights do not know: c\. The weights know: a, b"):
        with_classes_of(loaded, ["a", "b"])


def test_a_folder_called_like_a_known_data_set_is_another_one(tmp_path: Path) -> None:
    own = class_folders(tmp_path / "fashion", {"a": 10, "b": 10})
    assert load_dataset(str(own)).name == "own-fashion"
    assert load_dataset(str(class_folders(tmp_path / "MNIST", {"a": 10, "b": 10}))).name == "own-MNIST"


def test_a_test_split_of_which_nothing_can_be_read_is_refused_before_training(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 30, "b": 30})
    for label in ("a", "b"):
        (tmp_path / "test" / label).mkdir(parents=True)
        (tmp_path / "test" / label / "gone.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of its test images can be read; restore them, or give no test images"):
        load_dataset(str(tmp_path))


def test_all_folds_have_one_polarity(tmp_path: Path, optdigits: Dataset) -> None:
    images = optdigits.train.images[:60, 0].clone()
    images[:7] = 255 - images[:7]  # of one class and the other, so that the folds differ
    parts = {"train_images": images, "test_images": images[7:9]}
    np.savez(tmp_path / "near.npz", **parts, train_labels=np.arange(60) % 2, test_labels=np.arange(2))
    folds = [load_dataset(str(tmp_path / "near.npz"), fold=(number, 3)) for number in (1, 2, 3)]
    assert len({fold.preprocessing for fold in folds}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_of_two_groups_the_smaller_one_is_cut_off(seed: int) -> None:
    groups = torch.tensor([0] * 46 + [1] * 8)
    split = Split(torch.empty(54, 0), torch.arange(54) % 2, groups=groups)
    assert [len(part) for part in cut_of(split, 0.1, seed)] == [46, 8]
