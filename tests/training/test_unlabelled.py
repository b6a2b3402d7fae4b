"""Images without labels teach a network where they help, and change nothing where they do not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from lrnet_cli.errors import DataError, InterruptedRunError, SettingError, TrainingError
from lrnet_cli.reporter import Reporter
from lrnet_cli.runs.folder import read_config
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.record import command_of
from lrnet_cli.training import settle, spreading, unlabelled
from lrnet_cli.training.data import Data
from lrnet_cli.training.lesson import Lesson, write_lesson
from lrnet_cli.training.series import train_series
from lrnet_cli.training.spreading import surest, with_shares
from lrnet_cli.training.train import resume, train
from lrnet_cli.training.trial import Tried
from lrnet_cli.weights.file import load_weights

Stopping = Callable[[int], tuple[Reporter, Callable[[], bool]]]
DIGITS = load_digits()
MIXED = np.random.default_rng(0).permutation(len(DIGITS.target))  # the data set is in the order of writers
PIXELS, LABELS = np.rint(DIGITS.images[MIXED] * (255 / 16)).astype(np.uint8), DIGITS.target[MIXED]
LABELLED, SCANS = 60, 600  # images
EPOCHS = 12


class Messages(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.trained: list[int] = []  # the steps of each network
        self.steps = 0

    def step(self, epoch: int, done: int, total: int) -> None:
        self.steps += 1

    def end(self) -> None:
        self.trained, self.steps = [*self.trained, self.steps], 0

    def message(self, text: str) -> None:
        self.lines.append(text)

    def about(self, beginning: str) -> list[str]:
        return [line for line in self.lines if line.startswith(beginning)]


class Started(Reporter):
    """Counts the networks that have begun to learn, of which the third is the run's own."""

    count = 0

    def start(self, run_dir: Path, epochs: int | None) -> None:
        self.count += 1


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with few labelled images, test images, and many scans: one is damaged, and ten are known."""
    folder = tmp_path_factory.mktemp("collection")
    train_images, test_images = PIXELS[:LABELLED], PIXELS[1000:]
    np.savez(
        folder / "labelled.npz",
        train_images=train_images,
        train_labels=LABELS[:LABELLED],
        test_images=test_images,
        test_labels=LABELS[1000:],
    )
    (folder / "scans" / "box").mkdir(parents=True)
    for number in range(SCANS):
        Image.fromarray(PIXELS[LABELLED + number]).save(folder / "scans" / "box" / f"{number}.png")
    for number in range(10):
        Image.fromarray(PIXELS[1000 + number]).save(folder / "scans" / f"known-{number}.png")
    Image.fromarray(255 - PIXELS[1010]).save(folder / "scans" / "known-inverted.png")
    (folder / "scans" / "damaged.png").write_bytes(b"no image")
    return folder


def settings(collection: Path, out: Path, **changes: Any) -> TrainConfig:
    usual = {"arch": "cnn", "epochs": EPOCHS, "seed": 3, "out": out, "keep_checkpoint": True}
    usual |= {"optimizer": "adamw", "lr": 0.003}
    usual |= {"dataset": str(collection / "labelled.npz"), "unlabelled": collection / "scans"}
    return TrainConfig(**usual | changes)


@pytest.fixture(scope="module")
def finished(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Messages]:
    """Give the folder of a run with images without labels, its result and what it said."""
    out, messages = tmp_path_factory.mktemp("taught") / "run", Messages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRNET_STATE_DIR", str(out.parent))
        patch.setenv("LRNET_DATA_DIR", str(out.parent))
        return out, train(settings(collection, out), messages), messages


def test_images_without_labels_teach_and_it_is_said(finished: tuple[Path, dict[str, Any], Messages]) -> None:
    out, result, messages = finished
    note = result["unlabelled"]
    assert note["kept"] == "taught"
    assert result["best_epoch"] > 0
    assert result["epochs"] == EPOCHS
    assert note["taught"] + note["foreign"] + note["unsure"] == SCANS
    assert note["taught"] > SCANS / 3
    card = load_weights(out / "model.safetensors")[1]
    assert card.dataset["unlabelled"] == note | {"right": tuple(note["right"])}
    assert card.dataset["train"] + card.dataset["val"] == LABELLED
    *rounds, said = messages.about("Images without labels: ")
    assert len(rounds) == 2  # the second one either teaches, or says that the first one does
    kept = rounds[0] if "the first ones are kept" in rounds[1] else rounds[1]
    assert f"; {note['taught']} of them teach a new network; " in kept
    first = round(result["val_accuracy"] * note["validation"]), note["right"][0]
    assert said.endswith(
        " taught the network, right on {0} of {2} validation images, not {1} of {2} validation images.".format(
            *first, note["validation"]
        )
    ), said
    assert f"- Images without labels: {note['taught']} taught the network; " in (out / "README.md").read_text()
    assert f"--unlabelled {read_config(out)[0].unlabelled}" in command_of(read_config(out)[0])


def test_what_is_known_already_and_what_is_damaged_is_left_out(
    finished: tuple[Path, dict[str, Any], Messages],
) -> None:
    _, result, messages = finished
    assert (result["unlabelled"]["copies"], result["unlabelled"]["skipped"]) == (11, 1)
    assert any("skipped 1 image that cannot be read" in line and "damaged.png" in line for line in messages.lines)


def test_a_resumed_run_is_that_of_an_uninterrupted_one_wherever_it_was_stopped(
    finished: tuple[Path, dict[str, Any], Messages],
    collection: Path,
    tmp_path: Path,
    stop_after: Stopping,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, messages, run = *finished[::2], tmp_path / "run"
    first, second, _ = messages.trained
    with pytest.raises(InterruptedRunError, match="resume with"):  # amid the first network
        train(settings(collection, run), *stop_after(first // 2))
    with pytest.raises(InterruptedRunError):  # amid the second one, and the first one is not trained again
        resume(run, None, *stop_after(first - first // 2 + second // 2))
    assert resume(run, None, *stop_after(second - second // 2 + 7))["status"] == "interrupted"
    assert not (run / "trials").exists()
    monkeypatch.setattr(unlabelled, "tried_for", None)  # nothing is tried again
    assert resume(run)["unlabelled"] == finished[1]["unlabelled"]
    assert (out / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    for name in ("model.safetensors", "checkpoint/latest.safetensors", "checkpoint/unlabelled.safetensors"):
        first, second = load_file(out / name), load_file(run / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_second_network_goes_on_with_the_labels_that_it_began_with(
    collection: Path, tmp_path: Path, stop_after: Stopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, run = Started(), tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        train(settings(collection, run, test=False), started, lambda: started.count == 2)
    before, spread = unlabelled.spread_by, list[Tried]()

    def spread_anew(tried: Tried, *more: Any) -> Lesson:
        spread.append(tried)
        return before(tried, *more)

    monkeypatch.setattr(unlabelled, "spread_by", spread_anew)
    messages = Messages()
    resume(run, None, messages)
    assert len(spread) == 1  # by the second network
    assert messages.about("Resuming the second network, after 1 steps.")


def test_what_is_refused_after_a_network_blocks_no_other_run(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    monkeypatch.setattr(spreading, "excess_of_features", lambda *_: "need more memory than there is")
    with pytest.raises(DataError, match="give fewer images without labels"):
        train(settings(collection, run))
    assert not run.exists()


def test_folders_of_others_are_neither_followed_nor_deleted(
    collection: Path, tmp_path: Path, stop_after: Stopping
) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    with pytest.raises(InterruptedRunError):
        train(settings(collection, run, epochs=1, test=False), *stop_after(3))
    (run / "trials" / "mine").mkdir()
    (run / "trials" / "first" / "checkpoint").rename(elsewhere)
    (run / "trials" / "first" / "checkpoint").symlink_to(elsewhere)
    with pytest.raises(TrainingError, match="is a link to somewhere else"):
        resume(run)
    (run / "trials" / "first" / "checkpoint").unlink()
    elsewhere.rename(run / "trials" / "first" / "checkpoint")
    assert resume(run)["status"] == "finished"
    assert [path.name for path in (run / "trials").iterdir()] == ["mine"]


def test_a_changed_collection_and_a_damaged_lesson_are_refused(
    collection: Path, tmp_path: Path, stop_after: Stopping
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(300):
        Image.fromarray(PIXELS[LABELLED + number]).save(scans / f"{number}.png")
    with pytest.raises(InterruptedRunError):
        train(settings(collection, tmp_path / "run", unlabelled=scans), *stop_after(3))
    Image.fromarray(PIXELS[999]).save(scans / "0.png")
    with pytest.raises(TrainingError, match="the data have changed"):
        resume(tmp_path / "run")
    Image.fromarray(PIXELS[LABELLED]).save(scans / "0.png")
    started = Started()
    resume(tmp_path / "run", None, started, lambda: started.count == 3)
    Image.fromarray(PIXELS[999]).save(scans / "0.png")
    with pytest.raises(TrainingError, match="images without labels have changed"):
        resume(tmp_path / "run")
    Image.fromarray(PIXELS[LABELLED]).save(scans / "0.png")
    stored = tmp_path / "run" / "checkpoint" / "unlabelled.safetensors"
    sound = stored.read_bytes()
    stored.write_bytes(sound[:-20] + bytes([sound[-20] ^ 1]) + sound[-19:])
    with pytest.raises(TrainingError, match="is damaged"):
        resume(tmp_path / "run")
    stored.write_bytes(sound)
    tensors = load_file(stored)
    with safe_open(stored, framework="pt") as file:
        metadata = file.metadata()
    note, of = json.loads(metadata["note"]), metadata["content_sha256"]
    for change in ({"labels": tensors["labels"] + 10}, {"chosen": tensors["chosen"] - 300}):
        write_lesson(tmp_path / "run", Lesson(**(tensors | change), note=note, content_sha256=of))
        with pytest.raises(TrainingError, match=r"is damaged \(it is about images or classes that are not there\)"):
            resume(tmp_path / "run")


def spread_as(answers: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let label propagation answer with these classes, from the first image on."""

    def answer(features: NDArray[np.float32], *_: object) -> NDArray[np.float64]:
        return 1e6 * np.eye(10)[np.resize(answers, len(features))]  # so sure that the network's answers do not count

    monkeypatch.setattr(spreading, "propagated", answer)


