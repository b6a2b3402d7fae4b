"""The words that settings take. Nothing here imports PyTorch, so that the command line can show them at once."""

from typing import Literal

Arch = Literal["lrnet", "lrnet-short", "resnet-small", "cnn", "vgg16", "inception_v3", "resnet50", "alexnet"]
ArchChoice = Literal["auto", Arch]
LRNETS: tuple[Arch, ...] = ("lrnet", "lrnet-short")
"""LR-Net by its heads: that of the paper, and a short one."""
Preset = Literal["default", "paper", "quick"]
Head = Literal["softmax", "sigmoid"]
Optimizer = Literal["muon", "adamw", "adam"]
Schedule = Literal["one-cycle", "constant"]
Precision = Literal["auto", "fp32", "bf16"]
Compile = Literal["auto", "on", "off"]
Invert = Literal["auto", "yes", "no"]
OnError = Literal["skip", "stop"]
Flip = Literal["auto", "on", "off"]
Freeze = Literal["1", "2", "3", "blocks"]
Sampler = Literal["uniform", "balanced"]
Select = Literal["accuracy", "balanced-accuracy", "macro-f1", "loss"]
Normalize = Literal["none", "stretch", "ground"]
NormalizeChoice = Literal["auto", Normalize]
Crop = Literal["auto", "on", "off"]
