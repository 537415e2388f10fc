"""A folder of arrays that are already cut into windows, one ``.npz`` per recording."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sleepshift.datasets.base import Dataset, DatasetInfo, LabelledWindows, Recording
from sleepshift.datasets.folder import check_people, natural
from sleepshift.datasets.npz_files import open_arrays
from sleepshift.datasets.participants import read_participants
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS, get_scheme

__all__ = ["NpzFolder"]


class NpzFolder(Dataset):
    """Windows that were cut elsewhere, as the AttnSleep and DeepSleepNet scripts write them.

    Every file holds ``x``, shape (n_windows, n_channels, n_times), (n_windows, n_times,
    n_channels) or, for one channel, (n_windows, n_times); ``y``, shape (n_windows,), codes of
    `scheme` and -1 for windows without a stage, which are left out; and, for signals, ``fs``
    in Hz. ``y_second`` may hold the codes of a second scorer. The order of
    windows is taken from ``onset_s`` (seconds) or ``window`` (index in
    the night), where there is one. Nothing else is opened, and no pickle is ever loaded.

    ``participants.tsv`` says who is in which file: columns ``file`` and ``subject``; optional
    ``session`` (or ``night``), ``age`` in years and ``sex`` (female, male), with ``n/a`` for
    what is not known; other columns are ignored.

    Parameters
    ----------
    data : path
        The folder.
    scheme : str
        Stage scheme that ``y`` is coded in.
    layout : {"channels-first", "channels-last"}
        Where ``x`` has its channels. The published scripts write channels last.
    ch_names : sequence of str
        Names of the channels, in the order of ``x``.
    sfreq : float, optional
        Sampling rate in Hz, for files without ``fs``; where both are given they must agree.
    kind : {"signal", "features"}
        Whether the last axis of a window is time (30 s of it) or features.
    ordered : bool
        Take row k for second 30 k in files that have neither ``onset_s`` nor ``window``. Only
        right where no window was dropped within a night: the scripts named above do drop
        movement.
    person_per_file : bool
        Do without ``participants.tsv``: every file is another person, named as the file is.

    Raises
    ------
    TaskError
        If a setting is unknown, or the settings contradict each other.

    Examples
    --------
    >>> dataset = NpzFolder("sleep_edf_20", layout="channels-last", ch_names=["EEG Fpz-Cz"])
    >>> dataset.read(dataset.recordings()[0]).x.shape  # doctest: +SKIP
    (841, 1, 3000)
    """

    info = DatasetInfo(
        name="npz",
        title="A folder of .npz files, already cut into windows",
        licence="that of the files",
        login=False,
        download="none",
        url="",
        citation="",
        people_of=None,
    )

    def __init__(
        self,
        data: Path | str | None = None,
        scheme: str = "aasm5",
        layout: Literal["channels-first", "channels-last"] = "channels-first",
        ch_names: Sequence[str] = ("EEG",),
        sfreq: float | None = None,
        kind: Literal["signal", "features"] = "signal",
        ordered: bool = False,
        person_per_file: bool = False,
    ) -> None:
        super().__init__(data)
        self.scheme = get_scheme(scheme).name
        self.layout = _one_of("layout", layout, ("channels-first", "channels-last"))
        self.kind = _one_of("kind", kind, ("signal", "features"))
        if isinstance(ch_names, str) or not ch_names or len(set(ch_names)) < len(ch_names):
            raise TaskError(f"ch_names must list different channel names, not {ch_names!r}")
        self.ch_names = tuple(ch_names)
        if sfreq is not None and (kind == "features" or not 0 < sfreq < math.inf):
            raise TaskError(f"sfreq must be a rate in Hz, and none for features, not {sfreq!r}")
        self.sfreq = None if sfreq is None else float(sfreq)
        self.ordered = ordered
        self.person_per_file = person_per_file

    def params(self) -> dict[str, Any]:
        """Settings that decide what a recording holds; who it is of comes from the table."""
        return {
            "scheme": self.scheme,
            "layout": self.layout,
            "ch_names": list(self.ch_names),
            "sfreq": self.sfreq,
            "kind": self.kind,
            "ordered": self.ordered,
        }

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the files of `subjects`, sorted by subject and session, without opening them.

        A file that the table names and the folder lacks is listed too; `read` says so.

        Parameters
        ----------
        subjects : sequence of str, optional
            All, by default.

        Raises
        ------
        DataError
            If the folder or its table is missing or wrong, a file is in one and not in the
            other such that it would vanish, or a subject is not there.
        """
        found = self._list()
        present = {recording.subject for recording in found}
        wanted = present if subjects is None else {str(subject) for subject in subjects}
        check_people(wanted, present, str(self.data))
        found.sort(key=lambda recording: (natural(recording.subject), natural(recording.session)))
        return [recording for recording in found if recording.subject in wanted]

    def _list(self) -> list[Recording]:
        if self.data is None:
            raise DataError("dataset 'npz' has no files of its own; give a folder with --data DIR")
        if not self.data.is_dir():
            raise DataError(f"{self.data} is not a folder; give the one with the .npz files")
        on_disk = {path.relative_to(self.data).as_posix() for path in self.data.rglob("*.npz")}
        if not on_disk:
            raise DataError(f"{self.data} holds no .npz file; give the folder with the recordings")
        if self.person_per_file and not (self.data / "participants.tsv").exists():
            return _one_person_each(self.data, on_disk)
        found = read_participants(self.data)
        listed = {recording.files[0].relative_to(self.data).as_posix() for recording in found}
        if unlisted := sorted(on_disk - listed):
            raise DataError(
                f"{self.data / 'participants.tsv'} does not list {unlisted[0]} "
                f"({len(unlisted)} such files); add a row for each, or move them away"
            )
        return found

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> LabelledWindows:
        """Load one recording.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Some of `ch_names`, in the order wanted; all, by default.

        Returns
        -------
        windows : LabelledWindows
            In the unit of the file, C-contiguous.

        Raises
        ------
        DataError
            If the file is damaged, holds a pickle, lacks an array, or holds something other
            than the settings say.
        """
        path = recording.files[0]
        picks = self._picks(channels, path)
        rate = () if self.kind == "features" else ("fs",)
        optional = (*rate, "onset_s", "window", "y_second")
        arrays = open_arrays(path, required=("x", "y"), optional=optional)
        y = self._labels(arrays["y"], path)
        second = self._labels(arrays["y_second"], path) if "y_second" in arrays else None
        if second is not None and len(second) != len(y):
            raise DataError(
                f"{path.name}: y_second has {len(second)} windows and y {len(y)}; write it again"
            )
        x = self._channels_first(arrays["x"], path)
        if len(x) != len(y):
            raise DataError(f"{path.name}: x has {len(x)} windows and y {len(y)}; write it again")
        sfreq = self._rate(arrays.get("fs"), x.shape[2], path)
        onset = self._onset(arrays, len(y), path)
        scored = y >= 0
        if not scored.any():
            raise DataError(f"{path.name} holds no window with a stage; take it out of the folder")
        if not scored.all():
            x, y, onset = x[scored], y[scored], None if onset is None else onset[scored]
            second = None if second is None else second[scored]
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: the audit says so
            x = np.ascontiguousarray(x[:, picks], dtype=np.float32)
        names = tuple(self.ch_names[pick] for pick in picks)
        return LabelledWindows(x=x, y=y, onset=onset, ch_names=names, sfreq=sfreq, second=second)

    def _picks(self, channels: Sequence[str] | None, path: Path) -> list[int]:
        names = self.ch_names if channels is None else channels
        missing = [name for name in names if name not in self.ch_names]
        if missing or not names:
            raise DataError(
                f"{path.name} has no channel {', '.join(missing)}; "
                f"ch_names says {', '.join(self.ch_names)}"
            )
        return [self.ch_names.index(name) for name in names]

    def _channels_first(self, x: np.ndarray, path: Path) -> np.ndarray:
        """View `x` as (n_windows, n_channels, n_times), and hold it against the settings."""
        if x.dtype.kind not in "fiu":
            raise DataError(f"{path.name}: x has dtype {x.dtype}; it must hold real numbers")
        n_channels = len(self.ch_names)
        if x.ndim == 2 and n_channels == 1:
            x = x[:, np.newaxis]
        elif x.ndim == 3 and self.layout == "channels-last":
            x = x.transpose(0, 2, 1)
        if x.ndim != 3 or 0 in x.shape:
            raise DataError(
                f"{path.name}: x has shape {x.shape}; it must be windows x {self.layout}"
            )
        if x.shape[1] != n_channels:
            other = "channels-last" if self.layout == "channels-first" else "channels-first"
            swapped = x.shape[2] == n_channels
            raise DataError(
                f"{path.name}: x has {x.shape[1]} channels and ch_names {n_channels}; "
                + (f"state layout={other!r}" if swapped else "correct ch_names")
            )
        return x

    def _labels(self, y: np.ndarray, path: Path) -> np.ndarray:
        """Codes of `scheme` as int64, -1 where there is no stage."""
        if y.ndim != 1:
            raise DataError(f"{path.name}: y has shape {y.shape}; it must be one code a window")
        if y.dtype.kind not in "fiu" or not (y == np.floor(y)).all():
            raise DataError(f"{path.name}: y must hold whole numbers, the codes of {self.scheme!r}")
        stages = get_scheme(self.scheme).stages
        outside = np.unique(y[(y < -1) | (y >= len(stages))])
        if outside.size:
            raise DataError(
                f"{path.name}: y holds {outside[0]:g}, outside scheme {self.scheme!r} "
                f"(0..{len(stages) - 1}, -1 for no stage); correct y or the scheme"
            )
        return y.astype(np.int64)

    def _rate(self, fs: np.ndarray | None, n_times: int, path: Path) -> float | None:
        """Sampling rate in Hz, None for features; a window must last 30 s."""
        if self.kind == "features":
            return None
        sfreq = self.sfreq
        if fs is not None:
            if fs.size != 1 or fs.dtype.kind not in "fiu" or not 0 < fs.item() < math.inf:
                raise DataError(f"{path.name}: fs must be one rate in Hz; write it again")
            if sfreq is not None and not math.isclose(sfreq, fs.item()):
                raise DataError(
                    f"{path.name}: fs is {fs.item():g} Hz, sfreq {sfreq:g}; correct one"
                )
            sfreq = float(fs.item())
        if sfreq is None:
            raise DataError(f"{path.name} has no fs; state sfreq in Hz, or kind='features'")
        if not math.isclose(n_times, WINDOW_SECONDS * sfreq):
            raise DataError(
                f"{path.name}: windows of {n_times} samples at {sfreq:g} Hz last "
                f"{n_times / sfreq:g} s, not 30; correct fs, or state the right layout"
            )
        return sfreq

    def _onset(
        self, arrays: dict[str, np.ndarray], n_windows: int, path: Path
    ) -> np.ndarray | None:
        """Seconds from the start of the recording, from whatever the file has to say of it."""
        for key, seconds in (("onset_s", 1.0), ("window", float(WINDOW_SECONDS))):
            if key in arrays:
                place = arrays[key]
                if place.shape != (n_windows,) or place.dtype.kind not in "fiu":
                    raise DataError(
                        f"{path.name}: {key} must be one number a window; write it again"
                    )
                onset = place.astype(np.float64) * seconds
                if not np.isfinite(onset).all() or len(np.unique(onset)) < n_windows:
                    raise DataError(f"{path.name}: {key} must differ from window to window")
                return onset
        return np.arange(n_windows) * float(WINDOW_SECONDS) if self.ordered else None


def _one_person_each(folder: Path, names: set[str]) -> list[Recording]:
    return [
        Recording(subject=name.removesuffix(".npz"), session="1", files=(folder / name,))
        for name in names
    ]


def _one_of(setting: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise TaskError(f"{setting} must be one of {', '.join(allowed)}, not {value!r}")
    return value
