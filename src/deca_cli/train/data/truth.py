"""The truth of rendered datasets: who these people are, in numbers. Lies in the dataset's folder `truth`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.atomic import make_folder, write_arrays, write_bytes
from deca_cli.errors import InputError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.train.data.decode import decode_colour, read_bytes
from deca_cli.train.data.store import encode_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deca_cli.synthetic.generator import SyntheticBatch

FOLDER, NUMBERS, HEAD, ALBEDO, DETAIL = "truth", "numbers.npz", "head.npz", "albedo", "displacement"
MILLIMETRES = 1000.0


@dataclass(frozen=True, eq=False)
class Truth:
    """Of N people with M pictures; arrays by name of person or `person/picture`."""

    folder: Path
    people: tuple[str, ...]  # N
    splits: tuple[str, ...]  # N
    shape: np.ndarray  # float32 [N, S] identity code
    pictures: tuple[str, ...]  # M, `person/picture`
    expression: np.ndarray  # float32 [M, E]
    rotation: np.ndarray  # float32 [M, 3, 3] head to camera-aligned frame
    light: np.ndarray  # float32 [M, 9, 3] harmonics of the shade

    def person(self, name: str) -> int:
        """Row of a person.

        Raises:
            InputError: nobody has that name.
        """
        if name not in self.people:
            raise InputError(f"{self.folder} knows no person {name!r}. Choose one of its {len(self.people)}.")
        return self.people.index(name)

    def neutral_mm(self, names: Sequence[str]) -> np.ndarray:
        """Neutral vertices, float32 [len(names), V, 3], head frame, millimetres."""
        assets, _ = load_head(self.folder / HEAD)
        head = HeadModel(assets)
        codes = torch.from_numpy(self.shape[[self.person(name) for name in names]])
        with torch.inference_mode():
            neutral = head.unposed(codes, torch.zeros(len(codes), head.expression_size))
        vertices: np.ndarray = (neutral * MILLIMETRES).numpy()
        return vertices

    def albedo(self, name: str) -> np.ndarray:
        """Display values over the chart, uint8 [U, U, 3]; row 0 is v = 1."""
        return decode_colour(read_bytes(self.folder / ALBEDO / f"{name}.png"))

    def displacement(self, picture: str) -> np.ndarray | None:
        """Displacement along the normals over the chart, float32 [256, 256] metres; None if the set has no detail."""
        path = self.folder / DETAIL / f"{picture}.npz"
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            values: np.ndarray = arrays["metres"].astype(np.float32)
        return values


def read_truth(dataset: Path) -> Truth:
    """Read the truth of a dataset.

    Raises:
        InputError: it has none, or it is damaged.
    """
    path = dataset / FOLDER / NUMBERS
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = dict(arrays)
        texts = {name: tuple(map(str, values[name])) for name in ("people", "splits", "pictures")}
        numbers = {name: values[name] for name in ("shape", "expression", "rotation", "light")}
    except FileNotFoundError as error:
        raise InputError(
            f"{dataset} has no truth: only datasets of `deca train render-set` have. Render one, or choose another."
        ) from error
    except Exception as error:  # numpy and zipfile raise many kinds for damaged files
        raise InputError(f"{path} is damaged ({error}). Render the dataset again.") from error
    return Truth(folder=dataset / FOLDER, **texts, **numbers)  # type: ignore[arg-type]


class TruthWriter:
    """Collects the truth of batch after batch and writes it.

    Args:
        folder: the dataset.
        head_file: the head that is drawn, which is copied, so that the dataset stands alone.

    Raises:
        OutputError: nothing can be written there.
    """

    def __init__(self, folder: Path, head_file: Path) -> None:
        self.folder = folder / FOLDER
        make_folder(self.folder / ALBEDO)
        write_bytes(self.folder / HEAD, head_file.read_bytes())
        self.people: list[tuple[str, str]] = []
        self.pictures: list[str] = []
        self.parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("shape", "expression", "rotation", "light")
        }

    def add(self, people: Sequence[tuple[str, str]], pictures: Sequence[str], batch: SyntheticBatch) -> None:
        """The people (name and split) of a batch, all with pictures of these names."""
        photos = len(pictures)
        self.people += people
        self.pictures += [f"{person}/{picture}" for person, _ in people for picture in pictures]
        self.parts["shape"].append(batch.shape[::photos].cpu().numpy())
        for name in ("expression", "rotation", "light"):
            self.parts[name].append(getattr(batch, name).cpu().numpy())

    def finish(self) -> None:
        """Write the numbers.

        Raises:
            OutputError: they cannot be written.
        """
        arrays = {name: np.concatenate(parts).astype(np.float32) for name, parts in self.parts.items()}
        arrays["people"], arrays["splits"] = (np.array(texts) for texts in zip(*self.people, strict=True))
        arrays["pictures"] = np.array(self.pictures)
        write_arrays(self.folder / NUMBERS, arrays)


def write_albedo(folder: Path, person: str, texels: np.ndarray) -> None:
    """Keep the albedo of a person, uint8 [U, U, 3].

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(folder / FOLDER / ALBEDO / f"{person}.png", encode_png(np.ascontiguousarray(texels)))


def write_displacements(folder: Path, person: str, pictures: Sequence[str], maps: np.ndarray) -> None:
    """Keep the displacements [K, D, D] of the pictures of a person, as half floats.

    Raises:
        OutputError: they cannot be written.
    """
    make_folder(folder / FOLDER / DETAIL / person)
    for picture, texels in zip(pictures, maps, strict=True):
        write_arrays(
            folder / FOLDER / DETAIL / person / f"{picture}.npz", {"metres": texels.astype(np.float16)}
        )
