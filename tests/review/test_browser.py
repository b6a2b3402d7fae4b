"""The review page in a real browser, by real keys: nothing is lost, nothing is asked for, and names do no harm."""

import csv
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from lrnet_cli.data.readers.manifest import read
from lrnet_cli.review.collection import listed_items, suspects_to_review
from lrnet_cli.review.job import make_review
from lrnet_cli.review.page import write_pages
from lrnet_cli.runs.suspects import Suspect
from lrnet_cli.settings.requests import ReviewRequest

DESKTOP, PHONE = (1280, 800), (390, 844)
GLYPHS = Path(__file__).parents[3] / "shared" / "glyphs" / "train"
AXE = os.environ.get("LRNET_AXE")  # axe.min.js of the npm package axe-core, which .ci/run installs
HOSTILE = (
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=alert(1)>",
    "\u202eturned",
    "a,\"b'&",
)


@dataclass
class Window:
    """A page in a window, and what it said or asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    presses: int = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.presses += len(keys)
        self.drawn()

    def drawn(self) -> None:
        """Wait until the page has drawn what was done."""
        self.page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")

    def until(self, condition: str) -> None:
        """Wait until ``condition`` holds; Playwright's own way breaks the page's policy."""
        for _ in range(200):
            if self.page.evaluate(condition):
                return
            time.sleep(0.05)
        raise AssertionError(condition)

    def text(self, selector: str) -> str:
        self.drawn()
        return str(self.page.locator(selector).inner_text())

    def current(self) -> str:
        return str(self.page.locator(".cell.current").get_attribute("aria-label"))

    def saved(self) -> list[dict[str, str]]:
        """Download the list and return its rows."""
        with self.page.expect_download() as download:
            self.page.locator("[data-do=download]").click()
        with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def labels(self) -> dict[str, str]:
        """Return the answers in the saved list, by the name of the file."""
        return {Path(row["file_name"]).name: row["label"] for row in self.saved() if row["reviewed"] == "yes"}


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]}, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def opened(context: Any) -> Iterator[Callable[..., Window]]:
    """Give a function that opens a page; nothing may be asked for or go wrong in it."""
    windows = []

    def opening(path: Path) -> Window:
        window = Window(context.new_page())
        page = window.page
        page.on("console", lambda message: window.said.append(message.text))
        page.on("pageerror", lambda error: window.said.append(str(error)))
        page.on("dialog", lambda dialog: window.said.append(f"dialog {dialog.message}"))
        local = ("data:", "blob:")
        page.on("request", lambda one: None if one.url.startswith(local) else window.asked.append(one.url))
        page.goto(path.as_uri())
        windows.append((window, path))
        return window

    yield opening
    for window, path in windows:
        assert window.said == []
        assert set(window.asked) == {path.as_uri()}


def written(labels: dict[str, str], **request: Any) -> Path:
    """Write an image for each file name in ``labels``, a list of them, and the page on it."""
    folder = Path("images")
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0)
    with Path("list.csv").open("w", encoding="utf-8", newline="") as target:
        table = csv.writer(target)
        table.writerow(["file_name", "label"])
        for name, label in labels.items():
            Image.fromarray(noise.integers(0, 256, (12, 10), dtype=np.uint8)).save(folder / name, format="PNG")
            table.writerow([f"images/{name}", label])
    output = Path("page.html").resolve()
    make_review(ReviewRequest(source=Path("list.csv"), output=output, **request))
    return output


@pytest.fixture
def fruit(isolated_user: Path) -> Path:
    """Give a page on ten apples and five pears, without probabilities."""
    names = {f"{n:02}.png": "apple" if n < 10 else "pear" for n in range(15)}
    return written(names)


def test_enter_confirms_a_group_and_goes_to_the_next(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    assert window.text("#count") == "0 of 15 answered, 15 left"
    window.press("Enter")
    assert "10 images confirmed. Next: pear." in window.text("#said")
    assert window.current() == "10.png: pear"
    window.press("Enter")
    assert window.text("#count") == "15 of 15 answered, 0 left"
    assert "All images are answered" in window.text("#said")
    rows = window.saved()
    assert [(row["label"], row["reviewed"], row["previous"]) for row in rows] == [
        *[("apple", "yes", "apple")] * 10,
        *[("pear", "yes", "pear")] * 5,
    ]
    assert rows[0]["file_name"] == str((fruit.parent / "images" / "00.png").resolve())


def test_marked_images_are_not_confirmed_but_labelled_afterwards(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    window.press("ArrowRight", "Space", "ArrowRight", "ArrowRight", "Space", "Enter")
    assert "8 images confirmed. Now label those that you marked." in window.text("#said")
    assert window.current() == "01.png: marked as wrong, apple"
    window.press("p")
    assert window.page.locator("#options [role=option]").first.inner_text().startswith("pear")
    window.press("Enter")
    assert window.current() == "03.png: marked as wrong, apple"
    window.press("Delete", "]")
    assert window.current() == "10.png: pear"
    assert window.labels() == {f"{n:02}.png": {1: "pear", 3: ""}.get(n, "apple") for n in range(10)}


def test_keys_move_and_select(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    moves = {"ArrowRight": "01", "End": "09", "Home": "00", "ArrowDown": "09", "ArrowUp": "00", "Control+End": "14"}
    window.page.evaluate("grid.size = 2; grid.arrange()")
    assert window.page.evaluate("grid.columns") == 9
    for key, name in moves.items():
        window.press(key)
        assert window.current().startswith(f"{name}.png"), key
    window.press("Control+Home", "Shift+ArrowRight", "Shift+ArrowRight")
    assert window.page.locator("#grid [aria-selected=true]").count() == 3
    assert window.text("#state") == "3 images are selected"
    window.press("/")
    assert window.text("#picker h2") == "Label of 3 images"
    window.page.keyboard.type("quince")
    assert window.text("#options") == "New label: quince"
    window.press("Enter")
    assert window.labels() == dict.fromkeys(("00.png", "01.png", "02.png"), "quince")
    window.press("Home", "Control+a", "x")
    assert set(window.labels().values()) == {""}
    window.press("Escape")
    assert window.page.locator("#grid [aria-selected=true]").count() == 1
    window.press("q")
    assert window.text("#options").split("\n")[0] == "quince"


def test_letters_are_commands_only_where_no_label_begins_with_them(
    isolated_user: Path, opened: Callable[..., Window]
) -> None:
    window = opened(written({"0.png": "n", "1.png": "x", "2.png": "x", "3.png": "s", "4.png": "xylem"}))
    window.press("Control+Home", "n")
    assert list(window.labels().values()) == ["n"]
    window.press("x")  # which also begins another label
    assert window.text("#options").split("\n")[0] == "x"
    window.press("Escape", "?")
    shown = window.text("#help")
    assert "Undo" in shown
    assert "X\n" not in shown.replace(" ", "\n")
    window.press("Escape", "Delete")
    assert sorted(window.labels().values()) == ["", "n"]


def test_each_step_is_undone_and_done_again_also_after_a_reload(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    window.press("Delete", "Space", "Enter")
    assert window.text("#count").startswith("9 of 15")
    window.page.reload()
    assert window.text("#count").startswith("9 of 15")
    window.press("Control+z")
    assert window.text("#count").startswith("1 of 15")
    window.press("Control+z", "Control+z")
    assert window.text("#count").startswith("0 of 15")
    window.press("Control+z")
    assert window.text("#said") == "There is nothing to undo."
    window.press("Control+Shift+z", "Control+y", "Control+y", "Control+y")
    assert window.text("#said") == "There is nothing to do again."
    assert window.labels() == {"00.png": ""} | {f"{n:02}.png": "apple" for n in range(2, 10)}
    window.page.reload()
    assert window.text("#count").startswith("9 of 15")
    assert window.page.locator(".cell.wrong").count() == 1


def test_two_tabs_share_the_work(fruit: Path, opened: Callable[..., Window]) -> None:
    first, second = opened(fruit), opened(fruit)
    first.page.bring_to_front()
    first.press("Delete")
    second.page.bring_to_front()
    second.until("answers.answered === 1")
    second.press("Control+End", "Delete")
    first.until("answers.answered === 2")
    second.press("Control+z")
    first.until("answers.answered === 1")
    assert first.labels() == second.labels() == {"00.png": ""}
    # What both change at nearly the same time, in one block of images, is kept.
    first.page.evaluate("for (let n = 1; n < 8; n += 1) answers.change([[n, NOTHING, 0]], 0)")
    second.page.evaluate("for (let n = 8; n < 15; n += 1) answers.change([[n, NOTHING, 0]], 0)")
    for tab in (first, second, third := opened(fruit)):
        tab.until("answers.answered === 15")
    for tab in (first, second):
        tab.page.close()
    third.page.reload()
    assert third.text("#count").startswith("15 of 15")


def test_a_full_storage_is_reported_and_loses_nothing(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    window.press("Delete")
    fill = """() => { let size = 4 << 20; while (size > 0) {
        try { localStorage.setItem("fill" + size + Math.random(), "x".repeat(size)); } catch { size >>= 1; } } }"""
    window.page.evaluate(fill)
    assert not window.page.locator("#trouble").is_visible()
    window.press("Delete", "Delete")
    assert "Save the list now" in window.text("#trouble")
    assert window.text("#count").startswith("3 of 15")
    assert len(window.labels()) == 3
    window.page.evaluate(
        "Object.keys(localStorage).filter((k) => k.startsWith('fill')).forEach((k) => localStorage.removeItem(k))"
    )
    window.press("Delete")
    window.text("#count")
    assert not window.page.locator("#trouble").is_visible()
    window.page.reload()
    assert window.text("#count").startswith("4 of 15")


def test_a_browser_without_storage_says_so(fruit: Path, context: Any, opened: Callable[..., Window]) -> None:
    context.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new Error('off'); }})")
    window = opened(fruit)
    window.press("Delete")
    assert "Save the list now" in window.text("#trouble")
    assert len(window.labels()) == 1


def test_the_list_is_written_in_place_where_the_browser_can(
    fruit: Path, context: Any, opened: Callable[..., Window]
) -> None:
    context.add_init_script("""window.texts = []; window.asked = 0;
        window.showSaveFilePicker = async ({ suggestedName }) => {
          window.asked += 1;
          const target = { write: async (text) => window.texts.push(text), close: async () => {} };
          return { name: suggestedName, createWritable: async () => target };
        };""")
    window = opened(fruit)
    window.press("Delete")
    assert window.page.locator("#unsaved").is_visible()
    window.press("Control+s")
    window.until("window.texts.length === 1")
    assert window.text("#said") == "Saved page-reviewed.csv."
    assert not window.page.locator("#unsaved").is_visible()
    window.press("Delete", "s")
    window.until("window.texts.length === 2")
    assert window.page.evaluate("window.asked") == 1
    assert window.page.evaluate("window.texts[1]").count(",yes,") == 2


def test_a_saved_list_is_taken_over_by_another_page(fruit: Path, opened: Callable[..., Window], context: Any) -> None:
    window = opened(fruit)
    window.press("Delete", "q")
    window.page.keyboard.type("uince")
    window.press("Enter")
    with window.page.expect_download() as download:
        window.page.locator("[data-do=download]").click()
    answers = Path("answers.csv")
    download.value.save_as(answers)
    window.page.evaluate("localStorage.clear(); sessionStorage.clear()")
    window.page.reload()
    assert window.text("#count").startswith("0 of 15")
    window.page.locator("#chosen-file").set_input_files(answers)
    window.until("answers.answered === 2")
    assert window.labels() == {"00.png": "", "01.png": "quince"}
    # The same answers stand in a page that is made with them.
    again = fruit.with_name("again.html")
    make_review(ReviewRequest(source=Path("list.csv"), answers=(str(answers),), output=again))
    assert opened(again).text("#count").startswith("2 of 15")


def test_the_saved_list_trains(isolated_user: Path, opened: Callable[..., Window], lrnet: Callable[..., Any]) -> None:
    digits = load_digits()
    folder = Path("images")
    folder.mkdir()
    rows = ["file_name,label"]
    for number in range(300):
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(folder / f"{number:03}.png")
        rows.append(f"images/{number:03}.png,{digits.target[number]}")
    Path("list.csv").write_text("\n".join(rows) + "\n")
    page = Path("page.html").resolve()
    make_review(ReviewRequest(source=Path("list.csv"), output=page))
    window = opened(page)
    window.press("Delete", "7")
    with window.page.expect_download() as download:
        window.page.locator("[data-do=download]").click()
    download.value.save_as("reviewed.csv")
    assert sum(len(part.labels) for part in read(Path("reviewed.csv")).parts.values()) == 299
    result = lrnet("train --dataset reviewed.csv --image-size 8 --epochs 1 --seed 0 --out run --json")
    assert result.exit_code == 0
    assert "left out 1 image reviewed as none of the classes" in result.stderr


def test_names_do_no_harm(isolated_user: Path, opened: Callable[..., Window]) -> None:
    names = {f"{number} {label.replace('/', '')}.png": label for number, label in enumerate(HOSTILE)}
    window = opened(written(names))
    assert window.page.title() == "list: review"
    assert window.page.locator("img").count() == 0
    assert window.page.locator("script").count() == 3  # the thumbnails, the data and the page's own
    for _ in HOSTILE:
        window.press("Enter")
    window.press("/")
    options = window.text("#options")
    assert "\\u202eturned" in options
    assert "\u202e" not in options
    window.press("Escape")
    rows = window.saved()
    assert {Path(row["file_name"]).name: row["label"] for row in rows} == names
    for _ in names:
        window.press("ArrowRight")
        window.text("#count")
        link = window.page.evaluate("document.getElementById('file').href")
        assert Path(url2pathname(urlsplit(link).path)).is_file()
    window.page.reload()
    assert window.text("#count").startswith("4 of 4")


def test_an_audit_does_not_show_what_the_labels_are(isolated_user: Path, opened: Callable[..., Window]) -> None:
    names = {f"{n}.png": str(n % 3) for n in range(6)}
    window = opened(written(names, audit=True))
    shown = window.page.locator("body").inner_text()
    assert "To be answered afresh" in shown
    assert window.text("#state") == "What is it?"
    labels = [cell.get_attribute("aria-label") for cell in window.page.locator(".cell").all()]
    assert labels == [f"{n}.png: no label" for n in range(6)]
    assert window.page.locator("#likely button").count() == 0
    window.press("0", "1", "1", "Enter")
    assert window.text("#picker h2") == "Label of 3.png"
    window.press("Escape", "Delete", "2", "2")
    assert window.text("#count").startswith("6 of 6")
    rows = window.saved()
    assert [row["label"] for row in rows] == ["0", "1", "1", "", "2", "2"]
    assert [row["previous"] for row in rows] == ["0", "1", "2", "0", "1", "2"]


def test_the_audit_of_a_promise_is_answered_in_the_page(
    isolated_user: Path, opened: Callable[..., Window], lrnet: Callable[..., Any], trained_run: Path
) -> None:
    digits = load_digits()
    folder = Path("scans")
    folder.mkdir()
    for number in range(120):
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(folder / f"{number:03}.png")
    assert lrnet(f"predict scans --weights {trained_run} --max-error 0.1 --output labels.csv").exit_code == 0
    labels = csv.DictReader(Path("labels.csv").read_text(encoding="utf-8").splitlines())
    accepted = {str(Path(row["path"]).resolve()): row["label"] for row in labels if row["index"]}
    assert lrnet("audit labels.csv --n 30 --seed 0").exit_code == 0
    assert lrnet("review labels-audit.csv --audit").exit_code == 0
    sample = csv.DictReader(Path("labels-audit.csv").read_text(encoding="utf-8").splitlines())
    drawn = [row["file_name"] for row in sample]
    truth = {name: str(digits.target[int(Path(name).stem)]) for name in drawn}
    wrong = sum(accepted[name] != truth[name] for name in drawn)

    def verdict(*keys: str) -> str:
        """Return what the audit says after these answers in a new page."""
        window = opened(Path("labels-audit-review.html").resolve())
        window.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        window.page.reload()
        window.press("Control+Home", *keys)
        with window.page.expect_download() as download:
            window.page.locator("[data-do=download]").click()
        assert download.value.suggested_filename == "labels-audit-reviewed.csv"
        download.value.save_as("labels-audit-reviewed.csv")
        window.page.close()
        result = lrnet("audit labels.csv --answers labels-audit-reviewed.csv --max-error 0.1")
        assert result.exit_code == 0
        return str(result.stdout)

    said = verdict(*truth.values())
    assert f"{wrong} of 30 checked labels are wrong.\nOf all {len(accepted)} accepted labels" in said
    assert "The audit does not contradict the promised error of 10%." in said
    [first, *others] = truth.values()
    said = verdict("Delete", *others[:-1])  # none of the classes; and the last one is not answered
    wrong += (accepted[drawn[0]] == first) - (accepted[drawn[-1]] != truth[drawn[-1]])
    assert f"{wrong} of 29 checked labels are wrong." in said
    assert "1 labels of the list are not checked" in said


def test_duplicates_are_kept_dropped_or_relabelled_side_by_side(
    isolated_user: Path, opened: Callable[..., Window], lrnet: Callable[..., Any]
) -> None:
    written({f"{n}.png": str(n % 2) for n in range(6)})
    rows = Path("list.csv").read_text(encoding="utf-8")
    for number, label in ((0, "0"), (2, "1"), (3, "7")):
        (Path("images") / f"{number}-copy.png").write_bytes((Path("images") / f"{number}.png").read_bytes())
        rows += f"images/{number}-copy.png,{label}\n"
    Path("list.csv").write_text(rows, encoding="utf-8")
    assert lrnet("check list.csv --report check.html").exit_code == 3
    assert 'href="check-copies.html"' in Path("check.html").read_text(encoding="utf-8")
    window = opened(Path("check-copies.html").resolve())
    groups = window.page.evaluate("grid.groups.map((group) => group.title)")
    assert groups == ["Duplicates with different labels", "Duplicates in one split"]
    cells = [cell.get_attribute("aria-label") for cell in window.page.locator(".cell").all()]
    assert [cell.split(":")[0] for cell in cells] == [
        *("2.png", "2-copy.png", "3.png", "3-copy.png"),
        *("0.png", "0-copy.png"),
    ]
    boxes = [cell.bounding_box() for cell in window.page.locator(".cell").all()]
    for first, second in zip(boxes[::2], boxes[1::2], strict=True):
        assert second["y"] == first["y"]
        assert 0 < second["x"] - first["x"] - first["width"] < 20
    window.press("Control+Home", "ArrowRight", "0", "ArrowRight", "Delete", "Control+Home", "Enter", "Enter")
    labels = {Path(row["file_name"]).name: (row["label"], row["reviewed"]) for row in window.saved()}
    assert labels == {
        "2.png": ("0", "yes"),
        "2-copy.png": ("0", "yes"),
        "3.png": ("1", "yes"),
        "3-copy.png": ("", "yes"),
        "0.png": ("0", "yes"),
        "0-copy.png": ("0", "yes"),
        **{f"{n}.png": (str(n % 2), "") for n in (1, 4, 5)},
    }


def test_suspects_keep_their_label_or_take_the_suggested_one(
    isolated_user: Path, opened: Callable[..., Window]
) -> None:
    written({f"{n}.png": "1" for n in range(4)})
    rows = [f"images/{n}.png,1,{7 if n < 3 else 9},0.0{n}" for n in range(4)]
    Path("suspects.csv").write_text("\n".join(["file,given,suggested,score", *rows]) + "\n")
    page = Path("suspects.html").resolve()
    make_review(ReviewRequest(source=Path("suspects.csv"), output=page))
    window = opened(page)
    assert window.text("#state") == "Labelled 1; suggested: 7"
    assert window.page.locator(".cell span").first.inner_text() == "was 1"
    window.press("ArrowRight", "Control+k", "Enter", "Enter")
    assert [(row["label"], row["previous"]) for row in window.saved()] == [
        ("7", "1"),
        ("1", "1"),
        ("7", "1"),
        ("9", "1"),
    ]


def test_the_mistakes_of_the_tutorial_are_corrected_in_the_page(
    isolated_user: Path, opened: Callable[..., Window], lrnet: Callable[..., Any]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "tutorials" / "collection.md").read_text(encoding="utf-8")
    exec(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0], {})
    truth = [str(label) for label in load_digits().target]
    truth.append(truth[400])
    rows = list(csv.DictReader(Path("scans.csv").read_text().splitlines()))
    wrong = [n for n, row in enumerate(rows) if row["label"] != truth[n]]
    damaged = (123, 456)
    # The networks suspect the wrong training labels and two right ones.
    suspects = [
        Suspect(str(Path(rows[n]["file_name"]).resolve()), rows[n]["label"], truth[n] if n in wrong else "1", 0.01)
        for n in (*wrong, 5, 129)
        if rows[n]["split"] == "train" and n not in damaged
    ]
    review = suspects_to_review("folds", suspects, listed_items(Path("scans.csv").resolve()))
    page = Path("suspects.html").resolve()
    write_pages(page, review)
    window = opened(page)
    for cell, item in enumerate(review.items):
        window.page.evaluate(f"moveTo({cell})")
        number = int(item.file.stem)
        if number == 1797:
            window.press("Delete")
        elif number not in wrong:
            window.press("k")
    while not window.text("#count").endswith(" 0 left"):
        window.press("Enter")
    with window.page.expect_download() as download:
        window.page.locator("[data-do=download]").click()
    assert download.value.suggested_filename == "suspects-reviewed.csv"
    download.value.save_as("suspects-reviewed.csv")
    # The network disagrees with the wrong test labels, too.
    tested = [n for n, row in enumerate(rows) if row["split"] == "test"]
    predictions = [f"{n},{rows[n]['file_name']},{rows[n]['label']},{truth[n]},0.99,{n not in wrong}" for n in tested]
    Path("test.csv").write_text("\n".join(["index,path,true,predicted,probability,correct", *predictions]) + "\n")
    assert lrnet("review test.csv --output test.html").exit_code == 0
    window = opened(Path("test.html").resolve())
    while not window.text("#count").endswith(" 0 left"):
        label = window.page.evaluate("data.labels[data.guesses[grid.items[grid.current]][0][0]]")
        window.press(
            "Enter" if label == window.page.evaluate("grid.groups[grid.groupOf[grid.current]].title") else label
        )
    with window.page.expect_download() as download:
        window.page.locator("[data-do=download]").click()
    download.value.save_as("test-reviewed.csv")
    joined = lrnet("review suspects-reviewed.csv --answers test-reviewed.csv --output scans-corrected.csv")
    assert joined.exit_code == 0
    corrected = list(csv.DictReader(Path("scans-corrected.csv").read_text().splitlines()))
    labels = {int(Path(row["file_name"]).stem): row["label"] for row in corrected}
    expected = {n: rows[n]["label"] if n in damaged else truth[n] for n in range(len(rows))}
    assert labels == expected | {1797: ""}
    assert [(row["split"], row["group"]) for row in corrected] == [(row["split"], row["group"]) for row in rows]


def test_a_thousand_digits_with_twenty_wrong_labels_take_few_keys(
    isolated_user: Path, opened: Callable[..., Window], trained_run: Path
) -> None:
    """A person sees what is in an image, moves by the arrow keys, types a digit where it is wrong, and confirms."""
    digits, drawn = load_digits(), random.Random(0)
    wrong = set(drawn.sample(range(1000), 20))
    folder = Path("images")
    folder.mkdir()
    rows = ["file_name,label"]
    for number in range(1000):
        Image.fromarray((digits.images[number] * 15).astype("uint8")).save(folder / f"{number:04}.png")
        label = int(digits.target[number])
        rows.append(f"images/{number:04}.png,{(label + drawn.randint(1, 9)) % 10 if number in wrong else label}")
    Path("list.csv").write_text("\n".join(rows) + "\n")
    page = Path("page.html").resolve()
    make_review(ReviewRequest(source=Path("list.csv"), weights=str(trained_run), output=page))
    window = opened(page)

    def truth(name: str) -> str:
        return str(digits.target[int(name.split(".", maxsplit=1)[0])])

    def wrong_in_sight() -> list[tuple[int, str]]:
        """Return cell and right label of the images of this group that a person would see to be wrong."""
        cells = window.page.evaluate("""() => { const group = grid.groups[grid.groupOf[grid.current]];
            return Array.from({length: grid.seenUntil(group) - group.start}, (_, n) => group.start + n)
              .filter(isOpen).map((cell) => [cell, grid.items[cell]])
              .map(([cell, item]) => [cell, data.names[item], data.labels[proposalOf(item)]]); }""")
        return [(cell, truth(name)) for cell, name, label in cells if truth(name) != label]

    while not window.text("#count").startswith("1,000 of"):
        while seen := wrong_in_sight():
            cell, label = seen[0]
            while (current := window.page.evaluate("grid.current")) != cell:
                rows_apart = window.page.evaluate(f"grid.rowOf[{cell}] - grid.rowOf[grid.current]")
                if rows_apart:
                    window.press("ArrowDown" if rows_apart > 0 else "ArrowUp")
                else:
                    window.press("ArrowRight" if cell > current else "ArrowLeft")
            window.press(label)
        window.press("Enter")
        assert window.presses < 400
    assert window.labels() == {f"{number:04}.png": str(digits.target[number]) for number in range(1000)}
    assert window.presses <= 150 + len(wrong)


def test_glyphs_of_a_hundred_classes_are_corrected_by_search(
    isolated_user: Path, opened: Callable[..., Window]
) -> None:
    if not GLYPHS.is_dir():
        pytest.skip("no glyphs beside this checkout (../shared/glyphs)")
    classes = sorted(folder for folder in GLYPHS.iterdir() if folder.is_dir())[:100]
    files = [file for folder in classes for file in sorted(folder.iterdir())[:3]]
    drawn, names = random.Random(0), [folder.name for folder in classes]
    wrong = {
        n: drawn.choice([name for name in names if name != files[n].parent.name]) for n in drawn.sample(range(300), 15)
    }
    rows = [f"{file},{wrong.get(number, file.parent.name)}" for number, file in enumerate(files)]
    Path("list.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    page = Path("page.html").resolve()
    made = make_review(ReviewRequest(source=Path("list.csv"), output=page))
    assert (made.images, len(names)) == (300, 100)
    window = opened(page)
    truth = {str(file): file.parent.name for file in files}
    for cell in range(300):
        name, label = window.page.evaluate(
            f"[data.folder + data.names[grid.items[{cell}]], data.labels[proposalOf(grid.items[{cell}])]]"
        )
        if truth[name] != label:
            window.page.evaluate(f"moveTo({cell})")
            window.press("/")
            for character in truth[name]:  # until the right label is the first of those that begin so
                window.press(character)
                if window.text("[role=option] >> nth=0").split()[0] == truth[name]:
                    break
            window.press("Enter")
    window.press("Control+Home")
    while not window.text("#count").startswith("300 of"):
        window.press("Enter")
        assert window.presses < 400
    assert {row["file_name"]: row["label"] for row in window.saved()} == truth
    assert window.presses <= 170


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_many_images_are_in_the_page_but_few_in_the_document(
    isolated_user: Path, opened: Callable[..., Window], size: tuple[int, int]
) -> None:
    window = opened(written({f"{n:04}.png": str(n % 2) for n in range(1500)}))
    window.page.set_viewport_size({"width": size[0], "height": size[1]})
    window.press("Control+End")
    assert window.current() == "1499.png: 1"
    assert window.page.locator("[role=gridcell]:visible").count() < 250
    assert window.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    box = window.page.locator(".cell.current").bounding_box()
    view = window.page.locator("#grid").bounding_box()
    assert view["y"] <= box["y"] <= box["y"] + box["height"] <= view["y"] + view["height"]
    window.until("document.querySelector('.cell.current i').style.backgroundImage.startsWith('url(\"blob:')")


def test_buttons_do_what_keys_do_on_a_phone(fruit: Path, opened: Callable[..., Window]) -> None:
    window = opened(fruit)
    window.page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    window.page.locator("[role=gridcell]").nth(2).click()
    window.page.locator("[data-do=nothing]").click()
    window.page.locator("[role=gridcell]").nth(3).click()  # it has become the current one: this marks it
    window.page.locator("[data-do=confirm]").click()
    assert window.text("#count").startswith("9 of 15")
    window.page.locator("[data-do=label]").click()
    window.page.locator("[role=option]", has_text="pear").click()
    window.page.locator("[data-do=undo]").click()
    window.page.locator("[data-do=redo]").click()
    assert window.text("#count").startswith("10 of 15")
    for button in window.page.locator("footer button, .tools button").all():
        if button.is_visible():
            assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 44


@contextmanager
def seen_as(browser: Any, path: Path, size: tuple[int, int], scheme: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(path.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_has_no_complaint(fruit: Path, browser: Any, size: tuple[int, int], scheme: str) -> None:
    if AXE is None or not Path(AXE).is_file():
        pytest.skip("LRNET_AXE names no axe.min.js (npm install axe-core)")
    with seen_as(browser, fruit, size, scheme) as page:
        page.add_script_tag(path=AXE)
        states = {
            "at first": (),
            "answered": ("Delete", "Space", "ArrowRight", "ArrowRight", "Shift+ArrowRight", "Enter"),
            "choosing": ("/",),
            "help": ("Escape", "?"),
        }
        for name, keys in states.items():
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(200)
            result = page.evaluate("() => axe.run()")
            found = [(one["id"], [node["html"][:120] for node in one["nodes"][:2]]) for one in result["violations"]]
            assert found == [], name
