"""From files to files for many photos: reading and finding, fitting, drawing and writing overlap; order is kept.

Each photo goes the way that `fit.fit_faces`, `Decoder.decode` and `export.save` describe. Here finders work ahead, photos
are fitted in groups so that the networks see large batches, and savers work behind. Queues are bounded, so memory does
not grow with the number of photos. One bad photo never costs another one's result.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING

from deca_cli.errors import DecaError, InputError
from deca_cli.export import DRAWN, save
from deca_cli.export.names import result_names
from deca_cli.export.overlay import shapes_of
from deca_cli.export.owner import claim_folder
from deca_cli.export.summary import DONE, ENDED, FAILED, NO_FACE, FaceResult, Outcome
from deca_cli.photo.detectors import LBP, choose_detector
from deca_cli.photo.sighting import look_again, sight
from deca_cli.pipeline.decoding import decode_together
from deca_cli.pipeline.encoding import Batches
from deca_cli.pipeline.lockstep import fit_together
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.reasons import doubt, no_face_reason
from deca_cli.pipeline.resume import Earlier, face_folder
from deca_cli.pipeline.task import Task, bytes_guess
from deca_cli.pipeline.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from deca_cli.export.capture import Capture
    from deca_cli.pipeline.captures import Decoder
    from deca_cli.pipeline.settings import Settings

    Faces = tuple[FaceResult, ...]

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

    Raises:
        OutputError: results cannot be written, which no other photo would mend; its outcome is given out before.
        DeviceError: the GPU's memory does not hold a single face.

    Whatever ends the run, Ctrl-C too, the outcomes of all photos that are written by then are given out before.
    """
    pace = pace or Pace.of(decoder.device, len(photos), detector=settings.detector)
    every = names if names is not None else result_names(photos, output)
    with Workers(pace, drawing=decoder.draw_on == "cpu") as workers:
        yield from _Flow(decoder, settings, output, pace, workers, debug).run(photos, every)


