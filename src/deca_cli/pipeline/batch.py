"""Photo after photo, from file to files: read, fit, decode, save; one bad photo never stops the others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deca_cli.errors import DecaError, InputError
from deca_cli.export import save
from deca_cli.export.names import PARAMS_JSON, result_names
from deca_cli.export.summary import DONE, FAILED, NO_FACE, RESUMED, FaceResult, Outcome
from deca_cli.photo.read import read_photo
from deca_cli.pipeline.captures import Decoder
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import fit_faces

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deca_cli.packs.store import Pack
    from deca_cli.pipeline.settings import Settings


def reconstruct(
    photos: Sequence[Path], pack: Pack, settings: Settings, output: Path, *, debug: bool = False
) -> Iterator[Outcome]:
    """Reconstruct photos in order; every outcome is given out as soon as its files are written.

    Args:
        photos: the files.
        pack: the model.
        settings: what is asked for.
        output: the folder for the results; must exist.
        debug: let unexpected exceptions through instead of counting the photo as failed.

    Raises:
        OutputError: results cannot be written, which no other photo would mend.
    """
    decoder = Decoder.of(pack)
    for path, name in zip(photos, result_names(photos, output), strict=True):
        finished = _finished(path, output / name, pack, settings) if settings.resume else ()
        if finished:
            yield Outcome(path, RESUMED, faces=finished)
            continue
        clock = Clock()
        try:
            faces = _reconstruct_one(path, output / name, decoder, settings, clock)
        except InputError as error:
            yield Outcome(path, FAILED, str(error), seconds=clock.seconds)
        except DecaError:
            raise
        except Exception as error:
            if debug:
                raise
            reason = f"unexpected {type(error).__name__}: {error}; run it alone with --debug and report this."
            yield Outcome(path, FAILED, f"{path}: {reason}", seconds=clock.seconds)
        else:
            yield _outcome(path, faces, clock)


def _outcome(path: Path, faces: tuple[FaceResult, ...], clock: Clock) -> Outcome:
    if faces:
        return Outcome(path, DONE, faces=faces, seconds=clock.seconds)
    reason = f"{path} shows no face that was found. If there is one, say where: --bbox x0,y0,x1,y1."
    return Outcome(path, NO_FACE, reason, seconds=clock.seconds)


def _reconstruct_one(
    path: Path, folder: Path, decoder: Decoder, settings: Settings, clock: Clock
) -> tuple[FaceResult, ...]:
    """The one readable path: photo, faces, codes, heads, pictures and files."""
    with clock.stage("read"):
        photo = read_photo(path)
    fits = fit_faces(photo, decoder.pack, settings, clock)
    with clock.stage("decode"):
        captures = decoder.decode(photo, fits)
    results = []
    for capture in captures:
        where = face_folder(folder, capture.face_number)
        with clock.stage("draw and save"):
            files = save(capture, where, settings.formats, settings.request())
        names = tuple(file.name for file in files)
        relative = where.relative_to(folder.parent).as_posix()
        results.append(FaceResult(relative, names, tuple(capture.box_px), capture.face_score))
    return tuple(results)


def face_folder(folder: Path, number: int) -> Path:
    """The largest face of a photo lies in the photo's folder itself, the others in `face2`, `face3` ... in it."""
    return folder if number == 1 else folder / f"face{number}"


def _finished(photo: Path, folder: Path, pack: Pack, settings: Settings) -> tuple[FaceResult, ...]:
    """The faces of an earlier run, if all of them are whole, newer than the photo, and asked for in the same way."""
    first = _read_params(folder)
    if first is None or not photo.is_file():
        return ()
    wanted = {"photo": str(photo.resolve()), "model": pack.manifest.name, "request": settings.request()}
    if any(first.get(key) != value for key, value in wanted.items()):
        return ()
    results = []
    for number in range(1, first["faces"] + 1):
        where = face_folder(folder, number)
        params = _read_params(where)
        whole = (
            params is not None
            and set(settings.formats) <= set(params["formats"])
            and all((where / file).is_file() for file in params["files"])
            and (where / PARAMS_JSON).stat().st_mtime >= photo.stat().st_mtime
        )
        if params is None or not whole:
            return ()
        files = (*params["files"], PARAMS_JSON)
        relative = where.relative_to(folder.parent).as_posix()
        results.append(FaceResult(relative, files, tuple(params["face_box_px"]), params["face_score"]))
    return tuple(results)


def _read_params(folder: Path) -> dict[str, Any] | None:
    """The parameters of a whole result, or None."""
    try:
        content = json.loads((folder / PARAMS_JSON).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    needed = {"photo", "faces", "formats", "files", "face_box_px", "face_score"}
    return content if isinstance(content, dict) and needed <= content.keys() else None
