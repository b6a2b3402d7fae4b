import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.sketch import share_in, sketch_of
from lrnet_cli.data.splits import Split
from lrnet_cli.errors import InterruptedRunError, TrainingError, WeightsError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.heads import taught_loss
from lrnet_cli.models.logits import predict_logits
from lrnet_cli.models.registry import build
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.place import Place
from lrnet_cli.training.inherit import start_from, teachers_logits
from lrnet_cli.training.train import resume, train
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights, save_weights

# Of a run of the network that takes least time, where another would show no more.
QUICK: dict[str, Any] = {"arch": "cnn", "epochs": 1, "limit": 300, "seed": 5}
ENGINE = Engine.at(Place(device="cpu", precision="fp32"))


@pytest.fixture
def known(trained_run: Path) -> tuple[nn.Module, WeightsCard]:
    return load_weights(trained_run / "model.safetensors")


def started(card: WeightsCard, weights: Path) -> tuple[nn.Module, list[str]]:
    model, said = build(card.arch, **card.arch_args), list[str]()
    start_from(model, str(weights), card, [], said.append)
    return model, said


def differing(one: nn.Module, other: nn.Module) -> set[str]:
    names = dict(other.state_dict())
    return {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, names[name])}


def test_a_run_starts_from_all_of_the_weights_where_the_classes_are_the_same(
    known: tuple[nn.Module, WeightsCard], trained_run: Path
) -> None:
    model, said = started(known[1], trained_run)
    assert {name for name in differing(model, known[0]) if "num_batches" not in name} == set()
    assert said == [f"Starting from {trained_run / 'model.safetensors'}."]


def test_other_classes_get_a_class_layer_of_their_own(known: tuple[nn.Module, WeightsCard], trained_run: Path) -> None:
    letters = replace(known[1], classes=tuple("abcdefghij"))
    model, said = started(letters, trained_run)
    assert {name for name in differing(model, known[0]) if "num_batches" not in name} == {"out.weight", "out.bias"}
    assert said[0].endswith("; new and untrained: out.weight, out.bias.")


def test_another_size_keeps_what_does_not_depend_on_it(known: tuple[nn.Module, WeightsCard], trained_run: Path) -> None:
    card = known[1]
    larger = replace(
        card,
        preprocessing=replace(card.preprocessing, image_size=16),
        arch_args=card.arch_args | {"image_size": 16},
        dataset=card.dataset | {"content_sha256": "other"},
    )
    _, said = started(larger, trained_run)
    with pytest.raises(TrainingError, match="was trained on another part of these images"):  # read in another size
        started(replace(larger, seed=2), trained_run)
    assert said[0].endswith("; new and untrained: hidden.weight.")


def test_the_blocks_start_an_lr_net_with_another_head(known: tuple[nn.Module, WeightsCard], trained_run: Path) -> None:
    model, said = started(replace(known[1], arch="lrnet", dataset={"content_sha256": "other"}), trained_run)
    trained = known[0].state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in model.state_dict().items() if "block" in name)
    assert "fc1.weight" in said[0]


def test_another_architecture_is_refused(known: tuple[nn.Module, WeightsCard], trained_run: Path) -> None:
    with pytest.raises(TrainingError, match="is a lrnet-short and cannot start a alexnet; give --arch lrnet-short"):
        start_from(nn.Identity(), str(trained_run), replace(known[1], arch="alexnet", novelty=None), [], print)


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"protocol": {"validation": "0.1 of them"}}, {"protocol": {"test_fold": [1, 5]}}],
    ids=["seed", "fraction", "fold"],
)
def test_what_may_have_seen_the_validation_images_is_refused(
    known: tuple[nn.Module, WeightsCard], trained_run: Path, change: dict[str, Any]
) -> None:
    card = replace(known[1], **change)
    images = load_dataset("optdigits").train
    with pytest.raises(TrainingError, match="it may have seen this run's validation or test images"):
        started(card, trained_run)
    with pytest.raises(TrainingError, match="it may have seen this run's validation or test images"):
        teachers_logits([str(trained_run)], card, images, [], ENGINE, print)
    elsewhere = replace(card, dataset=card.dataset | {"content_sha256": "other"})
    started(elsewhere, trained_run)


