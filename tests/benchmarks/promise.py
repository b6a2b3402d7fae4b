"""What a promised error rate keeps, how much it accepts, when it warns, and what an audit says: on real images.

``python tests/benchmarks/promise.py answers DATASET WEIGHTS FILE [--mirror DIR]`` has a network answer the test images
and altered copies of them once; ``python tests/benchmarks/promise.py measure FILE…`` draws from these answers, which
takes a few minutes. Nothing is chosen by these numbers. ``python tests/benchmarks/promise.py evidence WEIGHTS…`` adds
to weights of versions that did not record them the answers for their own validation images; all else in the file stays
as it is.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrnet_cli.promise.audit import audited
from lrnet_cli.promise.decision import Ranked, decide
from lrnet_cli.promise.evidence import Evidence, Floats, evidence_of, log_odds, rounded, tones
from lrnet_cli.promise.label_sets import least_odds
from lrnet_cli.promise.shift import Stack, differences
from lrnet_cli.promise.threshold import Aim

SPLITS, ALTERED_IMAGES = 200, 1000
ERRORS = (0.005, 0.01, 0.02, 0.05)
WARNED = (0.01, 0.02)
ALTERED = (("brightening", 3), ("contrast", 4), ("uneven_light", 3), ("gaussian_noise", 3), ("gaussian_blur", 3))
Table = dict[str, NDArray[np.float64]]
MEASURES = ("novelty", "grounds", "contrasts")


def answer(dataset: str, weights: str, target: Path, mirror: str | None) -> None:
    """Write the log-odds, labels and measures of the test images, plain and altered, and of another data set."""
    from lrnet_cli.evaluation.corruptions import CORRUPTIONS, corrupt
    from lrnet_cli.evaluation.setup import load_foreign, load_setup
    from lrnet_cli.models.engine import Engine
    from lrnet_cli.models.logits import predict_logits
    from lrnet_cli.settings.requests import EvalRequest
    from lrnet_cli.weights.find import find_weights

    request = EvalRequest(dataset=dataset, mirror=mirror)
    setup = load_setup(find_weights(weights), request, Engine.at())
    foreign = "fashion" if dataset == "digits" else "digits"
    _, others = load_foreign(setup, foreign, EvalRequest(mirror=mirror, limit=ALTERED_IMAGES))
    kinds = {"plain": setup.split.images, "foreign": others}
    part = setup.split.images[:ALTERED_IMAGES]
    by_name = {kind.name: kind for kind in CORRUPTIONS}
    kinds |= {f"{name} {severity}": corrupt(part, by_name[name], severity, 0) for name, severity in ALTERED}
    stored = {}
    for name, images in kinds.items():
        outputs = predict_logits(setup.opened.described, images)
        logits = outputs[:, : len(setup.card.classes)].double().numpy()
        assert setup.card.novelty is not None
        grounds, contrasts = tones(images.cpu().numpy())
        # Of a foreign image no class is right.
        labels = np.full(len(images), -1) if name == "foreign" else setup.split.labels[: len(images)].numpy()
        stored |= {
            f"{name}/odds": log_odds(logits, yes_or_no=False),
            f"{name}/labels": labels,
            f"{name}/novelty": setup.card.novelty(outputs).numpy(),
            f"{name}/grounds": grounds,
            f"{name}/contrasts": contrasts,
        }
    np.savez_compressed(target, **stored)


def add_evidence(path: Path, mirror: str | None) -> None:
    """Add to the weight file at ``path`` its network's answers for the images that it was validated on."""
    from safetensors import safe_open
    from safetensors.torch import save

    from lrnet_cli.export.held_out import load_held_out
    from lrnet_cli.models.engine import Engine
    from lrnet_cli.models.logits import predict_logits
    from lrnet_cli.paths import replacing
    from lrnet_cli.reporter import Reporter
    from lrnet_cli.settings.requests import ExportRequest
    from lrnet_cli.training.certainty import evidence_for
    from lrnet_cli.weights.digest import DIGEST, digest_of
    from lrnet_cli.weights.open import open_network

    opened = open_network(path, Engine.at())
    split, which = load_held_out(ExportRequest(to=Path("x.onnx"), mirror=mirror), path, opened.card, Reporter())
    found = evidence_for(opened.card, predict_logits(opened.described, split.images), split)
    accuracy, recorded = 1 - found.wrong.mean(), opened.card.metrics["val_accuracy"]
    if abs(accuracy - recorded) > 1e-9:  # then they are not those that it was validated on
        raise SystemExit(f"{path}: has an accuracy of {accuracy} on {which}, and {recorded} is recorded")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # not a dictionary
        metadata = file.metadata() | {"evidence": json.dumps(asdict(found))}
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, metadata | {DIGEST: digest_of(tensors, metadata)}))
    print(f"{path}: {len(found)} answers, accuracy {accuracy}; {path.stat().st_size} bytes")


