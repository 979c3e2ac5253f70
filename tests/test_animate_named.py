"""The names of expressions that the documentation lists."""

import re
from pathlib import Path

from deca_cli.animate.named import LARGEST, VISEME_PREFIX
from deca_cli.synthetic.expressions import EXPRESSIONS, VISEMES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "animation.md"


def listed(heading: str) -> list[str]:
    (line,) = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(heading)]
    return re.findall(r"`(\w+)`", line)


def test_the_documented_names_are_those_that_the_program_knows():
    assert sorted(listed("Named expressions:")) == sorted(EXPRESSIONS)
    assert sorted(listed("Visemes:")) == sorted(VISEME_PREFIX + name for name in VISEMES)


def test_the_documented_range_of_amounts_is_the_programs():
    assert f"Amounts lie between 0 and {LARGEST:g}" in PAGE.read_text(encoding="utf-8")
