"""MATLAB files of version 5 to 7: their sizes, checked before a reader believes them.

SciPy's reader is compiled and trusts what a file says of itself: some damaged files end the
whole process, without an error that could be caught.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.errors import DataError, one_line

__all__ = ["check_mat"]

# Bytes of a number of each type, by the code of the type.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_NUMBERS = range(6, 16)
_COMPLEX = 0x0800
_DEEPEST, _MOST_DIMS = 50, 32
# What all compressed parts may unpack to, whatever they promise: signals shrink to a half or a
# tenth, lists of events to a hundredth; a bomb shrinks to a thousandth.
_MAX_BYTES, _MAX_RATIO = 64 * 2**20, 30

_DAMAGED = (OSError, ValueError, struct.error, zlib.error, MemoryError, RecursionError)

_Bytes = bytes | mmap.mmap


class _Element(NamedTuple):
    """Type, and where its content begins and ends."""

    kind: int
    start: int
    stop: int


def check_mat(path: Path) -> None:
    """Refuse a MATLAB file whose parts do not fill it exactly; version 7.3 passes unseen.

    A compressed part must hold one array, and not a byte more than that says. Together they may
    unpack to 64 MB, or to 30 times the size of the file where that is more.

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError

    References
    ----------
    MathWorks, MAT-File Format, describes tags, array flags and the order of what follows.
    """
    try:
        with path.open("rb") as file:
            head = file.read(128)
            if head.startswith(b"MATLAB 7.3"):
                return
            order = {b"IM": "<", b"MI": ">"}.get(head[126:128])
            if order is None or len(head) < 128:
                raise ValueError("it is no MATLAB file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _Walk(content, order).variables(128, len(content))
    except _DAMAGED as error:
        reason = one_line(error, 200)
        raise DataError(f"{path.name} cannot be read ({reason}); {ADVICE}") from error


class _Walk:
    """One pass over the elements of a file, or of a compressed part of it."""

    def __init__(self, content: _Bytes, order: str) -> None:
        self.content, self.order = content, order
        self.left = max(_MAX_BYTES, _MAX_RATIO * len(content))  # that may yet be unpacked

    def variables(self, start: int, stop: int) -> None:
        if start == stop:
            raise ValueError("it holds nothing")
        while start < stop:
            kind, n_bytes = struct.unpack(f"{self.order}II", self.content[start : start + 8])
            end = start + 8 + n_bytes
            if end > stop:
                raise ValueError("it is truncated")
            if kind == _COMPRESSED:
                inner = self.unpacked(start + 8, end)
                _Walk(inner, self.order).matrix(0, len(inner), 0)
            elif kind == _MATRIX:
                self.matrix(start + 8, end, 0)
            else:
                raise ValueError("it holds something unknown")
            start = end

    def unpacked(self, start: int, stop: int) -> bytes:
        """What the one array of a compressed part holds."""
        unpacker = zlib.decompressobj()
        tag = unpacker.decompress(self.content[start:stop], 8)
        kind, n_bytes = struct.unpack(f"{self.order}II", tag)
        if kind != _MATRIX:  # another compressed part would be a bomb in a bomb
            raise ValueError("a compressed part of it is no array")
        self.left -= n_bytes
        if self.left < 0:
            raise ValueError("it unpacks to far more than such a file would")
        inner = unpacker.decompress(unpacker.unconsumed_tail, n_bytes + 1)
        if not unpacker.eof or unpacker.unused_data or len(inner) != n_bytes:
            raise ValueError("a compressed part of it is damaged")
        return inner

    def elements(self, start: int, stop: int) -> Iterator[_Element]:
        """Elements one after the other, each padded to 8 bytes."""
        while start < stop:
            first, n_bytes = struct.unpack(f"{self.order}II", self.content[start : start + 8])
            kind, small = first & 0xFFFF, first >> 16
            if small:  # up to four bytes, in the tag itself
                element = _Element(kind, start + 4, start + 4 + small)
                start += 8
                wrong = small > 4
            else:
                element = _Element(kind, start + 8, start + 8 + n_bytes)
                start += 8 + -(-n_bytes // 8) * 8
                wrong = element.stop > stop or (kind == _MATRIX and n_bytes % 8 != 0)
            if wrong or start > stop or (kind != _MATRIX and kind not in _SIZES):
                raise ValueError("its parts do not fit into each other")
            yield element

    def matrix(self, start: int, stop: int, depth: int) -> None:
        """Flags, dimensions, name, and what the class of the array asks for."""
        if start == stop:
            return
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        parts = self.elements(start, stop)
        flags, class_ = self.flags(next(parts, None))
        if class_ == _OPAQUE:  # three names, and an array
            for _ in range(3):
                self.text(next(parts, None))
            return self.nested(list(parts), 1, depth)
        n_items = self.count(next(parts, None))
        self.text(next(parts, None))
        if class_ == _OBJECT:
            self.text(next(parts, None))
        if class_ in (_OBJECT, _STRUCT):
            n_items *= self.fields(next(parts, None), next(parts, None))
        held = list(parts)
        if class_ in (_CELL, _STRUCT, _OBJECT):
            return self.nested(held, n_items, depth)
        if class_ == _FUNCTION:
            return self.nested(held, 1, depth)
        n_parts = 2 if flags & _COMPLEX else 1
        if class_ == _SPARSE:  # rows and columns first; SciPy checks how many there are
            n_parts += 2
        elif class_ != _CHAR and class_ not in _NUMBERS:
            raise ValueError("an array in it is of no class")
        if len(held) != n_parts:
            raise ValueError("an array in it has lost or gained a part")
        for part in held:
            self.numbers(part, None if class_ == _SPARSE else n_items, class_)

    def nested(self, parts: list[_Element], n_parts: int, depth: int) -> None:
        """So many arrays within an array."""
        if len(parts) != n_parts or any(part.kind != _MATRIX for part in parts):
            raise ValueError("a list in it has lost or gained a part")
        for part in parts:
            self.matrix(part.start, part.stop, depth + 1)

    def flags(self, part: _Element | None) -> tuple[int, int]:
        if part is None or part.kind != _UINT32 or part.stop - part.start != 8:
            raise ValueError("an array in it has no flags")
        (word,) = struct.unpack_from(f"{self.order}I", self.content, part.start)
        return word, word & 0xFF

    def count(self, part: _Element | None) -> int:
        n_dims = 0 if part is None else (part.stop - part.start) // 4
        if part is None or part.kind != _INT32 or not 2 <= n_dims <= _MOST_DIMS:
            raise ValueError("an array in it has no dimensions")
        dims = struct.unpack_from(f"{self.order}{n_dims}i", self.content, part.start)
        if min(dims) < 0:
            raise ValueError("an array in it has a negative dimension")
        return math.prod(dims)

    def text(self, part: _Element | None) -> bytes:
        if part is None or part.kind not in (_INT8, 2, _UTF8):
            raise ValueError("an array in it has no name")
        return self.content[part.start : part.stop]

    def fields(self, width: _Element | None, names: _Element | None) -> int:
        if width is None or width.kind != _INT32 or width.stop - width.start != 4:
            raise ValueError("a struct in it has no fields")
        (length,) = struct.unpack_from(f"{self.order}i", self.content, width.start)
        text = self.text(names)
        if length < 1 or len(text) % length:
            raise ValueError("a struct in it has damaged fields")
        return len(text) // length

    def numbers(self, part: _Element, n_items: int | None, class_: int) -> None:
        n_bytes = part.stop - part.start
        if class_ == _CHAR and part.kind in (_UTF8, _INT8, 2):
            n_held = len(self.content[part.start : part.stop].decode("utf-8"))
        elif part.kind in _SIZES and n_bytes % _SIZES[part.kind] == 0:
            n_held = n_bytes // _SIZES[part.kind]
        else:
            raise ValueError("an array in it holds no numbers")
        if n_items not in (None, n_held) or (class_ != _CHAR and part.kind in (16, 17, 18)):
            raise ValueError("an array in it is not as long as it says")
