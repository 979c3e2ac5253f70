"""What earlier runs left in an output folder, and whether it still answers what is asked now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deca_cli.export.names import PARAMS_JSON
from deca_cli.export.owner import photo_identity
from deca_cli.export.params import as_stored
from deca_cli.export.summary import NO_FACE, RESUMED, FaceResult, Outcome, read_faceless
from deca_cli.pipeline.reasons import no_face_reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deca_cli.pipeline.settings import Settings


@dataclass(frozen=True)
class Earlier:
    """Answers of earlier runs to the same question: same request, same model."""

    output: Path
    settings: Settings
    same: Mapping[str, Any]  # fields that a result must have to count
    faceless: Mapping[str, float]  # photos without a face, by identity, and when that was known

    @staticmethod
    def read(output: Path, settings: Settings, fingerprint: str) -> Earlier:
        """Look at the summary of the last run; results are looked at when their photo's turn comes."""
        same = {"model_fingerprint": fingerprint, "request": as_stored(settings.request())}
        return Earlier(output, settings, same, read_faceless(output, like=same))

    def outcome(self, photo: Path, folder: Path) -> Outcome | None:
        """What is known about a photo, or None if it has to be done (again).

        Args:
            photo: the photo; a result counts only if it is at least as new.
            folder: where its result would be.
        """
        try:
            changed = photo.stat().st_mtime
            if self.faceless.get(photo_identity(photo), -1.0) >= changed:
                return Outcome(photo, NO_FACE, no_face_reason(photo, self.settings))
            return Outcome(photo, RESUMED, faces=self._faces(photo, folder, changed))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # there is no photo or no result, or it is damaged

    def _faces(self, photo: Path, folder: Path, changed: float) -> tuple[FaceResult, ...]:
        """The faces of a photo; raises if one is missing, not whole, older than the photo, or answers something else."""
        count = json.loads((folder / PARAMS_JSON).read_text("utf-8"))["faces"]
        if count < 1:
            raise ValueError(count)
        return tuple(
            self._face(photo, face_folder(folder, number), changed) for number in range(1, count + 1)
        )

    def _face(self, photo: Path, folder: Path, changed: float) -> FaceResult:
        params = json.loads((folder / PARAMS_JSON).read_text("utf-8"))
        wanted = {**self.same, "photo": photo_identity(photo)}
        files = [folder / file for file in (*params["files"], PARAMS_JSON)]
        if (
            any(params[key] != value for key, value in wanted.items())
            or not set(self.settings.formats) <= set(params["formats"])
            or not all(file.is_file() for file in files)
            or files[-1].stat().st_mtime < changed
        ):
            raise ValueError(folder)
        relative = folder.relative_to(self.output).as_posix()
        names = tuple(file.name for file in files)
        return FaceResult(relative, names, tuple(map(float, params["face_box_px"])), params["face_score"])


def face_folder(folder: Path, number: int) -> Path:
    """The largest face of a photo lies in the photo's folder itself, the others in `face2`, `face3` ... in it."""
    return folder if number == 1 else folder / f"face{number}"
