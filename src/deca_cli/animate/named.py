"""Expressions by name: ARKit coefficients, whole expressions such as `smile`, and visemes."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.animate.motion import Motion, expression_only
from deca_cli.animate.spaces import arkit_space
from deca_cli.errors import UsageError
from deca_cli.synthetic.expressions import EXPRESSIONS, VISEMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VISEME_PREFIX = "viseme_"
CLOSE, OPEN_JAW = "mouthClose", "jawOpen"
LARGEST = 2.0  # greatest amount; beyond it meshes fold over


def vocabulary() -> dict[str, Mapping[str, float]]:
    """Every name that can be asked for -> its ARKit coefficients."""
    single = {name: {name: 1.0} for name in arkit_space().names}
    spoken = {f"{VISEME_PREFIX}{name}": values for name, values in VISEMES.items()}
    return {**single, **EXPRESSIONS, **spoken}


def parse_expression(text: str) -> dict[str, float]:
    """`smile=0.8,jawOpen=0.3` or `smile` -> amounts by name.

    Raises:
        UsageError: it cannot be read, a name is unknown, or an amount is out of range.
    """
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, _, amount = part.partition("=")
        name = name.strip()
        if not name:
            raise UsageError(
                f"--expression {text!r} is not of the form smile=0.8,jawOpen=0.3: a name is missing."
            )
        try:
            amounts[name] = float(amount) if amount.strip() else 1.0
        except ValueError:
            raise UsageError(f"--expression {text!r}: {amount!r} is not a number.") from None
    check_expression(amounts)
    return amounts


def check_expression(amounts: Mapping[str, float]) -> None:
    """Refuse what is not in the vocabulary.

    Raises:
        UsageError: a name is unknown, or an amount is not between 0 and 2.
    """
    known = vocabulary()
    for name, amount in amounts.items():
        if name not in known:
            raise UsageError(unknown_name(name, known))
        if not 0 <= amount <= LARGEST:
            raise UsageError(f"expression {name}={amount:g}: amounts lie between 0 and {LARGEST:g}.")


def unknown_name(name: str, known: Mapping[str, object]) -> str:
    """What to say about a name that is not in the vocabulary."""
    lower = {candidate.lower(): candidate for candidate in known}
    near = [lower[match] for match in difflib.get_close_matches(name.lower(), list(lower), n=3, cutoff=0.5)]
    alike = f" Did you mean {', '.join(near)}?" if near else ""
    whole = ", ".join(EXPRESSIONS)
    return (
        f"there is no expression `{name}`.{alike} Known are {whole}, the visemes viseme_{', viseme_'.join(VISEMES)} "
        "and ARKit's 52 coefficients such as jawOpen and mouthSmileLeft."
    )


def coefficients(amounts: Mapping[str, float]) -> Tensor:
    """float32 [52] ARKit coefficients of a mixture, in 0..1; `mouthClose` never exceeds `jawOpen`, as ARKit has it."""
    names, known = arkit_space().names, vocabulary()
    column = {name: index for index, name in enumerate(names)}
    total = torch.zeros(len(names))
    for name, amount in amounts.items():
        for part, value in known[name].items():
            total[column[part]] += amount * value
    total = total.clamp(0, 1)
    total[column[CLOSE]] = torch.minimum(total[column[CLOSE]], total[column[OPEN_JAW]])
    return total


def named_motion(expressions: Sequence[Mapping[str, float]], labels: Sequence[str]) -> Motion:
    """Named expressions as separate pictures."""
    table = torch.stack([coefficients(amounts) for amounts in expressions])
    motion = expression_only(arkit_space(), table)
    return Motion(motion.space, motion.expression, motion.jaw, None, None, tuple(labels))
