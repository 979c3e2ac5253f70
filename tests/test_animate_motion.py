"""Motions: files of ARKit coefficients, names, gaps, frame rates, and the rules of a transfer."""

import dataclasses

import numpy as np
import pytest
import torch

from deca_cli.animate.arkit_csv import read_arkit_csv
from deca_cli.animate.combine import TransferRule, check_keep, keep_parts, parse_pose, transfer
from deca_cli.animate.motion import Motion, expression_only, fill_gaps, longest_gap, neutral_of, resample
from deca_cli.animate.named import coefficients, parse_expression
from deca_cli.animate.presets import PRESETS
from deca_cli.animate.script import read_script
from deca_cli.animate.spaces import ExpressionSpace, arkit_space
from deca_cli.animate.timeline import Keyframe, play
from deca_cli.errors import InputError, UsageError
from deca_cli.heads.rotations import axis_angle_to_matrix, euler_degrees_to_matrix, matrix_to_axis_angle
from deca_cli.networks.codes import Codes, CodeSizes

NAMES = arkit_space().names
JAW, SMILE, CLOSE = (NAMES.index(name) for name in ("jawOpen", "mouthSmileLeft", "mouthClose"))


def csv_file(folder, text):
    path = folder / "take.csv"
    path.write_text(text, encoding="utf-8")
    return path


def ramp(count, fps=10.0):
    """jawOpen rises by 0.01 a frame."""
    table = torch.zeros(count, 52)
    table[:, JAW] = 0.01 * torch.arange(count)
    return expression_only(arkit_space(), table, fps=fps)


def live_link(rows):
    shapes = [name[0].upper() + name[1:] for name in NAMES]
    angles = ["HeadYaw", "HeadPitch", "HeadRoll"] + [
        f"{s}Eye{a}" for s in ("Left", "Right") for a in ("Yaw", "Pitch", "Roll")
    ]
    lines = [",".join(["Timecode", "BlendShapeCount", *shapes, *angles])]
    for index, (values, yaw) in enumerate(rows):
        cells = [f"{values.get(name, 0.0):.3f}" for name in NAMES]
        lines.append(",".join([f"10:20:30:{index}.250", "61", *cells, str(yaw), "0", "0", *["0"] * 6]))
    return "\n".join(lines) + "\n"


def test_a_live_link_export_is_read_at_60_frames_a_second(tmp_path):
    motion = read_arkit_csv(csv_file(tmp_path, live_link([({"jawOpen": 0.1 * i}, 0.2) for i in range(6)])))
    assert motion.fps == pytest.approx(60)
    assert motion.expression[:, JAW].tolist() == pytest.approx([0.1 * i for i in range(6)], abs=1e-3)
    assert motion.head is not None
    assert motion.head[3].tolist() == pytest.approx([0, 0.2, 0], abs=1e-5)
    assert motion.notes == ()


def test_dropped_frames_of_a_recording_are_interpolated(tmp_path):
    lines = live_link([({"jawOpen": 0.1 * i}, 0.0) for i in range(7)]).splitlines()
    del lines[4]  # the fourth frame
    motion = read_arkit_csv(csv_file(tmp_path, "\n".join(lines)))
    assert motion.length == 7
    assert float(motion.expression[3, JAW]) == pytest.approx(0.3, abs=1e-3)


