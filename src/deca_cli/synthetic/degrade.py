"""From clean rendering to the picture a camera, a website and a re-compression leave behind. All effects are per picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.exposure import ExposureShares, develop, sample_exposure

if TYPE_CHECKING:
    from collections.abc import Callable

    from deca_cli.synthetic.draws import Draws

    Fusible = Callable[..., Tensor]

JPEG_LUMINANCE = (  # ITU-T T.81, Annex K, table K.1
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)

TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF 1.02
FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@dataclass(frozen=True)
class CameraShares:
    """Shares of the pictures that suffer; 0 switches the effect off."""

    grey: float = 0.12
    wrong_balance: float = 0.2  # the colour of the light is hardly corrected: warm lamps, blue shade
    tone_curve: float = 0.85  # the S-curve of cameras' own pictures; the others are flat
    blur: float = 0.45
    low_resolution: float = 0.4
    noise: float = 0.7
    compression: float = 0.5
    borders: float = 0.18

    @property
    def exposure(self) -> ExposureShares:
        """Those of the exposure."""
        return ExposureShares(self.grey, self.wrong_balance, self.tone_curve)


def blur_kernels(wide: Tensor, narrow: Tensor, angle: Tensor, reach: int) -> Tensor:
    """[N, K, K] anisotropic Gaussians that add up to 1, from their two widths in pixels and their direction."""
    n = slice(None), None, None
    axis = torch.arange(-reach, reach + 1, device=wide.device, dtype=torch.float32)
    y, x = axis[:, None], axis[None]
    along = x * angle.cos()[n] + y * angle.sin()[n]
    across = y * angle.cos()[n] - x * angle.sin()[n]
    kernel = torch.exp(-0.5 * ((along / wide[n]) ** 2 + (across / narrow[n]) ** 2))
    return kernel / kernel.sum((1, 2), keepdim=True)


def blur(draws: Draws, picture: Tensor, share: float = 0.45, reach: int = 6) -> Tensor:
    """Defocus and motion: one anisotropic Gaussian per picture, as a depthwise convolution."""
    n, channels, height, width = picture.shape
    wide = draws.log_uniform(n, low=0.3, high=2.6) * draws.chance(share, n) + 0.18
    narrow = wide * torch.where(
        draws.chance(0.3, n), draws.uniform(n, low=0.15, high=0.6), torch.ones_like(wide)
    )
    angle = draws.uniform(n, low=0, high=math.pi)
    kernel = blur_kernels(wide, narrow.clamp_min(0.18), angle, reach)
    padded = F.pad(picture, (reach,) * 4, mode="replicate").reshape(
        1, n * channels, height + 2 * reach, width + 2 * reach
    )
    weight = kernel.repeat_interleave(channels, 0)[:, None]
    return F.conv2d(padded, weight, groups=n * channels).reshape(n, channels, height, width)


def resampling(factor: Tensor, width: Tensor, size: int) -> Tensor:
    """[N, size, size] matrices that shrink a line of pixels and enlarge it again by linear interpolation.

    Args:
        factor: [N] how much smaller the line becomes, below 1.
        width: [N] half width in pixels of the hat over which a smaller pixel averages; 1 takes point samples.
        size: number of pixels.
    """
    index = torch.arange(size, device=factor.device, dtype=torch.float32)
    f = factor[:, None, None]
    centre = (index[:, None] + 0.5) / f - 0.5  # of the small pixels (rows), among the large ones (columns)
    shrink = (1 - (index - centre).abs() / width[:, None, None]).clamp_min(0)
    shrink = shrink / shrink.sum(-1, keepdim=True).clamp_min(1e-6)
    last = torch.ceil(size * f - 1e-4) - 1
    wanted = torch.minimum(((index[:, None] + 0.5) * f - 0.5).clamp_min(0), last - 0.5)
    enlarge = (1 - (index - wanted).abs()).clamp_min(0) * (index <= last)
    enlarge = enlarge / enlarge.sum(-1, keepdim=True).clamp_min(1e-6)
    return enlarge @ shrink


def lower_resolution(draws: Draws, picture: Tensor, share: float = 0.4) -> Tensor:
    """Shrink and enlarge again: small faces and thumbnails, well and badly filtered."""
    n, size = picture.shape[0], picture.shape[-1]
    factor = draws.log_uniform(n, low=0.24, high=0.85)
    filtered = draws.chance(0.6, n)
    across = resampling(factor, torch.where(filtered, 1 / factor, 1.0), size).mT  # acts on a row of pixels
    # Rows of all colours in one product, then columns: no copy of the matrices per colour.
    rows = (picture.flatten(1, 2) @ across).view(picture.shape).mT
    small = (rows.flatten(1, 2) @ across).view(picture.shape).mT
    return torch.where(draws.chance(share, n, 1, 1, 1), small, picture).clamp(0, 1)


@dataclass(frozen=True)
class Noise:
    """Sensor noise of N pictures."""

    strength: Tensor  # [N], 0 = none
    coarse: Tensor  # [N] bool: clumps of pixels, as after the noise reduction of phones
    coloured: Tensor  # [N] bool


def sample_noise(draws: Draws, n: int, share: float = 0.7) -> Noise:
    """Noise for a share of the pictures."""
    strength = draws.log_uniform(n, low=0.002, high=0.08) * draws.chance(share, n)
    return Noise(strength, draws.chance(0.3, n), draws.chance(0.5, n))


def blend_noise(picture: Tensor, fine: Tensor, coarse: Tensor, noise: Noise) -> Tensor:
    """Noise that grows with the square root of the signal.

    Args:
        picture: [N, 3, H, W] in [0, 1].
        fine: [N, 3, H, W] Gaussian numbers.
        coarse: [N, 3, H, W] smoothed ones.
        noise: of which kind and how much.
    """
    n = slice(None), None, None, None
    mixed = torch.where(noise.coarse[n], coarse * 1.4, fine)
    mixed = torch.where(noise.coloured[n], mixed, mixed.mean(1, keepdim=True) * 1.6)
    return (picture + mixed * noise.strength[n] * (0.35 + picture.sqrt())).clamp(0, 1)


def add_noise(draws: Draws, picture: Tensor, share: float = 0.7, blend: Fusible = blend_noise) -> Tensor:
    """Sensor noise, sometimes coarse, sometimes coloured."""
    n, channels, height, width = picture.shape
    fine = draws.normal(n, channels, height, width)
    small = draws.normal(n, channels, height // 2, width // 2)
    coarse = F.interpolate(small, size=(height, width), mode="bilinear")
    return blend(picture, fine, coarse, sample_noise(draws, n, share))


def _cosine_basis(device: torch.device) -> Tensor:
    """[8, 8] orthonormal DCT-II matrix."""
    k = torch.arange(8, device=device, dtype=torch.float32)
    basis = torch.cos((2 * k + 1) * k[:, None] * math.pi / 16) * 0.5
    return torch.cat([basis[:1] / math.sqrt(2), basis[1:]])


def quantise(picture: Tensor, quality: Tensor, luminance: Tensor) -> Tensor:
    """JPEG: 8x8 cosine transform, rounding, back. The side must be a multiple of 8.

    Args:
        picture: [N, 3, H, W] in [0, 1].
        quality: [N] 1 to 100.
        luminance: [8, 8] the standard's table of steps at quality 50.
    """
    n, channels, height, width = picture.shape
    to_ycc, from_ycc = constant(TO_YCC, picture.device), constant(FROM_YCC, picture.device)
    basis = _cosine_basis(picture.device)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    chroma = torch.maximum(luminance, luminance.T) * 1.3
    step = (torch.stack([luminance, chroma, chroma]) * scale[:, None, None, None]).clamp_min(1) / 255
    ycc = torch.einsum("kc,nchw->nkhw", to_ycc, picture)
    blocks = ycc.reshape(n, channels, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    frequencies = basis @ blocks @ basis.T
    step = step[:, :, None, None]
    restored = basis.T @ (torch.round(frequencies / step) * step) @ basis
    ycc = restored.permute(0, 1, 2, 4, 3, 5).reshape(n, channels, height, width)
    return torch.einsum("ck,nkhw->nchw", from_ycc, ycc).clamp(0, 1)


def compress(draws: Draws, picture: Tensor, share: float = 0.5, code: Fusible = quantise) -> Tensor:
    """JPEG at a random quality for a share of the pictures."""
    n = len(picture)
    coded = code(picture, draws.uniform(n, low=12, high=95), constant(JPEG_LUMINANCE, picture.device))
    return torch.where(draws.chance(share, n, 1, 1, 1), coded, picture)


def uncut(draws: Draws, n: int, size: int, share: float = 0.18) -> Tensor:
    """Bool [n, size, size]: false where the crop reaches over the edge of the photo, black in the pipeline's crops."""
    axis = torch.linspace(0, 1, size, device=draws.device)
    keep = torch.ones(n, size, size, dtype=torch.bool, device=draws.device)
    cut = draws.chance(share, n)
    for side in range(4):
        margin = draws.uniform(n) ** 1.5 * 0.32 * draws.chance(0.4, n) * cut
        line = axis >= margin[:, None] if side < 2 else axis <= 1 - margin[:, None]
        keep = keep & (line[:, None, :] if side % 2 == 0 else line[:, :, None])
    return keep


