"""What is said of a wrong value of an option, before anything is done."""

import pytest
import typer
from typer.testing import CliRunner

from deca_cli.cli.app import app
from deca_cli.cli.values import choice, number, whole


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("reconstruct a.jpg --batch-size 0", "'0' is not a whole number from 1 on."),
        ("reconstruct a.jpg --threads 1.5", "'1.5' is not a whole number from 1 on."),
        ("reconstruct a.jpg --precision fp16", "'fp16' is not fp32, tf32 or bf16."),
        ("transfer a.jpg --intensity 4", "'4' is not a number from 0 to 3."),
        ("animate a.jpg --fps nan", "'nan' is not a number from 1 to 240."),
        ("train render-set new --yaw -5", "'-5' is not a number from 0 to 90."),
        ("train render-set new --people 0", "'0' is not a whole number from 1 on."),
        ("train render-set new --wrinkles -1", "'-1' is not a number from 0 to 10."),
        ("train prepare people --every 0", "'0' is not a whole number from 1 on."),
        ("train coarse data --minutes 0", "'0' is not a number above 0."),
        ("train synthetic --device tpu", "'tpu' is not auto, cpu or cuda."),
        ("evaluate synthetic --faces 1", "'1' is not a whole number from 2 on."),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words.split(), env={"COLUMNS": "200"})
    assert result.exit_code == 2
    option = next(word for word in words.split() if word.startswith("--"))
    assert f"Invalid value for '{option}': {sentence}" in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_limits_belong_to_the_range():
    assert [whole(1, 3)["parser"](text) for text in ("1", "3", 2)] == [1, 3, 2]
    assert [number(0, 3)["parser"](text) for text in ("0", "3", 2.5)] == [0.0, 3.0, 2.5]
    assert number(above=0)["parser"]("1e-9") == 1e-9
    assert choice("a", "b")["parser"]("b") == "b"


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (whole(1)["parser"], "0"),
        (whole(1, 3)["parser"], "4"),
        (whole()["parser"], ""),
        (number(0)["parser"], "inf"),
        (number(0)["parser"], "-1e-9"),
        (number(above=0)["parser"], "0"),
        (choice("a", "b")["parser"], "A"),
    ],
)
def test_what_lies_outside_is_refused(parse, text):
    with pytest.raises(typer.BadParameter):
        parse(text)
