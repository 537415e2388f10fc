"""EEGLAB recordings (.set, with or without .fdt): opened by name, checked against their size."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sleepshift.datasets.edf import UNREADABLE, check_rate
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.matlab import check_mat
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import mne

__all__ = ["open_set"]


def open_set(
    path: Path,
    names: Sequence[str],
    *,
    rates: Collection[float],
    types: Mapping[str, str] | None = None,
) -> mne.io.BaseRaw:
    """Open channels of an EEGLAB file, in the order asked for.

    Parameters
    ----------
    path : Path
        The ``.set`` file. Signals in an ``.fdt`` of the same name are read lazily; those in
        the ``.set`` file itself are read into memory.
    names : sequence of str
    rates : collection of float
        Hz that the recording may have; none allows any.
    types : mapping, optional
        Name -> MNE channel type; EEG, by default, whatever the file says.

    Returns
    -------
    raw : mne.io.BaseRaw
        In Volts, EEGLAB's numbers being microvolts, without annotations and positions.

    Raises
    ------
    DataError
        If the file is truncated or damaged, has another rate, or a channel is not there or is
        there twice.
    """
    raw = _open(path)
    _check_size(raw, path)
    if rates:
        check_rate(raw, path, rates, "this dataset")
    missing = [name for name in names if raw.ch_names.count(name) != 1]
    if missing or not names:
        there = " ".join(", ".join(raw.ch_names).split())[:400]
        raise DataError(
            f"{path.name} has no channel {', '.join(missing) or '(none was named)'}, or has it "
            f"twice; it holds {there}: name channels as they are spelled there"
        )
    kinds = {name: (types or {}).get(name, "eeg") for name in names}
    raw = raw.pick(list(names), verbose="ERROR").reorder_channels(list(names))
    raw.set_channel_types(kinds, on_unit_change="ignore", verbose="ERROR")
    return raw


def _open(path: Path) -> mne.io.BaseRaw:
    import mne
    from scipy.io.matlab import MatReadError

    check_mat(path)
    # SciPy's and MNE's own mistakes on what is odd but fits together come as the first two.
    unreadable = (*UNREADABLE, AttributeError, NameError, zlib.error, MatReadError)
    try:
        raw = mne.io.read_raw_eeglab(path, preload=False, verbose="ERROR")
        if Path(raw.filenames[0]).suffix != ".fdt" and not raw.preload:
            # Opened lazily, MNE believes the length that the file states beside its signals.
            raw = mne.io.read_raw_eeglab(path, preload=True, verbose="ERROR")
        raw.set_annotations(None)
        return raw.set_montage(None)
    except unreadable as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}") from error


def _check_size(raw: mne.io.BaseRaw, path: Path) -> None:
    """MNE reads as many samples as the .set file promises, whatever the .fdt file holds."""
    signals = Path(raw.filenames[0])
    if signals.resolve() == path.resolve():
        return
    if signals.resolve() != path.with_suffix(".fdt").resolve():
        raise DataError(
            f"{path.name} has its signals in {signals.name}, where {path.stem}.fdt was expected; "
            f"{ADVICE}"
        )
    promised, held = 4 * len(raw.ch_names) * raw.n_times, signals.stat().st_size
    if promised != held:
        raise DataError(
            f"{signals.name} is truncated or damaged: {path.name} promises {promised} bytes, it "
            f"holds {held}; {ADVICE}"
        )
