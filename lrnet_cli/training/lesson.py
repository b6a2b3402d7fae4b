"""What images without labels teach a run, and the file in which it is kept while the run lasts."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from lrnet_cli import paths
from lrnet_cli.data.splits import Split
from lrnet_cli.data.unlabelled import Unlabelled
from lrnet_cli.documents import parsed
from lrnet_cli.errors import TrainingError, reason_of
from lrnet_cli.training.checkpoint import LESSON_NAME
from lrnet_cli.training.data import Data
from lrnet_cli.weights.card import UnlabelledNote
from lrnet_cli.weights.digest import sealed, unsealed


@dataclass(frozen=True)
class Lesson:
    """What images without labels teach.

    ``chosen``, int64 (M,), are the indices of those that teach, with their likely ``labels``, int64 (M,).
    ``content_sha256`` is the hash of all images without labels.
    """

    chosen: Tensor
    labels: Tensor
    note: UnlabelledNote
    content_sha256: str

    def added_to(self, data: Data, unlabelled: Unlabelled) -> Data:
        """Return ``data`` with the chosen images, and their likely labels, after the training images."""
        taught = data.train.with_rows_of(Split(unlabelled.images[self.chosen], self.labels))
        return replace(data, train=taught, unlabelled=self.note)


def write_lesson(run_dir: Path, lesson: Lesson) -> None:
    """Write ``lesson`` to the folder of a run, or of a trial, for when it is resumed."""
    tensors = {"chosen": lesson.chosen, "labels": lesson.labels}
    metadata = {"note": json.dumps(lesson.note), "content_sha256": lesson.content_sha256}
    (run_dir / "checkpoint").mkdir(parents=True, exist_ok=True)
    with paths.replacing(run_dir / "checkpoint" / LESSON_NAME) as temporary:
        temporary.write_bytes(sealed(tensors, metadata))


def read_lesson(run_dir: Path, unlabelled: Unlabelled, classes: int) -> Lesson:
    """Return the lesson of the run in ``run_dir``, which is about ``unlabelled`` and teaches so many ``classes``.

    Raises ``TrainingError`` if it is damaged or about other images.
    """
    path = run_dir / "checkpoint" / LESSON_NAME
    try:
        tensors, metadata = unsealed(path)
        chosen, labels = tensors["chosen"], tensors["labels"]
        if chosen.ndim != 1 or chosen.shape != labels.shape or {chosen.dtype, labels.dtype} != {torch.int64}:
            raise ValueError("it does not hold a label for each image")
        is_same = metadata["content_sha256"] == unlabelled.content_sha256
        if is_same and not (_all_below(len(unlabelled.images), chosen) and _all_below(classes, labels)):
            raise ValueError("it is about images or classes that are not there")
        note = parsed(metadata["note"], UnlabelledNote)
        lesson = Lesson(chosen, labels, note, metadata["content_sha256"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: is damaged ({reason_of(error)}); start a new run.") from error
    if not is_same:
        raise TrainingError(
            f"{path}: the images without labels have changed since the run began; restore them or start a new run."
        )
    return lesson


def _all_below(count: int, indices: Tensor) -> bool:
    return bool(((indices >= 0) & (indices < count)).all())
