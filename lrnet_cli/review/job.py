"""The job of ``lrnet review``: from what was asked for to the pages, or to the list with the answers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.data.readers.manifest import read_answers
from lrnet_cli.errors import DataError, ImageError, SettingError
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.predict.classifier import Classifier
from lrnet_cli.reporter import SILENT, Reporter
from lrnet_cli.review.collection import (
    MOST_GUESSES,
    Item,
    ToReview,
    answered,
    audited,
    grouped,
    listed_items,
    read_items,
    suspects_to_review,
)
from lrnet_cli.review.page import Written, write_pages
from lrnet_cli.runs.folder import read_series
from lrnet_cli.runs.suspects import Suspect, find_suspects
from lrnet_cli.selection.job import LIST_COLUMNS, refuse_existing, select_images
from lrnet_cli.settings.requests import ReviewRequest, SelectRequest
from lrnet_cli.weights.file import load_weights
from lrnet_cli.weights.find import is_series, members_of


def make_review(request: ReviewRequest, reporter: Reporter = SILENT) -> Written:
    """Write the pages, or the list, that ``request`` asks for, and return what was written.

    Raises ``DataError`` for a source or answers that cannot be read, ``UsageError`` for files that cannot be written,
    ``WeightsError`` for weights that cannot be used, ``TrainingError`` for damaged runs.
    """
    source, weights = paths.expanded(request.source), request.weights
    output = request.output or Path(f"{source.resolve().stem or 'review'}-review.html")
    paths.check_writable(output)
    is_list = output.suffix.lower() == ".csv"
    if is_list and output.resolve() not in {paths.expanded(name).resolve() for name in request.answers}:
        refuse_existing(output)
    if request.select is None:
        review = _read(request, source)
    else:
        review = _selected(request, source, request.select, reporter)
    if weights is None and is_series(source):
        weights = str(members_of(source)[0])
    known = {item.path for item in (*review.items, *review.others)}
    for name in request.answers:
        answers = read_answers(paths.expanded(name))
        if strange := answers.keys() - known:
            reporter.message(
                f"{name}: left out {len(strange)} of its {len(answers)} answers, to images not in {source}."
            )
        review = answered(review, answers)
    for remark in review.remarks:
        reporter.message(remark)
    count = sum(item.answer is not None for item in (*review.items, *review.others))
    if is_list:
        everything = [*review.items, *review.others]
        _write_list(output, everything)
        return Written(images=len(everything), answers=count, written_list=output)
    preprocessing = None
    if weights is not None:
        classifier = Classifier.load(weights, device=request.device, threads=request.threads)
        preprocessing = classifier.card.preprocessing
        if not request.audit and all(not item.guesses for item in review.items):
            review = _predicted(review, classifier, reporter)
    return replace(write_pages(output, review, preprocessing, reporter), answers=count)


def _selected(request: ReviewRequest, source: Path, number: int, reporter: Reporter) -> ToReview:
    """Return the images of ``source`` that a person labels first, and those with an answer."""
    if not source.is_dir() or is_series(source) or (source / WEIGHTS_NAME).exists():
        raise SettingError("{path}: {select} takes images of a folder, without labels.", path=source)
    selection = select_images(
        SelectRequest(
            inputs=(str(source),),
            n=number,
            weights=request.weights,
            answers=request.answers,
            device=request.device,
            threads=request.threads,
        ),
        reporter,
    )
    reporter.message(selection.summary)
    to_label = [Item(row.file, split=row.split) for row in (*selection.chosen, *selection.random)]
    answered = [
        Item(row.file, row.previous, row.previous, split=row.split, group=row.group, answer=row.label)
        for row in selection.answered
    ]
    unread = [Item(Path(path)) for path, _ in selection.unread]  # named when they are to be shown
    return replace(grouped(source.resolve().stem, [*to_label, *unread]), others=answered)


def _read(request: ReviewRequest, source: Path) -> ToReview:
    if (source / WEIGHTS_NAME).exists():
        raise DataError(f"{source}: is a single run; only a run with several folds knows which labels look wrong.")
    if is_series(source):
        if request.audit:
            raise SettingError("{audit} is for a list of labels; leave it out for the suspects of {path}.", path=source)
        return _suspects_of(source, find_suspects(run.parent for run in members_of(source)))
    items, remarks = read_items(source)
    if request.audit:
        return audited(source.stem, items)
    if request.from_folders:
        items = [replace(item, label=item.file.parent.name, proposal=item.file.parent.name) for item in items]
    return grouped(source.stem, items, remarks)


def _suspects_of(series: Path, suspects: Sequence[Suspect]) -> ToReview:
    config, *_ = read_series(series)
    return suspects_to_review(f"Labels to look at: {series.name}", suspects, listed_items(Path(config.dataset)))


def write_suspects_page(series: Path, suspects: Sequence[Suspect]) -> Path | None:
    """Write the page that shows the suspects of the runs in ``series``, and return it; None if they are not files.

    Raises ``DataError`` or ``UsageError`` for a data set that cannot be read or a page that cannot be written.
    """
    files = [suspect for suspect in suspects if Path(suspect.file).is_file()]
    if not files:
        return None
    _, card = load_weights(members_of(series)[0])
    return write_pages(series / "suspects.html", _suspects_of(series, files), card.preprocessing).pages[0]


def _predicted(review: ToReview, classifier: Classifier, reporter: Reporter) -> ToReview:
    """Return ``review`` with what the network says: the labels of images without one, and how likely others are."""
    items = list[Item]()
    answers = classifier.stream(item.file for item in review.items)
    for item, (_, outcome) in zip(review.items, answers, strict=True):
        reporter.work("images", len(items) + 1, len(review.items))
        if isinstance(outcome, ImageError):
            items.append(item)  # named when it is to be shown
            continue
        proposal = item.proposal or (outcome.label if outcome.index is not None else "")
        shares = dict(outcome.top)
        certainty = shares.get(proposal, 0.0)
        items.append(replace(item, proposal=proposal, guesses=outcome.top[:MOST_GUESSES], certainty=certainty))
    return replace(grouped(review.title, items, review.remarks), others=review.others)


def _write_list(path: Path, items: Iterable[Item]) -> None:
    """Write the list that the page saves, with an answer where there is one."""
    items = sorted(items, key=lambda item: item.path)
    columns = LIST_COLUMNS if any(item.split != "train" or item.group for item in items) else LIST_COLUMNS[:4]
    with paths.write_errors(path):
        paths.write_table(path, columns, (item.row[: len(columns)] for item in items))
