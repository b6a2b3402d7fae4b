"""What goes into the report, as far as it takes no browser to tell."""

import json
import re
from pathlib import Path

import pytest
import torch

from lrnet_cli.data.images import Preprocessing
from lrnet_cli.data.splits import Split
from lrnet_cli.evaluation.report import Report
from lrnet_cli.evaluation.setup import EvaluationSetup
from lrnet_cli.report.page import write_report
from lrnet_cli.settings.requests import EvalRequest
from lrnet_cli.weights.card import WeightsCard
from lrnet_cli.weights.open import OpenNetwork

CLASSES = 300


@pytest.fixture
def page(tmp_path: Path) -> str:
    """Give the report on 300 classes, of which the last two are taken for each other ten times."""

    class Answers(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answers = (images[:, 0, 0, :2] * 255).round().long() @ torch.tensor([1, 256])
            return torch.nn.functional.one_hot(answers, CLASSES).float() * 9

    labels = torch.arange(CLASSES).repeat(10)
    answers = labels.clone()
    answers[labels == 298], answers[labels == 299] = 299, 298
    images = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = answers % 256, answers // 256
    arch_args = {"in_channels": 1, "image_size": 8, "num_classes": CLASSES}
    names = tuple(f"glyph {number}" for number in range(CLASSES))
    card = WeightsCard("lrnet", arch_args, names, "softmax", Preprocessing(8, 1, "mixed"), 0)
    (tmp_path / "w.safetensors").write_bytes(b"")
    network = Answers().eval()
    opened = OpenNetwork(card, network, network, torch.device("cpu"), "fp32", "cpu, fp32")
    setup = EvaluationSetup(tmp_path / "w.safetensors", opened, "glyphs", Split(images, labels))
    report = Report(EvalRequest(), setup, setup.evaluate())
    write_report(tmp_path / "report.html", report, "lrnet eval")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_of_many_classes_those_with_the_most_mistakes_are_in_the_matrix(page: str) -> None:
    assert "Of the 300 classes, the 40 with the most mistakes are shown" in page
    assert page.count("<button") == 1600 + 5
    assert 'aria-label="true glyph 298, predicted glyph 299: 10 images"' in page
    cells = json.loads(re.search(r'id="images" type="application/json">(.*?)</script>', page).group(1))
    assert len(cells["298,299"]) == len(cells["299,298"]) == 10
    assert len(page) < 3_000_000


def test_the_gallery_holds_the_surest_mistakes(page: str) -> None:
    gallery = page[page.index("h-mistakes") : page.index("h-settings")]
    assert gallery.count("<img") == 20
    assert "glyph 298 taken for <b>glyph 299</b>" in gallery


def test_what_was_not_measured_is_not_shown(page: str) -> None:
    assert "h-robustness" not in page
    assert "h-curves" not in page
