"""A program for the tests: prepares a dataset in a process that is killed again and again, until it is done.

Arguments: photos, output, pack, number of kills. Prints how many results the journal held after every kill.
"""

import multiprocessing
import random
import sys
import time
from pathlib import Path

from deca_cli.photo.face import Face
from deca_cli.pipeline import fit
from deca_cli.train.data.prepare.inputs import find_sources
from deca_cli.train.data.prepare.journal import JOURNAL
from deca_cli.train.data.prepare.run import prepare
from deca_cli.train.data.prepare.settings import PrepareSettings, QualityLimits
from deca_cli.train.data.prepare.work import Task

BOX = (150.0, 80.0, 250.0, 200.0)


def run(photos: str, output: str, pack: str) -> None:
    fit.find_faces = lambda *_, **__: [Face(BOX, 0.9, None, "test")]
    settings = PrepareSettings(limits=QualityLimits(face_score=0.0), held_out=0.3)
    prepare(find_sources(photos), Task(Path(output), pack, "cpu", settings), workers=1)


def main() -> None:
    photos, output, pack, kills = sys.argv[1:]
    chance = random.Random(0)  # noqa: S311 - moments, not secrets
    journal = Path(output, JOURNAL)
    fork = multiprocessing.get_context("fork")  # everything is imported once, nothing has run yet
    for _ in range(int(kills)):
        known = journal.stat().st_size if journal.exists() else 0
        process = fork.Process(target=run, args=(photos, output, pack))
        process.start()
        while process.is_alive() and (not journal.exists() or journal.stat().st_size <= known + 300):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join()
        sys.stdout.write(f"{len(journal.read_bytes().splitlines()) - 1}\n")
    run(photos, output, pack)


if __name__ == "__main__":
    main()
