"""What is shown to a person: from lists of every kind, in which order, and what comes back."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lrnet_cli.data.datasets import load_dataset
from lrnet_cli.data.readers.manifest import read, read_answers
from lrnet_cli.errors import DataError
from lrnet_cli.reporter import Reporter
from lrnet_cli.review.collection import audited, grouped, read_items
from lrnet_cli.review.job import make_review
from lrnet_cli.review.page import write_pages
from lrnet_cli.review.sprites import Sheet, Sprites
from lrnet_cli.settings.requests import ReviewRequest


@pytest.fixture(autouse=True)
def scans(isolated_user: Path) -> Path:
    """Write six images to ``scans/``, beside which the tests work."""
    folder = isolated_user / "scans"
    folder.mkdir()
    for number in range(6):
        Image.fromarray(np.full((12, 9), 40 * number, np.uint8)).save(folder / f"{number}.png")
    return folder


def lines(path: str, *rows: str) -> Path:
    Path(path).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Path(path)


def rows_of(path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(Path(path).read_text(encoding="utf-8").splitlines()))


def test_answers_of_a_person_among_predictions_are_kept() -> None:
    source = lines(
        "merged.csv",
        "path,label,index,probability,novelty,inverted,error,reviewed",
        "scans/0.png,griffin,,0.0,0.1,False,,yes",
        "scans/1.png,none of these,,0.4,0.1,False,,yes",
        "scans/2.png,one,0,0.99,0.1,False,,yes",
        "scans/3.png,one,0,0.5,3.0,False,,",
    )
    items, _ = read_items(source)
    assert [item.answer for item in items] == ["griffin", "", "one", None]
    assert [item.label for item in items] == ["griffin", "", "one", "one"]


def test_unknown_images_have_the_likeliest_labels_to_choose_from() -> None:
    source = lines(
        "labels.csv",
        "path,label,index,probability,novelty,inverted,error,label_1,probability_1,label_2,probability_2",
        "scans/0.png,unknown,,0.6,3.0,False,,one,0.6,seven,0.3",
        "scans/1.png,seven,1,0.9,0.1,False,,seven,0.9,one,0.05",
    )
    items, _ = read_items(source)
    assert [item.guesses for item in items] == [
        (("one", 0.6), ("seven", 0.3)),
        (("seven", 0.9), ("one", 0.05)),
    ]


def test_predictions_are_grouped_by_label_with_the_least_certain_first() -> None:
    source = lines(
        "labels.csv",
        "path,label,index,probability,novelty,inverted,error,label_2,probability_2",
        "scans/0.png,seven,1,0.9,0.1,False,,one,0.05",
        "scans/1.png,seven,1,0.4,0.1,True,,one,0.3",
        "scans/2.png,one,0,0.99,0.1,False,,seven,0.01",
        "scans/3.png,unknown,,0.5,3.0,False,,one,0.4",
        "scans/4.png,,,,,,is empty,,",
    )
    items, remarks = read_items(source)
    review = grouped("labels", items, remarks)
    assert [(group.title, group.kind, len(group.numbers)) for group in review.groups] == [
        ("seven", "label", 2),
        ("without a label", "unlabelled", 1),
        ("one", "label", 1),
    ]
    assert [item.file.name for item in review.items] == ["1.png", "0.png", "3.png", "2.png"]
    assert review.items[0].guesses == (("seven", 0.4), ("one", 0.3))
    assert [item.invert for item in review.items[:2]] == ["yes", "no"]
    assert review.remarks == ("1 image is left out because it could not be read when predicted.",)


def test_rows_of_every_kind_name_the_same_images(scans: Path) -> None:
    top = [{"label": "a", "probability": 0.7}, {"label": "b", "probability": 0.3}]
    record = {"path": str(scans / "0.png"), "label": "a", "index": 0, "probability": 0.7, "top": top, "inverted": False}
    sources = [
        lines("p.jsonl", json.dumps(record)),
        lines("e.csv", "index,path,true,predicted,probability,correct", f"0,{scans / '0.png'},a,b,0.9,False"),
        lines("s.csv", "file,given,suggested,score", f"{scans / '0.png'},a,b,0.01"),
        lines("m.csv", "file_name,label", "scans/0.png,a"),
    ]
    for source in sources:
        [item], _ = read_items(source)
        assert (item.path, item.label) == (str(scans / "0.png"), "a"), source
    [suspect], _ = read_items(sources[2])
    assert (suspect.proposal, suspect.guesses[0][0]) == ("b", "b")
    [mistake], _ = read_items(sources[1])
    assert (mistake.proposal, mistake.guesses) == ("a", (("b", 0.9),))
    assert len(read_items(scans)[0]) == 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,b", "1,2"], "has the columns a, b"),
        (["file_name,label"], "lists no images"),
        (["path,label,index,probability", "x.png,a,0,high"], "row 2: 'high' is not a number"),
        (["file_name,label,reviewed", "x.png,a,maybe"], "reviewed is 'maybe'"),
    ],
)
def test_a_list_that_is_none_is_refused_with_what_is_wrong(rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_items(lines("list.csv", *rows))


def test_an_image_that_could_not_be_read_does_not_hide_what_the_list_is() -> None:
    rows = [{"path": "a.png", "error": "is damaged"}, {"path": "b.png", "label": "3", "index": 3, "probability": 0.9}]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    items, remarks = read_items(Path("rows.jsonl"))
    assert [item.label for item in items] == ["3"]
    assert "1 image is left out" in remarks[0]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, [rows[1], {"path": "c.png", "label": "3"}])))
    with pytest.raises(DataError, match="a row has no 'probability', which others have"):
        read_items(Path("rows.jsonl"))


def test_an_audit_shows_no_label_in_any_order_or_guess() -> None:
    items, _ = read_items(lines("m.csv", "file_name,label", "scans/2.png,b", "scans/0.png,a", "scans/1.png,b"))
    review = audited("m", items)
    assert [item.file.name for item in review.items] == ["2.png", "0.png", "1.png"]
    assert {item.proposal for item in review.items} == {""}
    assert [group.kind for group in review.groups] == ["audit"]


def test_answers_stand_and_the_list_holds_them_beside_the_labels_before(scans: Path) -> None:
    lines("m.csv", "file_name,label,split,group", "scans/0.png,a,train,p1", "scans/1.png,b,test,p2", "scans/2.png,b,,")
    lines("answers.csv", "file_name,label,reviewed,previous", f"{scans / '1.png'},c,yes,b", f"{scans / '2.png'},,yes,b")
    made = make_review(ReviewRequest(source=Path("m.csv"), answers=("answers.csv",), output=Path("all.csv")))
    assert (made.images, made.answers) == (3, 2)
    rows = rows_of("all.csv")
    assert [(row["label"], row["reviewed"], row["previous"], row["split"], row["group"]) for row in rows] == [
        ("a", "", "a", "train", "p1"),
        ("c", "yes", "b", "test", "p2"),
        ("", "yes", "b", "train", ""),
    ]
    assert read_answers(Path("all.csv")) == {str(scans / "1.png"): "c", str(scans / "2.png"): ""}
    [_, second, third], _ = read_items(Path("all.csv"))
    assert (second.label, second.answer, third.answer) == ("b", "c", "")


def test_a_list_with_answers_is_not_written_over(lrnet: Callable[..., Any]) -> None:
    lines("m.csv", "file_name,label", "scans/0.png,a")
    kept = lines("answers.csv", "file_name,label,reviewed,previous", "scans/0.png,c,yes,a").read_text()
    refused = lrnet("review m.csv --output answers.csv")
    assert (refused.exit_code, "answers.csv: exists already" in refused.stderr) == (2, True)
    assert Path("answers.csv").read_text() == kept
    assert lrnet("review m.csv --answers answers.csv --output answers.csv").exit_code == 0  # which holds them all
    assert [row["label"] for row in rows_of("answers.csv")] == ["c"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_and_a_number_for_a_file_are_refused_in_a_sentence(lrnet: Callable[..., Any]) -> None:
    os.mkfifo("pipe.csv")
    assert lrnet("review pipe.csv").exit_code == 1
    lines("s.jsonl", '{"file": 3, "given": "a", "suggested": "b", "score": 0.5}')
    assert "3: " in lrnet("review s.jsonl").stderr


def test_a_prediction_without_a_probability_of_its_own_is_the_least_certain() -> None:
    [item], _ = read_items(lines("rows.csv", "path,true,predicted,probability,p_a", "scans/0.png,a,b,0.7,0.3"))
    assert item.label == "a"


def test_answers_to_other_images_are_counted(lrnet: Callable[..., Any]) -> None:
    lines("m.csv", "file_name,label", "scans/0.png,a")
    lines("answers.csv", "file_name,label,reviewed,previous", "scans/0.png,c,yes,a", "scans/1.png,c,yes,b")
    result = lrnet("review m.csv --answers answers.csv --output all.csv")
    assert result.exit_code == 0
    assert "answers.csv: left out 1 of its 2 answers, to images not in m.csv." in result.stderr
    assert [row["label"] for row in rows_of("all.csv")] == ["c"]


def test_a_single_run_has_no_suspects(trained_run: Path) -> None:
    with pytest.raises(DataError, match="is a single run"):
        make_review(ReviewRequest(source=trained_run, output=Path("page.html")))


def test_what_a_person_called_none_of_the_classes_is_not_trained_on(scans: Path) -> None:
    rows = [f"scans/{n}.png,{'ab'[n % 2]},yes,a" for n in range(4)]
    source = lines("m.csv", "file_name,label,reviewed,previous", *rows, "scans/4.png,,yes,a", "scans/5.png,,,")
    raw = read(source)
    assert len(raw.train.labels) == 4
    assert raw.left_out == {"images reviewed as none of the classes": 1, "images without a label yet": 1}
    said: list[str] = []
    for number in range(20):
        Image.effect_noise((8, 8), 60).save(scans / f"more-{number}.png")
    rows = [f"scans/more-{n}.png,{'ab'[n % 2]},yes,a" for n in range(20)]
    lines("more.csv", "file_name,label,reviewed,previous", *rows, "scans/4.png,,yes,a")
    reporter = Reporter()
    reporter.message = said.append  # type: ignore[method-assign]
    load_dataset("more.csv", reporter=reporter)
    assert "more: left out 1 image reviewed as none of the classes." in said
    with pytest.raises(DataError, match="row 2: has no label"):
        read(lines("plain.csv", "file_name,label", "scans/0.png,"))


def test_answers_from_a_list_that_nobody_reviewed_are_refused() -> None:
    lines("m.csv", "file_name,label", "scans/0.png,a")
    with pytest.raises(DataError, match="has no column reviewed"):
        read_answers(Path("m.csv"))


def test_images_that_cannot_be_read_are_named_and_the_others_are_shown(scans: Path, lrnet: Callable[..., Any]) -> None:
    (scans / "3.png").write_bytes(b"no image")
    result = lrnet("review scans --output page.html --json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["schema"], document["pages"], document["images"]) == ("lrnet.review/1", ["page.html"], 5)
    assert [Path(entry["path"]).name for entry in document["unread"]] == ["3.png"]
    assert "3.png" in result.stderr
    page = Path("page.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert [Path(other[0]).name for other in data["others"]] == ["3.png"]  # its row is not lost


def test_folders_name_the_labels_if_asked(scans: Path) -> None:
    for number in range(6):
        target = scans / "ab"[number % 2]
        target.mkdir(exist_ok=True)
        (scans / f"{number}.png").rename(target / f"{number}.png")
    make_review(ReviewRequest(source=scans, from_folders=True, output=Path("all.csv")))
    rows = rows_of("all.csv")
    assert [row["label"] for row in rows] == ["a"] * 3 + ["b"] * 3


def test_many_images_are_split_into_pages_that_name_each_other(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrnet_cli.review.page.MOST_IMAGES", 4)
    items, _ = read_items(lines("m.csv", "file_name,label", *(f"scans/{n}.png,{'ab'[n % 2]}" for n in range(6))))
    written = write_pages(Path("page.html"), grouped("m", items))
    assert [path.name for path in written.pages] == ["page.html", "page-2.html"]
    for path in written.pages:
        assert '"pages":["page.html","page-2.html"]' in path.read_text(encoding="utf-8")
    assert written.images == 6


@pytest.mark.parametrize("seen", [False, True])
def test_thumbnails_of_noise_stay_within_the_budget_of_a_page(seen: bool) -> None:
    """Noise is the worst case: 20,000 images of it have to fit into 40 MB of text."""
    from lrnet_cli.data.images import Preprocessing

    sheet, noise = Sheet.of(20_000, Preprocessing(64, 3, "mixed") if seen else None), np.random.default_rng(0)
    sprites = Sprites(sheet)
    for _ in range(200):
        sprites.add(Image.fromarray(noise.integers(0, 256, (sheet.side, sheet.side, 3), dtype=np.uint8)))
    [sprite] = sprites.finished()
    assert len(sprite) * (20_000 / 200) * (2 if seen else 1) < 38_000_000


def test_labels_of_images_without_one_come_from_the_network(trained_run: Path, scans: Path) -> None:
    made = make_review(ReviewRequest(source=scans, weights=str(trained_run), output=Path("page.html")))
    assert made.images == 6
    page = Path("page.html").read_text(encoding="utf-8")
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert all(proposal >= 0 for proposal in data["proposals"])
    assert all(len(guesses) == 5 for guesses in data["guesses"])
    assert page.count('class="inputs"') == 1


def test_the_answer_of_a_person_stands_before_the_networks(
    trained_run: Path, scans: Path, lrnet: Callable[..., Any]
) -> None:
    lines("r.csv", "file_name,label,reviewed,previous", "scans/0.png,4,yes,1", "scans/1.png,,yes,1", "scans/2.png,9,,9")
    lines("s.csv", "file_name,label,reviewed,previous", "scans/3.png,ink,yes,1")
    arguments = ("predict", "scans", "--weights", trained_run, "--merge", "r.csv", "--merge", "s.csv")
    plain = lrnet(*arguments[:4], "--format", "jsonl", "--top-k", 10).stdout.splitlines()
    merged = lrnet(*arguments, "--format", "jsonl").stdout.splitlines()
    before, after = [[json.loads(line) for line in text] for text in (plain, merged)]
    assert [(row["label"], row["index"], row["reviewed"]) for row in after[:4]] == [
        ("4", 4, True),
        ("none of these", None, True),
        (before[2]["label"], before[2]["index"], False),
        ("ink", None, True),
    ]
    shares = {entry["label"]: entry["probability"] for entry in before[0]["top"]}
    assert after[0]["probability"] == pytest.approx(shares["4"])
    result = lrnet(*arguments, "--output", "rows.csv")
    assert "3 of the labels are answers of a person." in result.stderr
    assert [row["reviewed"] for row in rows_of("rows.csv")] == ["yes", "yes", "", "yes", "", ""]
    lines("s.csv", "file_name,label,reviewed,previous", "scans/3.png,oil,yes,1")
    refused = lrnet(*arguments, "--output", "rows.csv", "--resume")
    assert refused.exit_code == 2
    assert "other weights or settings" in refused.stderr


def test_copies_are_shown_side_by_side(scans: Path, lrnet: Callable[..., Any]) -> None:
    noise = np.random.default_rng(0)
    rows = []
    for number in range(40):
        Image.fromarray(noise.integers(0, 256, (28, 28), dtype=np.uint8)).save(scans / f"n{number}.png")
        rows.append(f"scans/n{number}.png,{'ab'[number % 2]}")
    (scans / "copy.png").write_bytes((scans / "n0.png").read_bytes())
    lines("list.csv", "file_name,label", *rows, "scans/copy.png,b")
    result = lrnet("check list.csv --report check.html")
    assert "Report: check-copies.html" in result.stderr
    page = Path("check.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 2
    assert 'href="check-copies.html"' in page
    copies = Path("check-copies.html").read_text(encoding="utf-8")
    data = json.loads(copies.split('id="data">')[1].split("</script>")[0])
    assert [(group["title"], group["kind"], group["count"]) for group in data["groups"]] == [
        ("Duplicates with different labels", "pairs", 2)
    ]
    assert data["names"] == ["n0.png", "copy.png"]
    assert len(data["others"]) == 39
