"""Parameters of the commands: inputs are marked, and never written over; what trains a network has an option each."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pytest

from helpers.commands import call
from zsecli.cli.app import top
from zsecli.cli.arguments import input_files, input_parameters
from zsecli.cli.train import TRAINING_OPTIONS
from zsecli.train.config import TrainConfig

COMMANDS = top().commands
OUTPUTS = {"output", "sheet", "trec", "workspace"}
WORDS = {  # texts that name no file
    "aligned", "allow_host", "by", "class_draws", "column", "data", "dataset", "device", "draws", "drop",
    "family_weights", "host", "ignore_same", "instance_rule", "modality", "name", "output_format", "part", "partition",
    "precision", "preset", "query", "rank", "relation_loss", "ret_loss", "schedule", "shard", "sheet_order", "source",
    "split", "swap", "tokenizer", "train_data", "variant", "where", "backbone",
}  # fmt: skip
NO_OUTPUT = {"inspect", "draw"}
BESIDE = {"evaluate": "o.json", "train": "o.safetensors", "synthesize": "o.png", "explain": "o.png"}


def find_kinds(command: Any) -> dict[str, set[type]]:
    """Parameter -> the types that its value may have."""
    kinds: dict[str, set[type]] = {}

    def collect(hint: Any) -> set[type]:
        inner = get_args(hint)
        return {hint} if not inner else set().union(*(collect(part) for part in inner))

    for name, hint in get_type_hints(command.callback).items():
        kinds[name] = {kind for kind in collect(hint) if isinstance(kind, type)}
    return kinds


@pytest.mark.fast
@pytest.mark.parametrize("name", COMMANDS)
def test_every_parameter_is_an_input_or_an_output_or_a_word(name: str) -> None:
    command = COMMANDS[name]
    inputs = set(input_parameters(command))
    for parameter, kinds in find_kinds(command).items():
        if Path in kinds:
            assert (parameter in inputs) != (parameter in OUTPUTS), parameter
        elif str in kinds:
            assert (parameter in inputs) != (parameter in WORDS), parameter


INPUTS = [
    (name, parameter) for name in COMMANDS if name not in NO_OUTPUT for parameter in input_parameters(COMMANDS[name])
]


@pytest.mark.fast
@pytest.mark.parametrize(("name", "parameter"), INPUTS)
def test_an_input_is_among_the_protected_files(name: str, parameter: str) -> None:
    """The value of each input parameter is a file that the stage is told not to write over."""
    context = SimpleNamespace(command=COMMANDS[name], params={parameter: "a.file"})
    assert input_files(context) == [Path("a.file")]  # type: ignore[arg-type]
    context.params[parameter] = ["a.file", "b.file"]
    assert input_files(context) == [Path("a.file"), Path("b.file")]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - NO_OUTPUT))
def test_each_stage_gets_the_protected_files(tmp_path: Path, pictures: Path, name: str) -> None:
    """The configuration file, an input of every command, is refused as the output of each."""
    output = tmp_path / BESIDE.get(name, "o.h5")
    output.write_text("")  # as a configuration, an empty one
    (tmp_path / "tree").symlink_to(pictures)
    sketch = next((pictures / "sketch").glob("*/*"))
    photo = next((pictures / "photo").glob("*/*"))
    words: dict[str, list[Any]] = {
        "prepare": ["folder", "tree"],
        "embed": ["tree/photo", "--modality", "photo"],
        "match": ["nowhere.h5", "--by", "ret"],
        "train": ["pictures", "--scratch", "--preset", "small"],
        "evaluate": ["nowhere.h5"],
        "explain": [sketch, photo],
        "synthesize": [sketch, photo],
    }
    model = "small" if name in ("explain", "synthesize") else "pixels"
    if name == "train":
        call(tmp_path, "prepare", "folder", "tree").ok()
    done = call(
        tmp_path, name, *words[name], "--config", output.name, "-o", output.name, "--overwrite", ZSE_MODEL=model
    )
    done.refused(2, "is an input of this command")
    assert output.read_text() == ""


@pytest.mark.fast
def test_everything_about_training_has_an_option() -> None:
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    assert set(TRAINING_OPTIONS) == fields
    assert fields <= {param.name for param in COMMANDS["train"].params}


def test_the_former_name_of_an_option_still_works(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[train]\nmatch-weight = 2\n")
    for words in (["--match-weight", "2"], ["--relation-weight", "2"], ["--config", "c.toml"]):
        done = call(tmp_path, "train", "nowhere", *words)
        done.refused(1, "no data set 'nowhere'")
