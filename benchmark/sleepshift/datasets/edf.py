"""EDF recordings: opened by name, whatever a recorder called its channels."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleepshift.datasets.edf_header import (
    ADVICE,
    EdfHeader,
    channel_type,
    check_signals,
    read_header,
)
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import mne

__all__ = ["UNREADABLE", "check_rate", "open_edf", "spelled"]

#: What MNE raises on a header that passed our checks and is damaged all the same.
UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    LookupError,
    TypeError,
    MemoryError,
    SystemError,
)


def spelled(
    header: EdfHeader, names: Sequence[str], spellings: Mapping[str, Sequence[str]]
) -> list[str]:
    """What a file calls the channels that are wanted.

    Parameters
    ----------
    header : EdfHeader
    names : sequence of str
    spellings : mapping
        Name -> what files call that channel; the first that a file has is taken. A name
        without spellings is a file's own.

    Returns
    -------
    list of str
        Labels of the file; a name of which no spelling is there stays as it is.
    """
    there = set(header.labels)
    return [
        next((label for label in spellings.get(name, ()) if label in there), name) for name in names
    ]


def open_edf(
    path: Path,
    names: Sequence[str],
    *,
    spellings: Mapping[str, Sequence[str]] | None = None,
    types: Mapping[str, str] | None = None,
) -> mne.io.BaseRaw:
    """Open channels of an EDF file, whatever its suffix, in the order asked for.

    Parameters
    ----------
    path : Path
        Read lazily if it ends in ".edf", which is all that MNE knows; else into memory.
    names : sequence of str
        Only these are opened: MNE would bring all channels to the highest rate.
    spellings : mapping, optional
        Name -> labels that files have for it, as `spelled` takes them.
    types : mapping, optional
        Name -> MNE channel type; by default the prefix of the label says so.

    Returns
    -------
    raw : mne.io.BaseRaw
        In Volts, channels called as in `names`, without annotations.

    Raises
    ------
    DataError
        If the file is truncated or damaged, or a channel is not there, is there twice or has
        no scale.
    """
    import mne

    header = read_header(path)
    labels = spelled(header, names, spellings or {})
    kinds = {
        label: (types or {}).get(name, channel_type(label))
        for name, label in zip(names, labels, strict=True)
    }
    check_signals(header, labels, path, kinds)
    with contextlib.ExitStack() as stack:
        source = path if path.suffix == ".edf" else stack.enter_context(path.open("rb"))
        try:
            raw = mne.io.read_raw_edf(
                source,
                include=labels,
                stim_channel=None,
                preload=path.suffix != ".edf",
                verbose="ERROR",
            )
            raw.set_annotations(None)
            raw.reorder_channels(labels)
            raw.set_channel_types(kinds, on_unit_change="ignore", verbose="ERROR")
            raw.rename_channels(dict(zip(labels, names, strict=True)), verbose="ERROR")
        except UNREADABLE as error:
            raise DataError(
                f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}"
            ) from error
    return raw


def check_rate(raw: mne.io.BaseRaw, path: Path, rates: Collection[float], whose: str) -> None:
    """Refuse a recording at a rate that its dataset does not have.

    Parameters
    ----------
    raw : mne.io.BaseRaw
    path : Path
        Of the recording.
    rates : collection of float
        In Hz.
    whose : str
        The dataset, in words.

    Raises
    ------
    DataError
        Naming the rates.
    """
    rate = raw.info["sfreq"]
    if rate not in rates:
        known = " or ".join(f"{one:g}" for one in rates)
        raise DataError(f"{path.name} claims {rate:g} Hz, where {whose} has {known} Hz; {ADVICE}")
