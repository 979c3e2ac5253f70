"""Clips that need no driver."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deca_cli.animate.timeline import Keyframe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Amounts = Mapping[str, float]

TEASER = "teaser"
SHOWN = ("smile", "surprise", "anger", "sadness", "kiss", "disgust", "wink_left", "puff", "laugh")
RISE_S, STAY_S, FALL_S = 0.45, 0.4, 0.35  # of one expression
SWAY_DEG, SWAY_S = 14.0, 5.0
TURN_S = 6.0
SPEECH = (  # visemes of "hello, this is my own face, and you can move it"
    "ch", "ee", "l", "oh", "", "l", "ih", "ss", "ih", "ss", "mbp", "aa", "ee", "oh", "ou", "l", "fv", "aa", "ee", "ss",
    "", "aa", "l", "ee", "ou", "ch", "aa", "l", "mbp", "ou", "fv", "ih", "l", "mbp", "",
)  # fmt: skip
SYLLABLE_S = 0.13
BLINK_S = (0.09, 0.04, 0.15)  # closing, closed, opening
BLINKS_AT_S = (0.6, 1.5, 1.85, 3.1)
BLINK_CLIP_S = 4.0


def expressions(shown: Sequence[Amounts] | None = None) -> list[Keyframe]:
    """One expression after another, from neutral and back, while the head sways a little."""
    parts: Sequence[Amounts] = shown or [{name: 1.0} for name in SHOWN]
    keys: list[tuple[float, Amounts]] = [(0.0, {})]
    time = 0.15
    for amounts in parts:
        keys += [(time, {}), (time + RISE_S, amounts), (time + RISE_S + STAY_S, amounts)]
        time += RISE_S + STAY_S + FALL_S
    keys += [(time, {})]
    end = time + 0.15
    turns = max(1, round(end / SWAY_S))
    steps = max(16 * turns, len(keys))
    return _swaying([*keys, (end, {})], end, turns, steps)


def _swaying(keys: list[tuple[float, Amounts]], end: float, turns: int, steps: int) -> list[Keyframe]:
    """Add the sway; its own times lie between those of the expressions, which are interpolated there."""
    times = sorted(
        {round(time, 6) for time, _ in keys} | {round(end * step / steps, 6) for step in range(steps + 1)}
    )
    found = []
    for time in times:
        phase = 2 * math.pi * turns * time / end
        turn = (SWAY_DEG * math.sin(phase), 3 * math.sin(2 * phase), 0.0)
        found.append(Keyframe(time, _between(keys, time), turn, ease="linear"))
    return found


def _between(keys: Sequence[tuple[float, Amounts]], time: float) -> dict[str, float]:
    """The smooth mixture of the two expressions around a time."""
    after = next((index for index, (at, _) in enumerate(keys) if at >= time), len(keys) - 1)
    before = max(after - 1, 0)
    span = keys[after][0] - keys[before][0]
    share = min(max((time - keys[before][0]) / span, 0.0), 1.0) if span > 0 else 1.0
    share = share * share * (3 - 2 * share)
    names = {**keys[before][1], **keys[after][1]}
    return {
        name: (1 - share) * keys[before][1].get(name, 0.0) + share * keys[after][1].get(name, 0.0)
        for name in names
    }


def turntable(_: Sequence[Amounts] | None = None) -> list[Keyframe]:
    """One whole turn; the last frame leads back to the first."""
    return [Keyframe(0.0), Keyframe(TURN_S, turn_deg=(360.0, 0.0, 0.0), ease="linear")]


def talk(_: Sequence[Amounts] | None = None) -> list[Keyframe]:
    """A sentence in visemes, with a blink and small nods."""
    keys = [Keyframe(0.0)]
    for index, viseme in enumerate(SPEECH, 1):
        amounts = {f"viseme_{viseme}": 1.0} if viseme else {}
        if index % 13 == 6:
            amounts["eyes_closed"] = 1.0
        amounts["browInnerUp"] = 0.3 * max(0.0, math.sin(0.55 * index))
        nod = (5 * math.sin(0.31 * index), 2.5 * math.sin(0.72 * index), 1.5 * math.sin(0.23 * index))
        keys.append(Keyframe(index * SYLLABLE_S, amounts, nod))
    return [*keys, Keyframe((len(SPEECH) + 2) * SYLLABLE_S)]


def blink(_: Sequence[Amounts] | None = None) -> list[Keyframe]:
    """Four seconds with four blinks."""
    keys = [Keyframe(0.0)]
    closed = {"eyes_closed": 1.0}
    for start in BLINKS_AT_S:
        down, shut, up = BLINK_S
        keys += [Keyframe(start), Keyframe(start + down, closed)]
        keys += [Keyframe(start + down + shut, closed), Keyframe(start + down + shut + up)]
    return [*keys, Keyframe(BLINK_CLIP_S)]


# Adding a preset is one function and one line.
PRESETS = {"expressions": expressions, "turntable": turntable, "talk": talk, "blink": blink}
OWN_EXPRESSION = ("turntable", "blink")  # presets that add to the source's own expression, if anything
SPEAKING = ("talk",)  # presets that begin with it and take jaw and lips from there
