"""The job of ``lrnet audit``: accepted labels for a person to check, and what the answers say of all of them."""

import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli import paths
from lrnet_cli.data.readers.manifest import is_yes, numbered_rows
from lrnet_cli.errors import UsageError
from lrnet_cli.predict.rows import promised_error
from lrnet_cli.promise.audit import Audited, audited
from lrnet_cli.settings.requests import AuditRequest

_COLUMNS = ("file_name", "label")


@dataclass(frozen=True)
class Draw:
    """The list ``path`` of ``drawn`` images, from ``stack`` with an accepted label."""

    path: Path
    drawn: int
    stack: int
    seed: int

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {"schema": "lrnet.audit/1", **asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class Verdict:
    """What the checked labels say of all accepted ones; ``unchecked`` ones of the list do not count."""

    audited: Audited
    unchecked: int
    max_error: float | None

    @property
    def is_broken(self) -> bool:
        """Whether the promised error is contradicted."""
        return self.max_error is not None and self.audited.contradicts(self.max_error)

    def document(self) -> dict[str, Any]:
        """Return the JSON document."""
        more = {"unchecked": self.unchecked, "max_error": self.max_error, "is_broken": self.is_broken}
        return {"schema": "lrnet.audit/1", **asdict(self.audited), **more}


def draw(request: AuditRequest) -> Draw:
    """Write the list of images to check, drawn without replacement, and return what it is; never overwrites a file.

    Raises ``DataError`` for a file that cannot be read, and ``UsageError`` for one without accepted labels, and for a
    list that cannot be written.
    """
    stack = _accepted(request.labels)
    target = request.output or request.labels.with_name(f"{request.labels.stem}-audit.csv")
    if target.exists():
        raise UsageError(f"{target}: exists already, perhaps with answers; choose another file.")
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    count = min(request.n, len(stack))
    chosen = np.sort(np.random.default_rng(seed).choice(len(stack), count, replace=False))
    names = list(stack)
    first = names[int(chosen[0])]
    if not os.path.exists(first):  # noqa: PTH110 # a name may be too long
        raise UsageError(f"{first}: is not there, so nobody can check it; run this where lrnet predict was run.")
    with paths.write_errors(target):
        paths.write_table(target, _COLUMNS, ((names[index], stack[names[index]]) for index in chosen.tolist()))
    return Draw(target, count, len(stack), seed)


def judge(request: AuditRequest) -> Verdict:
    """Return what the answers say; raises ``UsageError`` for answers that are not about the labels.

    Raises ``DataError`` for a file that cannot be read.
    """
    assert request.answers is not None
    stack, answers = _accepted(request.labels), _rows(request.answers)
    missing = {*_COLUMNS, "reviewed", "previous"} - (answers[0].keys() if answers else set())
    if missing:
        raise UsageError(f"{request.answers}: lacks the columns {', '.join(sorted(missing))}; give the checked list.")
    twice = [name for name, count in Counter(row["file_name"] for row in answers).items() if count > 1]
    if twice:
        raise UsageError(f"{request.answers}: has {twice[0]} more than once; keep one row of each image.")
    checked = [row for row in answers if is_yes(row["reviewed"])]
    for row in checked:
        if stack.get(_known_as(row["file_name"], request.answers)) != row["previous"]:
            raise UsageError(
                f"{request.answers}: {row['file_name']} has no accepted label {row['previous']!r} in {request.labels}; "
                "give the labels from which the list was drawn."
            )
    if not checked:
        raise UsageError(f"{request.answers}: no row says yes under reviewed, so nothing was checked yet.")
    wrong = sum(row["label"] != row["previous"] for row in checked)
    result = audited(len(stack), len(checked), wrong, request.confidence)
    promised = promised_error(request.labels) if request.max_error is None else request.max_error
    return Verdict(result, len(answers) - len(checked), promised)


def _accepted(path: Path) -> dict[str, str]:
    """Return the network's accepted label of each image of a file of predictions.

    Files are named in full, because lists, their pages and the labels may lie in different folders.
    """
    rows = _rows(path)
    if not rows or "path" not in rows[0]:
        raise UsageError(f"{path}: has no rows with path and label; give a file that lrnet predict wrote.")
    stack = {
        _known_as(str(row["path"]), path): str(row["label"])
        for row in rows
        if row.get("index") not in (None, "") and not is_yes(row.get("reviewed"))
    }
    if not stack:
        raise UsageError(f"{path}: none of its {len(rows)} rows has an accepted label, so there is nothing to check.")
    return stack


def _known_as(name: str, source: Path) -> str:
    """Return the file ``name`` of the list ``source`` in full: from here or, if it lies there, from beside the list."""
    beside = source.parent / name
    return paths.absolute(beside if os.path.exists(beside) else name)  # noqa: PTH110 # a name may be too long


def _rows(path: Path) -> Sequence[Mapping[str, Any]]:
    return [row for _, row in numbered_rows(path)]
