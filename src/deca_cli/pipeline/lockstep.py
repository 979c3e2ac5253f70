"""Fit the faces of several photos side by side: the questions of a round go through the networks in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deca_cli.errors import DeviceError
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.encoding import fit_questions
from deca_cli.pipeline.fit import Encode, Look, cut_crops, fit_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import Crop
    from deca_cli.photo.face import Face
    from deca_cli.pipeline.encoding import Batches
    from deca_cli.pipeline.fit import Steps
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.task import Task


def fit_together(
    tasks: Sequence[Task],
    pack: Pack,
    settings: Settings,
    batches: Batches,
    cutters: Executor,
    *,
    look: Callable[[Task], Future],
    found: Callable[[Task, Future], list[Face]],
    padded: bool,
) -> None:
    """Fill `fits`, or `error` where a photo cannot be used, of every task.

    Args:
        tasks: photos that have been seen.
        pack: the model.
        settings: what is asked for.
        batches: how many crops at a time.
        cutters: threads that cut crops.
        look: starts a longer search for faces.
        found: waits for its end.
        padded: see `fit_questions`.

    Raises:
        DeviceError: the GPU's memory does not hold a single face.
    """
    steps = {
        task: fit_steps(task.seen.photo, pack.manifest.least_face_score, settings)
        for task in tasks
        if task.seen
    }
    answers: dict[Task, Any] = dict.fromkeys(steps)
    while answers:
        questions = _ask(steps, answers)
        searches = {task: look(task) for task, question in questions.items() if isinstance(question, Look)}
        encodes = {task: question for task, question in questions.items() if isinstance(question, Encode)}
        answers = _encode(encodes, pack, batches, cutters, padded=padded)
        for task, future in searches.items():
            with task.clock.stage("find"):
                try:
                    answers[task] = found(task, future)
                except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
                    task.error = error


def _ask(steps: dict[Task, Steps], answers: dict[Task, Any]) -> dict[Task, Look | Encode]:
    """Hand every photo its answer and take its next question; a photo without one is done."""
    questions = {task: _next(task, steps[task], answer) for task, answer in answers.items()}
    return {task: question for task, question in questions.items() if question is not None}


def _next(task: Task, steps: Steps, answer: Any) -> Look | Encode | None:  # noqa: ANN401 - of either question
    try:
        question = steps.send(answer)
        if isinstance(question, Look) and not question.thorough and task.seen is not None:
            question = steps.send(task.seen.faces)  # this was found out while the photo was read
    except StopIteration as done:
        task.fits = done.value
    except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
        task.error = error
    else:
        return question
    return None


def _encode(
    questions: dict[Task, Encode], pack: Pack, batches: Batches, cutters: Executor, *, padded: bool
) -> dict[Task, Any]:
    crops = _cut(questions, pack, cutters)
    clock = Clock()
    asked = [(questions[task], cut) for task, cut in crops.items()]
    try:
        with clock.stage("encode"):
            answers = dict(zip(crops, fit_questions(asked, pack, batches, padded=padded), strict=True))
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
        if len(crops) == 1:
            next(iter(crops)).error = error
            return {}
        # One of them is to blame; asked one by one, it costs nobody else's result.
        every: dict[Task, Any] = {}
        for task in crops:
            every |= _encode({task: questions[task]}, pack, batches, cutters, padded=padded)
        return every
    total = max(sum(map(len, crops.values())), 1)
    for task, cut in crops.items():
        task.clock.add("encode", clock.seconds["encode"] * len(cut) / total)
    return answers


def _cut(questions: dict[Task, Encode], pack: Pack, cutters: Executor) -> dict[Task, list[Crop]]:
    """The crops of every question, cut in the background; photos that cannot be cut get their error."""

    def cut(task: Task) -> list[Crop]:
        assert task.seen is not None  # noqa: S101 - only seen photos have questions
        with task.clock.stage("crop"):
            return cut_crops(task.seen.photo, questions[task], pack.deca.preprocessing)

    futures = {task: cutters.submit(cut, task) for task in questions}
    crops: dict[Task, list[Crop]] = {}
    for task, future in futures.items():
        error = future.exception()
        if error is None:
            crops[task] = future.result()
        else:
            task.error = error
    return crops
