"""What a reconstruction is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deca_cli.photo.crop import PixelBox

# Formats that need more of a capture than landmarks and parameters; to write them the head is drawn.
OF_THE_MESH = frozenset({"obj", "depth", "normals", "images"})


@dataclass(frozen=True)
class Settings:
    """Everything but the photos, the model and the output folder."""

    max_faces: int | None = None  # at most so many faces a photo, the largest; None = all
    box_px: PixelBox | None = None  # use this box around brows, chin and jaw instead of looking for faces
    detector: str = "auto"  # name of a detector of photo.detectors
    whole_photo: bool = False  # photos are aligned crops already: neither look for faces nor cut
    formats: tuple[str, ...] = ()  # names in export.formats.FORMATS beyond what is always written
    resume: bool = False  # leave photos alone whose result is there, whole and asked for in the same way

    @property
    def of_the_mesh(self) -> bool:
        """Whether a format is asked for that needs the mesh, and draws it."""
        return not OF_THE_MESH.isdisjoint(self.formats)

    def request(self) -> dict[str, Any]:
        """What decides about the content of a result, as kept in it; formats apart, more of them do no harm."""
        kept = asdict(self)
        kept.pop("formats")
        kept.pop("resume")
        kept["box_px"] = list(self.box_px) if self.box_px else None
        return kept
