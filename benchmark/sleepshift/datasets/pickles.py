"""One array of numbers out of a pickle that nobody vouches for.

A pickle is a small program, and running it is how it is read. Here it is first read through
without being run: it may only use the instructions that an array of numbers takes, and not
many of them. Then it runs with stand-ins in the place of NumPy's constructors, which write
down what they are told and do nothing. The array is made from what they wrote down.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from pickletools import (
    TAKEN_FROM_ARGUMENT1,
    TAKEN_FROM_ARGUMENT4,
    TAKEN_FROM_ARGUMENT4U,
    TAKEN_FROM_ARGUMENT8U,
    UP_TO_NEWLINE,
    opcodes,
)
from typing import Any

import numpy as np

from sleepshift.datasets.npz_files import DAMAGE, read_header
from sleepshift.errors import DataError, one_line

__all__ = ["MAX_BYTES", "load_array"]

#: Largest file that is read. A whole day of two channels at 100 Hz in float64 takes 0.13 GiB.
MAX_BYTES = 2**29

#: What NumPy's pickles of protocol 0 to 5, and Python 2's, are made of: no other objects, no
#: lists or mappings, and no way to ask for a large table of remembered objects.
_INSTRUCTIONS = """
PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 STRING BINSTRING SHORT_BINSTRING
SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8
PUT BINPUT MEMOIZE GET BINGET
"""
_ALLOWED = frozenset(_INSTRUCTIONS.split())
_KNOWN = {ord(opcode.code): opcode for opcode in opcodes}
_MAX_INSTRUCTIONS = 200
_MAX_REMEMBERED = 255

#: Bytes of the length before an argument of stated length.
_LENGTH_BYTES = {
    TAKEN_FROM_ARGUMENT1: 1,
    TAKEN_FROM_ARGUMENT4: 4,
    TAKEN_FROM_ARGUMENT4U: 4,
    TAKEN_FROM_ARGUMENT8U: 8,
}

_PLAIN = frozenset({"f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})

# What unpickling, the header of a .npy and the building of the array raise on damaged bytes.
_DAMAGE = (pickle.UnpicklingError, MemoryError, *DAMAGE)


class _Refused(Exception):
    """Not an array of plain numbers; says why."""


def load_array(path: Path) -> np.ndarray:
    """Read the one array that a file holds: a pickle of it, or NumPy's own ``.npy`` format.

    Nothing in the file is ever executed, and no constructor of NumPy's gets to see what the
    file says before it has been checked.

    Parameters
    ----------
    path : Path
        Pickles of protocol 0 to 5, of Python 2 or 3 and NumPy 1 or 2, are understood, and
        ``.npy`` files of plain numbers.

    Returns
    -------
    ndarray
        Of floats or integers, in the file's byte order; read-only.

    Raises
    ------
    DataError
        If the file is missing, damaged, larger than `MAX_BYTES`, or holds anything else than
        one array of floats (4 or 8 bytes) or integers.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "night.npy")
    >>> _ = path.write_bytes(pickle.dumps(np.arange(6.0).reshape(2, 3)))
    >>> load_array(path).shape
    (2, 3)
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; restore it, or leave it out with --skip-bad")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise DataError(
            f"{path.name} has more than {MAX_BYTES / 2**20:g} MiB, too much for one night; "
            "leave it out with --skip-bad"
        )
    with path.open("rb") as stream:
        data = stream.read(size)
    try:
        return _from_npy(data) if data.startswith(b"\x93NUMPY") else _from_pickle(data)
    except _Refused as error:
        raise DataError(
            f"{path.name} is not loaded: {error}; get the file again, or leave it out with "
            "--skip-bad"
        ) from None
    except _DAMAGE as error:
        raise DataError(
            f"{path.name} is damaged ({one_line(error, 200)}); get the file again, or leave it "
            "out with --skip-bad"
        ) from error


