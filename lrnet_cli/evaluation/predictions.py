"""The file of predictions: one CSV row per image."""

from collections.abc import Iterator
from pathlib import Path

from lrnet_cli import paths
from lrnet_cli.evaluation.evaluate import Evaluation

PROBABILITY_OF = "probability of "  # begins the name of the column for a class


def write_predictions(
    path: Path, evaluation: Evaluation, *, every_class: bool = False, spreadsheet: bool = False
) -> None:
    """Write one CSV row per image: its position in the split, file, true and predicted class and its probability.

    Images without files have no column for them; ``every_class`` adds one for the probability of each class. For a
    ``spreadsheet``, no cell is a formula. Raises ``OSError`` if the file cannot be written.
    """
    values, indices = evaluation.probabilities.max(1)
    files = evaluation.paths
    more = [f"{PROBABILITY_OF}{name}" for name in evaluation.classes] if every_class else []
    columns = ["index", *(["path"] if files is not None else []), "true", "predicted", "probability", "correct", *more]

    def rows() -> Iterator[list[object]]:
        answers = zip(evaluation.labels.tolist(), indices.tolist(), values.tolist(), strict=True)
        for position, (true, predicted, probability) in enumerate(answers):
            source = [files[position]] if files is not None else []
            names = evaluation.classes[true], evaluation.classes[predicted]
            every = evaluation.probabilities[position].tolist() if every_class else []
            yield [position, *source, *names, probability, true == predicted, *every]

    paths.write_table(path, columns, rows(), spreadsheet=spreadsheet)
