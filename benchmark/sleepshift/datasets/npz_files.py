"""Arrays out of an ``.npz`` that nobody vouches for: no pickles, no surprises in size."""

from __future__ import annotations

import lzma
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from sleepshift.errors import DataError, one_line

__all__ = ["DAMAGE", "MAX_BYTES", "open_arrays", "read_header"]

#: Largest array that is loaded. A night of 20 channels at 256 Hz in float64 takes 1.5 GB.
MAX_BYTES = 4 * 2**30

#: What the zip, decompression and .npy readers raise on bytes that are not what they should be.
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def open_arrays(
    path: Path, *, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Load the named arrays of one file, and nothing else in it.

    What an array declares of itself is checked before it is loaded, and its checksum after
    (NumPy does not read far enough to notice a wrong one).

    Parameters
    ----------
    path : Path
        An ``.npz`` file, compressed or not.
    required, optional : sequence of str
        Names of arrays.

    Returns
    -------
    arrays : dict of str to ndarray
        The required ones, and those of the optional ones that are there.

    Raises
    ------
    DataError
        If the file is missing, truncated or no ``.npz``; if a required array is not there; or
        if an array holds Python objects, or more than `MAX_BYTES`.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; restore it, or leave it out with --skip-bad")
    try:
        # NumPy warns of files that Python 2 wrote, as the first published scripts did.
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            there = set(archive.namelist())
            if missing := [name for name in required if f"{name}.npy" not in there]:
                held = [repr(name.removesuffix(".npy")) for name in sorted(there)]
                raise DataError(
                    f"{path.name} has no array {' and no '.join(missing)}; "
                    f"it holds {', '.join(held) or 'nothing'}"
                )
            names = [name for name in (*required, *optional) if f"{name}.npy" in there]
            return {name: _load(archive, name, path) for name in names}
    except DAMAGE as error:
        reason = one_line(error, 200)
        raise DataError(
            f"{path.name} is no readable .npz ({reason}); write it again with numpy.savez, "
            "or leave it out with --skip-bad"
        ) from error


def _load(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        shape, _, dtype = read_header(member)
    if dtype.hasobject:
        raise DataError(
            f"{path.name}: {name} is a pickle, which could run code, so it is not loaded; "
            "write it again as numbers"
        )
    n_bytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or n_bytes > MAX_BYTES:
        raise DataError(
            f"{path.name}: {name} claims shape {shape}, {n_bytes / 2**30:.1f} GiB; "
            f"write one night a file, at most {MAX_BYTES / 2**30:g} GiB"
        )
    with archive.open(f"{name}.npy") as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{name} goes on after its end")
    return array


def read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, and dtype that the header of a ``.npy`` states.

    Parameters
    ----------
    stream : binary file
        At the start of the ``.npy``; its numbers come next.

    Raises
    ------
    ValueError, and whatever else is in `DAMAGE`
        If there is no such header, or a version of it that can hold more than numbers.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f".npy version {version} holds no plain numbers")