def _from_npy(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise _Refused("its array holds Python objects, which could run code")
    order = "F" if fortran else "C"
    return _build(memoryview(data)[stream.tell() :], dtype.str[1:], dtype.str[0], shape, order)


def _from_pickle(data: bytes) -> np.ndarray:
    _read_through(data)
    found = _Unpickler(io.BytesIO(data), fix_imports=False, encoding="latin1").load()
    if not isinstance(found, _Array):
        raise _Refused("it holds no array")
    return found.build()


def _read_through(data: bytes) -> None:
    """Refuse a pickle that does anything else than make one array, without running it."""
    at = 0
    for _ in range(_MAX_INSTRUCTIONS):
        if at >= len(data):
            raise EOFError("it ends too early")
        known = _KNOWN.get(data[at])
        if known is None or known.name not in _ALLOWED:
            name = f"byte {data[at]:#04x}" if known is None else known.name
            raise _Refused(f"it is no pickle of an array (instruction {name} at byte {at})")
        start = at + 1
        at = _end_of_argument(data, start, known)
        if known.name == "PUT" and not 0 <= int(data[start:at]) <= _MAX_REMEMBERED:
            raise _Refused("it is no pickle of an array (it remembers too much)")
        if known.name == "STOP":
            if at < len(data):
                raise _Refused("it goes on after its array")
            return
    raise _Refused("it is no pickle of an array (too many instructions)")


def _end_of_argument(data: bytes, at: int, instruction: Any) -> int:
    """Where the next instruction begins; IndexError or ValueError past the end."""
    size = 0 if instruction.arg is None else instruction.arg.n
    if size == UP_TO_NEWLINE:
        for _ in range(2 if instruction.name == "GLOBAL" else 1):
            at = data.index(b"\n", at) + 1
    elif size in _LENGTH_BYTES:
        first = at + _LENGTH_BYTES[size]
        at = first + int.from_bytes(data[at:first], "little")
    else:
        at += size
    if at > len(data):
        raise EOFError("it ends too early")
    return at


class _Dtype:
    """Stand-in for a dtype: its code and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, align: Any = False, copy: Any = True) -> None:
        if not isinstance(code, str) or code not in _PLAIN:
            # Never written out whole: a tuple of tuples of itself is endless.
            known = isinstance(code, str) and code not in ("O", "O4", "O8")
            held = ascii(code[:40]) if known else "Python objects"
            raise _Refused(f"its array holds {held}, not floats or integers")
        self.code = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise _Refused("the type of its numbers is not a plain one")
        self.order = state[1]


class _Array:
    """Stand-in for an array: its shape, the type of its numbers, and their bytes."""

    __slots__ = ("axes", "dtype", "order", "raw", "shape")

    def __init__(self) -> None:
        self.dtype: Any = None

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("its array is not described as NumPy does")
        _, self.shape, self.dtype, fortran, self.raw = state
        self.order, self.axes = "F" if fortran else "C", None

    def build(self) -> np.ndarray:
        if not isinstance(self.dtype, _Dtype):
            raise _Refused("its array has no type")
        raw = self.raw.encode("latin-1") if isinstance(self.raw, str) else self.raw
        if not isinstance(raw, (bytes, bytearray)):
            raise _Refused("its array holds Python objects, not numbers")
        order = "C" if self.order == "K" else self.order
        array = _build(raw, self.dtype.code, self.dtype.order, self.shape, order)
        return array if self.axes is None else array.transpose(self._checked_axes())

    def _checked_axes(self) -> tuple[int, ...]:
        axes: Any = self.axes
        plain = isinstance(axes, tuple) and all(type(axis) is int for axis in axes)
        if not plain or sorted(axes) != [*range(len(self.shape))]:
            raise _Refused("the axes of its array do not fit its shape")
        return axes


def _build(
    raw: bytes | bytearray | memoryview, code: str, byte_order: Any, shape: Any, order: Any
) -> np.ndarray:
    """An array from checked parts; its size has to be that of the bytes at hand."""
    if code not in _PLAIN or byte_order not in ("<", ">", "=", "|") or order not in ("C", "F"):
        raise _Refused("its array does not hold plain floats or integers")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _Refused("the shape of its array is not one")
    if len(shape) > 8 or math.prod(shape) * int(code[1:]) != len(raw):
        size = " x ".join(map(str, shape))[:80]
        raise _Refused(f"it claims {size} numbers of {code[1:]} bytes and holds {len(raw)} bytes")
    dtype = np.dtype(code if byte_order == "|" else byte_order + code)
    array = np.frombuffer(raw, dtype=dtype).reshape(shape, order=order)
    array.flags.writeable = False
    return array


class _StandIn:
    """A function that a pickle may call; nothing can be changed about it."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("it is no pickle of an array (it changes a function)")


_NDARRAY = object()


def _reconstruct(kind: Any, shape: Any, code: Any) -> _Array:
    if kind is not _NDARRAY:
        raise _Refused("it holds another kind of array")
    return _Array()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
    array = _Array()
    array.raw, array.dtype, array.shape, array.order, array.axes = raw, dtype, shape, order, axes
    return array


def _encode(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise _Refused("its bytes are written as no pickle writes them")
    return text.encode("latin-1")


#: All that a pickle may name.
_NAMES: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _StandIn(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _StandIn(_reconstruct),
    ("numpy.core.numeric", "_frombuffer"): _StandIn(_frombuffer),
    ("numpy._core.numeric", "_frombuffer"): _StandIn(_frombuffer),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _StandIn(_Dtype),
    ("_codecs", "encode"): _StandIn(_encode),
}


class _Unpickler(pickle.Unpickler):
    """Knows `_NAMES` and nothing else; persistent ids and buffers are errors by default."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            asked = ascii(f"{module}.{name}")[1:81].rstrip("'")
            raise _Refused(f"it asks for {asked}, which could run code") from None