class _Flow:
    """A run under way."""

    def __init__(
        self, decoder: Decoder, settings: Settings, output: Path, pace: Pace, workers: Workers, debug: bool
    ) -> None:
        self.decoder, self.settings, self.output = decoder, settings, output
        self.pace, self.workers, self.debug = pace, workers, debug
        given = settings.whole_photo or settings.box_px is not None
        # By its own name: choosing anew in every process would load torch there.
        self.detector = None if given else choose_detector(settings.detector).name
        self.encoding, self.decoding = Batches(pace.batch_size), Batches(pace.batch_size)
        self.bytes_in_flight = 0
        self.behind: deque[Task] = deque()  # fitted, in order, perhaps not written yet
        self.stop = Event()  # no further file shall be written
        self.drawing = Lock()

    def run(self, photos: Sequence[Path], names: Sequence[Sequence[str]]) -> Iterator[Outcome]:
        try:
            for group in self._groups(photos, names):
                self._fit(group)
                self._decode_and_save(group)
                yield from self._finished(leave=self.pace.write_behind)
            yield from self._finished(leave=0)
        except (Exception, KeyboardInterrupt):
            yield from self._written()
            raise
        finally:
            self.stop.set()

    def _groups(self, photos: Sequence[Path], names: Sequence[Sequence[str]]) -> Iterator[list[Task]]:
        """Tasks in order, read and looked at, as many as are fitted together."""
        settings = self.settings
        earlier = Earlier.read(self.output, settings, self.decoder.fingerprint) if settings.resume else None
        waiting = deque(zip(photos, names, strict=True))
        ahead: deque[Task] = deque()
        group: list[Task] = []
        while waiting or ahead:
            while waiting and (not ahead or self._has_room(len(ahead))):
                path, own_names = waiting.popleft()
                task = Task(path, own_names)
                task.outcome = earlier.outcome(path, self.output / own_names[0]) if earlier else None
                if task.outcome is None:
                    task.bytes_guess = bytes_guess(path)
                    self.bytes_in_flight += task.bytes_guess
                    task.seeing = self.workers.sight(path, self.detector)
                ahead.append(task)
            task = ahead.popleft()
            self._see(task)
            group.append(task)
            if len(group) >= self.pace.group or self.bytes_in_flight > BYTES_IN_FLIGHT:
                yield group
                group = []
        if group:
            yield group

    def _has_room(self, ahead: int) -> bool:
        return ahead < self.pace.read_ahead and self.bytes_in_flight < BYTES_IN_FLIGHT

    def _see(self, task: Task) -> None:
        if task.seeing is None:
            return
        try:
            task.seen = self.workers.answer(task.seeing, sight, task.path, self.detector)
        except Exception as error:  # noqa: BLE001 - told when the photo's turn comes
            task.error = error
        else:
            task.clock.add("read", task.seen.read_s)
            task.clock.add("find", task.seen.find_s)
        task.seeing = None

    def _fit(self, group: Sequence[Task]) -> None:
        """Answer all questions about the photos of a group, those of the same round together."""

        def thorough(task: Task) -> Future:
            return self.workers.look_again(task.path, self.detector or LBP)

        def found(task: Task, future: Future) -> list:
            return self.workers.answer(future, look_again, task.path, self.detector or LBP)

        fit_together(
            [task for task in group if task.seen is not None],
            self.decoder.pack,
            self.settings,
            self.encoding,
            self.workers.cutters,
            look=thorough,
            found=found,
            padded=self.pace.padded,
        )

    def _decode_and_save(self, group: Sequence[Task]) -> None:
        captures = decode_together(group, self.decoder, self.decoding)
        for task in group:
            task.seen, task.fits = None, []  # the captures hold the photo until it is written
            if task in captures:
                task.saving = self.workers.savers.submit(self._save, task, captures.pop(task))
            self.behind.append(task)

    def _save(self, task: Task, captures: Sequence[Capture]) -> Faces:
        """Draw and write the faces of one photo; in a thread."""
        if self.stop.is_set():
            raise _StoppedError
        try:
            with task.clock.stage("draw and save"):
                return self._write(task, captures)
        except DecaError as error:
            if not isinstance(error, InputError):
                self.stop.set()
            raise

    def _write(self, task: Task, captures: Sequence[Capture]) -> Faces:
        folder = claim_folder(self.output, task.names, task.path)
        results = []
        for capture in captures:
            where = face_folder(folder, capture.face_number)
            files = self._files(capture, where)
            relative = where.relative_to(self.output).as_posix()
            names = tuple(file.name for file in files)
            results.append(FaceResult(relative, names, tuple(capture.box_px), capture.face_score))
        return tuple(results)

    def _files(self, capture: Capture, where: Path) -> list[Path]:
        """Draw and write one face: in this thread, or, if there are worker processes, in one of them.

        Processes have no GPU of their own. What they would have to draw on it is drawn here: the panels, by one thread
        at a time; if maps or textures are asked for too, everything.
        """
        formats, request = self.settings.formats, self.settings.request()
        on_gpu = capture.draw_on != "cpu"
        if not self.pace.processes or (on_gpu and DRAWN & set(formats)):
            return save(capture, where, formats, request)
        shapes = None
        if on_gpu:
            with self.drawing:
                shapes = shapes_of(capture)
            capture = replace(capture, draw_on="cpu")
        return self.workers.write(save, capture, where, formats, request, shapes)

    def _finished(self, *, leave: int) -> Iterator[Outcome]:
        """Outcomes in order, of all that are done, waiting until no more than `leave` are left."""
        while self.behind:
            task = self.behind[0]
            undone = task.saving is not None and not task.saving.done()
            if undone and len(self.behind) <= leave and self.bytes_in_flight < BYTES_IN_FLIGHT:
                return
            outcome, ending = self._outcome(task)
            self.behind.popleft()
            self.bytes_in_flight -= task.bytes_guess
            yield outcome
            if ending is not None:
                raise ending

    def _written(self) -> Iterator[Outcome]:
        """After Ctrl-C or an error that ends the run: let what is being written be finished, give out what is complete.

        In order, too; what was not begun is not given out.
        """
        self.stop.set()
        self.workers.savers.shutdown(wait=True, cancel_futures=True)
        for task in self.behind:
            saving = task.saving
            if saving is not None and (saving.cancelled() or isinstance(saving.exception(), _StoppedError)):
                continue
            yield self._outcome(task)[0]

    def _outcome(self, task: Task) -> tuple[Outcome, BaseException | None]:
        """What became of a photo, and the error that ends the run with it, if there is one."""
        if task.outcome is not None:
            return task.outcome, None
        error = task.error
        faces: Faces = ()
        if error is None and task.saving is not None:
            error = task.saving.exception()
            faces = () if error else task.saving.result()
        seconds = task.clock.seconds
        if isinstance(error, InputError):
            return Outcome(task.path, FAILED, str(error), seconds=seconds), None
        if isinstance(error, DecaError):
            return Outcome(task.path, ENDED, str(error), seconds=seconds), error
        if error is not None:
            reason = f"unexpected {type(error).__name__}: {error}; run it alone with --debug and report this."
            failed = Outcome(task.path, FAILED, f"{task.path}: {reason}", seconds=seconds)
            return failed, error if self.debug else None
        if not faces:
            return Outcome(
                task.path, NO_FACE, no_face_reason(task.path, self.settings), seconds=seconds
            ), None
        least = self.decoder.pack.manifest.least_face_score
        warning = doubt(task.path, [face.face_score for face in faces], least)
        return Outcome(task.path, DONE, warning=warning, faces=faces, seconds=seconds), None


class _StoppedError(Exception):
    """A photo that was not written because the run ends."""
