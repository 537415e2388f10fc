"""Notes of an annotation file of WFDB, such as stages and events.

wfdb's own reader never comes back from some damaged files, takes the end of any file for the
end of its list, and carries on past what it cannot place; so the few kilobytes are read here.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.errors import DataError, one_line

__all__ = ["read_notes"]

_MAX_BYTES = 4 * 2**20
_SKIP, _EXTRA, _AUX = 59, (60, 61, 62), 63  # codes that are no annotations of their own
_RESOLUTION = re.compile(r"## time resolution: (\d+(?:\.\d*)?)")
_DEFINITIONS = ("## annotation type definitions", "## end of definitions")


def read_notes(path: Path, sfreq: float) -> list[tuple[int, str]]:
    """Read sample and note of every annotation, in the order of the file.

    Parameters
    ----------
    path : Path
    sfreq : float
        Samples a second of the recording; a file that counts otherwise is refused.

    Returns
    -------
    list of (int, str)
        Definitions at the start are left out; the note is "" where there is none.

    Raises
    ------
    DataError
        If the file is damaged, or does not end where its list ends.

    References
    ----------
    Moody, WFDB Applications Guide, annot(5), "MIT format".
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES >> 20} MB")
        notes = _parse(path.read_bytes())
        defining, kept = False, []
        for sample, note in notes:
            if match := _RESOLUTION.fullmatch(note):
                if float(match[1]) != sfreq:
                    raise ValueError(f"it counts in {match[1]} Hz, not in {sfreq:g} Hz")
            elif note in _DEFINITIONS:
                defining = note == _DEFINITIONS[0]
            elif not defining:
                kept.append((sample, note))
    except (OSError, ValueError, struct.error) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}") from error
    return kept


def _parse(content: bytes) -> list[tuple[int, str]]:
    """Follow the list: words of six bits of code and ten bits of time, then what these announce."""
    notes: list[tuple[int, str]] = []
    sample = place = 0
    skipped = False
    while True:
        (word,) = struct.unpack_from("<H", content, place)
        code, value = word >> 10, word & 0x3FF
        place += 2
        if word == 0 and not skipped:
            break
        skipped = code == _SKIP
        if skipped:
            high, low = struct.unpack_from("<hH", content, place)
            sample += (high << 16) + low
            place += 4
        elif code == _AUX:
            note = content[place : place + value]
            if not notes or notes[-1][1] or len(note) < value:
                raise ValueError("a note belongs to nothing, or is cut short")
            notes[-1] = (notes[-1][0], note.decode("ascii").rstrip("\0"))
            place += value + value % 2
        elif code not in _EXTRA:
            sample += value
            if code:  # without a code, time passes and nothing is annotated
                notes.append((sample, ""))
    if content[place:].strip(b"\0"):
        raise ValueError("it goes on after its end")
    return notes
