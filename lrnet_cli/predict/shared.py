"""Sharing out work on many things among processes, whose results come together in order."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

from lrnet_cli.errors import LRNetError
from lrnet_cli.models.logits import BATCH_SIZE
from lrnet_cli.processes import Processes

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def shared_out(
    items: Iterable[_Item], work: Callable[[Iterator[_Item]], Iterator[_Result]], processes: Processes
) -> Iterator[_Result]:
    """Yield the result of ``work`` for each of ``items``, which are the same in every process, in order.

    Each process is given a batch in turn, and every process is told all results. ``work`` yields a result for each
    item, in order; what it raises in one process is raised in all.
    """
    if not processes.together:
        yield from work(iter(items))
        return
    numbered = enumerate(items)
    own = work(item for number, item in numbered if number // BATCH_SIZE % processes.count == processes.rank)
    is_more = True
    while is_more:
        for batch in processes.everyones(_next_batch(own)):
            if isinstance(batch, LRNetError):
                raise batch
            yield from batch
            is_more = len(batch) == BATCH_SIZE  # in the end that of the last process, which is the first to run out


def _next_batch(results: Iterator[_Result]) -> list[_Result] | LRNetError:
    try:
        return list(islice(results, BATCH_SIZE))
    except LRNetError as error:
        return error
