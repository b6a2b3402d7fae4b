"""One step of training: inputs, loss, gradients, update."""

import math
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from lrnet_cli.data.splits import Split
from lrnet_cli.errors import reason_of
from lrnet_cli.models.heads import head_loss, taught_loss
from lrnet_cli.models.logits import as_input, predict_logits
from lrnet_cli.training.augment import augment
from lrnet_cli.training.captured import Captured, Given
from lrnet_cli.training.optimizers import SECOND_STAGE, learning_rate
from lrnet_cli.training.run import Run
from lrnet_cli.training.state import recompute_batch_statistics

_STATISTICS_IMAGES = 1024
_TAUGHT_WEIGHT = 0.9  # of the teachers' answers in the loss; the labels have the rest
_ROBUST_IN_FULL = 0.5  # the progress of its stage, or of the only one, from which alterations have their full strength
_FLIP_STREAM = 2**32  # beyond every epoch's number
_STEPS_BEFORE_CAPTURE = 12  # by when all that is kept from step to step exists
_STEPS_AHEAD = 2  # that a GPU is given while it is at work


class Step:
    """Performs the steps of a run, which its state counts.

    ``network`` is the view of the model that learns; ``compiled`` is its compiled form, if there is one, and the number
    of threads that it is compiled for.
    ``statistics_images`` are the training images over which batch statistics are recomputed.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.network = run.engine.place(run.state.model, run.normalize, run.processes)
        self.compiled: tuple[Callable[[Tensor], Tensor], int] | None = None
        size, device = len(run.train_split), run.engine.device
        # Alternating flips (airbench, Jordan 2024, arXiv:2404.00498): every epoch mirrors what the last one did not.
        self._phase = torch.from_numpy(_draws(run.card.seed, _FLIP_STREAM).integers(0, 2, size)).to(device)
        self.statistics_images = self.sample(_STATISTICS_IMAGES).images
        self._captured: Captured | None = None
        self._taken = 0
        self._ends: deque[torch.cuda.Event] = deque()

    def sample(self, count: int) -> Split:
        """Return ``count`` training images, or all if there are fewer, always the same ones."""
        split = self.run.train_split
        return split.take(_permutation(self.run.card.seed, 0, len(split))[:count].to(split.labels.device))

    def batches_left(self) -> Iterator[Tensor]:
        """Yield the indices of this epoch's batches from the state's step on, this process's part of each."""
        run, size = self.run, self.run.batch_size
        order = self._order().to(run.engine.device)
        # The images beyond the last full batch are left for other epochs: all steps have one shape.
        for number in range(run.state.step, run.steps_per_epoch):
            yield run.processes.own_rows(order[number * size : (number + 1) * size])

    def _order(self) -> Tensor:
        """Return the order of this epoch's images: pass by pass each once, or as many of every class, some repeated."""
        run, passes = self.run, self.run.config.passes
        assert passes is not None
        first = (run.state.epoch - 1) * passes + 1
        return torch.cat([self._order_of(number) for number in range(first, first + passes)])

    def _order_of(self, number: int) -> Tensor:
        run, split = self.run, self.run.train_split
        if run.config.sampler == "uniform":
            return _permutation(run.card.seed, number, len(split))
        draws, labels = _draws(run.card.seed, number), split.labels.cpu().numpy()
        present = np.unique(labels)
        share = -(-len(labels) // len(present))
        chosen = []
        for label in present:
            members = np.flatnonzero(labels == label)
            rounds = -(-share // len(members))  # all of a class come before any comes again
            chosen.append(np.concatenate([draws.permutation(members) for _ in range(rounds)])[:share])
        return torch.from_numpy(draws.permutation(np.concatenate(chosen))[: len(labels)])

    def begins_second_stage(self, progress: float) -> bool:
        """Return whether ``begin_second_stage`` is due, when ``progress``, in [0, 1], of the run is over."""
        return self.run.config.two_stages and self.run.state.taught is None and progress >= SECOND_STAGE

    @torch.no_grad()
    def begin_second_stage(self) -> None:
        """Go on from the network as it would be kept, which teaches from now on.

        A network that does not yet know the images as they are learns little from altered ones, and loses less of what
        it knows if it is reminded of its answers.
        """
        run, state = self.run, self.run.state
        network = run.engine.place(state.evaluated, run.normalize, run.processes)
        recompute_batch_statistics(network, self.statistics_images, run.batch_size, run.processes)
        logits = predict_logits(network, run.train_split.images, processes=run.processes)
        state.taught = logits.to(run.train_split.labels.device)
        for own, kept in zip(state.model.parameters(), state.evaluated.parameters(), strict=True):
            own.copy_(kept)
        self.network.train()
        self._captured, self._taken = None, 0

    def __call__(self, batch: Tensor, progress: float, epochs_left: float) -> None:
        """Take one step on the images at the indices ``batch``, when ``progress``, in [0, 1], of the run is over."""
        state, given = self.run.state, self.given(progress, epochs_left)
        state.moved |= bool(given.moved)
        if batch.device.type == "cuda":
            # A graph is made of one GPU's work: the exchange with others is not recorded.
            if self._taken == _STEPS_BEFORE_CAPTURE and not self.run.processes.together:
                self._capture(batch)
            work = self._captured or self.work
            work(batch, given.on(batch.device))
            self._keep_near(batch.device)
        else:
            self.work(batch, given)
        state.step += 1
        state.steps_taken += 1
        self._taken += 1

    def given(self, progress: float, epochs_left: float) -> Given:
        """Return what the next step is given besides images.

        What ``--robust`` does to them grows to its full strength in the second stage, or with ``progress`` where there
        is one only. In the still epochs, images are not moved or mirrored: the network learns last what it will be
        asked.
        """
        config, state = self.run.config, self.run.state
        altering = 2 * (progress - SECOND_STAGE) if config.two_stages else progress
        return Given(
            rate=learning_rate(config, progress),
            moved=float(config.augment and epochs_left > config.still_epochs),
            robust_share=min(1.0, max(0.0, altering) / _ROBUST_IN_FULL),
            # The average's memory is a share of the steps so far, however many will come.
            newest=1 / max(1.0, config.ema * state.steps_taken),
            epoch=state.epoch,
        )

    def work(self, batch: Tensor, given: Given) -> None:
        """Do what a step does on the device, without waiting for it."""
        run, state = self.run, self.run.state
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = given.rate
        state.model.zero_grad()
        loss, hits = self.loss(batch, given)
        loss.backward()
        run.processes.average_gradients(state.model)
        for optimizer in state.optimizers:
            optimizer.step()
        state.update_average(given.newest)
        state.sums += run.processes.average(torch.stack([loss.detach(), hits]))

    def loss(self, batch: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        """Return the loss on the images at the indices ``batch`` and the share that is answered right."""
        run, config = self.run, self.run.config
        assert config.label_smoothing is not None
        logits, labels = self.forward(self.inputs(batch, given)), run.train_split.labels[batch]
        loss = head_loss(logits, labels, config.head, config.label_smoothing, run.class_weights)
        if run.state.taught is not None:
            loss = torch.lerp(loss, taught_loss(logits, run.state.taught[batch], config.head), _TAUGHT_WEIGHT)
        return loss, (logits.detach().argmax(1) == labels).float().mean()

    def inputs(self, batch: Tensor, given: Given) -> Tensor:
        """Return the images at the indices ``batch`` as the network's floats, altered if the run augments."""
        run = self.run
        images = as_input(run.train_split.images[batch])
        if not run.config.augment:
            return images
        mirrored = (self._phase[batch] + given.epoch) % 2 == 1
        mirrored = mirrored & run.mirrors & (given.moved > 0)
        return augment(images, run.ranges, mirrored, run.processes, moved=given.moved, robust_share=given.robust_share)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of ``inputs``, by the compiled network if it is compiled for this many threads."""
        if self.compiled is not None and self.compiled[1] == torch.get_num_threads():
            return self.compiled[0](inputs)
        logits: Tensor = self.network(inputs)
        return logits

    @property
    def share(self) -> int:
        """The number of images in this process's part of a batch."""
        return self.run.batch_size // self.run.processes.count

    def rehearse(self, images: int) -> None:
        """Take the passes of a step of so many ``images``, forward and backward, and leave all as it was."""
        run = self.run
        self.network.train()
        buffers = {name: buffer.clone() for name, buffer in run.state.model.named_buffers()}
        batch = torch.arange(images, device=run.engine.device)
        try:
            with torch.random.fork_rng([run.engine.device] if run.engine.device.type == "cuda" else []):
                # Laid out as in a step, for which a compiled network would otherwise be compiled again.
                loss, _ = self.loss(batch, self.given(progress=1.0, epochs_left=math.inf))
                loss.backward()
        finally:
            for name, buffer in run.state.model.named_buffers():
                buffer.copy_(buffers[name])
            run.state.model.zero_grad()

    def _capture(self, batch: Tensor) -> None:
        """Record a step as a graph, or report that this failed."""
        self._mark_capturable(True)
        try:
            self._captured = Captured(self.work, batch)
        except RuntimeError as error:
            self._mark_capturable(False)
            self.run.reporter.message(f"Training continues without a CUDA graph, which failed: {reason_of(error)}")

    def _mark_capturable(self, capturable: bool) -> None:
        """Say so to PyTorch's optimisers, which would warn if that were said of steps without a graph."""
        for optimizer in self.run.state.optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group:
                    group["capturable"] = capturable

    def _keep_near(self, device: torch.device) -> None:
        """Wait for the step two before this one: the host would run far ahead, and the clock would measure nothing."""
        self._ends.append(torch.cuda.current_stream(device).record_event())
        if len(self._ends) > _STEPS_AHEAD:
            self._ends.popleft().synchronize()

    def means(self) -> tuple[float, float]:
        """Return loss and accuracy as means over this epoch's steps; this waits for the device to finish them."""
        loss, accuracy = (self.run.state.sums / self.run.state.step).tolist()
        return loss, accuracy


def _permutation(seed: int, epoch: int, n: int) -> Tensor:
    """Return the order of an epoch's images, which depends on nothing else; epoch 0 is for batch statistics."""
    return torch.from_numpy(_draws(seed, epoch).permutation(n))


def _draws(seed: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, stream])
