"""From images with labels to a page, one self-contained HTML file, in which a person confirms or corrects them."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from lrnet_cli import __version__, paths
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.documents import JsonObject
from lrnet_cli.errors import DataError, ImageError
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.review.collection import Group, ToReview, unshowable
from lrnet_cli.review.document import environment, script, source_hash, style
from lrnet_cli.review.sprites import PER_SPRITE, Sheet, Source, Sprites, shots

MOST_IMAGES = 20_000  # of a page; more are split into several
_MOST_OTHERS = 250_000  # rows that are only handed on to the saved list
_DIGITS = 4  # of a probability


@dataclass
class Written:
    """The ``pages`` of a review, or its ``list``, with how many ``images``, of which how many have ``answers``.

    ``unread`` are files that cannot be read, with the reason.
    """

    pages: list[Path] = field(default_factory=list)
    images: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)
    answers: int = 0
    written_list: Path | None = None


def write_pages(
    path: Path, review: ToReview, preprocessing: Preprocessing | None = None, reporter: Reporter = SILENT
) -> Written:
    """Write the page for ``review`` to ``path``, or several if it has over ``MOST_IMAGES`` images.

    The second is called like the first with ``-2`` added. With ``preprocessing`` each image is also shown as a network
    that has it sees the image. Images that cannot be read are left out. Raises ``UsageError`` if a page cannot be
    written, ``DataError`` if no image can be read.
    """
    nameless = {item.path for item in unshowable([*review.items, *review.others])}
    written = Written(unread=[(name, "its name is not UTF-8; rename the file") for name in sorted(nameless)])
    parts = list(_parts(review))
    names = [path if number == 0 else path.with_stem(f"{path.stem}-{number + 1}") for number in range(len(parts))]
    done = 0
    for name, part in zip(names, parts, strict=True):
        sheet = Sheet.of(len(part.items), preprocessing)
        images, seen, kept = Sprites(sheet), Sprites(sheet), list[int]()
        for index, outcome in enumerate(shots([Source(item.file, item.invert) for item in part.items], sheet)):
            done += 1
            reporter.images(done, len(review.items))
            if part.items[index].path in nameless:
                continue
            if isinstance(outcome, ImageError):
                written.unread.append((part.items[index].path, str(outcome)))
                continue
            kept.append(index)
            images.add(outcome.image)
            if outcome.seen is not None:
                seen.add(outcome.seen)
        if not kept:
            continue
        data = _data(_only(part, kept, nameless), name, names)
        page = _rendered(data, images.finished(), seen.finished())
        with paths.write_errors(name):
            paths.write_text(name, page)
        written.pages.append(name)
        written.images += len(kept)
    if not written.pages:
        reason = f": {': '.join(written.unread[0])}." if written.unread else ": there are none."
        raise DataError(f"No image can be shown{reason}")
    return written


def _parts(review: ToReview) -> Iterator[ToReview]:
    """Yield reviews of at most ``MOST_IMAGES`` images each, in their order."""
    if len(review.items) <= MOST_IMAGES:
        yield review
        return
    labels = review.all_labels()
    for start in range(0, len(review.items), MOST_IMAGES):
        end = start + MOST_IMAGES
        groups = [
            replace(group, numbers=tuple(number - start for number in group.numbers if start <= number < end))
            for group in review.groups
        ]
        items = review.items[start:end]
        yield replace(review, items=items, groups=[g for g in groups if g.numbers], others=(), labels=labels)


def _only(review: ToReview, kept: Sequence[int], nameless: set[str]) -> ToReview:
    """Return ``review`` with only the items that are ``kept`` shown, and those whose names a list can hold in it."""
    new = {number: position for position, number in enumerate(kept)}
    groups = []
    for group in review.groups:
        numbers = group.numbers
        if group.kind == "pairs":  # of which one image alone says nothing
            pairs = zip(numbers[::2], numbers[1::2], strict=True)
            numbers = tuple(number for pair in pairs if pair[0] in new and pair[1] in new for number in pair)
        groups.append(replace(group, numbers=tuple(new[number] for number in numbers if number in new)))
    hidden = [item for number, item in enumerate(review.items) if number not in new]
    return replace(
        review,
        items=[review.items[number] for number in kept],
        groups=[group for group in groups if group.numbers],
        others=[item for item in (*review.others, *hidden) if item.path not in nameless],
        labels=review.all_labels(),
    )


def _data(review: ToReview, path: Path, pages: Sequence[Path]) -> JsonObject:
    """Return what the page knows: each column of the items by itself, with labels as positions in their list."""
    labels = review.all_labels()
    index = {label: number for number, label in enumerate(labels)} | {"": -1}
    files = [item.path for item in review.items]
    folder = os.path.join(_common(files), "")  # noqa: PTH118 # with its separator
    others = review.others if len(review.others) <= _MOST_OTHERS else ()
    everything = [*review.items, *others]
    identity = json.dumps([review.title, [[item.path, item.label, item.proposal] for item in review.items]])
    return {
        "id": hashlib.blake2b(identity.encode(), digest_size=12).hexdigest(),
        "title": review.title,
        "list": f"{path.stem.removesuffix('-review')}-reviewed.csv",
        "about": review.about,
        "version": __version__,
        "per": PER_SPRITE,
        "labels": labels,
        "folder": folder,
        "link": _link(folder, path.resolve().parent),
        "names": [file[len(folder) :] for file in files],
        "before": [index[item.label] for item in review.items],
        "proposals": [index[item.proposal] for item in review.items],
        "guesses": [[[index[label], p and round(p, _DIGITS)] for label, p in item.guesses] for item in review.items],
        "answers": {n: item.answer for n, item in enumerate(review.items) if item.answer is not None},
        "groups": [_group(group) for group in review.groups],
        "splits": [item.split for item in review.items] if any(i.split != "train" for i in everything) else None,
        "sources": [item.group for item in review.items] if any(i.group for i in everything) else None,
        "others": [item.row for item in others],
        "pages": [page.name for page in pages] if len(pages) > 1 else [],
        "page": list(pages).index(path),
    }


def _group(group: Group) -> JsonObject:
    first, count = group.numbers[0], len(group.numbers)
    is_range = group.numbers == tuple(range(first, first + count))
    return {"title": group.title, "kind": group.kind, "first": first, "count": count} | (
        {} if is_range else {"numbers": group.numbers}
    )


def _common(files: Sequence[str]) -> str:
    """Return the folder that holds all ``files``; empty if they are on several drives."""
    try:
        return os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120 # of texts
    except ValueError:
        return ""


def _link(folder: str, page: Path) -> str:
    """Return the address of ``folder``, from the page's if it is below that, so that both may move together."""
    if not folder:
        return "file:///"
    try:
        relative = Path(folder).resolve().relative_to(page).as_posix()
    except ValueError:
        return Path(folder).as_uri() + "/"
    return "" if relative == "." else quote(relative) + "/"


def _rendered(data: JsonObject, sprites: Sequence[str], seen: Sequence[str]) -> str:
    # In a script element, only "<" could end it; the page's own script escapes what it shows.
    content = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        environment()
        .get_template("review.html.j2")
        .render(
            title=data["title"],
            data=content,
            sprites=sprites,
            seen=seen,
            style=style(),
            script=script(),
            style_hash=source_hash(style()),
            script_hash=source_hash(script()),
        )
    )
