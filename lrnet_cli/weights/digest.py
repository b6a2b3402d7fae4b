"""A digest of a file's tensors and metadata, stored beside them, so that a flipped bit is noticed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lrnet_cli.documents import open_regular

DIGEST = "digest"  # its name among the metadata


def digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Return the digest of tensors, on the CPU, and of the metadata without the digest itself."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(metadata.keys() - {DIGEST}):
        digest.update(f"{name}={metadata[name]};".encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the content of a safetensors file of tensors, on the CPU, and metadata, with their digest."""
    return save(dict(tensors), {**metadata, DIGEST: digest_of(tensors, metadata)})


def unsealed(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file that ``sealed`` made.

    Raises what ``open_regular`` raises, ``SafetensorError`` for another file, and ``ValueError`` for another digest.
    """
    open_regular(path).close()  # a pipe would hang
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 # it is not a dict
    check_digest(tensors, metadata)
    return tensors, metadata


def check_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Raise ``ValueError`` if the metadata hold a digest that is not theirs; files of earlier versions hold none."""
    if DIGEST in metadata and metadata[DIGEST] != digest_of(tensors, metadata):
        raise ValueError("its content is not what was written to it")
