"""BEETL, sleep task (NeurIPS 2021): the competition's own arrays of 142 nights of 71 people."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from sleepshift.codes import read_codes
from sleepshift.datasets.base import Dataset, DatasetInfo, LabelledWindows, Recording
from sleepshift.datasets.figshare import fetch_archive, fetch_file
from sleepshift.datasets.folder import data_home
from sleepshift.datasets.pickles import MAX_BYTES, load_array
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS, get_scheme

__all__ = ["Beetl"]

_SFREQ = 100.0
_N_TIMES = round(WINDOW_SECONDS * _SFREQ)


class _Phase(NamedTuple):
    """A phase of the competition: how its files are named, and where they are."""

    prefix: str
    article: int
    archive: str
    n_people: int
    n_labelled: int


_PHASES = {
    "source": _Phase("training", 14839659, "SleepSource.zip", 39, 39),
    "leaderboard": _Phase("leaderboard", 14839653, "LeaderboardSleep.zip", 18, 6),
    "final": _Phase("testing", 16586225, "finalSleep.zip", 14, 5),
}
_PHASE_OF = {phase.prefix: name for name, phase in _PHASES.items()}
_FILE_NAME = re.compile(r"(training|leaderboard|testing)_s(\d{1,2})r([12])([Xy])\.npy")

#: The published labels of the final phase's test people: article and file.
_TRUTH = (21602622, "final_sleep_label.txt")
_MAX_TRUTH_BYTES = 2**22


class Beetl(Dataset):
    """Windows as the competition handed them out, cut and numbered by its organisers.

    People are "source-0" to "source-38" (25-57 years), "leaderboard-0" to "-17" (60-80; the
    first six with labels) and "final-0" to "-13" (80 and older; the first five with labels),
    two nights each. They are people of Sleep-EDF's Sleep Cassette study under other numbers,
    so that the two datasets must not be mixed. Labels are Rechtschaffen and Kales, six
    classes. Those of the leaderboard phase's test people were never published (-1); those of
    the final phase's are read from ``final_sleep_label.txt`` where it is at hand.

    Parameters
    ----------
    data : path, optional
        Folder with the unpacked archives, in any arrangement: files are found by their names.
        By default the archives that are needed are downloaded from figshare, checked and
        unpacked below the folder that MNE keeps data in (``MNE_DATA``, or ``~/mne_data``).

    Notes
    -----
    The windows of all but the source people are shuffled in time, and movement is missing
    from the nights of the source people without a trace, so that no window says when it was:
    methods that need order are skipped. Signals are in Volts and unfiltered. The arrays are
    pickles, which are decoded without being run; ``headerInfo.npy`` is never opened. Files of
    one person do not say the age.

    Not checked on the original files, which were out of reach: the kind of their pickles (all
    protocols of NumPy 1 and 2 are understood), how the archives are laid out inside, and what
    figshare's list of files says of them.

    Examples
    --------
    >>> dataset = Beetl("beetl")  # doctest: +SKIP
    >>> dataset.read(dataset.recordings(["final-0"])[0]).x.shape[1:]  # doctest: +SKIP
    (2, 3000)
    """

    info = DatasetInfo(
        name="beetl",
        title="BEETL, sleep task (NeurIPS 2021): the competition's arrays",
        licence="ODC-By 1.0 (derived from doi 10.13026/C2X676)",
        login=False,
        download="three archives, about 8 GB unpacked",
        url="https://figshare.com/articles/dataset/_/14839659",
        citation="Wei et al. (2022), 2021 BEETL competition, arXiv:2202.12950; "
        "Kemp et al. (2000), IEEE Trans. Biomed. Eng. 47(9), doi:10.1109/10.867928",
        people_of=("sleep-edf",),
    )
    needs_folder = False
    scheme = "rk6"
    #: Channels of every array, in its order.
    channels: ClassVar[tuple[str, ...]] = ("EEG Fpz-Cz", "EEG Pz-Oz")

    def __init__(self, data: Path | str | None = None) -> None:
        super().__init__(data)
        self._final: dict[str, np.ndarray] | None = None

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the nights of `subjects` by phase, number and night, without opening them.

        A night whose labels should be there and are not is listed too, and `read` says so.
        Without a folder, this downloads the phases of `subjects` that are not there yet.

        Parameters
        ----------
        subjects : sequence of str, optional
            Such as "source-0" and "final-13"; all, by default.

        Raises
        ------
        DataError
            If the folder is missing, holds no array, holds one twice or labels without
            signals, or lacks a subject; or if the download fails.
        """
        wanted = None if subjects is None else [str(subject) for subject in subjects]
        folders = _download(wanted) if self.data is None else [self.data]
        files, truth = _find(folders)
        signals = {(name, night) for name, night, kind in files if kind == "X"}
        present = {subject for subject, _ in signals}
        _check_present(wanted, present, str(self.data or "the downloaded archives"))
        found = []
        for subject, night in sorted(signals, key=lambda key: (*_place(key[0]), key[1])):
            labels = files.get((subject, night, "y"))
            if _tested(subject) and subject.startswith("final-"):
                if labels is not None and truth is not None:
                    raise DataError(f"{labels} and {truth} label the same night; keep one of them")
                labels = labels or truth
            paths = (files[subject, night, "X"], *([labels] if labels else []))
            found.append(Recording(subject=subject, session=night, files=paths))
        return [r for r in found if wanted is None or r.subject in wanted]

    def count_present(self) -> int:
        """Number of nights in the folder as it is; nothing is downloaded."""
        folder = self.data or data_home() / "beetl"
        try:
            return sum(kind == "X" for _, _, kind in _find([folder])[0])
        except DataError:
            return 0

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> LabelledWindows:
        """Load one night.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Some of `channels`, in the order wanted; all, by default.

        Returns
        -------
        windows : LabelledWindows
            In Volts; labels are -1 where they were not published.

        Raises
        ------
        DataError
            If a file is damaged, is something else than an array of numbers or has another
            shape, or labels are missing, too few or out of scheme.
        """
        path, *labels = recording.files
        names = self.channels if channels is None else tuple(channels)
        if missing := [name for name in names if name not in self.channels]:
            raise DataError(
                f"{path.name} has no channel {missing[0]}; there are {', '.join(self.channels)}"
            )
        x = _signals(path)
        if not labels and not _tested(recording.subject):
            raise DataError(
                f"{path.name} has no labels: put {path.name.replace('X.npy', 'y.npy')} into the "
                "folder, or leave the night out with --skip-bad"
            )
        if not labels:
            y = np.full(len(x), -1, dtype=np.int64)
        elif labels[0].suffix == ".txt":
            y = self._published(path, labels[0])
        else:
            y = _labels(labels[0])
        if len(x) != len(y):
            raise DataError(f"{path.name} has {len(x)} windows and {labels[0].name} {len(y)}")
        picks = [self.channels.index(name) for name in names]
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite: the audit says so
            x = np.ascontiguousarray(x[:, picks], dtype=np.float32)
        return LabelledWindows(x=x, y=y, onset=None, ch_names=names, sfreq=_SFREQ)

    def _published(self, path: Path, truth: Path) -> np.ndarray:
        """One night's part of the published labels, which run through all nights in order."""
        if self._final is None:
            tested = [f"final-{k}" for k in range(_PHASES["final"].n_people)]
            everyone = self.recordings([subject for subject in tested if _tested(subject)])
            lengths = [len(_signals(recording.files[0])) for recording in everyone]
            codes = _read_truth(truth)
            if sum(lengths) != len(codes):
                raise DataError(
                    f"{truth.name} labels {len(codes)} windows; the {len(everyone)} nights it "
                    f"belongs to have {sum(lengths)}; complete the folder, or take it out"
                )
            parts = np.split(codes, np.cumsum(lengths)[:-1])
            self._final = {r.files[0].name: y for r, y in zip(everyone, parts, strict=True)}
        return self._final[path.name]


