"""What an EDF file says of itself, checked before a reader believes it.

MNE takes the number of records from the size of the file, with a warning at most, so a
truncated download would pass as a short night; and it passes over an annotation that it
cannot parse, so a damaged hypnogram would pass as one with fewer stages.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sleepshift.errors import DataError, one_line

__all__ = [
    "ADVICE",
    "EdfHeader",
    "channel_type",
    "check_annotations",
    "check_signals",
    "read_header",
]

#: How to go on after a damaged file.
ADVICE = "download it again, or leave it out with --skip-bad"

_VOLTAGES = ("eeg", "eog", "emg", "ecg")
# One annotation of EDF+: onset, duration, text; the text of a time-keeping one is empty.
_ANNOTATION = re.compile(rb"[+-]\d+(\.\d*)?(\x15\d+(\.\d*)?)?\x14([^\x14]*\x14)*")


@dataclass(frozen=True, kw_only=True)
class EdfHeader:
    """The fields of an EDF header that decide how the file is read.

    Parameters
    ----------
    n_bytes : int
        Size of the header; the first record follows.
    labels, units : list of str
        Name and physical dimension of every signal.
    limits : list of (float, float, float, float)
        Physical minimum and maximum, then digital minimum and maximum, of every signal.
    n_samples : list of int
        Samples of every signal in one record.
    """

    n_bytes: int
    labels: list[str]
    units: list[str]
    limits: list[tuple[float, float, float, float]]
    n_samples: list[int]


def read_header(path: Path) -> EdfHeader:
    """Parse the header of an EDF or EDF+C file and hold it against the size of the file.

    Raises
    ------
    DataError
        If the header cannot be parsed, contradicts itself, promises gaps between records
        (EDF+D), or promises more or fewer records than the file holds.

    References
    ----------
    Kemp et al. (1992), Electroencephalogr. Clin. Neurophysiol. 82, 391-393; Kemp and Olivan
    (2003), Clin. Neurophysiol. 114, 1755-1761.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            fixed = file.read(256).decode("latin-1")
            n_signals = int(fixed[252:256])
            fields = file.read(256 * max(n_signals, 0)).decode("latin-1")
        if fixed[:8].strip() != "0" or n_signals < 1 or len(fields) < 256 * n_signals:
            raise ValueError("this is not an EDF header")
        n_records, seconds = int(fixed[236:244]), float(fixed[244:252])
        header = _parse_signals(int(fixed[184:192]), fields, n_signals)
        if header.n_bytes != 256 * (n_signals + 1) or min(header.n_samples) < 1:
            raise ValueError("its sizes contradict each other")
        if not all(text.isprintable() for text in header.labels):
            raise ValueError("its channel names are no text")
        if not 0 <= seconds < math.inf or fixed[192:197] == "EDF+D":
            raise ValueError("its records do not follow each other")
    except (OSError, ValueError) as error:
        reason = one_line(error)
        raise DataError(f"{path.name} is no readable EDF file ({reason}); {ADVICE}") from error
    held = (size - header.n_bytes) / (2 * sum(header.n_samples))
    if n_records != held:
        raise DataError(
            f"{path.name} is truncated or damaged: its header says {n_records} records, "
            f"the file holds {held:.6g}; {ADVICE}"
        )
    return header


def _parse_signals(n_bytes: int, fields: str, n_signals: int) -> EdfHeader:
    def column(start: int, width: int) -> list[str]:
        # EDF stores the first field of all signals, then the second field of all, and so on.
        cells = range(start * n_signals, (start + width) * n_signals, width)
        return [fields[cell : cell + width].strip() for cell in cells]

    limits = [[float(text) for text in column(start, 8)] for start in (104, 112, 120, 128)]
    return EdfHeader(
        n_bytes=n_bytes,
        labels=column(0, 16),
        units=column(96, 8),
        limits=list(zip(*limits, strict=True)),
        n_samples=[int(text) for text in column(216, 8)],
    )


def check_signals(
    header: EdfHeader, names: Sequence[str], path: Path, types: Mapping[str, str] | None = None
) -> None:
    """Refuse channels that are not there, are there twice, or have no scale.

    Parameters
    ----------
    header : EdfHeader
    names : sequence of str
        Labels as in the file.
    path : Path
    types : mapping, optional
        Label -> MNE channel type; by default the prefix of the label says so.

    Raises
    ------
    DataError
        Naming `path` and, for a missing channel, those that are there.
    """
    there = [label for label in header.labels if label != "EDF Annotations"]
    missing = [name for name in names if there.count(name) != 1]
    if missing or not names:
        raise DataError(
            f"{path.name} has no channel {', '.join(missing) or '(none was named)'}, or has it "
            f"twice; it holds {', '.join(there)}: name channels as they are spelled there"
        )
    for name in names:
        index = header.labels.index(name)
        physical_min, physical_max, digital_min, digital_max = header.limits[index]
        scaled = physical_min != physical_max and digital_min < digital_max
        in_volts = header.units[index] in ("uV", "\xb5V", "mV", "V")
        if not (scaled and all(map(math.isfinite, header.limits[index]))) or (
            (types or {}).get(name, channel_type(name)) in _VOLTAGES and not in_volts
        ):
            raise DataError(f"{path.name} gives channel {name} no usable scale; {ADVICE}")


def check_annotations(path: Path) -> None:
    """Refuse a file that is no EDF+ annotation file, or has one that MNE would pass over.

    Raises
    ------
    DataError
        If the file is not EDF, holds signals, or an annotation in it does not parse.
    """
    header = read_header(path)
    if header.labels != ["EDF Annotations"]:
        raise DataError(
            f"{path.name} is no EDF+ hypnogram: it holds {', '.join(header.labels)}; {ADVICE}"
        )
    pieces = [piece for piece in path.read_bytes()[header.n_bytes :].split(b"\x00") if piece]
    # The first one keeps the time: MNE shifts all others by it, which EDF+ gives below a second.
    timed = bool(pieces) and re.match(rb"\+0*[.\x14]", pieces[0])
    if not timed or not all(map(_ANNOTATION.fullmatch, pieces)):
        raise DataError(f"{path.name} has a damaged annotation; {ADVICE}")


def channel_type(name: str) -> str:
    """MNE type of a channel, from the prefix that EDF+ prescribes; "misc" for the rest.

    Examples
    --------
    >>> channel_type("EEG Fpz-Cz"), channel_type("EOG horizontal"), channel_type("Temp rectal")
    ('eeg', 'eog', 'misc')
    """
    prefix = name.split(" ")[0].lower()
    return prefix if prefix in _VOLTAGES else "misc"
