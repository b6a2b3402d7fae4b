"""A model card is read by people and, in its YAML header, by model hubs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrnet_cli.runs.folder import read_config
from lrnet_cli.runs.model_card import write_model_card
from lrnet_cli.settings.record import command_of
from lrnet_cli.weights.file import load_weights


def header_of(folder: Path) -> Any:
    _, header, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header)


def test_the_header_names_task_data_and_accuracy(trained_run: Path, tmp_path: Path) -> None:
    header = header_of(trained_run)
    assert (header["library_name"], header["pipeline_tag"]) == ("lrnet-cli", "image-classification")
    ((result,),) = [entry["results"] for entry in header["model-index"]]
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"name": "optdigits", "type": "optdigits", "split": "test"}
    card = (trained_run / "README.md").read_text(encoding="utf-8")
    assert f"Accuracy **{result['metrics'][0]['value']:.4f}** on 359 test images" in card


@pytest.mark.parametrize("name", ['a: "b"', "it's - [x]", "---", "# no"])
def test_a_name_stays_a_name_in_the_header(trained_run: Path, tmp_path: Path, name: str) -> None:
    config, _ = read_config(trained_run)
    _, card = load_weights(trained_run / "model.safetensors")
    card = replace(card, dataset=card.dataset | {"name": name})
    write_model_card(tmp_path, config, card, {"device": "cpu", "test_reads": 0}, None)
    header = header_of(tmp_path)
    assert header["datasets"] == [name]
    assert header["model-index"][0]["results"][0]["dataset"] == {"name": name, "type": name, "split": "validation"}


def test_the_card_has_the_command_that_repeats_the_run(trained_run: Path) -> None:
    config, _ = read_config(trained_run)
    assert f"\n{command_of(config)}\n" in (trained_run / "README.md").read_text(encoding="utf-8")
    assert "--seed 1" in command_of(config)


def test_the_card_says_the_recipe_in_words(trained_run: Path) -> None:
    card = (trained_run / "README.md").read_text(encoding="utf-8")
    assert "- Recipe: arch lrnet-short, preset default, epochs 4, max_time none" in card
    assert ", augment on, deform 0, shift 0.05, " in card


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "The latest epoch within one standard error of the best validation accuracy was kept;"),
        ({"select": "loss"}, "The epoch with the lowest validation loss was kept;"),
        ({"robust": 0.5}, "accuracy (mean over clean and augmented images) was kept;"),
        (
            {"robust": 0.5, "augment": False},
            "The latest epoch within one standard error of the best validation accuracy was kept;",
        ),
    ],
)
def test_the_card_says_what_the_epoch_was_chosen_by(
    trained_run: Path, tmp_path: Path, settings: dict[str, Any], kept: str
) -> None:
    config, _ = read_config(trained_run)
    _, card = load_weights(trained_run / "model.safetensors")
    write_model_card(tmp_path, replace(config, **settings), card, {"device": "cpu", "test_reads": 0}, None)
    assert kept in (tmp_path / "README.md").read_text(encoding="utf-8")
