"""Sealed stand-ins for the few classes and functions that official pickles name, see `deca_cli.assets.pickles`.

A pickle can call a stand-in (which stores the arguments), give it a state (which stores that), and nothing else:
attributes of the classes cannot be set from a file, and no stand-in calls anything it was given.
`deca_cli.assets.plain.realise` turns the result into numpy arrays.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from deca_cli.assets.plain import Plain, realise, refuse

NUMBER_KINDS = "biufc"
LARGEST_ARRAY_BYTES = 2**31


class NumpyClass(Plain):
    """`numpy.ndarray` itself, an argument of `Array`."""

    __slots__ = ()


class DataType(Plain):
    """`numpy.dtype(code, align, copy)`, with the state (version, byte order, ...)."""

    __slots__ = ()

    def value(self) -> np.dtype:
        """The numpy type; only numbers and objects are known."""
        code = self.arguments[0] if self.arguments else None
        if not isinstance(code, str) or len(code) > 8:
            refuse(f"it holds an array of the unknown type {code!r}")
        kind = code.lstrip("|<>=")[:1]
        if kind == "O":
            return np.dtype(object)
        if kind not in NUMBER_KINDS or (isinstance(self.state, tuple) and any(self.state[2:5])):
            refuse(f"it holds an array of the unsupported type {code!r}")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "="
        return np.dtype(f"{order}{code}") if order in ("<", ">") else np.dtype(code)


class Array(Plain):
    """`numpy.core.multiarray._reconstruct`, with the state (version, shape, dtype, Fortran order, content)."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The array."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            refuse("it holds an array without content")
        _, shape, dtype, fortran, content = self.state
        return build_array(shape, dtype, "F" if fortran else "C", content)


class ArrayFromBuffer(Plain):
    """`numpy.core.numeric._frombuffer(content, dtype, shape, order)`, pickle protocol 5."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The array."""
        content, dtype, shape, order = self.arguments
        return build_array(shape, dtype, "F" if order == "F" else "C", content)


class Scalar(Plain):
    """`numpy.core.multiarray.scalar(dtype, content)`."""

    __slots__ = ()

    def value(self) -> Any:  # noqa: ANN401 - any number
        """The number."""
        dtype, content = self.arguments
        return build_array((), dtype, "C", content)[()]


def build_array(shape: object, dtype: object, order: str, content: object) -> np.ndarray:
    """An array from pickled parts, every part checked."""
    if (
        not isinstance(shape, tuple)
        or not all(isinstance(n, int) and n >= 0 for n in shape)
        or len(shape) > 32
    ):
        refuse(f"it holds an array of shape {shape!r}")
    if not isinstance(dtype, DataType):
        refuse("it holds an array without a type")
    plain_type = dtype.value()
    count = math.prod(shape)
    if plain_type.hasobject:
        return _object_array(shape, count, order, content)
    data = content.encode("latin1") if isinstance(content, str) else realise(content)
    if not isinstance(data, bytes | bytearray) or len(data) != count * plain_type.itemsize:
        refuse(f"it holds an array of shape {shape} whose content has another size")
    return np.frombuffer(data, plain_type).reshape(shape, order=order).copy()  # type: ignore[call-overload]


def _object_array(shape: tuple[int, ...], count: int, order: str, content: object) -> np.ndarray:
    if not isinstance(content, list) or len(content) != count:
        refuse("it holds an array of objects whose content is not a list of that length")
    flat = np.empty(count, dtype=object)
    for index, item in enumerate(content):
        flat[index] = realise(item)
    return flat.reshape(shape, order=order)  # type: ignore[call-overload]


class Wrapped(Plain):
    """`chumpy.ch.Ch`: its array lies under `x`."""

    __slots__ = ()

    def value(self) -> Any:  # noqa: ANN401 - an array
        """The array."""
        if not isinstance(self.state, dict) or "x" not in self.state:
            refuse("it holds a chumpy value that is a formula, not an array")
        return realise(self.state["x"])


class SparseByColumn(Plain):
    """`scipy.sparse.csc_matrix`: data, row indices, start of each column. Given back dense."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The dense array."""
        return _dense_compressed(self.state, by_column=True)


class SparseByRow(Plain):
    """`scipy.sparse.csr_matrix`: data, column indices, start of each row. Given back dense."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The dense array."""
        return _dense_compressed(self.state, by_column=False)


class SparseByCoordinate(Plain):
    """`scipy.sparse.coo_matrix`: data, rows, columns. Given back dense."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The dense array."""
        fields = _sparse_fields(self.state, "data")
        rows, columns = fields["coords"] if "coords" in fields else (fields["row"], fields["col"])
        return _dense(fields["shape"], rows, columns, fields["data"])


def _sparse_fields(state: object, *needed: str) -> dict[str, Any]:
    if not isinstance(state, dict):
        refuse("it holds a sparse matrix without content")
    fields = {str(name).lstrip("_"): realise(value) for name, value in state.items()}
    missing = [name for name in (*needed, "shape") if name not in fields]
    if missing:
        refuse(f"it holds a sparse matrix without {', '.join(missing)}")
    return fields


