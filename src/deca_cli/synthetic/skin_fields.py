"""Where things are on the skin: smooth fields over the UV chart, measured from the landmarks of the template head.

Every field is a tensor [U, U] (row 0 = top of the chart, v = 1). Distances are in units of the distance between the
pupils of the template, so that the same numbers serve any head of the FLAME form. The face is nearly a height field
seen from the front, so fields are defined in the frontal (x, y) plane and limited to the front by depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Polyline = Tensor  # [P, 2]

LASH_ROOT = 0.004  # outside of the eye opening, pupil distances
LOWER_LASHES = 0.015  # farther away than the upper ones, as far as their darkness goes
LASH_FAR = 0.2


def distance_to_polyline(points: Tensor, line: Polyline) -> tuple[Tensor, Tensor, Tensor]:
    """Distance from 2D points to a polyline.

    Args:
        points: [..., 2].
        line: [P, 2] corners.

    Returns:
        distance [...], position along the line in [0, 1] [...], side [...] (+1 left of the direction of travel).
    """
    start, step = line[:-1], line[1:] - line[:-1]
    lengths = step.norm(dim=1)
    offset = points[..., None, :] - start
    along = ((offset * step).sum(-1) / (lengths**2).clamp_min(1e-12)).clamp(0, 1)
    nearest = offset - along[..., None] * step
    distance, segment = nearest.norm(dim=-1).min(dim=-1)
    before = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)[:-1]])
    walked = before[segment] + lengths[segment] * along.gather(-1, segment[..., None]).squeeze(-1)
    chosen = offset.gather(-2, segment[..., None, None].expand(*segment.shape, 1, 2)).squeeze(-2)
    direction = step[segment]
    side = torch.sign(direction[..., 0] * chosen[..., 1] - direction[..., 1] * chosen[..., 0])
    return distance, walked / lengths.sum(), side


def signed_distance_to_polygon(points: Tensor, polygon: Polyline) -> Tensor:
    """Positive inside, negative outside; ``polygon`` [P, 2] is closed by itself (even-odd rule)."""
    closed = torch.cat([polygon, polygon[:1]])
    distance, _, _ = distance_to_polyline(points, closed)
    (x0, y0), (x1, y1) = polygon.T, polygon.roll(-1, 0).T
    x, y = points[..., 0, None], points[..., 1, None]
    rise = torch.where((y1 - y0).abs() < 1e-9, torch.full_like(y0, 1e-9), y1 - y0)
    crosses = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / rise + x0)
    inside = crosses.sum(-1) % 2 == 1
    return torch.where(inside, distance, -distance)


def bump(distance: Tensor, width: float | Tensor) -> Tensor:
    """Gaussian of a distance: 1 at 0, 0.37 at ``width``."""
    return torch.exp(-((distance / width) ** 2))


def smooth_step(value: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth in between."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class SkinFields:
    """Fields over the chart, [U, U] each; lengths in pupil distances of the template."""

    depth: Tensor  # forward of the origin
    skin: Tensor  # 1 on skin, 0 on eyeballs, teeth, tongue
    brow_across: Tensor  # signed distance from the brow line, up positive
    brow_along: Tensor  # 0 at the inner end, 1 at the outer end; beyond the line the ends are held
    brow_start: Tensor  # signed distance from the inner end (points 21, 22), positive on the brow
    brow_stop: Tensor  # signed distance from the outer end (points 17, 26), positive on the brow
    lips: Tensor  # signed distance to the outer lip border, positive on the lips
    mouth_line: Tensor  # distance to the line between the lips
    mouth_corner: Tensor  # distance to the nearer corner of the mouth
    upper_lip: Tensor  # 1 above the line between the lips, 0 below
    nostril: Tensor  # 1 in the nostrils' openings
    lid: Tensor  # signed distance to the eye opening, positive inside
    above_eye: Tensor  # 1 above the eye line, 0 below
    cheek: Tensor
    nose_tip: Tensor
    under_eye: Tensor
    moustache: Tensor
    chin_beard: Tensor
    jaw_beard: Tensor
    scalp: Tensor
    wrinkles: Tensor  # [K, U, U] lines: forehead, frown, crow's feet, nasolabial, under-eye
    mouth_inside: Tensor  # 1 on tongue, gums and inner mouth
    teeth: Tensor  # 1 on teeth


def _mirror_average(left: Tensor, right: Tensor) -> Tensor:
    """Average a polyline with the mirror image of its partner, so that the fields are symmetric."""
    return (left + right * torch.tensor([-1.0, 1.0], device=right.device)) / 2


class _Measure:
    """Frontal coordinates in pupil distances around the bridge of the nose, folded onto the subject's left (x > 0)."""

    def __init__(self, positions: Tensor, landmarks: Tensor) -> None:
        eyes = torch.stack([landmarks[36:42].mean(0), landmarks[42:48].mean(0)])
        self.unit = (eyes[0] - eyes[1]).norm()
        self.origin = eyes.mean(0)
        placed = (positions - self.origin) / self.unit
        self.front, self.depth = placed[..., :2], placed[..., 2]
        self.folded = torch.stack([self.front[..., 0].abs(), self.front[..., 1]], -1)
        self.points = (landmarks - self.origin) / self.unit

    def half(self, right: list[int], left: list[int]) -> Polyline:
        """The left half of a symmetric pair of landmark lines (iBUG numbers), averaged with its mirror image."""
        return _mirror_average(self.points[left, :2], self.points[right, :2])