@pytest.mark.parametrize(
    "name", ["mouthSmileLeft", "MouthSmileLeft", "mouthSmile_L", "mouth smile left", "MOUTHSMILE_left"]
)
def test_column_names_are_read_in_the_usual_spellings(tmp_path, name):
    motion = read_arkit_csv(csv_file(tmp_path, f"{name}\n0.5\n"))
    assert float(motion.expression[0, SMILE]) == 0.5
    assert "51 of ARKit's coefficients are not in the file" in motion.notes[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no frames"),
        ("jawOpen\n", "only a header"),
        ("jawOpne\n0.5\n", "Did you mean jawOpen"),
        ("time\n0\n", "no column with an ARKit blendshape"),
        ("jawOpen\nwide\n", "line 2, column jawOpen: 'wide' is not a number"),
        ("jawOpen,jawLeft\n0.5\n", "line 2, has 1 values, but the header 2"),
        ("jawOpen\nnan\n", "not numbers"),
        ("time,jawOpen\nsoon,0.1\n", "a time in it cannot be read"),
    ],
)
def test_bad_csv_files_say_what_is_wrong(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_arkit_csv(csv_file(tmp_path, text))


def test_a_file_of_one_frame_is_a_clip_of_one_frame(tmp_path):
    assert read_arkit_csv(csv_file(tmp_path, "time,jawOpen\n3.5,0.4\n")).length == 1


def test_expressions_are_read_from_text():
    assert parse_expression("smile=0.8, jawOpen=0.3") == {"smile": 0.8, "jawOpen": 0.3}
    assert parse_expression("surprise") == {"surprise": 1.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("smiel=1", "no expression `smiel`. Did you mean smile"),
        ("smile=much", "'much' is not a number"),
        ("smile=9", "between 0 and 2"),
        ("=1", "a name is missing"),
    ],
)
def test_bad_expressions_say_what_is_wrong(text, said):
    with pytest.raises(UsageError, match=said):
        parse_expression(text)


def test_mixtures_stay_in_range_and_the_mouth_closes_no_more_than_the_jaw_opens():
    total = coefficients({"laugh": 2.0, "mouthClose": 1.0, "jawOpen": 0.0})
    assert float(total.max()) <= 1
    assert float(total[CLOSE]) == float(total[JAW])


def test_gaps_are_interpolated_and_reported():
    motion = fill_gaps(ramp(8), [False, True, True, False, False, True, True, False], 0.5, "walk.mp4")
    assert motion.expression[:, JAW].tolist() == pytest.approx(
        [0.01, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.06]
    )
    assert motion.notes == ("walk.mp4: no face in 4 of 8 frames; they were interpolated.",)


def test_long_gaps_and_clips_without_a_face_are_refused():
    with pytest.raises(InputError, match=r"no face from frame 3 to 8 \(0.20 to 0.80 s\).*--max-gap"):
        fill_gaps(ramp(10), [True, True, *[False] * 6, True, True], 0.5, "walk.mp4")
    with pytest.raises(InputError, match="in any of its 10 frames"):
        fill_gaps(ramp(10), [False] * 10, 0.5, "walk.mp4")


@pytest.mark.parametrize(
    ("known", "gap"), [("111", (0, -1)), ("0110001", (3, 5)), ("100", (1, 2)), ("0", (0, 0)), ("", (0, -1))]
)
def test_the_longest_gap_is_found(known, gap):
    assert longest_gap([letter == "1" for letter in known]) == gap


def test_another_frame_rate_keeps_the_duration():
    motion = resample(ramp(20, fps=10), 25)
    assert motion.length == 50
    assert float(motion.expression[25, JAW]) == pytest.approx(0.1)
    assert resample(ramp(20, fps=10), 10).length == 20


def test_rotations_are_interpolated_along_the_shortest_turn():
    ends = torch.tensor([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0]])  # 172 and -172 degrees
    motion = Motion(arkit_space(), torch.zeros(2, 52), torch.zeros(2, 3), ends, 1.0)
    middle = resample(motion, 2).head[1]
    turned = axis_angle_to_matrix(middle)
    assert float(turned[2, 2]) == pytest.approx(-1, abs=1e-3)  # it looks back, not ahead


@pytest.mark.parametrize(("choice", "jaw"), [("first", 0.0), ("4", 0.03), ("calmest", 0.005)])
def test_the_neutral_of_a_clip_can_be_chosen(choice, jaw):
    assert float(neutral_of(ramp(20), choice).expression[0, JAW]) == pytest.approx(jaw)


@pytest.mark.parametrize("choice", ["0", "21", "last"])
def test_a_neutral_that_is_not_there_is_refused(choice):
    with pytest.raises(UsageError, match="--neutral"):
        neutral_of(ramp(20), choice)


