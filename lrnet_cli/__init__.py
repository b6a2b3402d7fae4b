"""LR-Net for small, noisy, low-resolution images: train, evaluate and predict. The command is ``lrnet``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrnet_cli.predict.classifier import Classifier, Prediction

__version__ = "0.1.0"
__all__ = ["Classifier", "Prediction", "__version__"]


def __getattr__(name: str) -> Any:
    # `lrnet --help` imports this package and must not wait for torch.
    if name in ("Classifier", "Prediction"):
        from lrnet_cli.predict import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
