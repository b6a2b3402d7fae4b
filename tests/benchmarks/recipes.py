"""Recipes compared on validation images: ``python tests/benchmarks/recipes.py [NAME…]``.

Every recipe trains five epochs on the same 8,000 Fashion-MNIST images and is validated on the same 6,000, all of them
training images; the test images stay unread. Prints a JSON line a recipe, with its validation accuracy. Takes about
five minutes a recipe on two cores that multiply bfloat16. ``docs/project/notebook.md`` holds what was found.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.splits import limited, stratified_cut
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training.train import train

AFFINE: dict[str, Any] = {"shift": 0.05, "scale": 0.08, "shear": 0.12, "cutout": 0.0}
SHIFTS: dict[str, Any] = {"shift": 2 / 28, "scale": 0.0, "shear": 0.0, "flip": "on"}
ADAMW: dict[str, Any] = {"optimizer": "adamw", "lr": 3e-3}
RECIPES: dict[str, dict[str, Any]] = {
    "prototype": ADAMW | SHIFTS | {"cutout": 8 / 28, "dropout": 0.1},
    "affine": ADAMW | AFFINE | {"dropout": 0.1, "label_smoothing": 0.0},
    "prototype-muon": SHIFTS | {"optimizer": "muon", "lr": 3e-3, "cutout": 8 / 28, "dropout": 0.1},
    "prototype-muon-0.01": SHIFTS | {"optimizer": "muon", "lr": 1e-2, "cutout": 8 / 28, "dropout": 0.1},
    "muon-no-dropout": SHIFTS | {"optimizer": "muon", "lr": 3e-3, "cutout": 0.0, "dropout": 0.0},
    "muon-affine": AFFINE | {"optimizer": "muon", "lr": 1e-2, "dropout": 0.1},
    "muon-affine-flips-0.02": AFFINE | {"optimizer": "muon", "lr": 2e-2, "dropout": 0.1, "flip": "on"},
    "default": {"flip": "on"},
}


def main(names: list[str]) -> None:
    dataset = load_dataset("fashion")
    kept, cut = stratified_cut(dataset.train.labels, 0.1, seed=0)
    splits = {"train": limited(dataset.train.take(kept), 8000, seed=0), "val": dataset.train.take(cut)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = {f"{part}_images": split.images[:, 0].numpy() for part, split in splits.items()}
        arrays |= {f"{part}_labels": split.labels.numpy() for part, split in splits.items()}
        # The format asks for test images; a few of the validation images stand in, and stay unread.
        arrays |= {f"test_{kind}": arrays[f"val_{kind}"][:10] for kind in ("images", "labels")}
        np.savez(folder / "set.npz", **arrays)
        for recipe in names or RECIPES:
            settings = {"dataset": str(folder / "set.npz"), "epochs": 5, "batch_size": 128, "seed": 0, "test": False}
            settings |= {
                "still_epochs": 0.0,
                "arch": "lrnet",
                "normalize": "none",
            }  # there was no such setting when the recipe was chosen
            result = train(TrainConfig(**settings, **RECIPES[recipe], out=folder / recipe))
            row = {"recipe": recipe, "val_accuracy": result["val_accuracy"], "seconds": round(result["seconds"])}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
