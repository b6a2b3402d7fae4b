import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from lrnet_cli.evaluation.foreign import measure_foreign
from lrnet_cli.evaluation.intervals import wilson_interval
from lrnet_cli.evaluation.macro import class_averages


def drawn(n: int = 600, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.7, 0.2, 0.07, 0.03])[:classes], n, True, generator=generator)
    logits = torch.randn(n, classes, generator=generator) + 1.5 * torch.nn.functional.one_hot(labels, classes)
    return logits.softmax(1), labels


def test_the_values_are_those_of_scikit_learn() -> None:
    scores, labels = drawn()
    found = class_averages(scores, labels)
    predicted = scores.argmax(1)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"))
    exact = scores.double() / scores.double().sum(1, keepdim=True)
    assert found.auc == pytest.approx(roc_auc_score(labels, exact, multi_class="ovr"))


def test_the_intervals_cover_what_new_images_give() -> None:
    scores, labels = drawn()
    found = class_averages(scores, labels)
    again = [class_averages(*drawn(seed=seed)) for seed in range(1, 41)]
    for name in ("balanced_accuracy", "macro_f1", "auc"):
        low, high = getattr(found, f"{name}_ci95")
        width, spread = high - low, np.std([getattr(other, name) for other in again])
        assert low < getattr(found, name) < high
        assert 2.4 * spread < width < 6 * spread


def test_the_same_predictions_have_the_same_intervals() -> None:
    assert class_averages(*drawn()) == class_averages(*drawn())


def test_a_class_without_images_is_left_out_and_one_class_has_no_auc() -> None:
    scores, labels = drawn()
    few = labels < 3
    found = class_averages(scores[few], labels[few])
    present = [scores[few & (labels == label)].argmax(1).eq(label).float().mean().item() for label in range(3)]
    assert found.balanced_accuracy == pytest.approx(np.mean(present))
    alone = class_averages(scores[labels == 1], labels[labels == 1])
    assert (alone.auc, alone.auc_ci95) == (None, None)


def test_many_classes_and_one_image_are_taken() -> None:
    scores = torch.eye(300)[[5]]
    found = class_averages(scores, torch.tensor([5]))
    assert (found.balanced_accuracy, found.macro_f1, found.auc) == (1.0, 1.0, None)


def test_the_area_is_in_its_interval_where_probabilities_are_tied() -> None:
    labels, scores = torch.arange(3).repeat_interleave(100), torch.zeros(300, 3)
    scores[:250, 0], scores[250:, 2] = 1, 1
    found = class_averages(scores, labels)
    assert found.auc == pytest.approx(0.625)
    assert found.auc_ci95 is not None
    assert found.auc_ci95[0] < 0.625 < found.auc_ci95[1]


def test_few_images_without_a_mistake_leave_room_for_some() -> None:
    labels = torch.arange(26) % 2
    found = class_averages(torch.eye(2)[labels], labels)
    # Of classes of one size the mean recall is the accuracy, and has its interval.
    assert found.balanced_accuracy_ci95 == pytest.approx(wilson_interval(26, 26))
    assert found.macro_f1_ci95 == pytest.approx(wilson_interval(26, 26))
    assert found.auc_ci95 == pytest.approx(wilson_interval(26, 26))
    labels[1::4] = 0  # the smaller class says less
    assert class_averages(torch.eye(2)[labels], labels).balanced_accuracy_ci95[0] < 0.85


def test_foreign_images_that_are_all_told_leave_room_for_some_that_are_not() -> None:
    told = measure_foreign("noise", torch.full((10,), 2.0), torch.full((10,), 0.5))
    assert told.auroc == 1
    assert told.auroc_ci95 == pytest.approx(wilson_interval(20, 20))
