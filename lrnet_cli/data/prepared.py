"""Prepared images, kept per user, so that files that have not changed need not be decoded again.

One pack for each source and preprocessing: a safetensors file with the identity and the pixels of every image, and a
digest. A file's identity is its path, size, times of change and place on the disk, so that a changed file is read
again. Packs are removed, the least recently used first, beyond a total size; nothing here is needed, so a pack that
cannot be read or written is passed by.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import __version__ as pillow_version
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lrnet_cli import paths
from lrnet_cli.data.images import Preprocessing
from lrnet_cli.settings.words import Invert

FEWEST = 256  # images that are worth a pack
MOST_BYTES = 4_000_000_000  # of all packs
_ABANDONED = 3600.0  # seconds since a pack was written that is not complete
_VERSION = 2  # of the preparation: pixels of another are not used
_IDENTITY = 16  # bytes


@dataclass(frozen=True)
class Pack:
    """A pack on the disk."""

    path: Path
    size: int
    used: float


def packs(data_dir: Path | None = None) -> list[Pack]:
    """Return this user's packs, the most recently used first."""
    listed = []
    for path in _folder(data_dir).glob("*.safetensors"):
        with suppress(OSError):
            status = path.stat()
            listed.append(Pack(path, status.st_size, status.st_mtime))
    return sorted(listed, key=lambda pack: -pack.used)


class Prepared:
    """The prepared images of the files of one source, as far as they are known.

    ``images``, uint8 (N, C, S, S), hold the pixels of the ``files`` whose ``known``, bool (N,), is true; ``several``,
    bool (N,), says which have several frames or pages.
    """

    def __init__(
        self, source: str, files: Sequence[Path], preprocessing: Preprocessing, invert: Invert, data_dir: Path | None
    ) -> None:
        side, channels = preprocessing.image_size, preprocessing.channels
        self.images: NDArray[np.uint8] = np.empty((len(files), channels, side, side), np.uint8)
        self.known: NDArray[np.bool_] = np.zeros(len(files), np.bool_)
        self.several: NDArray[np.bool_] = np.zeros(len(files), np.bool_)
        self._data_dir = data_dir
        self._is_wanted = len(files) >= FEWEST
        if not self._is_wanted:
            return
        key = json.dumps([source, asdict(preprocessing), invert, pillow_version, _VERSION])
        self._path = _folder(data_dir) / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.safetensors"
        self._identities = np.stack([_identity(file) for file in files])
        self._load()

    def _load(self) -> None:
        try:
            pack = load_file(self._path)
            if pack.pop("digest").tobytes() != _digest_of(pack).tobytes():
                return
            identities, images, several = pack["identities"], pack["images"], pack["several"]
            shapes = {"identities": (_IDENTITY,), "images": self.images.shape[1:], "several": ()}
            if images.dtype != np.uint8 or any(pack[name].shape != (len(images), *shapes[name]) for name in shapes):
                return
            rows_of = {identity.tobytes(): row for row, identity in enumerate(identities)}
        except (OSError, SafetensorError, LookupError, ValueError, TypeError):
            return
        rows = np.array([rows_of.get(identity.tobytes(), -1) for identity in self._identities])
        self.known = rows >= 0
        self.images[self.known] = images[rows[self.known]]
        self.several[self.known] = several[rows[self.known]]
        with suppress(OSError):
            os.utime(self._path)

    def save(self, whole: NDArray[np.bool_]) -> None:
        """Keep the images of the files whose ``whole``, bool (N,), is true, unless they are already kept."""
        if not self._is_wanted or (whole == self.known).all():
            return
        if int(whole.sum()) * self.images[:1].nbytes > MOST_BYTES:  # it would be the first to be removed
            return
        with suppress(OSError, SafetensorError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with paths.replacing(self._path) as temporary:
                arrays = {"identities": self._identities, "images": self.images, "several": self.several}
                kept = {name: values[whole] for name, values in arrays.items()}
                save_file(kept | {"digest": _digest_of(kept)}, temporary)
            for leftover in filter(paths.is_leftover, self._path.parent.iterdir()):  # of processes that were killed
                if time.time() - leftover.stat().st_mtime > _ABANDONED:
                    leftover.unlink()
            used = 0
            for pack in packs(self._data_dir):
                used += pack.size
                if used > MOST_BYTES:
                    pack.path.unlink(missing_ok=True)


def _folder(data_dir: Path | None) -> Path:
    return paths.data_dir(data_dir) / "prepared"


def _digest_of(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Return a digest of ``arrays``, so that a flipped bit on the disk is noticed."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].shape} {arrays[name].dtype};".encode())
        digest.update(np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8).data)
    return np.frombuffer(digest.digest(), np.uint8)


def _identity(file: Path) -> NDArray[np.uint8]:
    """Return a fingerprint of the file's path and state; a missing file gets one of its own."""
    try:
        status = file.stat()
        parts = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
    except (OSError, ValueError):
        parts = []
    text = f"{paths.absolute(file)}\n{parts}".encode("utf-8", "surrogatepass")
    return np.frombuffer(hashlib.blake2b(text, digest_size=_IDENTITY).digest(), np.uint8)
