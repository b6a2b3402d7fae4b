"""A digest of a file's tensors and metadata, stored beside them, so that a flipped bit is noticed."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

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


def check_digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Raise ``ValueError`` if the metadata hold a digest that is not theirs; files of earlier versions hold none."""
    if DIGEST in metadata and metadata[DIGEST] != digest_of(tensors, metadata):
        raise ValueError("its content is not what was written to it")
