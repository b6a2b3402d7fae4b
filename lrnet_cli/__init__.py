"""LR-Net for small, noisy, low-resolution images: train, evaluate and predict. The command is ``lrnet``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrnet_cli.predict.classifier import Classifier, Prediction
    from lrnet_cli.predict.job import predict_files
    from lrnet_cli.selection.job import select_images
    from lrnet_cli.settings.requests import PredictRequest, SelectRequest

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "PredictRequest",
    "Prediction",
    "SelectRequest",
    "__version__",
    "predict_files",
    "select_images",
]
_MODULES = {
    "Classifier": "predict.classifier",
    "PredictRequest": "settings.requests",
    "Prediction": "predict.classifier",
    "SelectRequest": "settings.requests",
    "predict_files": "predict.job",
    "select_images": "selection.job",
}


def __getattr__(name: str) -> Any:
    # `lrnet --help` imports this package and must not wait for torch.
    if name in _MODULES:
        return getattr(import_module(f"lrnet_cli.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
