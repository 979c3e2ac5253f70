"""Backgrounds and cloth patterns: procedural textures, and the face-free pictures that scikit-image bundles."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from deca_cli.synthetic.draws import Draws

# Bundled with scikit-image (no download), free to use, and without human faces.
BUNDLED_PICTURES = (
    "brick",
    "cat",
    "cell",
    "clock",
    "coffee",
    "coins",
    "colorwheel",
    "grass",
    "gravel",
    "hubble_deep_field",
    "horse",
    "immunohistochemistry",
    "moon",
    "page",
    "rocket",
    "text",
    "checkerboard",
)


def bundled_pictures(size: int) -> Tensor:
    """[P, 3, size, size] linear RGB of the bundled pictures, two crops each.

    Raises:
        ModelError: scikit-image bundles none of the pictures any more.
    """
    import numpy as np
    from skimage import data

    from deca_cli.errors import ModelError

    crops = []
    for name in BUNDLED_PICTURES:
        picture = _load_bundled(data, name)
        if picture is None:
            continue
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).float()
        pixels = pixels[..., None].expand(-1, -1, 3) if pixels.dim() == 2 else pixels[..., :3]
        pixels = pixels.permute(2, 0, 1) / pixels.max().clamp_min(1)
        side = min(pixels.shape[1:])
        corners = torch.stack([pixels[:, :side, :side], pixels[:, -side:, -side:]])
        crops.append(F.interpolate(corners, size=(size, size), mode="bilinear", antialias=True))
    if not crops:
        raise ModelError(
            "scikit-image bundles no pictures for backgrounds; install scikit-image 0.22 or later."
        )
    return torch.cat(crops).pow(2.2)


def _load_bundled(data: object, name: str) -> object | None:
    """The picture, or None where this version of scikit-image would have to download it."""
    from pathlib import Path

    from skimage import data as module

    folder = Path(module.__file__).parent
    files = {
        "cat": "chelsea.png",
        "clock": "clock_motion.png",
        "hubble_deep_field": "hubble_deep_field.jpg",
        "checkerboard": "chessboard_GRAY.png",
        "colorwheel": "color.png",
        "immunohistochemistry": "ihc.png",
        "rocket": "rocket.jpg",
    }
    if not (folder / files.get(name, f"{name}.png")).is_file():
        return None
    return getattr(data, name)()


def random_colours(draws: Draws, n: int) -> Tensor:
    """[n, 3, 1, 1] linear RGB: an eighth of any colour, the others nearly grey, from black to white."""
    vivid = draws.uniform(n, 3, 1, 1)
    grey = draws.uniform(n, 1, 1, 1) * torch.exp(draws.normal(n, 3, 1, 1, std=0.12))
    return torch.where(draws.chance(0.125, n, 1, 1, 1), vivid, grey.clamp(0, 1)) ** 2.2


class Crowd:
    """Faces of an earlier batch, to stand in the background of the next; kept at one place in memory.

    Args:
        count: how many are kept.
        size: side of their pictures in pixels.
        device: where they are kept.
    """

    def __init__(self, count: int, size: int, device: torch.device) -> None:
        self.faces = torch.zeros(count, 3, size, size, device=device)  # linear RGB
        self.known = torch.zeros(1, dtype=torch.bool, device=device)

    def forget(self) -> None:
        """Nobody is known, as at the beginning."""
        self.known.fill_(False)

    def remember(self, pictures: Tensor) -> None:
        """Keep linear pictures [N, 3, S, S]; if they are too few, some twice."""
        row = torch.arange(len(self.faces), device=pictures.device) % len(pictures)
        size = self.faces.shape[-1]
        self.faces.copy_(F.interpolate(pictures[row], size=(size, size), mode="bilinear"))
        self.known.fill_(True)


class Backgrounds:
    """A bank of textures on one device, renewed on request, from which batches are cropped, zoomed and recoloured.

    Args:
        draws: source of randomness.
        size: side of the textures in pixels.
        count: how many procedural textures are kept.
    """

    def __init__(self, draws: Draws, size: int = 192, count: int = 192) -> None:
        self.size = size
        self.count = count
        pictures = bundled_pictures(size).to(draws.device)
        textures = self._procedural(draws)
        self.bank = torch.cat([textures, pictures])
        self.weights = [1.0 / len(textures)] * len(textures) + [0.8 / len(pictures)] * len(pictures)
        self.procedural = len(textures)

    def renew(self, draws: Draws) -> None:
        """Replace the procedural textures with new ones, in place: a CUDA graph reads them where they are."""
        self.bank[: self.procedural] = self._procedural(draws)

    def _procedural(self, draws: Draws) -> Tensor:
        n, size = self.count // 6, self.size
        clouds = self._recolour(draws, draws.cloud_noise(2 * n, 1, size, (3, 8, 20, 50), 0.7))
        gradients = self._recolour(draws, draws.smooth_noise(n, 1, size, 1))
        return torch.cat(
            [clouds, gradients, self._stripes(draws, n), self._boxes(draws, n), self._lights(draws, n)]
        )

    def _recolour(self, draws: Draws, value: Tensor) -> Tensor:
        """Map a grey field [n, 1, s, s] to a ramp between random colours."""
        n = value.shape[0]
        first, second = (random_colours(draws, n) for _ in range(2))
        sharp = draws.log_uniform(n, 1, 1, 1, low=0.5, high=8.0)
        return torch.lerp(first, second, torch.sigmoid(value * sharp))

    def _stripes(self, draws: Draws, n: int) -> Tensor:
        axis = torch.linspace(-1, 1, self.size, device=draws.device)
        angle = draws.uniform(n, 1, 1, low=0, high=math.pi)
        along = axis[None, None] * angle.cos() + axis[None, :, None] * angle.sin()
        across = axis[None, :, None] * angle.cos() - axis[None, None] * angle.sin()
        wave = torch.sin(along * draws.log_uniform(n, 1, 1, low=6, high=70))
        plaid = torch.sin(across * draws.log_uniform(n, 1, 1, low=6, high=70)) * draws.chance(0.4, n, 1, 1)
        return self._recolour(draws, (wave + plaid)[:, None] * 2)

    def _boxes(self, draws: Draws, n: int) -> Tensor:
        """Overlapping rectangles: buildings, shelves, windows."""
        picture = random_colours(draws, n).expand(-1, -1, self.size, self.size)
        axis = torch.linspace(0, 1, self.size, device=draws.device)
        for _ in range(10):
            x0, y0 = draws.uniform(n, 1), draws.uniform(n, 1)
            width, height = (
                draws.log_uniform(n, 1, low=0.03, high=0.6),
                draws.log_uniform(n, 1, low=0.03, high=0.8),
            )
            inside_x = (axis > x0 - width / 2) & (axis < x0 + width / 2)
            inside_y = (axis > y0 - height / 2) & (axis < y0 + height / 2)
            inside = (inside_y[:, :, None] & inside_x[:, None])[:, None]
            picture = torch.where(inside, random_colours(draws, n), picture)
        return picture

    def _lights(self, draws: Draws, n: int) -> Tensor:
        """Blurred discs of light on a dark ground, as behind night portraits."""
        picture = draws.uniform(n, 3, 1, 1).expand(-1, -1, self.size, self.size) * 0.08
        axis = torch.linspace(0, 1, self.size, device=draws.device)
        for _ in range(12):
            x, y, radius = (
                draws.uniform(n, 1, 1),
                draws.uniform(n, 1, 1),
                draws.log_uniform(n, 1, 1, low=0.01, high=0.12),
            )
            distance = ((axis[None, None] - x) ** 2 + (axis[None, :, None] - y) ** 2).sqrt()
            picture = picture + torch.sigmoid((radius - distance) * 120)[:, None] * draws.uniform(n, 3, 1, 1)
        return picture

    def sample(
        self, draws: Draws, count: int, size: int, crowd: Crowd | None = None, crowded: Tensor | None = None
    ) -> Tensor:
        """[count, 3, size, size] linear RGB.

        Args:
            draws: source of randomness.
            count: how many.
            size: their side in pixels.
            crowd: other faces, shown as people in the background.
            crowded: [count] bool, which backgrounds use them.
        """
        chosen = self.bank[draws.choice(self.weights, count)]
        if crowd is not None and crowded is not None:
            other = crowd.faces[draws.integers(len(crowd.faces), count)]
            chosen = torch.where((crowded & crowd.known)[:, None, None, None], other, chosen)
        zoom = draws.log_uniform(count, low=0.25, high=1.2)
        angle = draws.normal(count, std=0.15)
        flip = torch.where(draws.chance(0.5, count), -1.0, 1.0)
        theta = torch.stack(
            [
                torch.stack(
                    [
                        zoom * angle.cos() * flip,
                        -zoom * angle.sin(),
                        draws.uniform(count, low=-0.6, high=0.6),
                    ],
                    1,
                ),
                torch.stack(
                    [zoom * angle.sin() * flip, zoom * angle.cos(), draws.uniform(count, low=-0.6, high=0.6)],
                    1,
                ),
            ],
            dim=1,
        )
        grid = F.affine_grid(theta, [count, 3, size, size], align_corners=False)
        picture = F.grid_sample(chosen, grid, padding_mode="reflection", align_corners=False)
        gain = torch.exp(draws.normal(count, 3, 1, 1, std=0.15) + draws.normal(count, 1, 1, 1, std=0.5))
        return (picture * gain).clamp(0, 2)