@dataclass(frozen=True)
class PixelChains:
    """The functions of whole pictures without draws, which a compiler can turn into few kernels."""

    develop: Fusible = develop
    blend: Fusible = blend_noise
    code: Fusible = quantise

    def through(self, fuse: Callable[[Fusible], Fusible]) -> PixelChains:
        """The same functions, compiled."""
        return PixelChains(fuse(self.develop), fuse(self.blend), fuse(self.code))


def degrade(
    draws: Draws,
    linear: Tensor,
    bare: Tensor,
    illuminant: Tensor,
    shares: CameraShares | None = None,
    chains: PixelChains | None = None,
) -> tuple[Tensor, Tensor]:
    """The whole chain.

    Args:
        draws: source of randomness.
        linear: [N, 3, S, S] linear rendering.
        bare: [N, S, S] how much of each pixel is the face's bare surface.
        illuminant: [N, 3] mean light on a white surface.
        shares: how many pictures suffer from what.
        chains: the functions of whole pictures, if they are compiled.

    Returns:
        display values in [0, 1] [N, 3, S, S]; ``bare`` without what the borders cut away.
    """
    shares, chains = shares or CameraShares(), chains or PixelChains()
    picture = chains.develop(linear, sample_exposure(draws, linear, illuminant, shares.exposure))
    picture = blur(draws, picture, shares.blur)
    picture = lower_resolution(draws, picture, shares.low_resolution)
    picture = add_noise(draws, picture, shares.noise, chains.blend)
    picture = compress(draws, picture, shares.compression, chains.code)
    keep = uncut(draws, len(picture), picture.shape[-1], shares.borders)
    return picture * keep[:, None], bare * keep
