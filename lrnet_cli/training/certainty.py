"""What validation images, clean and altered, say of a network: its score, how sure it may be, what is foreign to it."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn

from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.evaluate import Evaluation
from lrnet_cli.evaluation.metrics import compute_metrics
from lrnet_cli.models.heads import TEMPERATURES, fit_temperature, losses_by_temperature
from lrnet_cli.models.logits import as_input, predict_logits
from lrnet_cli.models.novelty import fit_novelty
from lrnet_cli.promise.evidence import Evidence, evidence_of, log_odds, tones
from lrnet_cli.promise.stored import write_evidence
from lrnet_cli.promise.threshold import Aim
from lrnet_cli.reporter import EpochRow
from lrnet_cli.settings.words import Select
from lrnet_cli.training.alterations.families import alter
from lrnet_cli.training.step import Step
from lrnet_cli.weights.card import WeightsCard

_NOVELTY_IMAGES, _NOVELTY_IMAGES_A_CLASS = 2000, 20  # of training, at least
# For validation, at least: fewer have no 99% that a new image passes in 99 of 100 cases (Angelopoulos and Bates 2021,
# arXiv:2107.07511, section 1: n + 1 images or more, of which one in a hundred may be left out).
_VALIDATION_IMAGES = 99
_USUAL_ERROR = 0.01  # for which the message says how many images are needed
_TEMPERATURE_IMAGES = 100  # at least: of fewer, a single mistake more or less doubles what the temperature does


def altered(split: Split, robust: float, seed: int) -> Split:
    """Return ``split`` with its images altered as ``robust`` alters those of training, the same for each ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # On the CPU, so that every device has the same.
        alterations = alter(as_input(split.images.cpu()), robust)
    images = (alterations * 255).round_().to(torch.uint8).contiguous()
    return replace(split, images=images.to(split.images.device))


def novelty_images(classes: int) -> int:
    """Return how many training images tell what is known, if there are as many."""
    return max(_NOVELTY_IMAGES, _NOVELTY_IMAGES_A_CLASS * classes)


def lacking(validation_images: int) -> str | None:
    """Return the sentence that says what so few validation images cannot show, if they are few."""
    if validation_images >= _TEMPERATURE_IMAGES:
        return None
    return (
        f"There are only {validation_images} validation images: {_TEMPERATURE_IMAGES} or more are needed to calibrate "
        f"probabilities (so none is raised), {_VALIDATION_IMAGES} to recognise unfamiliar images and "
        f"{Aim(_USUAL_ERROR).least} to promise an error of {100 * _USUAL_ERROR:g}%; give more images, or promise "
        "from --folds."
    )


def with_novelty(card: WeightsCard, model: nn.Module, step: Step) -> WeightsCard:
    """Return ``card`` of ``model`` with its evidence, and with what tells foreign images from those of ``step``."""
    run = step.run
    if run.config.folds is None and (sentence := lacking(len(run.val_split))):
        run.reporter.message(sentence)
    network = run.engine.place(model, card.preprocessing.normalize, run.processes, with_description=True).eval()
    sample = step.sample(novelty_images(len(card.classes)))
    known, validated = (
        predict_logits(network, split.images, processes=run.processes) for split in (sample, run.val_split)
    )
    card = replace(card, novelty=fit_novelty(known, sample.labels.cpu(), validated))
    return replace(card, evidence=evidence_for(card, validated, run.val_split))


def evidence_for(card: WeightsCard, outputs: Tensor, split: Split, temperature: float = 1.0) -> Evidence:
    """Return what the ``outputs`` (N, outputs) for the images of ``split`` say of later answers.

    Its log-odds are those of the logits divided by ``temperature``.
    """
    logits = outputs[:, : len(card.classes)].double().numpy() / temperature
    odds = log_odds(logits, yes_or_no=card.head == "sigmoid")
    assert card.novelty is not None
    grounds, contrasts = tones(split.images.cpu().numpy())
    novelty = card.novelty(outputs).numpy()
    return evidence_of(odds, split.labels.cpu().numpy(), novelty=novelty, grounds=grounds, contrasts=contrasts)


def note_fold(folder: Path, card: WeightsCard, test: Evaluation, split: Split) -> None:
    """Write to ``folder`` what the network answered for its fold, as it counts in the mean of all: calibrated."""
    evidence = evidence_for(card, test.outputs, split, card.temperature)
    losses = losses_by_temperature(test.logits / card.temperature, test.labels, card.head)
    write_evidence(folder, replace(evidence, temperatures=TEMPERATURES, losses=losses))


def calibrated(card: WeightsCard, row: EpochRow, clean: Evaluation, altered: Evaluation | None) -> WeightsCard:
    """Return ``card`` with the temperature fitted to validation images, clean and ``altered``, and their figures."""
    both = [clean] if altered is None else [clean, altered]
    logits, labels = (torch.cat([getattr(item, name) for item in both]) for name in ("logits", "labels"))
    temperature = fit_temperature(logits, labels, card.head)
    if len(clean.labels) < _TEMPERATURE_IMAGES:
        temperature = max(temperature, 1.0)  # more certain than the network itself is more than so few images show
    after = [compute_metrics(item.logits / temperature, item.labels, card.classes, card.head) for item in both]
    figures = {
        "best_epoch": row.epoch,
        "val_accuracy": row.val_accuracy,
        "val_loss": after[0].loss,
        "val_ece": after[0].ece,
        "val_ece_uncalibrated": clean.metrics.ece,
    }
    if altered is not None:
        figures |= {"val_altered_accuracy": after[1].accuracy, "val_altered_ece": after[1].ece}
    return replace(card, temperature=temperature, metrics=figures)


def score_of(select: Select, clean: Evaluation, altered: Evaluation | None) -> float | None:
    """Return what decides which epoch is kept, the higher the better; None if that is the accuracy on clean images.

    With altered validation images it is the mean of both: a robust network is to be right on either.
    """
    if select == "accuracy" and altered is None:
        return None
    return fmean(_measured(select, item) for item in (clean, altered) if item is not None)


def _measured(select: Select, evaluation: Evaluation) -> float:
    metrics = evaluation.metrics
    seen = [row for row in metrics.per_class if row.support]
    if select == "loss":
        return -metrics.loss
    if select == "accuracy":
        return metrics.accuracy
    return fmean(row.recall if select == "balanced-accuracy" else row.f1 for row in seen)