def test_labels_that_do_not_spread_well_are_not_used(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread_as(np.zeros(1, np.int64), monkeypatch)
    messages = Messages()
    result = train(settings(collection, tmp_path / "run"), messages)
    assert result["unlabelled"]["kept"] == "supervised"
    assert (result["unlabelled"]["taught"], result["unlabelled"]["foreign"]) == (0, 0)
    assert messages.about("Images without labels: not used, because likely labels get ")
    assert "they taught this network nothing" in (tmp_path / "run" / "README.md").read_text()


def test_where_time_is_short_the_labelled_images_have_it(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unlabelled, "affordable_images", lambda *_: 1000)
    messages = Messages()
    result = train(settings(collection, tmp_path / "run", epochs=None, max_time=10.0), messages)
    (said,) = messages.about("Images without labels: not used, because the time is too short for another network ")
    assert (result["unlabelled"], result["status"]) == (None, "finished")
    config, _ = read_config(tmp_path / "run")
    assert (config.unlabelled, config.choices) == (None, (said,))
    assert f"- {said}" in (tmp_path / "run" / "README.md").read_text()
    assert len(messages.trained) == 1  # no time is lost


def test_labels_that_spread_worse_the_second_time_are_not_used(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = spreading.propagated, []

    def worse_the_second_time(points: NDArray[np.float32], known: Any, labels: Any, classes: int) -> Any:
        scores = before(points, known, labels, classes)
        calls.append(scores)
        return scores if len(calls) == 1 else np.roll(scores, 1, axis=1)

    monkeypatch.setattr(spreading, "propagated", worse_the_second_time)
    messages = Messages()
    note = train(settings(collection, tmp_path / "run", epochs=2, test=False), messages)["unlabelled"]
    assert len(calls) == 2
    first, second, _ = messages.about("Images without labels: ")
    assert f"; {note['taught']} of them teach a new network; " in first
    assert f" get {note['right'][1]} of " in first
    assert "the first ones are kept" in second


def test_a_network_that_was_taught_badly_is_not_kept(
    collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = spreading.propagated

    def wrong_for_the_others(features: NDArray[np.float32], known: Any, labels: Any, classes: int) -> Any:
        scores = before(features, known, labels, classes)
        scores[LABELLED:] = np.roll(scores[LABELLED:], 1, axis=1)
        return scores

    monkeypatch.setattr(spreading, "propagated", wrong_for_the_others)
    messages = Messages()
    result = train(settings(collection, tmp_path / "run", test=False), messages)
    assert result["best_epoch"] == 0
    assert result["unlabelled"]["kept"] == "supervised"
    assert messages.about("Images without labels: not used, because the network that ")
    card = load_weights(tmp_path / "run" / "model.safetensors")[1]
    assert card.dataset["unlabelled"]["kept"] == "supervised"
    assert card.metrics["val_accuracy"] == result["val_accuracy"] > 0.6
    assert json.loads((tmp_path / "run" / "result.json").read_text())["best_epoch"] == 0


def test_every_fold_learns_from_them(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_networks, tried_for = list[TrainConfig](), unlabelled.tried_for
    monkeypatch.setattr(settle, "_FEW", 20)  # images of a class: fewer than the lesson has, more than are labelled

    def tried(config: TrainConfig, data: Data, *more: Any) -> Tried:
        if data.unlabelled is None:
            first_networks.append(config)
        return tried_for(config, data, *more)

    monkeypatch.setattr(unlabelled, "tried_for", tried)
    result = train_series(settings(collection, tmp_path / "folds", epochs=1), folds=2)
    assert len({(config.deform, config.weight_decay, config.label_smoothing) for config in first_networks}) == 1
    assert len(first_networks) == 2
    # Ten test images and an inverted one lie among the scans. They are in no fold, and teach none.
    assert [run["unlabelled"]["copies"] for run in result["runs"]] == [11, 11]
    notes = [run["unlabelled"] for run in result["runs"]]
    assert any(note["taught"] for note in notes)
    assert notes[0]["right"] != notes[1]["right"]  # each has a first network of its own


def test_likely_labels_follow_how_frequent_the_classes_are() -> None:
    generator, frequent = torch.Generator().manual_seed(0), 1900
    truth = (torch.arange(2000) >= frequent).long()
    # Whether an image is of the second class is told with noise, as if both were equally frequent.
    seen = torch.randn(2000, generator=generator) + 2.0 * truth
    scores = torch.stack([torch.zeros(2000), 2.0 * seen - 2.0], 1).log_softmax(1)
    right = [float((one.argmax(1) == truth).float().mean()) for one in (scores, with_shares(scores))]
    assert right[0] < 0.86
    assert right[1] > 0.93
    few = scores[frequent - 10 :][:20]  # too few images to tell
    assert torch.equal(few.argmax(1), with_shares(few).argmax(1))


def test_of_each_class_the_surest_teach_however_unsure_the_class_is() -> None:
    confidence = torch.cat([torch.linspace(0.9, 0.99, 20), torch.linspace(0.51, 0.55, 8)])
    shares = torch.stack([confidence, 1 - confidence], 1)
    shares[20:] = shares[20:].flip(1)
    assert torch.nonzero(~surest(shares))[:, 0].tolist() == [0, 1, 2, 20]


@pytest.mark.parametrize("changes", [{"tune": 60.0}, {"distill": ("digits",)}, {"procs": 2}])
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="unlabelled"):
        TrainConfig(unlabelled=tmp_path, **changes)


def test_a_folder_without_new_images_is_refused(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="takes a folder of images"):
        train(settings(collection, tmp_path / "run", unlabelled=collection / "labelled.npz"))
    (tmp_path / "known").mkdir()
    Image.fromarray(PIXELS[0]).save(tmp_path / "known" / "0.png")
    with pytest.raises(DataError, match="none of its 1 images"):
        train(settings(collection, tmp_path / "run", unlabelled=tmp_path / "known"))
    assert not (tmp_path / "run").exists()
