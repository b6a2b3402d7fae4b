"""The model card, ``README.md`` of a run folder, with the metadata that model hubs read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lrnet_cli import paths
from lrnet_cli.data.reading import kinds_of
from lrnet_cli.documents import JsonObject
from lrnet_cli.escape import as_json, in_markdown, in_words
from lrnet_cli.evaluation.evaluate import RECORDED, Evaluation
from lrnet_cli.paths import WEIGHTS_NAME
from lrnet_cli.reporter import counted
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import command_of
from lrnet_cli.settings.words import Select
from lrnet_cli.weights.card import DataNote, WeightsCard

_CHOICES: dict[Select, str] = {
    "accuracy": "latest epoch within one standard error of the best validation accuracy",
    "balanced-accuracy": "latest epoch within one standard error of the best balanced validation accuracy",
    "macro-f1": "latest epoch within one standard error of the best macro-averaged F1 in validation",
    "loss": "epoch with the lowest validation loss",
}
_NEVER_UNKNOWN = "The network names one of its classes for any image, whatever it shows."
_UNKNOWN = (
    "`lrnet predict` calls images `unknown` that are less like the training images than 99% of the validation "
    "images were; unfamiliar images that pass get one of the classes."
)


def write_model_card(
    run_dir: Path,
    config: TrainConfig,
    card: WeightsCard,
    result: JsonObject,
    test: Evaluation | None,
    more: Sequence[str] = (),
) -> None:
    """Write ``README.md``, the model card of a run with this ``result``, without test figures if ``test`` is None.

    ``more`` are lines of Markdown.
    """
    lines = [
        *_metadata(card, test),
        f"# {card.arch} on {in_markdown(card.dataset['name'])}",
        "",
        f"A classifier of {'grey' if card.preprocessing.channels == 1 else 'colour'} images of "
        f"{card.preprocessing.image_size}×{card.preprocessing.image_size} pixels into {len(card.classes)} classes, "
        f"trained by lrnet-cli {card.versions['lrnet_cli']}.",
        "",
        *_results(card, test),
        *more,
        *_protocol(config, card, result["device"], result["test_reads"]),
        "## Use",
        "",
        "```console",
        f"lrnet predict image.png --weights {WEIGHTS_NAME}",
        "```",
        "",
        f"Images are expected {card.preprocessing.polarity}; `lrnet predict` inverts the others automatically.",
        "",
        "## Limits",
        "",
        f"{_UNKNOWN if card.novelty is not None else _NEVER_UNKNOWN} Apart from what is shown above, it was "
        "measured only on images like those it was trained on.",
    ]
    paths.write_text(run_dir / "README.md", "\n".join(lines) + "\n")


def _metadata(card: WeightsCard, test: Evaluation | None) -> list[str]:
    """Return the YAML header; JSON's texts and numbers are YAML's too."""
    split, accuracy = ("validation", card.metrics["val_accuracy"]) if test is None else ("test", test.metrics.accuracy)
    name = as_json(card.dataset["name"])
    return [
        "---",
        "library_name: lrnet-cli",
        "pipeline_tag: image-classification",
        "tags: [image-classification, low-resolution, lr-net]",
        f"datasets: [{name}]",
        "metrics: [accuracy]",
        "model-index:",
        f"- name: {as_json(card.arch + ' on ' + card.dataset['name'])}",
        "  results:",
        "  - task: {type: image-classification}",
        f"    dataset: {{name: {name}, type: {name}, split: {split}}}",
        f"    metrics: [{{type: accuracy, value: {accuracy:.6f}}}]",
        "---",
        "",
    ]


def _results(card: WeightsCard, test: Evaluation | None) -> list[str]:
    if test is None:
        tested = ["The test images have not been read with these weights."]
    else:
        first, *others = (figure for figure in test.figures() if figure.key in RECORDED)
        also = (f"{other.name} {other.value:.4f}{f' ({other.remark})' if other.remark else ''}" for other in others)
        tested = [
            f"{first.name.capitalize()} **{first.value:.4f}** on {test.metrics.n} test images ({first.remark}), "
            f"{', '.join(also)}.",
            "",
            "| class | precision | recall | F1 | images |",
            "|---|---|---|---|---|",
            *(
                f"| {in_markdown(row.name)} | {row.precision:.4f} | {row.recall:.4f} | {row.f1:.4f} | {row.support} |"
                for row in test.metrics.per_class
            ),
        ]
    figures = card.metrics
    return [
        "## Results",
        "",
        *tested,
        "",
        f"Validation: {figures['val_accuracy']:.4f} on {card.dataset['val']} validation images (epoch "
        f"{figures['best_epoch']}). The temperature {card.temperature:.4f}, by which the logits are divided, was "
        f"fitted on these images; it takes their calibration error from {figures['val_ece_uncalibrated']:.4f} to "
        f"{figures['val_ece']:.4f}.",
        "",
        "![Loss and accuracy by epoch](curves.png)",
        "",
    ]


def _protocol(config: TrainConfig, card: WeightsCard, device: str, test_reads: int) -> list[str]:
    data, protocol = card.dataset, card.protocol
    facts: dict[str, Any] = {
        "Data": f"{in_markdown(data['name'])}, content SHA-256 `{data['content_sha256']}`",
        **_not_used(data),
        **_without_labels(data),
        "Recipe": in_markdown(in_words(protocol["recipe"])),
        "Head": card.head,
        "Seed": card.seed,
        "Device": device,
        "Versions": ", ".join(f"{name} {number}" for name, number in card.versions.items()),
    }
    return [
        "## Protocol",
        "",
        "```console",
        command_of(config),
        "```",
        "",
        f"Trained on {data['train']} images; the validation images are {protocol['validation']}. {_trials(config)}"
        f"The {_choice(config)} was kept; the test images are read once, after that choice (so far: "
        f"{test_reads} time{'' if test_reads == 1 else 's'}).",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        *(f"- {in_markdown(choice)}" for choice in config.choices),
        "",
    ]


def _choice(config: TrainConfig) -> str:
    """Return which epoch was kept, in words."""
    both = " (mean over clean and augmented images)" if config.robust_strength else ""
    return _CHOICES[config.select] + both


def _trials(config: TrainConfig) -> str:
    """Return how often the validation images had decided before the run, in words."""
    if not config.trials:
        return ""
    return f"{config.trials} short trainings were compared on them before this one, to choose its settings. "


def _without_labels(data: DataNote) -> dict[str, str]:
    """Return the line that says what images without labels did, if there were any."""
    note = data.get("unlabelled")
    if note is None:
        return {}
    alone, spread = note["right"]
    did = f"{note['taught']} taught the network" if note["kept"] == "taught" else "they taught this network nothing"
    return {
        "Images without labels": f"{did}; of {note['validation']} validation images, a network that learned from the "
        f"labelled ones alone had {alone} right and likely labels {spread}; dropped: {note['foreign']} "
        f"as foreign, {note['unsure']} as unsure, {note['copies']} copies of labelled images, {note['skipped']} that "
        "cannot be read"
    }


def _not_used(data: DataNote) -> dict[str, str]:
    """Return the line that says what of the data was not used, if there is any."""
    skipped = data.get("skipped", 0)
    kinds = [f"{counted(skipped, 'image', 'images')} that cannot be read"] if skipped else []
    kinds += kinds_of(data.get("left_out", {}))
    return {"Not used": ", ".join(kinds)} if kinds else {}
