"""Exporting weights as a request says."""

from lrnet_cli import paths
from lrnet_cli.export.float32 import Float32Export, export_float32
from lrnet_cli.export.int8 import Int8Export, export_int8
from lrnet_cli.reporter import Reporter
from lrnet_cli.settings.requests import ExportRequest
from lrnet_cli.weights.find import described_weights, find_weights


def export_weights(request: ExportRequest, reporter: Reporter) -> Float32Export | Int8Export:
    """Write the network of ``request.weights`` to ``request.to``, and compare it with PyTorch's before it is kept.

    The exported network takes uint8 images (N, C, S, S) for any N ≥ 1 and gives ``logits`` and ``probabilities``
    (N, classes), float32, and of LR-Nets that have it ``novelty`` (N,); the card of the weights is in its
    metadata. It is compared with the plain network of the weights: in float32 on the embedded scans of digits, resized
    for it; with ``int8`` on images that the weights were validated on, or of ``request.dataset``.

    Raises ``ExportError`` if any value differs by more than 1e-4, if int8 loses more accuracy than allowed, or without
    the extra packages; ``WeightsError``, ``DataError`` or ``UsageError`` for what cannot be used or written.
    """
    paths.check_writable(request.to)
    weights = find_weights(request.weights)
    reporter.message(f"Weights: {described_weights(weights)}.")
    if request.int8:
        return export_int8(weights, request, reporter)
    return export_float32(weights, request.to)
