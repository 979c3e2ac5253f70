"""`params.npz` and `params.json`: the numbers of one face, the same in both files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli import __version__
from deca_cli.export.atomic import write_arrays, write_text
from deca_cli.export.names import PARAMS_JSON, PARAMS_NPZ
from deca_cli.export.owner import photo_identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from deca_cli.export.capture import Capture

SIGNIFICANT_DIGITS = 7  # of a float32 in the JSON


def params_of(capture: Capture) -> dict[str, Any]:
    """All fields by name; arrays as numpy arrays."""
    camera = capture.codes["camera"]
    return {
        "photo": photo_identity(capture.photo.path),
        "photo_size": np.array([capture.photo.width, capture.photo.height]),
        "face": capture.face_number,
        "faces": capture.face_count,
        "face_box_px": np.asarray(capture.box_px, np.float64),
        "found_by": capture.found_by,
        "detection_score": capture.detection_score,
        "face_score": capture.face_score,
        "model": capture.model,
        "model_fingerprint": capture.model_fingerprint,
        "model_licence": capture.model_licence,
        "version": __version__,
        "codes": dict(capture.codes),
        "arkit": capture.arkit,
        "camera": {"scale": float(camera[0]), "tx": float(camera[1]), "ty": float(camera[2])},
        "pixels_per_metre": capture.pixels_per_metre,
        "head_pose_deg": dict(zip(("yaw", "pitch", "roll"), capture.head_pose_deg, strict=True)),
        "crop_size": capture.crop_size,
        "crop_to_photo": capture.crop_to_photo,
        "landmarks_2d_px": capture.landmarks_2d_px,
        "landmarks_3d_px": capture.landmarks_3d_px,
        "landmarks_3d": capture.landmarks_3d,
        "landmarks_visible": capture.landmarks_visible,
    }


def write_params_npz(capture: Capture, folder: Path) -> Path:
    """Write `params.npz`: every field as one array; codes by their own names, ARKit as names and values."""
    arrays: dict[str, np.ndarray] = {}
    for name, value in params_of(capture).items():
        if name == "codes":
            arrays |= value
        elif name == "arkit":
            arrays["arkit_names"] = np.array(list(value), dtype=np.str_)
            arrays["arkit"] = np.array(list(value.values()), np.float32)
        elif name == "camera":
            pass  # its three numbers are the code of that name
        elif name == "head_pose_deg":
            arrays[name] = np.array(list(value.values()), np.float64)
        else:
            arrays[name] = np.asarray(np.nan if value is None else value)
    return write_arrays(folder / PARAMS_NPZ, arrays)


def write_params_json(
    capture: Capture,
    folder: Path,
    *,
    formats: Sequence[str],
    request: Mapping[str, object],
    files: Sequence[Path],
) -> Path:
    """Write `params.json`, the last file of a face: where it is, the result is whole.

    Args:
        capture: the face.
        folder: its folder.
        formats: the formats that were asked for.
        request: what else was asked for; `--resume` compares both.
        files: the files already written for it.
    """
    content = params_of(capture) | {
        "request": dict(request),
        "formats": list(formats),
        "files": [file.name for file in files],
    }
    return write_text(folder / PARAMS_JSON, to_json(content))


def to_json(content: Mapping[str, object]) -> str:
    """JSON with a line for every field, and for every item of a list of objects; NaN is refused."""
    lines = [f"  {_dump(key)}: {_field(value)}" for key, value in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _field(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(_dump(item) for item in value) + "\n  ]"
    return _dump(value)


def _dump(value: object) -> str:
    if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim > 0:
        return _nested(_numbers(value), value.shape)
    if isinstance(value, dict) and any(isinstance(item, np.ndarray) for item in value.values()):
        return "{" + ", ".join(f"{_dump(str(key))}: {_dump(item)}" for key, item in value.items()) + "}"
    return json.dumps(as_stored(value), ensure_ascii=False, allow_nan=False)


def _numbers(values: np.ndarray) -> list[str]:
    """Floats as JSON has them, rounded to `SIGNIFICANT_DIGITS`; most of the numbers, so all in one step."""
    if not np.isfinite(values).all():
        raise ValueError("NaN and infinity are no JSON")
    texts = (f"%.{SIGNIFICANT_DIGITS}g " * values.size % tuple(values.ravel().tolist())).split()
    # What has a point and no exponent is how Python writes that number, too.
    return [text if "." in text and "e" not in text else repr(float(text)) for text in texts]


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    """Numbers of an array of this shape as lists of lists."""
    if len(shape) > 1:
        size = len(texts) // max(shape[0], 1)
        texts = [_nested(texts[row * size : (row + 1) * size], shape[1:]) for row in range(shape[0])]
    return f"[{', '.join(texts)}]"


def as_stored(value: object) -> object:
    """What JSON gives back for a value: lists for tuples and arrays, floats rounded to `SIGNIFICANT_DIGITS`."""
    if isinstance(value, dict):
        return {str(key): as_stored(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return as_stored(value.tolist())
    if isinstance(value, (list, tuple)):
        return [as_stored(item) for item in value]
    if isinstance(value, float):
        return _rounded(value)
    return value


def _rounded(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
