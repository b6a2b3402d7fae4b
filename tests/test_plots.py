import os
import subprocess
import sys
from pathlib import Path

DRAW = """
import sys
from pathlib import Path
import numpy as np
from lrnet_cli.plots import plot_curves, write_png
from lrnet_cli.predict.explain import write_overlay
names = ("epoch", "train_loss", "val_loss", "train_accuracy", "val_accuracy")
write_png(plot_curves([dict.fromkeys(names, 0.5)]), Path(sys.argv[1], "curves.png"))
write_overlay(Path(sys.argv[1], "overlay.png"), np.full((1, 8, 8), 99, np.uint8), np.linspace(-1, 1, 64).reshape(8, 8))
"""


def test_a_matplotlibrc_in_the_working_folder_changes_nothing(tmp_path: Path) -> None:
    drawn = []
    for name, content in {"plain": None, "altered": b"text.usetex: True\nimage.lut: 2\n", "binary": b"\xff"}.items():
        folder = tmp_path / name
        folder.mkdir()
        if content is not None:
            (folder / "matplotlibrc").write_bytes(content)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": ""}  # without latex
        subprocess.run([sys.executable, "-c", DRAW, str(folder)], cwd=folder, env=environment, check=True)
        drawn.append([(folder / f"{figure}.png").read_bytes() for figure in ("curves", "overlay")])
    assert drawn[0] == drawn[1] == drawn[2]
