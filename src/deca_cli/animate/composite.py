"""The moved face drawn into the source's own photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.animate.looks import TEXTURED, studio
from deca_cli.animate.mouth import face_opacity
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.results import composite_frame
from deca_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from deca_cli.animate.looks import Light
    from deca_cli.animate.source import Source
    from deca_cli.networks.codes import Codes


def composite_clip(
    source: Source, codes: Codes, kind: str = TEXTURED, light: Light | None = None, most: int = 2048
) -> Iterator[np.ndarray]:
    """Frames of the photo's shape with the head in its place.

    Raises:
        UsageError: the photo is no longer where it was.
    """
    if not source.has_photo:
        raise UsageError(
            f"--composite needs the source's photo, and {source.photo.path} does not lead to it any more."
        )
    panels = (Panel(kind, composite_frame(source, most)),)
    # Skull, ears and neck are the photo's own: hair and clothes are not part of the head.
    opacity = face_opacity(source.pack.assets)
    return render_clip(Scene.of(source, panels, light or studio(), opacity), codes)