def _find(folders: Sequence[Path]) -> tuple[dict[tuple[str, str, str], Path], Path | None]:
    """Map (subject, night, "X" or "y") to its file, and find the published labels."""
    files: dict[tuple[str, str, str], Path] = {}
    truths: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give the one with the unpacked archives")
        truths += sorted(folder.rglob(_TRUTH[1]))
        for path in sorted(folder.rglob("*.npy")):
            match = _FILE_NAME.fullmatch(path.name)
            if match is None or int(match[2]) >= _PHASES[_PHASE_OF[match[1]]].n_people:
                continue
            key = f"{_PHASE_OF[match[1]]}-{int(match[2])}", match[3], match[4]
            if key in files:
                raise DataError(f"{path} is the same as {files[key]}; keep one of the two")
            files[key] = path
    if not any(kind == "X" for _, _, kind in files):
        raise DataError(
            f"{folders[0]} holds no training_s0r1X.npy or the like; give the folder with "
            "the unpacked archives of BEETL's sleep task"
        )
    if len(truths) > 1:
        raise DataError(f"{truths[1]} is the same as {truths[0]}; keep one of the two")
    for subject, night, kind in files:
        if kind == "y" and (subject, night, "X") not in files:
            raise DataError(f"{files[subject, night, 'y'].name} has no signals beside it")
    return files, truths[0] if truths else None


