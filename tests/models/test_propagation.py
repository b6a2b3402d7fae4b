"""Labels spread to the images that are alike, and no further."""

import numpy as np
import pytest

from lrnet_cli.models.propagation import propagated


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Give the features of three classes of 60 images each, which a few directions tell apart."""
    draws = np.random.default_rng(0)
    centres = draws.normal(0, 4, (3, 24))
    return np.concatenate([centre + draws.normal(0, 1, (60, 24)) for centre in centres]).astype(np.float32)


TRUE = np.repeat(np.arange(3), 60)


def test_one_label_a_class_is_enough_where_classes_are_apart(clusters: np.ndarray) -> None:
    scores = propagated(clusters, np.array([0, 60, 120]), np.array([0, 1, 2]), 3)
    assert scores.shape == (180, 3)
    assert (scores.argmax(1) == TRUE).mean() > 0.97
    assert np.square(scores).mean() == pytest.approx(1)


def test_a_class_of_many_labels_does_not_take_the_images_of_one_with_few(clusters: np.ndarray) -> None:
    known = np.array([*range(20), 60, 120])
    assert (propagated(clusters, known, TRUE[known], 3).argmax(1) == TRUE).mean() > 0.97


def test_a_class_without_a_label_is_no_answer(clusters: np.ndarray) -> None:
    answers = propagated(clusters, np.array([0, 120]), np.array([0, 2]), 3).argmax(1)
    assert set(answers.tolist()) == {0, 2}


def test_constant_features_and_copies_do_no_harm(clusters: np.ndarray) -> None:
    features = np.concatenate([clusters, clusters[:30]])
    features = np.concatenate([features, np.ones((len(features), 2), np.float32)], 1)
    scores = propagated(features, np.array([0, 60, 120]), np.array([0, 1, 2]), 3)
    assert np.isfinite(scores).all()
    assert (scores.argmax(1) == np.concatenate([TRUE, TRUE[:30]])).mean() > 0.97
