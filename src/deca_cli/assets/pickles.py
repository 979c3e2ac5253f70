"""Read pickles as plain data: nothing from the file is ever called.

Python's unpickler calls whatever a pickle names. This one knows a short list of names, each replaced by a sealed
stand-in that only remembers numbers: numpy arrays, data types and scalars; scipy's sparse matrices; chumpy's array
wrapper; torch tensors; dicts and sets. Every other name is refused. Arrays are built here from checked bytes, not by
numpy's own unpickling code, which trusts its input.

The unpickler is the pure Python one on purpose: the C one allocates memory for any memo number that a damaged file
happens to hold.
"""

from __future__ import annotations

import io
import pickle  # the base class below replaces its only dangerous part
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.assets.pickle_stand_ins import STAND_INS
from deca_cli.assets.plain import Plain, realise
from deca_cli.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_BYTES = 2**31  # the largest official pickle has about 170 MB
OBJECT_ARRAY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class _PlainUnpickler(pickle._Unpickler):  # noqa: SLF001 - see the module text
    """Finds stand-ins only."""

    def find_class(self, module: str, name: str) -> type[Plain] | type:
        stand_in = STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for `{module}.{name}`, which is not plain data")
        return stand_in

    def persistent_load(self, pid: object) -> object:
        raise pickle.UnpicklingError(f"it refers to outside data ({pid!r})")


def read_pickle(path: Path) -> Any:  # noqa: ANN401 - a pickle holds anything
    """Read a ``.pkl`` file, Python 2's included, as dicts, lists, texts, numbers and numpy arrays.

    Raises:
        ModelError: The file is missing or damaged, or asks for anything but plain data; the message names it.
    """
    return plain_loads(_read(path), str(path))


def read_npy(path: Path) -> Any:  # noqa: ANN401 - object arrays hold anything
    """Read a ``.npy`` file; an object array is unpickled as plain data, and a 0-d one gives its only element.

    Raises:
        ModelError: As `read_pickle`.
    """
    stream = io.BytesIO(_read(path))
    try:
        version = np.lib.format.read_magic(stream)
        read_header = OBJECT_ARRAY_HEADERS[version]
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            stream.seek(0)
            return np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # a damaged header can fail in any way, as can a damaged pickle below
        raise ModelError(f"{path} is not a readable .npy file ({error}): get it again.") from error
    content = plain_loads(stream.read(), str(path))
    return (
        content.item() if shape == () and isinstance(content, np.ndarray) and content.size == 1 else content
    )


def plain_loads(content: bytes, source: str) -> Any:  # noqa: ANN401 - a pickle holds anything
    """Unpickle bytes as plain data; `source` is named in errors.

    Raises:
        ModelError: Damaged, or anything but plain data.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about odd pickles inside of tensors
            return realise(_PlainUnpickler(io.BytesIO(content), encoding="latin1").load())
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{source} was refused: {error}. Only arrays and plain values are read from pickles, nothing is run; "
            "get the file from its official page."
        ) from error
    except Exception as error:  # a damaged pickle can fail in any way, none of which may reach the user
        raise ModelError(
            f"{source} is damaged or not a pickle ({type(error).__name__}: {str(error)[:200]}): get it again."
        ) from error


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise ModelError(
                f"{path} has {size / 1e9:.1f} GB, far more than any official file: get it again."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}: check the path or fetch the official files.") from error
    except OSError as error:
        raise ModelError(f"Cannot read {path}: {error.strerror or error}.") from error
