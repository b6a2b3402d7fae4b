"""Accuracy against minutes: ``python tests/benchmarks/time_to_accuracy.py fashion --limit 6000 --minutes 1 3 10``.

Trains each network with its default recipe in each time, as ``lrnet train --max-time`` does for a user, and prints a
Markdown row for each: the test accuracy, with its interval, and the epochs that fitted in. Runs that are finished in
``--out`` already are taken from there. ``--plot`` draws them; ``--json`` writes them to a file.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from lrnet_cli.runs.compare import accuracy_over
from lrnet_cli.runs.folder import read_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--archs", nargs="+", default=["lrnet", "cnn"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 10])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, default=Path("time-to-accuracy"))
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options, settings = parser.parse_known_args()  # other settings are those of lrnet train
    if options.limit is not None:
        settings += ["--limit", str(options.limit)]
    rows: list[dict[str, Any]] = []
    print("| minutes | network | epochs | accuracy |\n|---|---|---|---|", flush=True)
    for minutes in options.minutes:
        for arch in options.archs:
            results = [run(options.dataset, arch, minutes, seed, options.out, settings) for seed in options.seeds]
            accuracy = accuracy_over(results)
            low, high = accuracy.ci95
            epochs = [result["epochs"] for result in results]
            shown = ", ".join(map(str, epochs))
            print(f"| {minutes:g} | {arch} | {shown} | {accuracy.value:.4f} ({low:.4f} to {high:.4f}) |", flush=True)
            rows.append(
                {"dataset": options.dataset, "arch": arch, "minutes": minutes, "seeds": len(results)}
                | {"epochs": epochs, "accuracy": accuracy.value, "ci95": accuracy.ci95}
            )
    if options.json is not None:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if options.plot is not None:
        draw(rows, options.plot)


def run(dataset: str, arch: str, minutes: float, seed: int, out: Path, settings: list[str]) -> dict[str, Any]:
    folder = out / f"{dataset}-{arch}-{minutes:g}-{seed}"
    result = read_result(folder) if folder.exists() else None
    if result is not None and result["status"] == "finished":
        return result
    command = [sys.executable, "-P", "-m", "lrnet_cli", "train", "--dataset", dataset, "--arch", arch, *settings]
    command += ["--max-time", f"{minutes * 60:g}", "--seed", str(seed), "--out", str(folder), "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        points[row["arch"]].append((row["minutes"], row["accuracy"]))
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for arch, of_arch in points.items():
        axes.plot(*zip(*of_arch, strict=True), marker="o", label=arch)
    axes.set(xscale="log", xlabel="minutes", ylabel="test accuracy")
    minutes = sorted({row["minutes"] for row in rows})
    axes.set_xticks(minutes, [f"{time:g}" for time in minutes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main()
