"""Weights of the losses under the names and with the values of the official release (spec section 8.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoarseWeights:
    """Weights of the stages pretrain and coarse. A weight of 0 takes its term, and what only it needs, away."""

    lmk: float = 1.0
    """Landmarks."""
    useWlmk: bool = True  # noqa: N815 - official name
    """Weigh the landmarks by point (`LANDMARK_WEIGHTS`) and leave out the invisible ones."""
    eyed: float = 1.0
    """How far the lids are apart."""
    lipd: float = 0.5
    """How far the lips are apart."""
    photo: float = 2.0
    """Photometric term; with 0 here and for `id` nothing is rendered."""
    useSeg: bool = True  # noqa: N815 - official name
    """Judge colours where the data's mask is, else where the rendered face is."""
    id: float = 0.2
    """Face recognition."""
    reg_shape: float = 1e-4
    reg_exp: float = 1e-4
    reg_tex: float = 1e-4
    reg_light: float = 1.0
    shape_consistency: bool = True
    """Swap shape codes between the pictures of a person."""

    @property
    def renders(self) -> bool:
        """Whether any term needs a rendered picture."""
        return self.photo > 0 or self.id > 0


@dataclass(frozen=True)
class DetailWeights:
    """Weights of the detail stage."""

    photo_D: float = 2.0  # noqa: N815 - official name
    """Photometric term in the UV map."""
    mrf: float = 0.05
    """ID-MRF; counts `photo_D * mrf`, as official."""
    reg_z: float = 0.005
    """Size of the displacement."""
    reg_diff: float = 0.005
    """Smoothness of the shading."""
    reg_sym: float = 0.005
    """Symmetry of the displacement where the photo does not show it."""
    detail_consistency: bool = True
    """Swap detail codes between the pictures of a person."""