def taken(table: Table, name: str, rows: NDArray[np.int64]) -> Table:
    return {key: table[f"{name}/{key}"][rows] for key in ("odds", "labels", *MEASURES)}


def evidence(part: Table) -> Evidence:
    labels = part["labels"].astype(int)
    return evidence_of(part["odds"], labels, **{name: part[name] for name in MEASURES})


def ranked(part: Table) -> Ranked:
    return Ranked(np.where(part["novelty"] > 1, -np.inf, rounded(part["odds"].max(1))), part["odds"].argmax(1))


def stack_of(part: Table) -> Stack:
    scores, predicted = part["odds"].max(1), part["odds"].argmax(1)
    return Stack(rounded(scores), predicted, *(rounded(part[name]) for name in MEASURES))


def oracle(scores: Floats, wrong: NDArray[np.bool_], max_error: float) -> float:
    """Return the largest share that could be accepted with at most this error, had one known all labels."""
    order = np.argsort(-scores)
    kept = np.flatnonzero(np.cumsum(wrong[order]) / np.arange(1, len(scores) + 1) <= max_error)
    return (kept[-1] + 1) / len(scores) if len(kept) else 0.0


def kept(table: Table, random: np.random.Generator, images: int, name: str = "plain") -> None:
    """Report in how many splits the promise is broken, and how much is accepted of what could be.

    It is a promise of the stack, of which the error is known here; that of all images together is reported too.
    """
    broken, of_all, none = (dict.fromkeys(ERRORS, 0) for _ in range(3))
    whole = taken(table, name, np.arange(len(table[f"{name}/labels"])))
    all_answers = ranked(whole)
    all_errors = all_answers.predicted != whole["labels"]
    accepted_shares, best_shares = ({max_error: [] for max_error in ERRORS} for _ in range(2))
    for _ in range(SPLITS):
        order = random.permutation(len(all_errors))
        labelled, stack = taken(table, name, order[:images]), taken(table, name, order[images:])
        known, answers = ranked(labelled), ranked(stack)
        wrong, errors = known.predicted != labelled["labels"], answers.predicted != stack["labels"]
        for max_error in ERRORS:
            decision = decide(known, wrong, answers, Aim(max_error), by_class=False)
            accepted, everywhere = decision.accepted(answers), decision.accepted(all_answers)
            of_all[max_error] += bool(everywhere.any() and all_errors[everywhere].mean() > max_error)
            broken[max_error] += bool(accepted.any() and errors[accepted].mean() > max_error)
            none[max_error] += not accepted.any()
            accepted_shares[max_error].append(float(accepted.mean()))
            best_shares[max_error].append(oracle(stack["odds"].max(1), errors, max_error))
    for max_error in ERRORS:
        share, best = np.mean(accepted_shares[max_error]), np.mean(best_shares[max_error])
        shown = [f"{100 * count[max_error] / SPLITS:.1f}%" for count in (broken, of_all, none)]
        ratio, by_hand = share / best if best else 1.0, 100 * (1 - share)
        print(
            f"| {name} | {images} | {100 * max_error:g}% | {' | '.join(shown)} | {share:.3f} | {best:.3f} "
            f"| {ratio:.3f} | {by_hand:.1f}% |",
            flush=True,
        )


def together(table: Table) -> Table:
    """Return the altered images of all types as one kind, ``altered``, to be labelled by what they are."""
    names = [f"{name} {severity}" for name, severity in ALTERED]
    keys = ("odds", "labels", *MEASURES)
    return {f"altered/{key}": np.concatenate([table[f"{name}/{key}"] for name in names]) for key in keys}


def stack_like(table: Table, name: str, rows: NDArray[np.int64], random: np.random.Generator) -> Table:
    """Return the images at ``rows``, of which some are replaced by foreign ones or by altered ones."""
    stack = taken(table, "plain", rows)
    if name == "alike":
        return stack
    share = random.choice([0.02, 0.05, 0.1, 0.2] if name == "foreign" else [0.2, 0.5, 1.0])
    size = int(share * len(rows))
    other = taken(table, name, random.permutation(ALTERED_IMAGES)[:size])
    return {key: np.concatenate([own[len(other[key]) :], other[key]]) for key, own in stack.items()}


