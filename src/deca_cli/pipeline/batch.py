"""Photo after photo, from file to files: read, fit, decode, save; one bad photo never stops the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.errors import DecaError, InputError
from deca_cli.export import save
from deca_cli.export.names import result_names
from deca_cli.export.owner import claim_folder
from deca_cli.export.summary import DONE, ENDED, FAILED, NO_FACE, FaceResult, Outcome
from deca_cli.photo.read import read_photo
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import fit_faces
from deca_cli.pipeline.reasons import doubt, no_face_reason
from deca_cli.pipeline.resume import Earlier, face_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.settings import Settings


def reconstruct(
    photos: Sequence[Path], decoder: Decoder, settings: Settings, output: Path, *, debug: bool = False
) -> Iterator[Outcome]:
    """Reconstruct photos in order; every outcome is given out as soon as its files are written.

    Args:
        photos: the files.
        decoder: the model.
        settings: what is asked for.
        output: the folder for the results; must exist.
        debug: let unexpected exceptions through instead of counting the photo as failed.

    Raises:
        OutputError: results cannot be written, which no other photo would mend; its outcome is given out before.
    """
    earlier = Earlier.read(output, settings, decoder.fingerprint) if settings.resume else None
    for path, names in zip(photos, result_names(photos, output), strict=True):
        known = earlier.outcome(path, output / names[0]) if earlier else None
        if known:
            yield known
            continue
        clock = Clock()
        try:
            faces = _reconstruct_one(path, output, names, decoder, settings, clock)
        except InputError as error:
            yield Outcome(path, FAILED, str(error), seconds=clock.seconds)
        except DecaError as error:
            yield Outcome(path, ENDED, str(error), seconds=clock.seconds)
            raise
        except Exception as error:
            if debug:
                raise
            reason = f"unexpected {type(error).__name__}: {error}; run it alone with --debug and report this."
            yield Outcome(path, FAILED, f"{path}: {reason}", seconds=clock.seconds)
        else:
            yield _outcome(path, faces, decoder, settings, clock)


def _outcome(
    path: Path, faces: tuple[FaceResult, ...], decoder: Decoder, settings: Settings, clock: Clock
) -> Outcome:
    if not faces:
        return Outcome(path, NO_FACE, no_face_reason(path, settings), seconds=clock.seconds)
    least = decoder.pack.manifest.least_face_score
    warning = doubt(path, [face.face_score for face in faces], least)
    return Outcome(path, DONE, warning=warning, faces=faces, seconds=clock.seconds)


def _reconstruct_one(
    path: Path, output: Path, names: Sequence[str], decoder: Decoder, settings: Settings, clock: Clock
) -> tuple[FaceResult, ...]:
    """The one readable path: photo, faces, codes, heads, pictures and files."""
    with clock.stage("read"):
        photo = read_photo(path)
    fits = fit_faces(photo, decoder.pack, settings, clock)
    with clock.stage("decode"):
        captures = decoder.decode(photo, fits)
    results = []
    folder = claim_folder(output, names, path) if captures else output
    for capture in captures:
        where = face_folder(folder, capture.face_number)
        with clock.stage("draw and save"):
            files = save(capture, where, settings.formats, settings.request())
        relative = where.relative_to(output).as_posix()
        names_of_files = tuple(file.name for file in files)
        results.append(FaceResult(relative, names_of_files, tuple(capture.box_px), capture.face_score))
    return tuple(results)
