from pathlib import Path

from lrnet_cli.predict.inputs import SAMPLES, find_inputs, shown


def test_samples_are_the_included_images() -> None:
    files = list(find_inputs(["samples"]))
    assert [shown(file) for file in files] == [f"samples/{file.name}" for file in sorted(SAMPLES.glob("*.png"))]
    assert len(files) == 7


def test_an_own_folder_of_that_name_comes_first(isolated_user: Path) -> None:
    Path("samples").mkdir()
    Path("samples", "own.png").write_bytes(b"")
    assert list(find_inputs(["samples"])) == [Path("samples", "own.png")]