@pytest.fixture
def source():
    codes = Codes.zeros(CodeSizes(4, 0, 52, light=0, detail=0), 1)
    own = torch.zeros(1, 52)
    own[0, JAW], own[0, SMILE], own[0, NAMES.index("eyeBlinkLeft")] = 0.2, 0.9, 1.0
    return dataclasses.replace(codes, expression=own, pose=torch.tensor([[0.1, 0.2, 0.0, 0.05, 0.0, 0.0]]))


def test_a_transfer_takes_expression_and_jaw_and_keeps_the_rest(source):
    motion = dataclasses.replace(ramp(5), jaw=torch.full((5, 3), 0.3), head=torch.ones(5, 3))
    codes = transfer(source, motion, TransferRule())
    assert torch.equal(codes.expression, motion.expression)
    assert torch.equal(codes.pose[:, 3:], motion.jaw)
    assert torch.equal(codes.pose[:, :3], source.pose[:, :3].expand(5, 3))


def test_a_relative_transfer_adds_the_change_to_the_sources_own(source):
    codes = transfer(source, ramp(11), TransferRule(relative=True, neutral="first", intensity=2.0))
    assert codes.expression[:, JAW].tolist() == pytest.approx([0.2 + 0.02 * i for i in range(11)])
    assert codes.expression[:, SMILE].tolist() == pytest.approx([0.9] * 11)
    assert torch.allclose(codes.pose[:, 3:], source.pose[:, 3:])


def test_coefficients_stay_within_their_limits(source):
    codes = transfer(source, ramp(90), TransferRule(intensity=3.0))
    assert float(codes.expression.max()) == 1.0


@pytest.mark.parametrize(
    ("part", "kept", "moved"),
    [
        ("eyes", "eyeBlinkLeft", "jawOpen"),
        ("mouth", "jawOpen", "eyeBlinkLeft"),
        ("jaw", "jawOpen", "mouthSmileLeft"),
    ],
)
def test_parts_can_be_kept(source, part, kept, moved):
    codes = transfer(
        source, expression_only(arkit_space(), torch.full((1, 52), 0.5)), TransferRule(keep=(part,))
    )
    own = source.expression[0, NAMES.index(kept)]
    assert codes.expression[0, NAMES.index(kept)] == own
    assert float(codes.expression[0, NAMES.index(moved)]) == 0.5
    assert torch.equal(codes.pose[:, 3:], source.pose[:, 3:]) == (part != "eyes")


def test_parts_of_heads_without_names_are_kept_by_place():
    """The blink stays, the smile comes: the same coefficients, but nobody knows their names."""
    head = dataclasses.replace(arkit_space().head, expression_names=())
    unnamed = ExpressionSpace("unnamed", head, None)
    own, other = torch.zeros(1, 52), torch.zeros(1, 52)
    own[0, NAMES.index("eyeBlinkLeft")] = 1.0
    other[0, SMILE] = 0.8
    mixed = keep_parts(unnamed, own, other, ("eyes",))
    assert float(mixed[0, NAMES.index("eyeBlinkLeft")]) > 0.85
    assert float(mixed[0, SMILE]) == pytest.approx(0.8, abs=0.1)
    mixed = keep_parts(unnamed, own, other, ("mouth",))
    assert float(mixed[0, NAMES.index("eyeBlinkLeft")]) < 0.15
    assert float(mixed[0, SMILE]) < 0.3


def test_the_pose_can_be_chosen(source):
    motion = dataclasses.replace(ramp(2), head=torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.0]]))
    assert transfer(source, motion, TransferRule(pose="frontal")).pose[:, :3].abs().max() == 0
    assert torch.equal(transfer(source, motion, TransferRule(pose="driver")).pose[:, :3], motion.head)
    given = transfer(source, motion, TransferRule(pose=parse_pose("30,-10,5"))).pose[0, :3]
    expected = euler_degrees_to_matrix(torch.tensor([30.0, -10.0, 5.0]))
    assert torch.allclose(axis_angle_to_matrix(given), expected, atol=1e-5)
    change = transfer(source, motion, TransferRule(pose="driver", relative=True, neutral="first")).pose[:, :3]
    assert torch.allclose(change[0], source.pose[0, :3], atol=1e-5)
    turned = axis_angle_to_matrix(motion.head[1]) @ axis_angle_to_matrix(source.pose[0, :3])
    assert torch.allclose(change[1], matrix_to_axis_angle(turned), atol=1e-5)


