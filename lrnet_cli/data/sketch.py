"""A small sketch of a set of pictures, by which it is told later whether others were among them.

It holds the smallest hashes of the pictures (Broder 1997, "On the resemblance and containment of documents"): all of a
small set, and of a large one a sample that another set, hashed alike, can be compared with.
"""

import hashlib
from collections.abc import Iterator

from lrnet_cli.data.splits import Split

_SIZE = 1024  # hashes
_BYTES = 6  # of a hash: not alike by chance


def sketch_of(*splits: Split) -> tuple[str, ...]:
    """Return the sketch of the pictures of all ``splits``."""
    return tuple(sorted(set(_hashes(*splits)))[:_SIZE])


def share_in(sketch: tuple[str, ...], *splits: Split) -> float:
    """Return the share of the pictures of ``splits`` that are, pixel by pixel, in the set that ``sketch`` is of.

    It is exact if that set is small and an estimate otherwise.
    """
    comparable = [one for one in _hashes(*splits) if len(sketch) < _SIZE or one <= sketch[-1]]
    known = set(sketch)
    return sum(one in known for one in comparable) / len(comparable) if comparable else 0.0


def _hashes(*splits: Split) -> Iterator[str]:
    for split in splits:
        for picture in split.images.cpu().numpy():
            yield hashlib.blake2b(picture.tobytes(), digest_size=_BYTES).hexdigest()
