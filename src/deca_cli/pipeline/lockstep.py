"""Fit the faces of several photos side by side: the questions of a round go through the networks in one batch.

The pictures are with the workers, which cut the crops into shared memory. While they do, other groups go on: the steps
here are generators that say what they wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deca_cli.errors import DeviceError
from deca_cli.photo.crop import uncut
from deca_cli.photo.detectors import LBP
from deca_cli.pipeline.bench import Cut, Search
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.encoding import fit_crops_together
from deca_cli.pipeline.fit import Encode, Look, fit_steps, squares_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence

    from deca_cli.packs.store import Pack
    from deca_cli.photo.crop import Crop, PixelBox, Square
    from deca_cli.photo.face import Face
    from deca_cli.pipeline.crew import Crew
    from deca_cli.pipeline.encoding import Batches
    from deca_cli.pipeline.fit import Fit, Steps
    from deca_cli.pipeline.pages import Page, Pages
    from deca_cli.pipeline.settings import Settings
    from deca_cli.pipeline.task import Task
    from deca_cli.pipeline.worker import Pending

    Waiting = Generator[Callable[[], bool], None, Any]  # of what is to be true before it goes on


@dataclass(frozen=True, eq=False)
class Fitting:
    """What fitting needs besides the photos.

    Attributes:
        pack: the model.
        settings: what is asked for.
        crew: who cuts and searches.
        pages: where crops come to.
        batches: how many crops go through the networks at a time.
        detector: that the crew searches with.
        padded: fill batches up to their size, for compiled networks.
    """

    pack: Pack
    settings: Settings
    crew: Crew
    pages: Pages
    batches: Batches
    detector: str | None
    padded: bool


@dataclass(frozen=True, eq=False)
class _Asked:
    """One crop that a photo asks about."""

    task: Task
    face: Face
    box: PixelBox
    square: Square
    crop: Crop  # without its image


def fit_together(tasks: Sequence[Task], fitting: Fitting) -> Waiting:
    """Fill `fits`, or `error` where a photo cannot be used, of every task.

    Raises:
        DeviceError: the GPU's memory does not hold a single face.
    """
    least, settings = fitting.pack.manifest.least_face_score, fitting.settings
    steps = {task: fit_steps(task.seen.photo, least, settings) for task in tasks if task.seen}
    answers: dict[Task, Any] = dict.fromkeys(steps)
    while answers:
        questions = {task: _next(task, steps[task], answer) for task, answer in answers.items()}
        searches = {
            task: _search(task, fitting) for task, question in questions.items() if isinstance(question, Look)
        }
        answers = yield from _encode(
            {task: question for task, question in questions.items() if isinstance(question, Encode)}, fitting
        )
        if searches:
            yield _all_done(searches.values())
        for task, pending in searches.items():
            if pending.error is not None:
                task.error = pending.error
            else:
                answers[task], seconds = pending.value
                task.clock.add("find", seconds)


def _all_done(pending: Collection[Pending]) -> Callable[[], bool]:
    return lambda: all(one.done for one in pending)


def _next(task: Task, steps: Steps, answer: Any) -> Look | Encode | None:  # noqa: ANN401 - of either question
    """Hand a photo its answer and take its next question; None if it is done."""
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


def _search(task: Task, fitting: Fitting) -> Pending:
    search = Search(task.number, task.path, fitting.detector or LBP)
    return fitting.crew.post(task.worker, [search])[0]


def _encode(questions: dict[Task, Encode], fitting: Fitting) -> Waiting:
    """Fits for every question, as many crops at a time as fit on a page."""
    answers: dict[Task, list[Fit]] = {}
    asked: list[_Asked] = []
    for task, question in questions.items():
        try:
            asked += _crops_of(task, question, fitting)
            answers[task] = []
        except Exception as error:  # noqa: BLE001, PERF203 - told when the photo's turn comes
            task.error = error
    for start in range(0, len(asked), fitting.pages.length):
        part = asked[start : start + fitting.pages.length]
        yield fitting.pages.some_free
        page = fitting.pages.take()
        try:
            cuts = _cut(part, page, fitting)
            yield _all_done(cuts.values())
            for task, cut in cuts.items():
                if cut.error is not None:
                    task.error = cut.error
                else:
                    task.clock.add("crop", cut.value)
            ready = [(place, one) for place, one in enumerate(part) if one.task.error is None]
            for one, fit in _fit_part(ready, page, fitting):
                if fit is not None:
                    answers[one.task].append(fit)
        finally:
            fitting.pages.give_back(page)
    return {task: fits for task, fits in answers.items() if task.error is None}


def _crops_of(task: Task, question: Encode, fitting: Fitting) -> list[_Asked]:
    assert task.seen is not None  # noqa: S101 - only seen photos have questions
    rule = fitting.pack.deca.preprocessing
    squares = squares_of(task.seen.photo, question, rule)
    return [
        _Asked(task, face, box, square, uncut(square, rule))
        for face, box, square in zip(question.faces, question.boxes, squares, strict=True)
    ]


def _cut(part: Sequence[_Asked], page: Page, fitting: Fitting) -> dict[Task, Pending]:
    """Let the workers cut; every one of them gets one message."""
    rule, first = fitting.pack.deca.preprocessing, page.first
    by_task: dict[Task, list[Square]] = {}
    for one in part:
        by_task.setdefault(one.task, []).append(one.square)
    by_worker: dict[int, dict[Task, Cut]] = {}
    for task, squares in by_task.items():
        cut = Cut(task.number, task.path, squares, rule, fitting.pages.shape, first)
        by_worker.setdefault(task.worker, {})[task] = cut
        first += len(squares)
    return {
        task: pending
        for worker, cuts in by_worker.items()
        for task, pending in zip(cuts, fitting.crew.post(worker, list(cuts.values())), strict=True)
    }


def _fit_part(
    part: Sequence[tuple[int, _Asked]], page: Page, fitting: Fitting
) -> list[tuple[_Asked, Fit | None]]:
    """A fit for each crop of a page; what makes the networks fail costs only the photo that causes it."""
    if not part:
        return []
    places, asked, clock = [place for place, _ in part], [one for _, one in part], Clock()
    images = page.images[: len(part)] if places[-1] == len(part) - 1 else page.images[places]
    try:
        with clock.stage("encode"):
            fits = fit_crops_together(
                [one.face for one in asked], [one.crop for one in asked], [one.box for one in asked],
                images, fitting.pack, fitting.batches, padded=fitting.padded,
            )  # fmt: skip
    except DeviceError:
        raise
    except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
        tasks = list(dict.fromkeys(one.task for one in asked))
        if len(tasks) == 1:
            tasks[0].error = error
            return []
    else:
        for one in asked:
            one.task.clock.add("encode", clock.seconds["encode"] / len(asked))
        return list(zip(asked, fits, strict=True))
    # One of them is to blame; asked one by one, it costs nobody else's result.
    return [
        pair
        for task in tasks
        for pair in _fit_part([item for item in part if item[1].task is task], page, fitting)
    ]