def test_teachers_answer_in_the_order_of_the_runs_own_classes(
    known: tuple[nn.Module, WeightsCard], trained_run: Path, tmp_path: Path
) -> None:
    model, card = known
    torch.manual_seed(0)
    other = build(card.arch, **card.arch_args)
    # Whatever its order of classes is, the class of a logit is known by name.
    save_weights(tmp_path / "other.safetensors", other, replace(card, classes=card.classes[::-1]))
    images: Split = load_dataset("optdigits").train.take(torch.arange(40))
    names = [str(trained_run), str(tmp_path / "other.safetensors")]
    taught = teachers_logits(names, card, images, [], ENGINE, lambda _: None)
    first, second = (predict_logits(ENGINE.place(network, "none").eval(), images.images) for network in (model, other))
    assert torch.allclose(taught, (first + second.flip(1)) / 2, atol=1e-6)


def test_a_teacher_of_other_classes_or_sizes_is_refused(
    known: tuple[nn.Module, WeightsCard], trained_run: Path
) -> None:
    images = load_dataset("optdigits").train
    with pytest.raises(TrainingError, match="cannot teach this run"):
        teachers_logits([str(trained_run)], replace(known[1], classes=tuple("abcdefghij")), images, [], ENGINE, print)
    with pytest.raises(TrainingError, match="cannot teach this run"):
        teachers_logits(["digits"], known[1], images, [], ENGINE, print)
    with pytest.raises(WeightsError, match="no such weight file or run folder"):
        teachers_logits(["nowhere"], known[1], images, [], ENGINE, print)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_loss_of_a_taught_network_is_zero_where_it_answers_alike(head: Any) -> None:
    torch.manual_seed(0)
    taught, other = torch.randn(2, 6, 5, dtype=torch.float64)
    assert float(taught_loss(taught, taught, head)) == pytest.approx(0, abs=1e-9)
    assert float(taught_loss(other, taught, head)) > 0.1
    soft, targets = other / 4, taught / 4
    if head == "softmax":
        expected = (targets.softmax(1) * (targets.log_softmax(1) - soft.log_softmax(1))).sum(1).mean() * 16
    else:
        shares, own = targets.sigmoid(), soft.sigmoid()
        divergence = shares * (shares / own).log() + (1 - shares) * ((1 - shares) / (1 - own)).log()
        expected = divergence.sum(1).mean() * 16
    assert float(taught_loss(other, taught, head)) == pytest.approx(float(expected))


def test_a_network_learns_from_a_teacher_alone_what_labels_do_not_say(
    known: tuple[nn.Module, WeightsCard], trained_run: Path, tmp_path: Path
) -> None:
    taught = train(TrainConfig(arch="cnn", epochs=3, seed=1, distill=(str(trained_run),), out=tmp_path / "taught"))
    alone = train(TrainConfig(arch="cnn", epochs=3, seed=1, out=tmp_path / "alone"))
    images = load_dataset("optdigits").test.images

    def answers(folder: Path) -> Tensor:
        model, card = load_weights(folder / "model.safetensors")
        network = ENGINE.place(model, card.preprocessing.normalize).eval()
        return (predict_logits(network, images) / 4).softmax(1)

    teacher, student, other = (answers(folder) for folder in (trained_run, tmp_path / "taught", tmp_path / "alone"))
    assert (student - teacher).abs().mean() < 0.8 * (other - teacher).abs().mean()
    assert taught["status"] == alone["status"] == "finished"


