"""Recipes by name, and what the other networks need instead of LR-Net's settings."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The paper's section 4, but early stopping watches a validation split cut from the training images.
    "paper": {
        "epochs": 200,
        "batch_size": 128,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "dropout": 0.3,
        "label_smoothing": 0.0,
        "optimizer": "adam",
        "schedule": "constant",
        "ema": 0.0,
        "augment": False,
        "patience": 30,
    },
    "quick": {"epochs": 3},
}
# Muon would take a minute per step for VGG-16's first fully connected layer. Learning rates are the best on validation
# images: docs/explanation/recipe.md.
RECIPES: dict[str, dict[str, Any]] = {
    "vgg16": {"optimizer": "adamw", "lr": 1e-4, "dropout": 0.5},
    "inception_v3": {"optimizer": "adamw", "lr": 3e-3, "dropout": 0.5},
    "resnet50": {"optimizer": "adamw", "lr": 3e-3},
    "alexnet": {"optimizer": "adamw", "lr": 3e-4, "dropout": 0.5},
}
