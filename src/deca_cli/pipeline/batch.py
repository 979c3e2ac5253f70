"""From files to files for many photos: reading and finding, fitting, drawing and writing overlap; order is kept.

Each photo goes the way that `fit.fit_faces`, `Decoder.decode` and `export.formats.save` describe. Here workers read photos ahead
and look for faces, photos are fitted in groups so that the networks see large batches, and workers write behind.
Queues are bounded, so memory does not grow with the number of photos. One bad photo never costs another one's result.
"""

from __future__ import annotations

from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from deca_cli.errors import OutputError
from deca_cli.export.names import result_names
from deca_cli.pipeline.bench import Drop, Save, Shared, Sight, detector_of
from deca_cli.pipeline.crew import Crew
from deca_cli.pipeline.decoding import decode_together
from deca_cli.pipeline.encoding import Batches, decode_size
from deca_cli.pipeline.lockstep import Fitting, fit_together
from deca_cli.pipeline.outcomes import outcome_of
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.pages import Pages
from deca_cli.pipeline.pinned import Pinned
from deca_cli.pipeline.resume import Earlier
from deca_cli.pipeline.sheets import Sheets
from deca_cli.pipeline.task import BYTES_OF_A_PIXEL, Task, bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.export.summary import Outcome
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.settings import Settings

STOPPED = (
    "the run was stopped because a worker process could not finish what it was writing. "
    "Run the same command again with --resume."
)
# Photos still to come for which the shared memory is pinned, which takes some tenths of a second.
WORTH_PINNING = 256
BYTES_IN_FLIGHT = 10**9  # of photos between reading and writing; one photo may be larger


def reconstruct(
    photos: Sequence[Path],
    decoder: Decoder,
    settings: Settings,
    output: Path,
    *,
    pace: Pace | None = None,
    names: Sequence[Sequence[str]] | None = None,
    debug: bool = False,
    crew: Crew | None = None,
) -> Iterator[Outcome]:
    """Reconstruct photos; outcomes come in the order of the photos, each after its files are written.

    Args:
        photos: the files.
        decoder: the model.
        settings: what is asked for.
        output: the folder for the results; must exist.
        pace: sizes of batches and queues; chosen for the machine if left out.
        names: of `result_names`, if the photos are a share of more; worked out for these alone if left out.
        debug: let an unexpected exception end the run instead of only counting the photo as failed.
        crew: workers that were started before; whoever did that ends them.

    Raises:
        OutputError: results cannot be written, which no other photo would mend; its outcome is given out before.
        DeviceError: the GPU's memory does not hold a single face.

    Whatever ends the run, Ctrl-C too, the outcomes of all photos that are written by then are given out before.
    """
    pace = pace or Pace.of(decoder.device, len(photos), detector=settings.detector)
    every = names if names is not None else result_names(photos, output)
    drawing = decoder.draw_on == "cpu" or settings.of_the_mesh
    gpu = decoder.device.type == "cuda"
    own = crew or Crew(pace.workers, processes=pace.processes, drawing=drawing, beside_gpu=gpu)
    with own if crew is None else nullcontext():
        flow = _Flow(decoder, settings, output, pace, own, debug)
        try:
            yield from flow.run(photos, every)
        finally:
            if flow.pinned is not None:
                flow.pinned.close()


class _Group:
    """Photos that are fitted together, and how far they are."""

    def __init__(self, tasks: list[Task], fitting: Fitting) -> None:
        self.tasks = tasks
        self.steps = fit_together([task for task in tasks if task.seen is not None], fitting)
        self.ready: Callable[[], bool] = lambda: True

    def go_on(self) -> bool:
        """Do what can be done without waiting; whether nothing is left to do."""
        while self.ready():
            following = next(self.steps, None)
            if following is None:
                return True
            self.ready = following
        return False


