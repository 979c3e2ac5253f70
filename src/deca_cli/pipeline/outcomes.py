"""What became of a photo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.errors import DecaError, InputError
from deca_cli.export.summary import DONE, ENDED, FAILED, NO_FACE, FaceResult, Outcome
from deca_cli.pipeline.reasons import doubt, no_face_reason

if TYPE_CHECKING:
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.task import Task


def outcome_of(
    task: Task, settings: Settings, least_face_score: float, *, debug: bool
) -> tuple[Outcome, BaseException | None]:
    """What became of a photo that is over, and the error that ends the run with it, if there is one.

    Args:
        task: the photo.
        settings: what is asked for.
        least_face_score: of the model.
        debug: an unexpected exception ends the run.
    """
    if task.outcome is not None:
        return task.outcome, None
    error: BaseException | None = task.error
    faces: tuple[FaceResult, ...] = ()
    if error is None and task.saving is not None:
        error = task.saving.error
        if error is None:
            faces, took = task.saving.value
            task.clock.add("draw and save", took)
    if error is not None:
        return _failed(task, error, debug=debug)
    seconds = task.clock.seconds
    if not faces:
        return Outcome(task.path, NO_FACE, no_face_reason(task.path, settings), seconds=seconds), None
    warning = doubt(task.path, [face.face_score for face in faces], least_face_score)
    return Outcome(task.path, DONE, warning=warning, faces=faces, seconds=seconds), None


def _failed(task: Task, error: BaseException, *, debug: bool) -> tuple[Outcome, BaseException | None]:
    seconds = task.clock.seconds
    if isinstance(error, InputError):
        return Outcome(task.path, FAILED, str(error), seconds=seconds), None
    if isinstance(error, DecaError):
        return Outcome(task.path, ENDED, str(error), seconds=seconds), error
    reason = f"unexpected {type(error).__name__}: {error}; run it alone with --debug and report this."
    failed = Outcome(task.path, FAILED, f"{task.path}: {reason}", seconds=seconds)
    return failed, error if debug else None