def warned(table: Table, random: np.random.Generator) -> None:
    """Report how often there is a warning for stacks drawn alike, and for others whose error is over twice as high."""
    count = len(table["plain/labels"])
    kinds = sorted({name.split("/")[0] for name in table} - {"plain", "foreign"})
    for name in ("alike", "foreign", *kinds):
        alarms, harmful, caught = 0, dict.fromkeys(WARNED, 0), dict.fromkeys(WARNED, 0)
        for _ in range(SPLITS):
            order = random.permutation(count)
            labelled = taken(table, "plain", order[: count // 2])
            stack = stack_like(table, name, order[count // 2 :][:ALTERED_IMAGES], random)
            known, answers, lessons = evidence(labelled), ranked(stack), ranked(labelled)
            is_warned, errors = bool(differences(stack_of(stack), known)), answers.predicted != stack["labels"]
            alarms += is_warned
            for max_error in WARNED:
                accepted = decide(lessons, known.wrong, answers, Aim(max_error), by_class=False).accepted(answers)
                is_harmful = bool(accepted.any() and errors[accepted].mean() > 2 * max_error)
                harmful[max_error] += is_harmful
                caught[max_error] += is_warned and is_harmful
        shares = [f"{harmful[e]} | {caught[e]}" for e in WARNED]
        print(f"| {name} | {100 * alarms / SPLITS:.1f}% | {' | '.join(shares)} |", flush=True)


def audits(table: Table, random: np.random.Generator) -> None:
    """Report how often the interval of an audit of 300 covers the true error, with planted errors."""
    right = table["plain/odds"].argmax(1) == table["plain/labels"]
    for planted in (0.0, 0.01, 0.05):
        covered, widths = 0, []
        for _ in range(SPLITS):
            wrong = ~right | (random.random(len(right)) < planted)
            sample = random.choice(wrong, 300, replace=False)
            found = audited(len(wrong), 300, int(sample.sum()), 0.95)
            covered += found.low <= wrong.mean() <= found.high
            widths.append(found.high - found.low)
        print(f"| {100 * planted:g}% | {100 * covered / SPLITS:.1f}% | {100 * np.mean(widths):.2f}% |")


def sets(table: Table, random: np.random.Generator) -> None:
    """Report the coverage and the size of sets of labels from 2000 labelled images."""
    odds, labels = table["plain/odds"], table["plain/labels"].astype(int)
    truths = odds[np.arange(len(odds)), labels]
    for coverage in (0.99, 0.999):
        covered, sizes = [], []
        for _ in range(SPLITS):
            order = random.permutation(len(labels))
            least = least_odds(truths[order[:2000]], coverage)
            rest = order[2000:]
            inside = (odds[rest] >= least) | (odds[rest] == odds[rest].max(1, keepdims=True))
            covered.append(inside[np.arange(len(rest)), labels[rest]].mean())
            sizes.append(inside.sum(1).mean())
        print(f"| {coverage:g} | {np.mean(covered):.4f} | {np.mean(sizes):.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=["answers", "evidence", "measure"])
    parser.add_argument("words", nargs="+")
    parser.add_argument("--mirror")
    options = parser.parse_args()
    if options.task == "answers":
        dataset, weights, target = options.words
        answer(dataset, weights, Path(target), options.mirror)
        return
    for word in options.words:
        if options.task == "evidence":
            add_evidence(Path(word), options.mirror)
            continue
        table, random = dict(np.load(word)), np.random.default_rng(0)
        error = (table["plain/odds"].argmax(1) != table["plain/labels"]).mean()
        print(f"\n{word}: {len(table['plain/labels'])} images, error {error:.4f}")
        print("| images | labelled | promised | broken | over all | none | accepted | oracle | ratio | by hand |")
        for images in (2000, 6000):
            kept(table, random, images)
        kept(together(table), random, 2000, "altered")
        print("| stack | warned | over 2% of errors | of these warned | over 4% | of these warned |")
        warned(table, random)
        print("| planted errors | interval covers | width |")
        audits(table, random)
        print("| label set | coverage | labels |")
        sets(table, random)


if __name__ == "__main__":
    main()
