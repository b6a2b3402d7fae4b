"""Evidence in a file of its own: of a fold, and of all folds of a cross-validation together."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from lrnet_cli.documents import parsed, read_document
from lrnet_cli.paths import write_text
from lrnet_cli.promise.evidence import Evidence

_NAME = "promise.json"  # in the folder of a run or of several


def write_evidence(folder: Path, evidence: Evidence) -> None:
    """Write the evidence of the run, or of the several runs, in ``folder``."""
    write_text(folder / _NAME, json.dumps(asdict(evidence)) + "\n")


def read_evidence(folder: Path) -> Evidence | None:
    """Return the evidence in ``folder``, None if it has none; raises ``ValueError`` for a damaged one."""
    try:
        return parsed(read_document(folder / _NAME), Evidence)
    except FileNotFoundError:
        return None


def out_of_fold(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence of all folds together, with the measures that every fold has."""

    def joined(name: str) -> tuple[float, ...]:
        values = [getattr(part, name) for part in parts]
        return tuple(chain.from_iterable(values)) if all(values) else ()

    temperatures = {part.temperatures for part in parts}
    losses = zip(*(part.losses for part in parts), strict=True) if len(temperatures) == 1 else ()
    return Evidence(
        scores=joined("scores"),
        truths=joined("truths"),
        predicted=tuple(chain.from_iterable(part.predicted for part in parts)),
        labels=tuple(chain.from_iterable(part.labels for part in parts)),
        novelty=joined("novelty"),
        grounds=joined("grounds"),
        contrasts=joined("contrasts"),
        origin="out-of-fold",
        temperatures=temperatures.pop() if len(temperatures) == 1 else (),
        losses=tuple(map(sum, losses)),
    )