class _Flow:
    """A run under way."""

    def __init__(
        self, decoder: Decoder, settings: Settings, output: Path, pace: Pace, crew: Crew, debug: bool
    ) -> None:
        self.decoder, self.settings, self.output = decoder, settings, output
        self.pace, self.crew, self.debug = pace, crew, debug
        self.detector = detector_of(settings)
        side = decoder.pack.deca.preprocessing.image_size
        self.pages = pages = Pages(crew.slate, pace.groups, pace.page, side)
        if pace.processes and decoder.draw_on != "cpu":
            self.decoder = replace(decoder, sheets=Sheets(crew.slate, crew.slate.end_of_crops))
        self.pinned: Pinned | None = None
        encoding = Batches(pace.batch_size, grows=not pace.padded)
        self.fitting = Fitting(decoder.pack, settings, crew, pages, encoding, self.detector, pace.padded)
        self.decoding = Batches(decode_size(decoder.device, pace.batch_size))
        self.shared = Shared(decoder.topology, *decoder.detail_topology)
        crew.teach(self.shared)
        # Not fewer than have begun ahead: else nobody would look at a photo until most of those are written.
        self.most_flying = max(pace.most_flying, len(crew.begun))
        self.bytes_in_flight = 0
        self.waiting: deque[Task] = deque()  # not begun
        self.ahead: deque[Task] = deque()  # begun, in order, but in no group yet
        self.groups: list[_Group] = []  # being fitted
        self.flying: deque[Task] = deque()  # begun, in order, and not given out
        self.passed_over = False  # whether a photo was left out because the run ends

    def run(self, photos: Sequence[Path], names: Sequence[Sequence[str]]) -> Iterator[Outcome]:
        pairs = zip(photos, names, strict=True)
        self.waiting = deque(Task(number, path, own) for number, (path, own) in enumerate(pairs))
        settings = self.settings
        earlier = Earlier.read(self.output, settings, self.decoder.fingerprint) if settings.resume else None
        try:
            while self.waiting or self.flying:
                moved = [self._begin(earlier), self._form_groups(), self._advance()]
                for outcome in self._finished():
                    moved.append(True)
                    yield outcome
                self.crew.take(wait=not any(moved))
        except (Exception, KeyboardInterrupt):
            yield from self._written()
            raise
        if self.passed_over:
            raise OutputError(STOPPED)

    def _begin(self, earlier: Earlier | None) -> bool:
        """Let photos be read, as many as there is room for; whether there was any."""
        begun = False
        while self.waiting and (not self.flying or len(self.flying) < self.most_flying):
            task = self.waiting[0]
            if earlier is not None and not task.looked_up:
                task.outcome = earlier.outcome(task.path, self.output / task.names[0])
                task.looked_up = True
            if task.outcome is None and not self._let_read(task):
                return begun
            self.waiting.popleft()
            self.ahead.append(task)
            self.flying.append(task)
            begun = True
        return begun

    def _let_read(self, task: Task) -> bool:
        """Let a worker read a photo, unless it has begun already; False if that would be too much for workers or memory."""
        if task.number in self.crew.begun:
            task.worker, task.seeing, task.pixel_bytes = self.crew.begun.pop(task.number)
        else:
            if task.pixel_bytes is None:
                task.pixel_bytes = bytes_of(task.path)
            if self.bytes_in_flight and self.bytes_in_flight + task.pixel_bytes > BYTES_IN_FLIGHT:
                return False
            task.worker = self.crew.least_busy()
            if self.crew.workers[task.worker].busy >= self.pace.queued:
                return False
            task.seeing = self.crew.post(task.worker, [Sight(task.number, task.path, self.detector)])[0]
        self.bytes_in_flight += task.pixel_bytes
        return True

    def _form_groups(self) -> bool:
        """Put photos that have been read together, always the same number in their order; whether there was a group."""
        formed = False
        while self.ahead and len(self.groups) < self.pace.groups:
            tasks, size = [], 0
            for task in self.ahead:
                if not (task.outcome or (task.seeing is not None and task.seeing.done)):
                    return formed
                tasks.append(task)
                size += task.pixel_bytes or 0
                if len(tasks) >= self.pace.group or size > BYTES_IN_FLIGHT // 4:
                    break
            else:
                if self.waiting:
                    return formed  # more will come
            for task in tasks:
                self.ahead.popleft()
                self._see(task)
            self.groups.append(_Group(tasks, self.fitting))
            formed = True
        return formed

    def _see(self, task: Task) -> None:
        if task.seeing is None:
            return
        known = task.pixel_bytes or 0
        if task.seeing.error is not None:
            task.error, task.pixel_bytes = task.seeing.error, 0
        else:
            task.seen = task.seeing.value
            task.clock.add("read", task.seen.read_s)
            task.clock.add("find", task.seen.find_s)
            task.pixel_bytes = BYTES_OF_A_PIXEL * task.seen.photo.width * task.seen.photo.height
        self.bytes_in_flight += task.pixel_bytes - known
        task.seeing = None

    def _advance(self) -> bool:
        """Go on with every group that waits for nothing; whether one came to its end."""
        done = [group for group in self.groups if group.go_on()]
        for group in done:
            self.groups.remove(group)
            self._decode_and_save(group.tasks)
        return bool(done)

    def _decode_and_save(self, tasks: Sequence[Task]) -> None:
        captures = decode_together(tasks, self.decoder, self.decoding)
        for task in tasks:
            task.seen, task.fits = None, []
            if task in captures:
                own = captures.pop(task)
                light = self._light(own)
                save = Save(task.number, task.path, task.names, light, self.settings, self.output)
                task.saving = self.crew.post(task.worker, [save])[0]
                if not task.saving.done:
                    task.saving.holds = [one.layers and one.layers.sheet for one in own]
            elif task.worker >= 0:
                self.crew.post(task.worker, [Drop(task.number, task.path)])
            task.fitted = True
        if self.pinned is None and len(self.waiting) >= WORTH_PINNING and self.decoder.device.type == "cuda":
            self.pinned = self._pin()  # not before: the first photos shall not wait for it

    def _pin(self) -> Pinned | None:
        """Pin what workers share with the GPU; threads share nothing."""
        sheets = self.decoder.sheets
        parts = [self.pages.crops] + ([] if sheets is None else [sheets.memory])
        return Pinned(parts, self.decoder.device) if self.pace.processes else None

    def _light(self, captures: Sequence[Capture]) -> list[Capture]:
        """Captures without what the worker knows."""
        draw_on = self.pace.formats_drawn_on(self.decoder.draw_on)
        return [self.shared.without(capture, draw_on) for capture in captures]

    def _finished(self) -> Iterator[Outcome]:
        """Outcomes in order, of all that are over."""
        while self.flying and self.flying[0].over:
            task = self.flying[0]
            if task.not_begun:  # a later photo's error has stopped the run; that one is told
                self.flying.popleft()
                self.passed_over = True
                continue
            outcome, ending = self._outcome(task)
            self.flying.popleft()
            self.bytes_in_flight -= task.pixel_bytes or 0
            yield outcome
            if ending is not None:
                raise ending

    def _written(self) -> Iterator[Outcome]:
        """After Ctrl-C or an error that ends the run: let what is being written be finished, give out what is complete.

        In order, too; what was not begun is not given out.
        """
        self.crew.slate.stop()
        self.crew.settle()
        self.crew.take(wait=False)  # the last words of workers that are gone
        for task in self.flying:
            if task.over and not task.not_begun:
                yield self._outcome(task)[0]

    def _outcome(self, task: Task) -> tuple[Outcome, BaseException | None]:
        least = self.decoder.pack.manifest.least_face_score
        return outcome_of(task, self.settings, least, debug=self.debug)
