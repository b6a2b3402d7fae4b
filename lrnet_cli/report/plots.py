"""Plots as PNG files."""

from pathlib import Path

from matplotlib.figure import Figure


def plot_curves(
    path: Path, epochs: list[int], losses: dict[str, list[float]], accuracies: dict[str, list[float]]
) -> None:
    """Draw loss and accuracy by epoch, a line for each name, to the PNG file ``path``."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, title, curves in zip(figure.subplots(1, 2), ("Loss", "Accuracy"), (losses, accuracies), strict=True):
        for name, values in curves.items():
            axes.plot(epochs, values, marker="o", markersize=3, label=name)
        axes.set(title=title, xlabel="Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120, format="png")