def _wrinkle_lines(m: _Measure, front: Tensor) -> Tensor:
    """[K, U, U] soft lines where faces crease (Lemperle et al. 2001 name the same lines)."""
    x, y = m.folded[..., 0], m.folded[..., 1]
    brow_top = m.points[[17, 18, 19, 20, 21, 22, 23, 24, 25, 26], 1].max()
    forehead = sum(bump(y - brow_top - 0.28 * k - 0.06 * torch.cos(2.2 * x), 0.025) for k in (1, 2, 3))
    forehead = forehead * (1 - smooth_step(x, 0.7, 1.0))
    frown = bump(x - 0.12, 0.025) * bump(y - m.points[27, 1] - 0.18, 0.18)
    corner = m.half([36], [45])[0]
    away = m.folded - corner
    angle = torch.atan2(away[..., 1], away[..., 0])
    crow = torch.cos(angle * 9).clamp_min(0) ** 4 * bump(away.norm(dim=-1) - 0.22, 0.16) * (away[..., 0] > 0)
    fold = torch.stack(
        [
            m.half([31], [35])[0] + m.points.new_tensor([0.06, 0.06]),
            m.half([48], [54])[0] + m.points.new_tensor([0.14, 0.02]),
        ]
    )
    nasolabial = bump(distance_to_polyline(m.folded, fold)[0], 0.03)
    lower_lid = m.half([39, 40, 41, 36], [42, 47, 46, 45]) + m.points.new_tensor([0.0, -0.13])
    under_eye = bump(distance_to_polyline(m.folded, lower_lid)[0], 0.02)
    return torch.stack([forehead, frown, crow, nasolabial, under_eye]) * front


def measure_skin(
    positions: Tensor, landmarks: Tensor, skin: Tensor, scalp: Tensor, mouth_inside: Tensor, teeth: Tensor
) -> SkinFields:
    """Measure all fields on the template.

    Args:
        positions: [U, U, 3] template position of each texel, head frame, metres.
        landmarks: [68, 3] iBUG landmarks of the template, metres.
        skin, scalp, mouth_inside, teeth: [U, U] in [0, 1], region masks of the chart.
    """
    m = _Measure(positions, landmarks)
    jaw_depth = m.points[[2, 14], 2].mean()
    front = smooth_step(m.depth, jaw_depth - 0.2, jaw_depth + 0.3) * skin
    return SkinFields(
        depth=m.depth,
        skin=skin,
        **_brows(m, front),
        **_mouth(m, front),
        **_eyes_and_tones(m, front),
        **_beards(m, front, skin),
        scalp=scalp,
        wrinkles=_wrinkle_lines(m, front),
        mouth_inside=mouth_inside,
        teeth=teeth,
    )


def _in_front(front: Tensor, field: Tensor, elsewhere: float) -> Tensor:
    """A distance that only counts on the front of the face."""
    return torch.where(front > 0.3, field, torch.full_like(field, elsewhere))


def _brows(m: _Measure, front: Tensor) -> dict[str, Tensor]:
    """Coordinates along and across the brow lines."""
    x = m.folded[..., 0]
    brow = m.half([21, 20, 19, 18, 17], [22, 23, 24, 25, 26])
    distance, along, side = distance_to_polyline(m.folded, brow)
    length = (brow[1:] - brow[:-1]).norm(dim=1).sum()
    inner, outer = brow[0, 0], brow[-1, 0]
    return {
        "brow_across": _in_front(front, distance * side, 9.0),
        "brow_along": along,
        "brow_start": along * length - (inner - x).clamp_min(0),
        "brow_stop": (1 - along) * length - (x - outer).clamp_min(0),
    }


