"""How many images a step takes, from how many there are and how many time and memory allow."""

import math

import torch

from lrnet_cli.errors import DataError, SettingError
from lrnet_cli.memory import excess
from lrnet_cli.models.engine import Engine
from lrnet_cli.models.heads import head_loss
from lrnet_cli.models.logits import as_input
from lrnet_cli.models.registry import build, summary_of
from lrnet_cli.processes import Processes
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.threads import ForeignLoad, candidates, fastest_threads
from lrnet_cli.training.data import Data
from lrnet_cli.weights.card import WeightsCard

_LARGEST, _SMALLEST, _STEPS_PER_EPOCH = 128, 16, 50
# A run that is short of steps takes smaller ones: down to half or a quarter of the images, they are nearly as fast.
_STEPS_PER_RUN, _SMALLEST_IN_A_RUN = 500, 32
_TRAINING_SHARE = 0.75  # of a run's time; the rest is for validation and test
_TIMED = 64  # images


def images_per_second(config: TrainConfig, engine: Engine, data: Data, processes: Processes) -> float | None:
    """Return on how many images per second ``processes`` train the network of ``config``.

    It is not measured on a CUDA GPU, which takes hundreds of steps of any size in seconds: None. The pace is that of
    a network that is then forgotten, with as many threads as are fastest; the global generator is left unchanged. It is
    measured once for ``data``.
    """
    if engine.device.type == "cuda":
        return None
    arch = config.arch
    key = arch, config.normalize, config.head
    if key in data.paces:
        return data.paces[key]
    images, labels = (part[:_TIMED].to(engine.device) for part in (data.train.images, data.train.labels))
    _, channels, side, _ = images.shape
    with torch.random.fork_rng([]):
        model = build(arch, in_channels=channels, image_size=side, num_classes=len(data.dataset.classes), dropout=0.0)
        assert config.normalize != "auto"
        network = engine.place(model, config.normalize).train()

        def step() -> None:
            loss = head_loss(network(as_input(images)), labels, config.head)
            loss.backward()
            loss.item()  # which waits for the device

        timing = fastest_threads(step, candidates(), ForeignLoad.since_start.cores())
        seconds = timing.seconds[timing.count]
    data.paces[key] = processes.agree(len(images) * processes.count / seconds)
    return data.paces[key]


def affordable_images(config: TrainConfig, engine: Engine, data: Data, processes: Processes) -> int | None:
    """Return how many images, each counted every time, can be trained on in ``max_time`` seconds, if that is known."""
    assert config.max_time is not None
    pace = images_per_second(config, engine, data, processes)
    return None if pace is None else int(_TRAINING_SHARE * config.max_time * pace)


def batch_size_of(requested: int | None, images: int, processes: int, affordable: int | None = None) -> int:
    """Return the global batch size for a run that can train on ``affordable`` images, if that is known.

    It is ``requested``, or the power of two that leaves about 50 steps per epoch, between 16 and 128, and 500 steps in
    the run, but at least 32 for that. Every process takes an equal part: the automatic size is a multiple of their
    number.
    """
    if requested is None:
        largest = _LARGEST
        if affordable is not None:
            largest = min(largest, max(_SMALLEST_IN_A_RUN, _power_of_two(affordable // _STEPS_PER_RUN)))
        size = min(largest, max(_SMALLEST, 1 << round(math.log2(max(1.0, images / _STEPS_PER_EPOCH)))))
        requested = -(-size // processes) * processes
    elif requested % processes:
        raise SettingError(
            f"{{batch_size}} {requested} cannot be shared by {processes} processes; "
            f"give a multiple, such as {-(-requested // processes) * processes}."
        )
    if requested > images:
        requested = images // processes * processes
    if requested < 2:
        raise DataError(f"{images} training images are too few for {processes} processes.")
    return requested


def refuse_excess(card: WeightsCard, engine: Engine, batch_size: int) -> None:
    """Raise ``UsageError`` if a training step surely needs more memory than there is."""
    costs = summary_of(card.arch, **card.arch_args)
    # What convolutions and matrix products give is kept for the gradients; weights have a gradient and averages, too.
    kept = sum(math.prod(layer.output) for layer in costs.layers if layer.multiply_adds)
    needed = batch_size * kept * (2 if engine.precision == "bf16" else 4) + 4 * costs.parameters * 4
    free = torch.cuda.mem_get_info(engine.device)[0] if engine.device.type == "cuda" else None
    if problem := excess(needed, free):
        raise SettingError(
            f"A step on {batch_size} images of {card.preprocessing.image_size} pixels per side {problem}; give a "
            "smaller {batch_size} or {image_size}."
        )


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is not above ``number``; 1 if there is none."""
    return 1 << max(1, number).bit_length() - 1
