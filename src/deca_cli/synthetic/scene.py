"""One batch of posed and framed heads, ready to be drawn, and one raster layer of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.nn import functional as F

from deca_cli.synthetic.sampling import perspective_points

if TYPE_CHECKING:
    from torch import Tensor

    from deca_cli.render.fragments import Fragments
    from deca_cli.synthetic.light import Lights
    from deca_cli.synthetic.sampling import FaceParameters, Framing
    from deca_cli.synthetic.skin_style import SkinStyle
    from deca_cli.synthetic.wrinkles import WrinkleStyle


def covering(colour: Tensor) -> Tensor:
    """Linear RGB [N, 3, H, W] of something that is not the face -> [N, 4, H, W]: nothing of the face is seen there."""
    return F.pad(colour, (0, 0, 0, 0, 0, 1))


@dataclass(frozen=True)
class Scene:
    """N heads in front of their cameras. Camera-aligned frame: x right, y up, z towards the viewer; metres."""

    parameters: FaceParameters
    unposed: Tensor  # [N, V, 3] head frame
    pivot: Tensor  # [N, 1, 3] root joint, about which the head turns
    vertices: Tensor  # [N, V, 3] camera-aligned
    framing: Framing
    lights: Lights
    skin: SkinStyle
    painted: Tensor  # [N, 3, U, U] linear albedo over the chart
    wrinkles: WrinkleStyle | None  # None: smooth skin
    displacement: Tensor | None  # [N, 1, D, D] metres over the chart: the wrinkles of these expressions
    relief: Tensor | None  # [N, 1, D, D] metres, with the skin's grain: what is seen
    absent: Tensor  # [N] bool, pictures that are to show no face

    def to_camera(self, points: Tensor) -> Tensor:
        """[N, P, 3] points that move with the head: head frame -> camera-aligned."""
        return (points - self.pivot) @ self.parameters.rotation.mT + self.pivot

    def to_screen(self, points: Tensor) -> Tensor:
        """[N, P, 3] camera-aligned -> NDC of the crop, in perspective."""
        return self.framing.apply(perspective_points(points, self.parameters.perspective))


@dataclass(frozen=True)
class Surface:
    """One raster layer: which pixels it covers, and its normals and positions there (camera-aligned)."""

    fragments: Fragments
    normals: Tensor  # [N, 3, S, S]
    positions: Tensor  # [N, 3, S, S] metres
    extra: Tensor  # [N, D, S, S] whatever else was asked for
