"""Decode the fits of several photos in one batch; a fault costs only the photo that causes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deca_cli.pipeline.captures import One
from deca_cli.pipeline.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deca_cli.export.capture import Capture
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.encoding import Batches
    from deca_cli.pipeline.task import Task


def decode_together(tasks: Sequence[Task], decoder: Decoder, batches: Batches) -> dict[Task, list[Capture]]:
    """The captures of every task that has fits and no error; `error` is filled in where decoding fails.

    Args:
        tasks: photos that have been fitted.
        decoder: the model.
        batches: how many faces at a time.
    """
    ready = [task for task in tasks if task.error is None and task.fits]
    clock = Clock()
    try:
        with clock.stage("decode"):
            captures = _decode(ready, decoder, batches)
    except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
        if len(ready) == 1:
            ready[0].error = error
            return {}
    else:
        for task in ready:
            task.clock.add("decode", clock.seconds["decode"] / len(ready))
        return captures
    # One of them is to blame; decoded one by one, it costs nobody else's result. Outside of the handler: the
    # exception's traceback kept the tensors of the failed attempt.
    every: dict[Task, list[Capture]] = {}
    for task in ready:
        every |= decode_together([task], decoder, batches)
    return every


def _decode(ready: Sequence[Task], decoder: Decoder, batches: Batches) -> dict[Task, list[Capture]]:
    faces = [
        One(task.seen.photo, fit, number, len(task.fits))
        for task in ready
        if task.seen is not None
        for number, fit in enumerate(task.fits, 1)
    ]
    captures = iter(batches.run(lambda part: decoder.decode_faces(faces[part]), len(faces)))
    return {task: [next(captures) for _ in task.fits] for task in ready}
