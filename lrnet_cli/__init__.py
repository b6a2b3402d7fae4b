"""LR-Net for small, noisy, low-resolution images: train, evaluate and predict. The command is ``lrnet``."""

__version__ = "0.1.0"