def test_what_cannot_be_is_refused(source):
    with pytest.raises(UsageError, match="says nothing about the head's pose"):
        transfer(source, ramp(2), TransferRule(pose="driver"))
    with pytest.raises(UsageError, match="--pose left"):
        parse_pose("left")
    with pytest.raises(UsageError, match="--keep nose"):
        check_keep(["jaw", "nose"])


def test_keyframes_are_interpolated_as_they_say():
    keys = [
        Keyframe(0.0),
        Keyframe(1.0, {"jawOpen": 1.0}, (0.0, 0.0, 0.0), ease="linear"),
        Keyframe(2.0, {"jawOpen": 0.0}, (90.0, 0.0, 0.0), zoom=2.0, ease="smooth"),
        Keyframe(3.0, {"jawOpen": 1.0}, (90.0, 0.0, 0.0), zoom=2.0, ease="hold"),
    ]
    clip = play(keys, 4.0)
    jaw = clip.motion.expression[:, JAW].tolist()
    assert jaw == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.84375, 0.5, 0.15625, 0, 0, 0, 0])
    assert clip.zoom.tolist()[6] == pytest.approx(1.5)
    assert clip.motion.head[6].tolist() == pytest.approx([0, np.radians(45), 0], abs=1e-5)
    assert play(keys, 4.0, seconds=6.0).motion.length == 24


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole_and_end_where_they_begin(name):
    clip = play(PRESETS[name](), 25.0)
    assert 75 <= clip.motion.length <= 400
    assert float(clip.motion.expression.min()) >= 0
    assert float(clip.motion.expression.max()) <= 1
    steps = clip.motion.expression.diff(dim=0).abs().max()
    assert float(steps) < 0.75  # nothing jumps, even a blink takes two frames
    assert torch.allclose(clip.motion.expression[0], clip.motion.expression[-1], atol=0.1)


def test_a_script_is_read(tmp_path):
    path = tmp_path / "clip.toml"
    path.write_text(
        'fps = 30\nsize = "640x360"\n[[keyframe]]\ntime = 0\n[[keyframe]]\ntime = 0.5\n'
        'expression = { smile = 0.8 }\nyaw = 20\nzoom = 1.5\nease = "linear"\n'
    )
    script = read_script(path)
    assert script.options == {"fps": 30, "size": "640x360"}
    assert script.keyframes[1] == Keyframe(0.5, {"smile": 0.8}, (20.0, 0.0, 0.0), 1.5, "linear") or (
        script.keyframes[1].turn_deg == (20.0, 0.0, 0.0) and script.keyframes[1].zoom == 1.5
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fps = 25", "no \\[\\[keyframe\\]\\]"),
        ("speed = 2\n[[keyframe]]\ntime = 0", "no `speed`"),
        ("[[keyframe]]\nyaw = 3", "keyframe 1 has no `time`"),
        ("[[keyframe]]\ntime = 1\n[[keyframe]]\ntime = 1", "keyframe 2 is at 1 s, not later"),
        ("[[keyframe]]\ntime = 0\nexpression = { smiel = 1 }", "keyframe 1: there is no expression `smiel`"),
        ('[[keyframe]]\ntime = "soon"', "`time` is 'soon'"),
        ('[[keyframe]]\ntime = 0\nease = "bouncy"', "ease 'bouncy'"),
        ("[[keyframe]]\ntime = 0\nzoom = 0", "zoom lies between"),
        ("[[keyframe", "not valid TOML"),
    ],
)
def test_bad_scripts_say_where_and_why(tmp_path, text, said):
    path = tmp_path / "clip.toml"
    path.write_text(text)
    with pytest.raises((UsageError, InputError), match=said):
        read_script(path)
