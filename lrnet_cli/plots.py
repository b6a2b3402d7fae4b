"""Charts, as PNG files and as SVG text for web pages."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

# Or it reads a file matplotlibrc in the working folder, which may come from a stranger, or be a pipe.
with contextlib.chdir(Path(__file__).parent):
    import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lrnet_cli.escape import printable

mpl.rcdefaults()  # charts look alike for everybody
RED_TO_BLUE = mpl.colormaps["RdBu_r"]
_COLOURS = ("#4285f4", "#e8710a", "#1e9e5a", "#b04fc4")  # distinguishable on white and on black
_INK = "#010203"  # stands for the page's text colour until a figure is written


def plot_curves(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Return loss and accuracy by epoch, for training and validation, of ``rows`` with the columns of metrics.csv."""
    epochs = [row["epoch"] for row in rows]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, title in zip(figure.subplots(1, 2), ("Loss", "Accuracy"), strict=True):
        for (name, column), colour in zip({"training": "train", "validation": "val"}.items(), _COLOURS, strict=False):
            values = [row[f"{column}_{title.lower()}"] for row in rows]
            axes.plot(epochs, values, marker="o", markersize=3, label=name, color=colour)
        axes.set(title=title, xlabel="Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def plot_reliability(bins: Sequence[tuple[float, float, int, float, float]]) -> Figure:
    """Return the reliability diagram of bins: lowest and highest confidence, count, mean confidence, accuracy."""
    figure = Figure(figsize=(4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for low, high, _, _, accuracy in bins:
        axes.bar(low, accuracy, high - low, align="edge", color=_COLOURS[0], alpha=0.45, linewidth=0)
    axes.plot([0, 1], [0, 1], linestyle="--", color=_COLOURS[1], label="perfect calibration")
    axes.plot([b[3] for b in bins], [b[4] for b in bins], marker="o", color=_COLOURS[0], label="this network")
    axes.set(xlabel="Confidence", ylabel="Accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return figure


def plot_risk(points: Sequence[tuple[float, float, float]]) -> Figure:
    """Return the risk-coverage curve of points: share of accepted labels, their error rate, and its upper bound."""
    figure = Figure(figsize=(4.5, 3.6), layout="constrained")
    axes = figure.subplots()
    shares, risks, bounds = zip(*points, strict=True)
    axes.plot(shares, bounds, linestyle="--", color=_COLOURS[1], label="upper bound, 95% for each point")
    axes.plot(shares, risks, color=_COLOURS[0], label="error of the accepted labels")
    axes.set(xlabel="Share of accepted labels", ylabel="Error", xlim=(0, 1), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    return figure


def plot_robustness(networks: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return a panel for each corruption: the accuracy by severity (0: as it is), one line for each of ``networks``."""
    types = list(next(iter(networks.values())))
    columns = 4
    rows = -(-len(types) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.1 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, type_name in zip(panels, types, strict=False):
        _draw_severities(axes, type_name, {name: accuracies[type_name] for name, accuracies in networks.items()})
    for axes in panels[len(types) :]:
        axes.set_visible(False)
    if len(networks) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(networks))
    return figure


def plot_severities(type_name: str, accuracies: Sequence[float]) -> Figure:
    """Return one panel of ``plot_robustness`` on its own."""
    figure = Figure(figsize=(2.6, 2.1), layout="constrained")
    _draw_severities(figure.subplots(), type_name, {type_name: accuracies})
    return figure


def plot_comparison(panels: Mapping[str, Sequence[tuple[str, float, float, float, float | None]]]) -> Figure:
    """Return a panel of bars for each name: label, value, the ends of its interval, and the published value, if any.

    Values are shares in [0, 1].
    """
    heights = [len(rows) for rows in panels.values()]
    figure = Figure(figsize=(8, 0.9 * len(panels) + 0.45 * sum(heights)), layout="constrained")
    drawn = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[height + 1 for height in heights]).ravel()
    for axes, (title, rows) in zip(drawn, panels.items(), strict=True):
        for row, (_, value, low, high, published) in enumerate(rows):
            errors = [[max(0.0, value - low)], [max(0.0, high - value)]]
            axes.barh(row, value, xerr=errors, capsize=3, color=_COLOURS[0], ecolor="gray", height=0.6)
            axes.annotate(f"{value:.4f}", (0, row), (4, 0), textcoords="offset points", va="center", color="white")
            if published is not None:
                axes.plot([published], [row], "D", color=_COLOURS[1])
        # Dollars in names are no formulas, which may be wrong.
        axes.set_yticks(range(len(rows)), [printable(row[0]) for row in rows], parse_math=False)
        axes.set_title(printable(title), parse_math=False)
        axes.set(xlim=(0, 1), xlabel="Test accuracy")
        axes.invert_yaxis()
        axes.grid(axis="x", alpha=0.3)
    if any(row[4] is not None for rows in panels.values() for row in rows):
        marker = Line2D([], [], marker="D", linestyle="", color=_COLOURS[1], label="published")
        figure.legend(handles=[marker], loc="outside lower right")
    return figure


def _draw_severities(axes: Axes, title: str, lines: Mapping[str, Sequence[float]]) -> None:
    for (name, values), colour in zip(lines.items(), _COLOURS, strict=False):
        axes.plot(range(len(values)), values, marker="o", markersize=3, label=name, color=colour)
    axes.set(ylim=(0, 1.02), xticks=range(6))
    axes.set_title(title.replace("_", " "), fontsize="medium")
    axes.grid(alpha=0.3)


def write_png(figure: Figure, path: Path) -> None:
    """Write ``figure`` to the PNG file ``path``."""
    figure.savefig(path, dpi=120, format="png")


def as_svg(figure: Figure, name: str) -> str:
    """Return ``figure`` as an SVG element in the page's text colour, with ``name`` in the identifiers of its parts."""
    for axes in figure.axes:
        axes.tick_params(colors=_INK)
        axes.xaxis.label.set_color(_INK)
        axes.yaxis.label.set_color(_INK)
        axes.title.set_color(_INK)
        axes.patch.set_alpha(0)
        for spine in axes.spines.values():
            spine.set_color(_INK)
        legend = axes.get_legend()
        if legend is not None:
            legend.get_frame().set_alpha(0)
            for text in legend.get_texts():
                text.set_color(_INK)
    written = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = written.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
