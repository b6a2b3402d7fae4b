"""Does holding two altered views of an image together earn its cost? ``python tests/benchmarks/consistency.py``.

Trains on ``--limit`` images, at ``--robust``, with AugMix's divergence (Hendrycks et al. 2020, arXiv:1912.02781)
between the answers to two altered views added to the loss, for half the ``--epochs``, since each step costs twice; and
without it for all of them. Prints validation accuracies on clean and on altered images. Test images stay unread.
"""

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from lrnet_cli.models.heads import head_loss
from lrnet_cli.settings.config import TrainConfig
from lrnet_cli.training import loop
from lrnet_cli.training.captured import Given
from lrnet_cli.training.step import Step
from lrnet_cli.training.train import train
from lrnet_cli.weights.file import load_weights


class Consistent(Step):
    """A step on two views of each image, whose answers are held together."""

    weight = 4.0

    def loss(self, batch: Tensor, given: Given) -> tuple[Tensor, Tensor]:
        config, labels = self.run.config, self.run.train_split.labels[batch].repeat(2)
        both = torch.cat([self.inputs(batch, given), self.inputs(batch, given)])
        logits = self.forward(both.contiguous(memory_format=torch.channels_last))
        one, other = logits.softmax(1).chunk(2)
        middle = ((one + other) / 2).clamp(min=1e-7).log()
        divergence = sum(nn.functional.kl_div(middle, view, reduction="batchmean") for view in (one, other)) / 2
        loss = head_loss(logits, labels, config.head, config.label_smoothing) + self.weight * divergence
        return loss, (logits.detach().argmax(1) == labels).float().mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=["digits", "fashion"])
    parser.add_argument("--limit", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--robust", type=float, default=1.0)
    options = parser.parse_args()
    print("| data set | steps | epochs | clean | altered | seconds |\n|---|---|---|---|---|---|")
    for dataset in options.datasets:
        for name, kind, epochs in (
            ("single", Step, options.epochs),
            ("held together", Consistent, options.epochs // 2),
        ):
            loop.Step = kind  # type: ignore[misc]
            begun = time.perf_counter()
            with TemporaryDirectory() as folder:
                config = TrainConfig(
                    dataset=dataset,
                    limit=options.limit,
                    epochs=epochs,
                    arch="lrnet",
                    robust=options.robust,
                    normalize="ground",
                    seed=0,
                    test=False,
                    compile="off",
                    out=Path(folder) / "run",
                )
                train(config)
                metrics = load_weights(Path(folder) / "run" / "model.safetensors")[1].metrics
            clean, spoilt = metrics["val_accuracy"], metrics["val_altered_accuracy"]
            seconds = time.perf_counter() - begun
            print(f"| {dataset} | {name} | {epochs} | {clean:.4f} | {spoilt:.4f} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
