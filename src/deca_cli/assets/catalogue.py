"""The one table of everything that can be fetched: what, what for, from where, under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FLAME_SITE = "flame"  # a form POST with user name and password
DRIVE = "drive"  # Google Drive with its page for large files
PLAIN = "plain"  # a plain HTTPS address
BY_HAND = "by hand"  # nobody may pass it on: the user brings it


@dataclass(frozen=True)
class Asset:
    """One file that can be fetched or imported.

    Attributes:
        name: what the command line and messages call it.
        file: its name in the cache.
        group: the word of `deca fetch-models` that brings it.
        purpose: what it is for.
        without: what works if it is missing.
        licence: name in `LICENCES`.
        source: `FLAME_SITE`, `DRIVE`, `PLAIN` or `BY_HAND`.
        addresses: where it is fetched from, tried in this order; for `BY_HAND` the page that says how to get it.
        size: bytes, None if unknown; `exact` says whether it is so to the byte.
        sha256: of the file, or its first digits, where published.
        git_blob: the file's object name in git, where that is what is known.
        archive: name of the zip that is fetched, when the file is inside one.
        optional: whether its group is complete without it.
    """

    name: str
    file: str
    group: str
    purpose: str
    without: str
    licence: str
    source: str
    addresses: tuple[str, ...]
    size: int | None
    exact: bool = False
    sha256: str | None = None
    git_blob: str | None = None
    archive: str | None = None
    optional: bool = False


_DECA_DATA = "https://raw.githubusercontent.com/yfeng95/DECA/a11554ae2a2b0f3998cf1fa94dd4db03babb34a2/data/"
_FLAME_FORM = "https://download.is.tue.mpg.de/download.php?domain=flame&resume=1&sfile="
_DRIVE_FILE = "https://drive.usercontent.google.com/download?export=download&id="
_YUNET_FILE = "opencv/opencv_zoo/{}/models/face_detection_yunet/face_detection_yunet_2023mar.onnx"
FLAME_2020_SHA256 = "efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b"  # generic_model.pkl
FLAME_2020_README_SHA256 = "6f9ca787c95ec56f3a090498514c3335c75eb9b7d88bb36eed6b585dfe220f99"


def _deca_data(name: str, file: str, purpose: str, size: int, **known: str) -> Asset:
    return Asset(
        name=name,
        file=file,
        group="deca",
        purpose=purpose,
        without="everything with `--model open`",
        licence="deca",
        source=PLAIN,
        addresses=(_DECA_DATA + file,),
        size=size,
        exact=True,
        **known,  # type: ignore[arg-type]
    )


FLAME = Asset(
    name="flame-model",
    file="generic_model.pkl",
    group="flame",
    purpose="the FLAME 2020 head: mesh, bases, skeleton",
    without="everything with `--model open`",
    licence="flame",
    source=FLAME_SITE,
    addresses=(_FLAME_FORM + "FLAME2020.zip",),
    size=53_023_716,
    exact=True,
    archive="FLAME2020.zip",
)
CHECKPOINT = Asset(
    name="deca-weights",
    file="deca_model.tar",
    group="deca",
    purpose="the published DECA networks; a torch checkpoint, not an archive",
    without="everything with `--model open`",
    licence="deca",
    source=DRIVE,
    addresses=(_DRIVE_FILE + "1rp8kdyLPvErw2dTmqtjISRVvQLj6Yzje",),
    size=434_000_000,
)
TEMPLATE = _deca_data(
    "head-template", "head_template.obj", "triangles and texture coordinates of the head", 563_358,
    sha256="dd5bfbce75adb99b1963f43bca7ec3557bd4a7321f8fc515f4100599e80d99f2",
)  # fmt: skip
LANDMARKS = _deca_data(
    "landmark-embedding", "landmark_embedding.npy", "where the 68 landmarks lie on the head", 31_292,
    sha256="8095348eeafce5a02f6bd8765146307f9567a3f03b316d788a2e47336d667954",
)  # fmt: skip
MASK = _deca_data(
    "face-eye-mask", "uv_face_eye_mask.png", "where the detail networks act", 11_522,
    sha256="a5069d8ffaf020008ae92d5062c4e98600f723aac4eb869731f190e4630467b5",
)  # fmt: skip
DISPLACEMENT = _deca_data(
    "fixed-displacement", "fixed_displacement_256.npy", "the part of the detail that all heads share", 524_416,
    sha256="296d01113d67bdaace6f6fe741f7d855e58dc0707f0bb113758520ffa5d8cb93",
)  # fmt: skip
DENSE_TEMPLATE = Asset(
    name="dense-template",
    file="texture_data_256.npy",
    group="deca",
    purpose="the official vertex order of the detail mesh",
    without="everything; the detail mesh is made from the UV chart",
    licence="deca",
    source=PLAIN,
    addresses=(_DECA_DATA + "texture_data_256.npy",),
    size=None,
    git_blob="a1a440ab80445ecf84dd255fd259962d13c1d564",
    optional=True,
)
ALBEDO = Asset(
    name="albedo",
    file="FLAME_albedo_from_BFM.npz",
    group="albedo",
    purpose="the albedo model that DECA's texture codes belong to",
    without="everything but the albedo output",
    licence="bfm-albedo",
    source=BY_HAND,
    addresses=("https://github.com/TimoBolkart/BFM_to_FLAME",),
    size=None,
    optional=True,
)
FLAME_TEXTURE = Asset(
    name="flame-texture",
    file="FLAME_texture.npz",
    group="albedo",
    purpose="FLAME's own texture model; DECA's codes were not made for it",
    without="everything but its albedo output",
    licence="flame-texture",
    source=FLAME_SITE,
    addresses=(_FLAME_FORM + "TextureSpace.zip",),
    size=None,
    archive="TextureSpace.zip",
    optional=True,
)
YUNET = Asset(
    name="yunet",
    file="face_detection_yunet_2023mar.onnx",
    group="detector",
    purpose="a small, good face detector",
    without="everything; the bundled detector finds frontal faces",
    licence="yunet",
    source=PLAIN,
    addresses=(
        f"https://media.githubusercontent.com/media/{_YUNET_FILE.format('main')}",
        f"https://github.com/{_YUNET_FILE.format('raw/main')}",
    ),
    size=232_589,
    exact=True,
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
S3FD = Asset(
    name="s3fd",
    file="s3fd-619a316812.pth",
    group="detector",
    purpose="the slower detector that DECA used",
    without="everything; YuNet or the bundled detector finds faces",
    licence="face-alignment",
    source=PLAIN,
    addresses=("https://www.adrianbulat.com/downloads/python-fan/s3fd-619a316812.pth",),
    size=89_800_000,
    sha256="619a316812",
)
IDENTITY = Asset(
    name="vggface2",
    file="resnet50_ft_weight.pkl",
    group="identity",
    purpose="the face-recognition network of the identity loss",
    without="everything but training DECA",
    licence="vggface2",
    source=DRIVE,
    addresses=(_DRIVE_FILE + "1A94PAAnwk6L7hXdBXLFosB_s0SzEhAFU",),
    size=165_000_000,
)
VGG19 = Asset(
    name="vgg19",
    file="vgg19-dcbb9e9d.pth",
    group="identity",
    purpose="the image features of the detail texture loss",
    without="everything but training DECA's detail",
    licence="vgg19",
    source=PLAIN,
    addresses=("https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",),
    size=575_000_000,
    sha256="dcbb9e9d",
)

ASSETS: tuple[Asset, ...] = (
    FLAME, CHECKPOINT, TEMPLATE, LANDMARKS, MASK, DISPLACEMENT, DENSE_TEMPLATE, ALBEDO, FLAME_TEXTURE,
    YUNET, S3FD, IDENTITY, VGG19,
)  # fmt: skip
PACK_ASSETS = (FLAME, CHECKPOINT, TEMPLATE, LANDMARKS, MASK, DISPLACEMENT)  # the `deca` pack is made of these

# What the words of `deca fetch-models` bring; every asset's own name is a word too.
GROUPS: Mapping[str, tuple[Asset, ...]] = MappingProxyType(
    {
        "deca": (*PACK_ASSETS, DENSE_TEMPLATE),
        "flame": (FLAME,),
        "detector": (YUNET, S3FD),
        "identity": (IDENTITY, VGG19),
        "all": tuple(asset for asset in ASSETS if asset.source != BY_HAND),
    }
)


def wanted_assets(words: Sequence[str]) -> tuple[Asset, ...]:
    """The assets that the words name, each once, in the order of the table.

    Raises:
        UsageError: A word is neither a group nor an asset.
    """
    by_word = {asset.name: (asset,) for asset in ASSETS} | dict(GROUPS)
    unknown = [word for word in words if word not in by_word]
    if unknown:
        raise UsageError(
            f"There is nothing called {', '.join(unknown)} to fetch. Choose from {', '.join(GROUPS)}, or one of "
            f"{', '.join(asset.name for asset in ASSETS)}."
        )
    chosen = {asset.name for word in words for asset in by_word[word]}
    return tuple(asset for asset in ASSETS if asset.name in chosen)
