import math
from dataclasses import replace

import pytest
import torch

from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.layout import DECA_LAYOUT, check_layout, layout_width, raw_to_codes, split_raw

OPEN_LAYOUT = (
    ("shape", 100),
    ("expression", 52),
    ("rotation_6d", 6),
    ("log_camera", 3),
    ("face_score", 1),
)
OPEN_SIZES = CodeSizes(albedo=0, expression=52, light=0, detail=0)


def test_the_official_output_has_236_numbers_in_the_official_order():
    assert layout_width(DECA_LAYOUT) == 236
    codes = raw_to_codes(torch.arange(236.0)[None], DECA_LAYOUT, CodeSizes()).codes
    starts = {name: value.flatten().tolist()[0] for name, value in codes.items() if name != "detail"}
    assert starts == {"shape": 0, "albedo": 100, "expression": 150, "pose": 200, "camera": 206, "light": 209}
    assert codes.light[0, 1].tolist() == [212, 213, 214]  # band by band, red green blue
    assert codes.detail.shape == (1, 128)


def test_the_official_output_has_no_face_score_and_no_limits():
    encoding = raw_to_codes(torch.full((2, 236), -7.0), DECA_LAYOUT, CodeSizes())
    assert encoding.face_score is None
    assert (encoding.codes.expression == -7).all()


def open_raw(**parts: list[float]) -> torch.Tensor:
    default = {"shape": [0.0] * 100, "expression": [0.0] * 52, "rotation_6d": [1.0, 0, 0, 0, 1, 0]}
    default |= {"log_camera": [0.0, 0, 0], "face_score": [0.0]}
    return torch.tensor([[number for part in (default | parts).values() for number in part]])


def test_expressions_of_the_open_head_stay_coefficients():
    raw = open_raw(expression=[-0.5, 0.25, 1.5] + [0.0] * 49)
    codes = raw_to_codes(raw, OPEN_LAYOUT, OPEN_SIZES, expression_range=(0.0, 1.0)).codes
    assert codes.expression[0, :3].tolist() == [0.0, 0.25, 1.0]


def test_six_numbers_become_the_pose_of_the_head_and_leave_the_jaw_at_rest():
    quarter_about_y = [0.0, 0, -1, 0, 1, 0]  # first column (0, 0, -1), second (0, 1, 0)
    codes = raw_to_codes(open_raw(rotation_6d=quarter_about_y), OPEN_LAYOUT, OPEN_SIZES).codes
    expected = torch.tensor([[0, math.pi / 2, 0, 0, 0, 0]])
    torch.testing.assert_close(codes.pose, expected, atol=1e-6, rtol=0)


def test_the_logarithmic_camera_gives_scale_and_shift_in_the_image():
    codes = raw_to_codes(open_raw(log_camera=[math.log(8), 0.5, -0.25]), OPEN_LAYOUT, OPEN_SIZES).codes
    torch.testing.assert_close(codes.camera, torch.tensor([[8.0, 0.0625, -0.03125]]))


def test_the_face_score_is_a_probability():
    scores = [
        raw_to_codes(open_raw(face_score=[logit]), OPEN_LAYOUT, OPEN_SIZES).face_score
        for logit in (0.0, 20, -20)
    ]
    torch.testing.assert_close(torch.cat(scores), torch.tensor([0.5, 1, 0]))


def test_codes_a_model_lacks_have_width_zero():
    codes = raw_to_codes(open_raw(), OPEN_LAYOUT, OPEN_SIZES).codes
    assert codes.albedo.shape == (1, 0)
    assert codes.light.shape == (1, 0, 3)
    assert codes.detail.shape == (1, 0)


def test_helpers_of_the_training_are_ignored():
    layout = (*OPEN_LAYOUT, ("dense_points", 4))
    raw = torch.cat([open_raw(shape=[3.0] + [0.0] * 99), torch.ones(1, 4)], dim=1)
    assert split_raw(raw, layout)["dense_points"].tolist() == [[1, 1, 1, 1]]
    torch.testing.assert_close(
        raw_to_codes(raw, layout, OPEN_SIZES).codes.shape,
        raw_to_codes(raw[:, :-4], OPEN_LAYOUT, OPEN_SIZES).codes.shape,
    )


def test_half_precision_output_becomes_float32_codes():
    codes = raw_to_codes(open_raw().half(), OPEN_LAYOUT, OPEN_SIZES).codes
    assert {value.dtype for _, value in codes.items()} == {torch.float32}


def test_gradients_pass_from_the_codes_to_the_raw_output():
    raw = (open_raw() + 0.1).requires_grad_()
    encoding = raw_to_codes(raw, OPEN_LAYOUT, OPEN_SIZES)
    total = sum(value.sum() for _, value in encoding.codes.items()) + encoding.face_score.sum()
    total.backward()
    assert (raw.grad != 0).all()


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ((("shape", 100), ("pose", 6)), "camera, log_camera"),
        ((("pose", 6), ("rotation_6d", 6), ("camera", 3)), "exactly one of pose"),
        ((("pose", 6), ("camera", 4)), "size 4"),
        ((("pose", 6), ("camera", 3), ("camera", 3)), "twice"),
        ((("pose", 6), ("camera", 3), ("mood", 2)), "mood"),
        ((("shape", 0), ("pose", 6), ("camera", 3)), "size 0"),
    ],
)
def test_layouts_that_make_no_sense_are_refused(layout: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        check_layout(layout)


def counted_codes(batch: int) -> Codes:
    zeros = Codes.zeros(CodeSizes(), batch)
    return replace(zeros, camera=torch.arange(3.0 * batch).view(batch, 3))


def test_one_face_of_a_batch_is_a_batch_of_one():
    codes = counted_codes(3)
    for index, expected in ((1, [[3, 4, 5]]), (-1, [[6, 7, 8]]), (slice(0, 2), [[0, 1, 2], [3, 4, 5]])):
        chosen = codes.select(index)
        assert chosen.camera.tolist() == expected
        assert chosen.light.shape == (len(expected), 9, 3)


def test_batches_can_be_joined_again():
    codes = counted_codes(3)
    joined = Codes.concat([codes.select(0), codes.select(slice(1, 3))])
    assert joined.batch_size == 3
    for (name, have), (_, want) in zip(joined.items(), codes.items(), strict=True):
        assert torch.equal(have, want), name
