"""The report in a real browser: it renders, asks for nothing, and answers to mouse, keyboard and screen readers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lrnet_cli.evaluation.corruptions import CORRUPTIONS, measure_robustness
from lrnet_cli.evaluation.report import Report
from lrnet_cli.evaluation.setup import EvaluationSetup, load_setup
from lrnet_cli.models.engine import Engine
from lrnet_cli.report.page import write_report
from lrnet_cli.settings.requests import EvalRequest

HOSTILE = "<script>document.title='owned'</script>\"'&</title>{{7*7}}"
CPU = Engine(torch.device("cpu"))


@pytest.fixture(scope="module")
def setup(trained_run: Path) -> EvaluationSetup:
    setup = load_setup(trained_run / "model.safetensors", EvalRequest(limit=120), CPU)
    # Every text that comes from outside is hostile.
    names = (HOSTILE, "</script><img src=x onerror=alert(1)>", *setup.card.classes[2:])
    return replace(setup, dataset=HOSTILE, opened=replace(setup.opened, card=replace(setup.card, classes=names)))


@pytest.fixture(scope="module")
def report(setup: EvaluationSetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    few = replace(setup, split=setup.split.take(torch.arange(10)))
    robustness = measure_robustness(few.opened.network, few.split, few.card)
    report = Report(EvalRequest(), setup, setup.evaluate(), robustness=robustness)
    write_report(path, report, f"lrnet eval --dataset {HOSTILE}")
    return path


@pytest.fixture(params=[(375, 812, "light"), (375, 812, "dark"), (1280, 900, "light"), (1280, 900, "dark")])
def page(browser: Any, report: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Open the report in a window of a width, a height and a colour scheme; nothing may be said or asked for."""
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(report.as_uri())
    yield page
    assert said == []
    assert asked == [report.as_uri()]
    context.close()


def test_the_page_shows_all_its_parts(page: Any) -> None:
    assert page.locator("h2").all_inner_texts() == [
        "Headline figures",
        "Confusion matrix",
        "Classes",
        "Reliability",
        "Error of the accepted labels",
        "Most confident mistakes",
        "Robustness",
        "Training",
        "Settings and provenance",
    ]
    assert page.locator("svg").count() == len(CORRUPTIONS) + 3  # and reliability, accepted labels and curves
    assert [title.split(":")[0] for title in page.locator("h3").all_inner_texts()] == [
        "Corruptions like some in training",
        "Corruptions unlike any in training",
    ]
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 8


def test_nothing_is_wider_than_the_window(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_classes_are_sorted_and_filtered(page: Any) -> None:
    heading, names = page.locator("#classes thead button").nth(3), page.locator("#classes tbody th")
    values = page.locator("#classes tbody td:nth-child(4)").all_inner_texts()
    heading.click()
    assert page.locator("#classes tbody td:nth-child(4)").all_inner_texts() == sorted(values)
    heading.click()
    assert page.locator("#classes tbody td:nth-child(4)").all_inner_texts() == sorted(values, reverse=True)
    assert page.locator("#classes th[aria-sort=descending]").count() == 1
    page.locator("#filter").fill("7")
    shown = [name.inner_text() for name in names.all() if name.is_visible()]
    assert "7" in shown
    assert all("7" in name for name in shown)
    page.locator("#filter").fill("")
    assert all(name.is_visible() for name in names.all())


def test_texts_from_outside_are_text(page: Any) -> None:
    assert page.title() == f"lrnet-short on {HOSTILE}"
    assert page.locator("h1").inner_text() == f"lrnet-short on {HOSTILE}"
    assert page.locator("#matrix thead th").first.inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0


def test_text_is_told_from_its_ground(page: Any) -> None:
    contrast = """element => {
      const light = text => {
        const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const card = light(getComputedStyle(document.querySelector("section")).backgroundColor);
      const ink = light(getComputedStyle(element).color);
      return (Math.max(card, ink) + 0.05) / (Math.min(card, ink) + 0.05);
    }"""
    for selector in ("h2", ".soft", "dd", "svg", "td"):  # 4.5: WCAG 2.1, level AA
        assert page.locator(f"section {selector}").first.evaluate(contrast) >= 4.5, selector


def test_a_cell_shows_its_images(page: Any, setup: EvaluationSetup) -> None:
    evaluation = setup.evaluate()
    matrix = evaluation.metrics.confusion_matrix
    cell = page.locator("#matrix button[data-row='3'][data-column='3']")
    cell.click()
    assert cell.get_attribute("aria-pressed") == "true"
    images = page.locator("#cell li")
    assert images.count() == min(24, matrix[3][3])
    assert "true 3, predicted 3" in page.locator("#cell p").inner_text()
    shown = {int(text.split("#")[1].split(",")[0]) for text in images.all_inner_texts()}
    right = ((evaluation.labels == 3) & (evaluation.probabilities.argmax(1) == 3)).nonzero()[:, 0]
    assert shown <= set(right.tolist())
    empty = next(i for i in range(10) if matrix[2][i] == 0)
    page.locator(f"#matrix button[data-row='2'][data-column='{empty}']").click()
    assert page.locator("#cell li").count() == 0
    assert page.locator("#matrix button[aria-pressed=true]").count() == 1


def test_the_matrix_is_one_stop_for_the_keyboard(page: Any) -> None:
    page.locator("[aria-label='Confusion matrix, scrollable']").focus()
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    pressed = page.locator("#matrix button[aria-pressed=true]")
    assert (pressed.get_attribute("data-row"), pressed.get_attribute("data-column")) == ("1", "1")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#matrix')") is None


def test_parts_have_names_for_screen_readers(page: Any, setup: EvaluationSetup) -> None:
    tree = page.locator("body").aria_snapshot()
    for wanted in ('heading "Confusion matrix" [level=2]', "region", "Reliability diagram", 'img "image'):
        assert wanted in tree
    count = setup.evaluate().metrics.confusion_matrix[4][4]
    assert page.get_by_role("button", name=f"true 4, predicted 4: {count} image").count() == 1


@pytest.mark.parametrize("page", [(375, 812, "dark"), (1280, 900, "light")], indirect=True)
def test_screenshots_are_not_blank(page: Any, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    page.screenshot(path=tmp_path / "page.png", full_page=True)
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("L"), dtype=float)
    assert len(pixels) > 2000
    assert pixels[:600].std() > 10
