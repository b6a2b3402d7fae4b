"""A small sketch of a set of images, by which it is told later whether others were among them.

It holds the smallest hashes of the images (Broder 1997, "On the resemblance and containment of documents"): all of a
small set, and of a large one a sample that another set, hashed alike, can be compared with.
"""

from itertools import chain

from lrnet_cli.data.splits import Split, hashes_of

_SIZE = 1024  # hashes
FEW_SEEN = 0.01
"""The share of two sets of images, such as blank ones, that may be alike by chance."""


def sketch_of(*splits: Split) -> tuple[str, ...]:
    """Return the sketch of the images of all ``splits``."""
    return tuple(sorted(set(chain.from_iterable(map(hashes_of, splits))))[:_SIZE])


def share_in(sketch: tuple[str, ...], *splits: Split) -> float:
    """Return the share of the images of ``splits`` that are, pixel by pixel, in the set that ``sketch`` is of.

    It is exact if that set is small and an estimate otherwise.
    """
    hashes = chain.from_iterable(map(hashes_of, splits))
    comparable = [one for one in hashes if len(sketch) < _SIZE or one <= sketch[-1]]
    known = set(sketch)
    return sum(one in known for one in comparable) / len(comparable) if comparable else 0.0
