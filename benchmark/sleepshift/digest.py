"""Content hashes: the names of window stores, artifacts and cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sleepshift.atomic import read_json, write_json

__all__ = ["FileHashes", "digest", "digest_array"]


def _plain(value: Any) -> Any:
    """Reduce a value to JSON types, the same for equal values whatever their container."""
    if isinstance(value, Mapping):
        if len({str(key) for key in value}) < len(value):
            raise TypeError(f"cannot hash a mapping whose keys are written alike: {list(value)}")
        return {str(key): _plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return {"array": digest_array(value)}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot hash a {type(value).__name__}; give its settings as plain values")


def digest(value: Any, length: int = 20) -> str:
    """Hash nested plain values; the order of mapping keys does not matter.

    Parameters
    ----------
    value : mapping, sequence, str, number, bool, None, Path or ndarray
    length : int
        Number of hexadecimal characters.

    Raises
    ------
    TypeError
        If a value has no stable plain form (a function, an open file).

    Examples
    --------
    >>> digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    True
    """
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def digest_array(array: np.ndarray, length: int = 20) -> str:
    """Hash an array's type, shape and content."""
    array = np.ascontiguousarray(array)
    state = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    state.update(array.view(np.uint8).data if array.size else b"")
    return state.hexdigest()[:length]


class FileHashes:
    """SHA-256 of files, remembered by (path, size, modification time).

    Parameters
    ----------
    path : Path
        Where the memory is kept between runs; it is only ever a shortcut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        known = read_json(path)
        self._known: dict[str, Any] = known if isinstance(known, dict) else {}
        self._changed = False

    def __call__(self, file: Path) -> str:
        stat = file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        known = self._known.get(str(file.resolve()))
        if isinstance(known, list) and len(known) == 3 and known[:2] == stamp:
            return str(known[2])
        with file.open("rb") as stream:
            value = hashlib.file_digest(stream, "sha256").hexdigest()
        self._known[str(file.resolve())] = [*stamp, value]
        self._changed = True
        return value

    def save(self) -> None:
        """Write the memory back, if it grew."""
        if self._changed:
            write_json(self.path, self._known)
            self._changed = False
