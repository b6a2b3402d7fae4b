"""Whether compiling the training step pays, and compiling it."""

import time
import warnings

import torch

from lrnet_cli.models.engine import compiled
from lrnet_cli.models.heads import head_loss
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.prepare import Run
from lrnet_cli.training.step import Step

_STEPS_BEFORE_COMPILING = 10  # which tell the pace
# As measured on machines of two cores: compiling takes as long as sixty to eighty steps do before it, a minute at
# least, and saves a quarter of the time after it or more. In a budget it must pay even if it takes half as long again.
_COMPILE_SECONDS, _COMPILE_STEPS, _COMPILE_SAVES, _BUDGET_MARGIN = 60.0, 80, 0.25, 1.5


def compile_as_settled(run: Run, step: Step) -> None:
    """Compile the step if that is requested, or was decided before the run was stopped."""
    state, config = run.state, run.config
    # What compiling saves was measured for LR-Net on CPUs and GPUs.
    unmeasured = run.engine.device.type == "mps" or config.arch != "lrnet"
    if state.compiled is None and (config.compile != "auto" or unmeasured):
        state.compiled = config.compile == "on"
    if state.compiled:
        _compile(run, step)


def compile_if_it_pays(run: Run, step: Step, clock: Clock) -> None:
    """Decide, once the pace is known, whether compiling saves more time than it takes."""
    if run.state.compiled is not None or run.state.steps_taken < _STEPS_BEFORE_COMPILING:
        return
    left = clock.seconds_left()
    cost = max(_COMPILE_SECONDS, _COMPILE_STEPS * clock.pace)
    gain = (left - cost) * _COMPILE_SAVES
    margin = 1.0 if run.config.max_time is None else _BUDGET_MARGIN
    run.state.compiled = run.processes.agree(gain > margin * cost)
    if run.state.compiled:
        run.reporter.message(
            f"Compiling the training step, which pays off with about {left / 60:.0f} minutes of training left."
        )
        with clock.paused():
            _compile(run, step)


def _compile(run: Run, step: Step) -> None:
    """Compile the network's training passes and change nothing else; if that fails, continue uncompiled."""
    begun = time.perf_counter()
    forward = compiled(step.network.train())
    buffers = {name: buffer.clone() for name, buffer in run.state.model.named_buffers()}
    device = run.engine.device
    batch = torch.arange(run.batch_size // run.processes.count, device=device)
    try:
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices), warnings.catch_warnings(action="ignore"):  # the compiler's are not ours
            logits = forward(step.inputs(batch))  # laid out as in a step, which would otherwise compile again
            head_loss(logits, run.train_split.labels[batch], run.config.head).backward()
        step.forward = forward
        run.reporter.message(f"Compiled in {time.perf_counter() - begun:.0f} s.")
    except Exception as error:  # a compiler, or the lack of one, may raise anything
        run.state.compiled = False
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        run.reporter.message(f"Training continues without compiling, which failed: {reason}")
    finally:
        for name, buffer in run.state.model.named_buffers():
            buffer.copy_(buffers[name])
        run.state.model.zero_grad()