def test_a_run_with_ancestors_is_resumed_to_the_same_result_from_any_folder(
    finished_run: Callable[..., Path], stop_after: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = finished_run("teacher", **QUICK)
    monkeypatch.chdir(teacher.parent)
    settings: dict[str, Any] = QUICK | {"epochs": 2, "init": teacher.name, "distill": (teacher.name,)}
    whole = train(TrainConfig(**settings, out=tmp_path / "whole"))
    train(TrainConfig(**settings, out=tmp_path / "stopped"), *stop_after(20))
    monkeypatch.chdir(tmp_path)
    resumed = resume(tmp_path / "stopped")
    assert resumed["test_accuracy"] == whole["test_accuracy"]
    one, other = (load_weights(tmp_path / name / "model.safetensors")[0] for name in ("whole", "stopped"))
    assert differing(one, other) == set()


def test_a_run_without_a_checkpoint_yet_is_resumed_from_the_weights_that_it_starts_from(
    finished_run: Callable[..., Path], tmp_path: Path
) -> None:
    known = finished_run("teacher", **QUICK)
    settings: dict[str, Any] = QUICK | {"lr": 1e-12, "init": str(known)}
    with pytest.raises(InterruptedRunError):
        train(TrainConfig(**settings, out=tmp_path / "run"), should_stop=lambda: True)
    shutil.rmtree(tmp_path / "run" / "checkpoint")  # as if it had been killed before its first one
    resume(tmp_path / "run")
    weights = [
        load_weights(run / "model.safetensors")[0].state_dict()["out.weight"] for run in (known, tmp_path / "run")
    ]
    assert torch.allclose(*weights, atol=1e-6)


@pytest.mark.parametrize("role", ["init", "distill", "class_weights"])
def test_what_a_run_takes_over_may_not_change_before_it_is_resumed(
    finished_run: Callable[..., Path], tmp_path: Path, role: str
) -> None:
    known = tmp_path / "known.safetensors"
    shutil.copy(finished_run("teacher", **QUICK) / "model.safetensors", known)
    if role == "class_weights":
        known = tmp_path / "weights.csv"
        known.write_text("".join(f"{number},1\n" for number in range(10)))
    config = TrainConfig(**QUICK, out=tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        train(replace(config, **{role: (str(known),) if role == "distill" else str(known)}), should_stop=lambda: True)
    known.write_bytes(known.read_bytes() + b" ")
    if role == "init":  # which a run with a checkpoint does not need again
        shutil.rmtree(tmp_path / "run" / "checkpoint")
    with pytest.raises(TrainingError, match=f"{known.name}: has changed since the run began"):
        resume(tmp_path / "run")


def test_the_command_line_takes_several_teachers(lrnet: Callable[..., Any], trained_run: Path, tmp_path: Path) -> None:
    words = ("--seed", 1, "--epochs", 1, "--distill", trained_run, "--distill", trained_run, "--init", trained_run)
    result = lrnet("train", *words, "--out", tmp_path / "run")
    assert result.exit_code == 0
    assert f"Asking teacher 2 of 2, {trained_run / 'model.safetensors'}." in result.stderr
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"--init {trained_run} --distill {trained_run} --distill {trained_run}" in card
    refused = lrnet("train", "--seed", 2, "--epochs", 1, "--init", trained_run)
    assert refused.exit_code == 1
    assert "give the same seed, --val-fraction, --limit and fold." in refused.stderr


def test_weights_that_saw_the_test_images_of_corrected_data_are_refused(trained_run: Path, tmp_path: Path) -> None:
    trained = load_dataset("optdigits")
    test = trained.train.take(torch.arange(100))
    np.savez(
        tmp_path / "corrected.npz",
        train_images=trained.test.images[:, 0],
        train_labels=trained.test.labels,
        test_images=test.images[:, 0],
        test_labels=9 - test.labels,  # another content
    )
    settings: dict[str, Any] = {"dataset": str(tmp_path / "corrected.npz"), "epochs": 1, "seed": 0}
    for ancestry in ({"init": str(trained_run)}, {"distill": (str(trained_run),)}):
        with pytest.raises(TrainingError, match=r"was trained on about \d+% of this run's validation and test images"):
            train(TrainConfig(**settings, **ancestry, out=tmp_path / "run"))


def test_weights_of_another_seed_start_a_run_on_validation_images_of_the_data_set(tmp_path: Path) -> None:
    whole = load_dataset("optdigits")
    val, train_images = whole.train.take(torch.arange(60)), whole.train.take(torch.arange(60, 200))
    parts = {"train": train_images, "val": val, "test": whole.test}
    arrays = {f"{name}_images": part.images[:, 0] for name, part in parts.items()}
    np.savez(tmp_path / "own.npz", **arrays, **{f"{name}_labels": part.labels for name, part in parts.items()})
    settings: dict[str, Any] = {"dataset": str(tmp_path / "own.npz"), "arch": "cnn", "epochs": 1}
    train(TrainConfig(**settings, seed=0, out=tmp_path / "first"))
    first = str(tmp_path / "first")
    train(TrainConfig(**settings, seed=1, out=tmp_path / "second", init=first))
    train(TrainConfig(**settings, seed=2, limit=100, out=tmp_path / "third", distill=(first,)))


def test_a_sketch_tells_the_share_of_images_that_were_seen() -> None:
    torch.manual_seed(0)
    images = Split(torch.randint(0, 256, (6000, 1, 4, 4), dtype=torch.uint8), torch.zeros(6000, dtype=torch.long))
    few, many = (images.take(torch.arange(count)) for count in (500, 4000))
    others = images.take(torch.arange(4000, 6000))
    assert share_in(sketch_of(few), images.take(torch.arange(400, 600))) == 0.5
    half = Split(torch.cat([many.images[:2000], others.images]), torch.zeros(4000, dtype=torch.long))
    assert share_in(sketch_of(many), half) == pytest.approx(0.5, abs=0.08)
    assert share_in(sketch_of(few, many), others) == 0
    assert share_in((), others) == share_in(sketch_of(few), others.take(torch.arange(0))) == 0