def _check_present(wanted: list[str] | None, present: Collection[str], where: str) -> None:
    """Refuse subjects that are not there."""
    if absent := [subject for subject in wanted or () if subject not in present]:
        raise DataError(
            f"no recording of subject {', '.join(absent[:5])} in {where}, which has "
            f"{len(present)} people; their names are such as source-0, leaderboard-0 and final-0"
        )


def _place(subject: str) -> tuple[int, int]:
    """Where a subject stands: by phase, then number."""
    phase, _, number = subject.partition("-")
    return list(_PHASES).index(phase), int(number)


def _tested(subject: str) -> bool:
    """Whether the competition withheld the labels of a subject."""
    phase, _, number = subject.partition("-")
    return int(number) >= _PHASES[phase].n_labelled


def _signals(path: Path) -> np.ndarray:
    x = load_array(path)
    if x.dtype.kind != "f" or x.ndim != 3 or x.shape[1:] != (len(Beetl.channels), _N_TIMES):
        raise DataError(
            f"{path.name} holds {x.dtype} of shape {x.shape}; it must be windows x 2 channels x "
            f"{_N_TIMES} samples"
        )
    return x


def _labels(path: Path) -> np.ndarray:
    y, n_stages = load_array(path), len(get_scheme(Beetl.scheme))
    if y.ndim != 1 or not (y == np.floor(y)).all():
        raise DataError(f"{path.name} must hold one whole number a window, not shape {y.shape}")
    outside = np.unique(y[(y < 0) | (y >= n_stages)])
    if outside.size:
        raise DataError(f"{path.name} holds {outside[0]:g}, which is no stage (0..{n_stages - 1})")
    return y.astype(np.int64)


def _read_truth(path: Path) -> np.ndarray:
    if path.stat().st_size > _MAX_TRUTH_BYTES:
        raise DataError(f"{path.name} is too large for one label a line; get the file again")
    try:
        text = path.read_text(encoding="utf-8", errors="strict")
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name} is no text ({one_line(error, 100)})") from None
    codes, problems = read_codes(text, len(get_scheme(Beetl.scheme)))
    if problems:
        more = f" ({len(problems)} such lines)" if len(problems) > 1 else ""
        raise DataError(f"{path.name}, {problems[0]}{more}; get the file again")
    return codes


def _download(subjects: list[str] | None) -> list[Path]:
    """Fetch the archives of these people that are not there yet; their folders."""
    everyone = [f"{name}-{k}" for name, phase in _PHASES.items() for k in range(phase.n_people)]
    _check_present(subjects, everyone, "BEETL's sleep task")
    wanted = everyone if subjects is None else subjects
    phases = [phase for name, phase in _PHASES.items() if any(s.startswith(name) for s in wanted)]
    with_truth = any(s.startswith("final-") and _tested(s) for s in wanted)
    root = data_home() / "beetl"
    try:
        folders = [fetch_archive(p.article, p.archive, root, _FILE_NAME, MAX_BYTES) for p in phases]
        if with_truth:
            folders.append(fetch_file(*_TRUTH, root / "labels").parent)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a bad hash a ValueError
        numbers = [phase.article for phase in phases] + ([_TRUTH[0]] if with_truth else [])
        pages = ", ".join(f"https://figshare.com/articles/dataset/_/{n}" for n in numbers)
        raise DataError(
            f"BEETL could not be downloaded ({one_line(error, 100)}); try again, or fetch {pages} "
            "by hand, unpack all into one folder and pass it with --data DIR"
        ) from error
    return folders
