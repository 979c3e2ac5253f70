"""The presets around the photo's own expression: speech begins and ends with it, a blink is added to it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from deca_cli.animate import show
from deca_cli.animate.combine import TransferRule
from deca_cli.animate.looks import studio
from deca_cli.animate.motion import expression_only
from deca_cli.animate.show import Show, Style
from deca_cli.animate.spaces import ExpressionSpace, arkit_space
from deca_cli.animate.speech import speak
from deca_cli.networks.codes import Codes, CodeSizes

NAMES = arkit_space().names
JAW, SMILE, PUCKER, SQUINT, LIP = (
    NAMES.index(name)
    for name in ("jawOpen", "mouthSmileLeft", "mouthPucker", "eyeSquintLeft", "mouthUpperUpLeft")
)
FPS = 20.0


@pytest.fixture
def smiling():
    """A smile with an open mouth."""
    own = torch.zeros(1, 52)
    own[0, [JAW, SMILE, SQUINT, LIP]] = torch.tensor([0.3, 0.8, 0.4, 0.7])
    codes = Codes.zeros(CodeSizes(4, 0, 52, light=0, detail=0), 1)
    return replace(codes, expression=own, pose=torch.tensor([[0.1, 0.2, 0.0, 0.05, 0.0, 0.0]]))


def words(**amounts: float):
    """A second of silence but for 0.4 s in its middle."""
    table = torch.zeros(21, 52)
    for name, amount in amounts.items():
        table[7:15, NAMES.index(name)] = amount
    return expression_only(arkit_space(), table, fps=FPS)


def test_speech_begins_and_ends_with_the_photos_own_expression(smiling):
    codes = speak(smiling, words(jawOpen=0.5), TransferRule(), FPS)
    for frame in (0, 20):
        assert torch.allclose(codes.expression[frame], smiling.expression[0])
        assert torch.allclose(codes.pose[frame], smiling.pose[0])


def test_sounds_alone_decide_about_jaw_and_lips_and_the_smile_stays(smiling):
    codes = speak(smiling, words(jawOpen=0.5), TransferRule(), FPS)
    silent, speaking = codes.expression[5], codes.expression[10]
    assert silent[[JAW, SMILE, SQUINT, LIP]].tolist() == pytest.approx([0, 0.8, 0.4, 0])
    assert speaking[[JAW, SMILE, SQUINT, LIP]].tolist() == pytest.approx([0.5, 0.8, 0.4, 0])
    assert codes.pose[10].tolist() == pytest.approx([0.1, 0.2, 0, 0, 0, 0])


def test_a_round_mouth_takes_most_of_the_smile_away(smiling):
    codes = speak(smiling, words(mouthPucker=1.0), TransferRule(), FPS)
    assert codes.expression[10, [PUCKER, SMILE, SQUINT]].tolist() == pytest.approx([1, 0.3 * 0.8, 0.4])


def test_a_mouth_that_is_kept_does_not_speak(smiling):
    codes = speak(smiling, words(jawOpen=0.5, eyeBlinkLeft=1.0), TransferRule(keep=("mouth",)), FPS)
    assert codes.expression[10, [JAW, LIP]].tolist() == pytest.approx([0.3, 0.7])
    assert codes.expression[10, NAMES.index("eyeBlinkLeft")] == 1


def test_on_a_head_without_names_the_jaw_rests_and_the_rest_is_added_to(smiling):
    unnamed = ExpressionSpace("unnamed", replace(arkit_space().head, expression_names=()), None)
    motion = replace(words(mouthPucker=1.0), space=unnamed)
    codes = speak(smiling, motion, TransferRule(), FPS)
    assert codes.expression[10, [JAW, SMILE, PUCKER]].tolist() == pytest.approx([0.3, 0.8, 1])
    assert codes.pose[10, 3:].abs().max() == 0


def test_a_blink_is_added_to_the_photos_expression(smiling):
    source = SimpleNamespace(codes=smiling, pack=SimpleNamespace())
    style = Style(("shape",), None, FPS, studio())
    seen = {}

    def keep(_: object, codes: Codes, *__: object) -> Show:
        seen["codes"] = codes
        return Show(codes.batch_size, FPS, lambda: iter(()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(show, "space_of", lambda _: arkit_space())
        patch.setattr(show, "_drawn", keep)
        show.keyed(source, None, "blink", [], style)
    expression = seen["codes"].expression
    others = [index for index, name in enumerate(NAMES) if not name.startswith("eyeBlink")]
    assert torch.allclose(expression[:, others], smiling.expression[:, others].expand(len(expression), -1))
    assert expression[:, NAMES.index("eyeBlinkLeft")].max() > 0.9
    assert expression[0, NAMES.index("eyeBlinkLeft")] == 0