def _mouth(m: _Measure, front: Tensor) -> dict[str, Tensor]:
    """Distances into the lips and from the line between them."""
    line = _mouth_line(m)
    corner = m.half([48], [54])[0]
    sill = m.half([31, 32], [35, 34])
    opening = (sill[0] + sill[1]) / 2 + corner.new_tensor([-0.02, 0.035])  # nostrils are wider than high
    to_nostril = ((m.folded - opening) * corner.new_tensor([1.0, 1.8])).norm(dim=-1)
    return {
        "lips": _in_front(front, signed_distance_to_polygon(m.front, m.points[48:60, :2]), -9.0),
        "mouth_line": _in_front(front, distance_to_polyline(m.front, line)[0], 9.0),
        "mouth_corner": _in_front(front, (m.folded - corner).norm(dim=-1), 9.0),
        "upper_lip": smooth_step(m.front[..., 1] - line[:, 1].mean(), -0.02, 0.02),
        "nostril": (1 - smooth_step(to_nostril, 0.035, 0.075)) * front,
    }


def _eyes_and_tones(m: _Measure, front: Tensor) -> dict[str, Tensor]:
    """The eye opening, and soft spots where blood or shadow colours the skin."""
    lid = signed_distance_to_polygon(m.folded, m.half([39, 38, 37, 36, 41, 40], [42, 43, 44, 45, 46, 47]))
    eye = m.half([36, 37, 38, 39, 40, 41], [45, 44, 43, 42, 47, 46]).mean(0)
    cheek_bone = torch.stack([eye.new_tensor(0.75), (eye[1] + m.points[33, 1]) / 2])
    nose_tip = m.points[30, :2] * m.points.new_tensor([0.0, 1.0])
    below_eye = m.points.new_tensor([0.0, -0.24])
    return {
        "lid": _in_front(front, lid, -9.0),
        "above_eye": smooth_step(m.folded[..., 1] - eye[1], -0.05, 0.05),
        "cheek": bump((m.folded - cheek_bone).norm(dim=-1), 0.42) * front,
        "nose_tip": bump((m.folded - nose_tip).norm(dim=-1), 0.25) * front,
        "under_eye": bump((m.folded - eye - below_eye).norm(dim=-1), 0.22) * front,
    }


def measure_lashes(positions: Tensor, landmarks: Tensor) -> Tensor:
    """[U, U] distance from the roots of the lashes in pupil distances, at most `LASH_FAR`.

    Lower lashes are weaker, so they count as farther away.

    Args:
        positions: [U, U, 3] template position of each texel, head frame, metres.
        landmarks: [68, 3] of the template, metres.
    """
    m = _Measure(positions, landmarks)
    lid = signed_distance_to_polygon(m.folded, m.half([39, 38, 37, 36, 41, 40], [42, 43, 44, 45, 46, 47]))
    eye = m.half([36, 37, 38, 39, 40, 41], [45, 44, 43, 42, 47, 46]).mean(0)
    below = 1 - smooth_step(m.folded[..., 1] - eye[1], -0.05, 0.05)
    distance = (lid + LASH_ROOT).abs() * (1 + 0.8 * below) + LOWER_LASHES * below
    return torch.where(m.depth > m.points[[36, 45], 2].mean() - 0.15, distance.clamp_max(LASH_FAR), LASH_FAR)


def _beards(m: _Measure, front: Tensor, skin: Tensor) -> dict[str, Tensor]:
    """Where moustache, chin beard and full beard grow."""
    x, y = m.folded[..., 0], m.folded[..., 1]
    nose_base, chin = m.points[33, 1], m.points[8, 1]
    corner_x, mouth_y = m.half([48], [54])[0]
    moustache = smooth_step(y, mouth_y - 0.1, mouth_y + 0.1) * smooth_step(
        -y, -nose_base - 0.05, -nose_base + 0.12
    )
    moustache = moustache * smooth_step(-x, -corner_x - 0.25, -corner_x + 0.05)
    chin_beard = smooth_step(-x, -corner_x - 0.25, -corner_x + 0.1) * smooth_step(
        -y, -mouth_y - 0.05, -mouth_y + 0.25
    )
    upper_edge = mouth_y + (x - corner_x).clamp_min(0) ** 1.5 * 1.1  # climbs to the ear
    jaw_beard = smooth_step(upper_edge - y, -0.12, 0.18) * smooth_step(y, chin - 0.7, chin - 0.2)
    jaw_beard = jaw_beard * smooth_step(m.depth, -1.75, -1.35)
    return {
        "moustache": moustache * front,
        "chin_beard": chin_beard * skin * smooth_step(m.depth, -1.2, -0.8),
        "jaw_beard": jaw_beard * skin,
    }


def _mouth_line(m: _Measure) -> Polyline:
    """The closed line between the lips: midway between the inner lip borders."""
    upper, lower = m.points[[60, 61, 62, 63, 64], :2], m.points[[60, 67, 66, 65, 64], :2]
    return torch.cat([m.points[48:49, :2], (upper + lower) / 2, m.points[54:55, :2]])