def _dense_compressed(state: object, *, by_column: bool) -> np.ndarray:
    fields = _sparse_fields(state, "data", "indices", "indptr")
    lengths = np.diff(fields["indptr"])
    if (lengths < 0).any() or lengths.sum() != len(fields["data"]):
        refuse("it holds a damaged sparse matrix")
    major = np.repeat(np.arange(len(lengths)), lengths)
    rows, columns = (fields["indices"], major) if by_column else (major, fields["indices"])
    return _dense(fields["shape"], rows, columns, fields["data"])


def _dense(shape: object, rows: np.ndarray, columns: np.ndarray, data: np.ndarray) -> np.ndarray:
    if not isinstance(shape, tuple) or len(shape) != 2 or math.prod(shape) * 8 > LARGEST_ARRAY_BYTES:
        refuse(f"it holds a sparse matrix of shape {shape!r}")
    dense = np.zeros(shape, dtype=data.dtype)
    if len(rows) and (
        min(rows.min(), columns.min()) < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]
    ):
        refuse("it holds a sparse matrix with entries outside its shape")
    np.add.at(dense, (rows, columns), data)
    return dense


class Tensor(Plain):
    """`torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)`. Given back as a numpy array."""

    __slots__ = ()

    def value(self) -> np.ndarray:
        """The numbers as a numpy array."""
        storage, offset, size, stride = self.arguments[:4]
        if not isinstance(storage, TensorStorage):
            refuse("it holds a tensor without content")
        import torch

        flat = storage.value()
        # as_strided refuses sizes, strides and offsets that leave the storage.
        return torch.as_strided(flat, size, stride, offset).contiguous().numpy()


class TensorStorage(Plain):
    """`torch.storage._load_from_bytes(content)`: the bytes of a saved storage, read by torch's weights-only reader."""

    __slots__ = ()

    def value(self) -> Any:  # noqa: ANN401 - a flat torch tensor
        """A flat tensor of all numbers."""
        import torch

        content = realise(self.arguments[0])
        if not isinstance(content, bytes):
            refuse("it holds a tensor storage without bytes")
        storage = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return torch.tensor([], dtype=storage.dtype).set_(storage)


class Encoded(Plain):
    """`_codecs.encode(text, "latin1")`: how Python 3 writes bytes into old pickle protocols."""

    __slots__ = ()

    def value(self) -> bytes:
        """The bytes."""
        text, encoding = self.arguments
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            refuse(f"it holds text in the encoding {encoding!r}")
        return text.encode("latin1")


class EmptyBytes(Plain):
    """`bytes()`: how Python 3 writes empty bytes into old pickle protocols."""

    __slots__ = ()

    def value(self) -> bytes:
        """No bytes."""
        return refuse("it makes bytes out of something else") if self.arguments else b""


class Reconstructed(Plain):
    """`copyreg._reconstructor(class, object, None)`: a bare instance in pickle protocols 0 and 1."""

    __slots__ = ()

    def value(self) -> Any:  # noqa: ANN401 - what the class stands for
        """What the class makes of the state."""
        kind = self.arguments[0] if self.arguments else None
        if not (isinstance(kind, type) and issubclass(kind, Plain)):
            refuse("it rebuilds an object that is not plain data")
        instance = kind()
        instance.__setstate__(self.state)
        return instance.value()


class ObjectClass(Plain):
    """`object` itself, an argument of `Reconstructed`."""

    __slots__ = ()


def _numpy_names() -> dict[tuple[str, str], type]:
    names: dict[tuple[str, str], type] = {("numpy", "ndarray"): NumpyClass, ("numpy", "dtype"): DataType}
    for core in ("numpy.core", "numpy._core"):
        names[f"{core}.multiarray", "_reconstruct"] = Array
        names[f"{core}.multiarray", "scalar"] = Scalar
        names[f"{core}.numeric", "_frombuffer"] = ArrayFromBuffer
    return names


def _scipy_names() -> dict[tuple[str, str], type]:
    kinds = {"csc": SparseByColumn, "csr": SparseByRow, "coo": SparseByCoordinate}
    return {
        (f"scipy.sparse.{module}", f"{kind}_{form}"): stand_in
        for kind, stand_in in kinds.items()
        for module in (kind, f"_{kind}")
        for form in ("matrix", "array")
    }


STAND_INS: dict[tuple[str, str], type] = {
    **_numpy_names(),
    **_scipy_names(),
    ("chumpy.ch", "Ch"): Wrapped,
    ("torch._utils", "_rebuild_tensor_v2"): Tensor,
    ("torch.storage", "_load_from_bytes"): TensorStorage,
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("builtins", "object"): ObjectClass,
    ("__builtin__", "object"): ObjectClass,
    ("builtins", "bytes"): EmptyBytes,
    ("__builtin__", "bytes"): EmptyBytes,
    ("_codecs", "encode"): Encoded,
    ("copyreg", "_reconstructor"): Reconstructed,
    ("copy_reg", "_reconstructor"): Reconstructed,
}
