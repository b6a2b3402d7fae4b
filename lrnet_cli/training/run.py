"""A run that is ready to train."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from lrnet_cli.data.reading import Skipped
from lrnet_cli.data.splits import Split
from lrnet_cli.models.engine import Engine, to_device
from lrnet_cli.processes import Processes
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.settings.words import Normalize
from lrnet_cli.training.augment import Ranges
from lrnet_cli.training.batches import refuse_excess
from lrnet_cli.training.class_weights import class_weights_of
from lrnet_cli.training.data import Data, card_of
from lrnet_cli.training.inherit import network_of
from lrnet_cli.training.lesson import Lesson
from lrnet_cli.training.state import TrainingState
from lrnet_cli.weights.card import WeightsCard


@dataclass(frozen=True)
class Forerunner:
    """A network that was trained before the run's own, to find out what images without labels teach.

    ``means`` are the loss and the accuracy of its last epoch in training, and ``before`` the seconds that the run took
    in earlier processes.
    """

    model: nn.Module
    means: tuple[float, float]
    lesson: Lesson
    before: float


@dataclass(frozen=True)
class Run:
    """A run that is ready to train: its settings as resolved, its data where the engine computes, and its folder.

    ``class_weights`` (classes,), if there are any, weigh the loss, with a mean of 1 over the training images;
    ``mirrors`` says whether images are mirrored every other time; ``skipped`` are the image files that could not be
    read. A trial has no folder, and writes nothing. The ``forerunner``, if there is one, is kept unless the run's
    network becomes as good.
    """

    config: TrainConfig
    card: WeightsCard
    engine: Engine
    processes: Processes
    state: TrainingState
    train_split: Split
    class_weights: Tensor | None
    val_split: Split
    test_split: Split
    batch_size: int
    ranges: Ranges
    mirrors: bool
    skipped: Sequence[Skipped]
    reporter: Reporter
    folder: Path = Path()
    forerunner: Forerunner | None = None

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in the training images, as often as an epoch shows them."""
        assert self.config.passes is not None
        return self.config.passes * len(self.train_split) // self.batch_size

    @property
    def normalize(self) -> Normalize:
        """What the network does with an image's own ground and contrast."""
        return self.card.preprocessing.normalize


def assembled(
    config: TrainConfig,
    data: Data,
    engine: Engine,
    processes: Processes,
    reporter: Reporter,
    resumed: Path | None = None,
) -> Run:
    """Return the run of ``config``, in which nothing is left to be chosen, on ``data``, or take up one in ``resumed``.

    Raises ``UsageError`` if a step does not fit into memory, and what ``network_of`` raises.
    """
    card = card_of(config, data)
    assert config.batch_size is not None
    refuse_excess(card, engine, config.batch_size // processes.count)
    model = network_of(config, card, resumed, data.unseen, reporter.message)
    state = TrainingState.start(to_device(model, engine.device), config, engine.device)
    train_split = data.train.to(engine.device)
    return Run(
        config=config,
        card=card,
        engine=engine,
        processes=processes,
        state=state,
        train_split=train_split,
        class_weights=class_weights_of(config.class_weights, data.dataset.classes, train_split.labels),
        val_split=data.val.to(engine.device),
        test_split=data.dataset.test,
        batch_size=config.batch_size,
        ranges=Ranges.of(config),
        mirrors=data.mirrors,
        skipped=data.dataset.skipped,
        reporter=reporter,
    )
