"""Whether compiling the training step pays, and compiling it."""

import hashlib
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import torch

from lrnet_cli import __version__
from lrnet_cli.errors import reason_of
from lrnet_cli.models.engine import compiled, compiler_cache, matrix_product
from lrnet_cli.models.registry import summary_of
from lrnet_cli.settings.units import duration_of
from lrnet_cli.settings.words import LRNETS
from lrnet_cli.training.clock import Clock
from lrnet_cli.training.run import Run
from lrnet_cli.training.step import Step

_STEPS_BEFORE_COMPILING = 10  # which tell the pace
# As measured on machines of two cores: compiling takes as long as 150 steps of 128 images do before it, or a minute
# and a half for smaller ones. In a budget it must pay even if it takes a fifth longer.
_COMPILE_SECONDS, _COMPILE_STEPS, _BUDGET_MARGIN = 90.0, 150, 1.2
# Where the compiler's own cache still has the code, tracing remains, which takes a sixth of the time.
_KEPT_SECONDS, _KEPT_STEPS = 20.0, 30
# As measured on CPUs with and without AMX: the share that compiling saves of the time in which a step does not
# multiply, and the share of a matrix product's speed that LR-Net's convolutions reach.
_SAVED, _REACHED = {"bf16": 0.45, "fp32": 0.1}, 0.85


def compile_as_settled(run: Run, step: Step) -> None:
    """Compile the step if that is requested, or was decided before the run was stopped."""
    state, config = run.state, run.config
    if config.compile != "auto" and state.compiled is None:
        state.compiled = config.compile == "on"
    if state.compiled:
        _compile(run, step)


def compile_if_it_pays(run: Run, step: Step, clock: Clock) -> None:
    """Decide, once the pace is known, whether compiling saves more time than it takes."""
    # What compiling saves was measured for LR-Net on CPUs. One GPU takes its steps of 10 ms as a graph, and compiling
    # had not finished there after 40 s.
    unmeasured = run.engine.device.type != "cpu" or run.config.arch not in LRNETS
    if unmeasured or run.state.compiled is not None or run.state.steps_taken < _STEPS_BEFORE_COMPILING:
        return
    margin = 1.0 if run.config.max_time is None else _BUDGET_MARGIN

    def pays(saved: float) -> bool:
        most = clock.seconds_left * saved / margin  # that compiling may take
        return most > max(_COMPILE_SECONDS, _COMPILE_STEPS * clock.pace) or (
            most > max(_KEPT_SECONDS, _KEPT_STEPS * clock.pace) and _is_kept(run)
        )

    with clock.paused():
        pays_here = pays(_SAVED[run.engine.precision]) and pays(_saved_share(run, clock.pace))
    run.state.compiled = run.processes.agree(pays_here)
    if run.state.compiled:
        run.reporter.message(
            f"Compiling the training step, which saves time in the {duration_of(clock.seconds_left)} of training left."
        )
        with clock.paused():
            _compile(run, step)


def _saved_share(run: Run, pace: float) -> float:
    """Return the share of a step's time that compiling saves: little where a machine is busy multiplying anyway."""
    product, operations = matrix_product(run.engine.precision, run.engine.device)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - begun)
    images = run.batch_size / run.processes.count
    # A backward pass costs twice a forward pass; a multiply-add is two operations.
    needed = 6 * summary_of(run.card.arch, **run.card.arch_args).multiply_adds * images
    multiplying = needed / operations * min(seconds) / _REACHED
    return _SAVED[run.engine.precision] * max(0.0, 1 - multiplying / pace)


def _compile(run: Run, step: Step) -> None:
    """Compile the network's training passes and change nothing else; if that fails, continue uncompiled."""
    begun, before = time.perf_counter(), _graphs()
    step.compiled = compiled(step.network.train()), torch.get_num_threads()
    try:
        with warnings.catch_warnings(action="ignore"):  # the compiler's are not ours
            step.rehearse(step.share)
        graphs = _graphs() - before
        kept = ", with code that PyTorch's cache had kept" if graphs["reused"] and not graphs["written"] else ""
        run.reporter.message(f"Compiled in {time.perf_counter() - begun:.0f} s{kept}.")
        if graphs:
            with suppress(OSError):  # then a later run does not know that the code is there
                _mark_of(run).touch()
    except Exception as error:  # a compiler, or the lack of one, may raise anything
        run.state.compiled, step.compiled = False, None
        run.reporter.message(f"Training continues without compiling, which failed: {reason_of(error)}")


def _is_kept(run: Run) -> bool:
    """Return whether the compiler's cache has the code for steps like this run's; where it cannot tell, it has not."""
    try:
        return _mark_of(run).exists()
    except OSError:
        return False


def _mark_of(run: Run) -> Path:
    """Return the file in the compiler's cache that, if it exists, says the code for steps like this run's is there."""
    config, engine = run.config, run.engine
    decisive = [
        *(torch.__version__, __version__, str(engine), run.card.arch_args, config.arch, config.dropout, config.head),
        *(run.normalize, config.fuse, config.freeze, config.deterministic),
        *(run.batch_size, run.processes.count, torch.get_num_threads()),
    ]
    return compiler_cache() / f"lrnet-{hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]}"


def _graphs() -> Counter[str]:
    """Return for how many graphs of this process the compiler had the code in its cache, and for how many not."""
    from torch._dynamo.utils import counters

    counted = counters["inductor"]
    return Counter(reused=counted["fxgraph_cache_hit"], written=counted["fxgraph_cache_miss"])
