import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lrnet_cli import Classifier, Prediction
from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.errors import ImageError, UsageError, WeightsError
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.logits import View, averaging_views, in_batches_that_fit, predict_logits
from lrnet_cli.settings.words import Precision
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.file import load_weights


@pytest.fixture(scope="module")
def classifier(trained_run: Path) -> Classifier:
    return Classifier.load(trained_run)


def written(folder: Path, count: int, scale: int = 1, inverted: bool = False) -> tuple[list[Path], list[str]]:
    test = load_dataset("optdigits").test
    paths = []
    for number, image in enumerate(test.images[:count, 0].numpy()):
        pixels = np.kron(255 - image if inverted else image, np.ones((scale, scale), np.uint8))
        paths.append(folder / f"{number:03}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths, [str(label) for label in test.labels[:count].tolist()]


@pytest.mark.parametrize(("scale", "inverted"), [(1, False), (10, False), (10, True)])
def test_image_files_are_labelled_like_the_arrays_they_were_made_of(
    classifier: Classifier, tmp_path: Path, scale: int, inverted: bool
) -> None:
    files, labels = written(tmp_path, 100, scale, inverted)
    outcomes = [outcome for _, outcome in classifier.stream(files)]
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    right = [outcome.label == label for outcome, label in zip(outcomes, labels, strict=True)]
    assert np.mean(right) >= 0.9
    if inverted:
        # Scans cropped to their ink show little background at their border.
        assert np.mean([outcome.inverted for outcome in outcomes]) >= 0.9


def test_predictions_hold_every_class_in_order_and_sum_to_one(classifier: Classifier, tmp_path: Path) -> None:
    [prediction] = classifier.predict(written(tmp_path, 1)[0])
    shares = [share for _, share in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert {label for label, _ in prediction.top} == set(classifier.card.classes)
    assert prediction.top[0] == (prediction.label, prediction.probability)
    assert classifier.card.classes[prediction.index] == prediction.label


def test_bad_files_are_answered_in_their_place(classifier: Classifier, tmp_path: Path) -> None:
    files, _ = written(tmp_path, 3)
    (tmp_path / "bad.png").write_bytes(b"")
    mixed = [files[0], tmp_path / "bad.png", files[1], tmp_path / "nowhere.png", files[2]]
    outcomes = list(classifier.stream(mixed))
    assert [path for path, _ in outcomes] == mixed
    kinds = [type(outcome) for _, outcome in outcomes]
    assert kinds == [Prediction, ImageError, Prediction, ImageError, Prediction]


def test_batches_do_not_change_the_answers(trained_run: Path) -> None:
    images = load_dataset("optdigits").test.images[:300]
    network = Engine(torch.device("cpu")).place(load_weights(trained_run / "model.safetensors")[0])
    together = predict_logits(network, images)
    alone = torch.cat([predict_logits(network, image[None]) for image in images[-20:]])
    assert torch.allclose(together[-20:], alone, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_an_answer_is_the_same_to_the_last_bit_in_a_batch_of_any_size(precision: Precision) -> None:
    # Else a prediction that was killed and resumed, in other batches, would end in other rows.
    classifier = Classifier.load("digits", device="cpu", precision=precision)
    images = torch.randint(0, 256, (128, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = classifier.logits(images)
    for size in (2, 3, 5, 30, 63):
        assert torch.equal(torch.cat([classifier.logits(part) for part in images.split(size)]), whole), size


def test_batches_are_halved_where_memory_does_not_hold_them() -> None:
    sizes = []

    def small(images: torch.Tensor) -> torch.Tensor:
        if len(images) > 50:
            raise torch.OutOfMemoryError("not enough")
        sizes.append(len(images))
        return images

    images = torch.arange(300)
    assert torch.equal(torch.cat(list(in_batches_that_fit(small, images))), images)
    assert sizes == [32] * 9 + [12]

    def full(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("nothing left")

    with pytest.raises(torch.OutOfMemoryError, match="nothing left"):
        list(in_batches_that_fit(full, images))


def test_order_is_kept_over_many_batches(classifier: Classifier, tmp_path: Path) -> None:
    files, labels = written(tmp_path, 50)
    found = list(classifier.stream(file for _ in range(30) for file in files))
    assert [path for path, _ in found] == files * 30
    assert [outcome for _, outcome in found[:50]] == [outcome for _, outcome in found[-50:]]
    right = [isinstance(o, Prediction) and o.label == label for (_, o), label in zip(found, labels * 30, strict=True)]
    assert np.mean(right) >= 0.9


def test_leaving_a_stream_early_leaves_no_thread_behind(classifier: Classifier, tmp_path: Path) -> None:
    files, _ = written(tmp_path, 2)
    stream = classifier.stream(files * 2000)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_every_form_of_an_image_gives_the_same_answer(classifier: Classifier, tmp_path: Path) -> None:
    [file], _ = written(tmp_path, 1, scale=10)
    grey = np.asarray(Image.open(file))
    tensor = torch.from_numpy(grey.copy())
    forms = [
        file,
        str(file),
        Image.open(file),
        grey,
        grey[..., None],
        grey / 255,
        np.repeat(grey[..., None], 3, 2),
        tensor,
        tensor[None],
        tensor[None].float() / 255,
        tensor.expand(3, -1, -1),
    ]
    answers = classifier.predict(forms)
    for answer in answers:
        assert answer.label == answers[0].label
        assert answer.probability == pytest.approx(answers[0].probability, abs=1e-5)
        assert np.array_equal(answer.pixels, answers[0].pixels)
    assert all(classifier.predict(form).label == answers[0].label for form in forms)
    assert len(classifier.predict(tensor.expand(5, 1, -1, -1))) == 5
    assert len(classifier.predict(np.stack([grey[..., None]] * 5))) == 5
    assert classifier.predict([]) == []


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((3, 28, 28), np.uint8), "not an image: arrays are"),
        (np.zeros((28, 28), np.int64), "give uint8"),
        (np.full((28, 28), 2.0), "outside 0 to 1"),
        (np.full((28, 28), np.nan), "outside 0 to 1"),
        (np.zeros((0, 4), np.uint8), "not an image"),
        (torch.zeros(28, 28, 3), "not an image"),
        ("nowhere.png", "nowhere.png: No such file"),
    ],
)
def test_what_is_no_image_is_told(classifier: Classifier, image: object, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        classifier.predict([image])


def test_unsure_answers_are_unknown(classifier: Classifier) -> None:
    images = load_dataset("optdigits").test.images[:60]
    sure = classifier.predict(images)
    picky = classifier.predict(images, min_confidence=0.99)
    assert {p.label for p in picky if p.probability < 0.99} == {"unknown"}
    assert {p.index for p in picky if p.label == "unknown"} == {None}
    assert [p.label for p in picky if p.probability >= 0.99] == [p.label for p in sure if p.probability >= 0.99]
    assert [p.top for p in picky] == [p.top for p in sure]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="min_confidence"):
            classifier.predict(images, min_confidence=wrong)


def test_a_sigmoid_head_may_say_none_of_these() -> None:
    arch_args = {"in_channels": 1, "image_size": 8, "num_classes": 2}
    card = WeightsCard("lrnet", arch_args, ("a", "b"), "sigmoid", Preprocessing(8, 1, "mixed"), 0)
    answers = {0: torch.tensor([[-3.0, -1.0]]), 255: torch.tensor([[-3.0, 1.0]])}
    classifier = Classifier(lambda images: torch.cat([answers[int(image.max())] for image in images]), card, "here")
    none, b = classifier.predict([np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)])
    assert (none.label, none.index, b.label, b.index) == ("none of these", None, "b", 1)
    assert none.probability == pytest.approx(1 / (1 + np.e))


def test_views_move_and_mirror_by_whole_pixels() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    assert View(down=1).of(image)[0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5]]
    assert View(right=-1).of(image)[0, 0].tolist() == [[1, 2, 2], [4, 5, 5], [7, 8, 8]]
    assert View(mirrored=True).of(image)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert len(set(averaging_views(mirrored=True))) == 2 * len(set(averaging_views(mirrored=False))) == 10


def test_a_classifier_without_usable_weights_says_so() -> None:
    with pytest.raises(WeightsError, match=r"nowhere: there is no such weight file"):
        Classifier.load("nowhere")


def test_paths_are_consumed_a_batch_at_a_time(classifier: Classifier, tmp_path: Path) -> None:
    [file], _ = written(tmp_path, 1)
    taken = 0

    def endless() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield file

    next(iter(classifier.stream(endless())))
    assert taken <= 1024


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_not_utf8_are_read(classifier: Classifier, tmp_path: Path) -> None:
    [file], _ = written(tmp_path, 1)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    file.rename(odd)
    [(path, outcome)] = classifier.stream([odd])
    assert path == odd
    assert isinstance(outcome, Prediction)


def test_what_is_not_a_number_is_unknown(classifier: Classifier) -> None:
    broken = Classifier(lambda images: torch.full((len(images), 58), torch.nan), classifier.card, "cpu")
    answer = broken.predict(load_dataset("optdigits").test.images[0])
    assert (answer.label, answer.index, answer.probability, answer.novelty) == ("unknown", None, 0.0, None)
    card = replace(classifier.card, novelty=None, head="sigmoid")
    broken = Classifier(lambda images: torch.full((len(images), 10), torch.nan), card, "cpu")
    assert broken.predict(load_dataset("optdigits").test.images[0]).label == "unknown"
