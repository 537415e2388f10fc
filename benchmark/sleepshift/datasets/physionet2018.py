"""PhysioNet/CinC Challenge 2018: nights of 994 adults in a sleep laboratory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import UNREADABLE
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.folder import FolderDataset, check_people
from sleepshift.datasets.people_table import Person, read_people
from sleepshift.datasets.scorings import attach, epoch_annotations
from sleepshift.datasets.wfdb_notes import read_notes
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["PhysioNet2018"]

_PROJECT = "challenge-2018/1.0.0"
_NAME = re.compile(r"tr\d\d-\d{4}")
_ENDS = (".hea", ".mat", ".arousal")
#: People whose nights are published with stages.
_N_PEOPLE = 994
_RATE = 200
_MAT_HEADER = 24  # bytes before the samples, which WFDB reads as they are
_VOLTS = {"uV": 1e-6, "mV": 1e-3, "V": 1.0}
_TYPES = {
    **dict.fromkeys(("F3-M2", "F4-M1", "C3-M2", "C4-M1", "O1-M2", "O2-M1"), "eeg"),
    **{"E1-M2": "eog", "Chin1-Chin2": "emg", "ECG": "ecg"},
}
# Beginning and end of an arousal, or of another event: "(resp_hypopnea", "resp_hypopnea)".
_EVENT = re.compile(r"\([a-z_]+|[a-z_]+\)")
# Seconds by which a stage may begin off the grid of epochs that starts with the first.
_TOLERANCE = 1.0
_DAMAGED = (*UNREADABLE, AttributeError)
# Of a header, which has one kilobyte: wfdb would take hours over a longer word.
_MAX_BYTES, _MAX_LINE = 64 * 2**10, 500
# Name, number of signals, and up to four short fields: rate, length, time and date.
_RECORD_LINE = re.compile(r"[-\w]+[ \t]+([0-9]{1,3})([ \t]+[0-9./:()-]{1,30}){0,4}")


class PhysioNet2018(FolderDataset):
    """Labelled recordings of the PhysioNet/Computing in Cardiology Challenge 2018.

    Signals are read with wfdb, as Braindecode's ``SleepPhysionetChallenge2018`` does: that
    class downloads tables into its own package whenever it is made, needs them to find a
    recording in a folder, reads all EEG channels (or all thirteen) and calls the eyes an EEG.
    Signals and stages are the same, and are tested to be.

    Parameters
    ----------
    data : path, optional
        Folder with ``tr03-0005.hea``, ``tr03-0005.mat`` and ``tr03-0005.arousal`` (and so on)
        anywhere below it; ages and sexes come from ``age-sex.csv``, if that is there. By
        default the people asked for are downloaded from PhysioNet, and checked.

    Notes
    -----
    Subject ids are those of the training files, "tr03-0005"; each has one night, session "1".
    Nights of the Challenge's test set have no stages and are passed over.

    Channels are F3-M2, F4-M1, C3-M2, C4-M1, O1-M2, O2-M1, E1-M2, Chin1-Chin2, ABD, CHEST,
    AIRFLOW, SaO2 and ECG, all at 200 Hz. A stage lasts until the next one begins, the last one
    for 30 s, and all must begin on one grid of 30 s, give or take a second. Arousals and
    other events are left out. A damaged file of stages is refused where it shows; one from
    which stages were cut cleanly would not show.

    Written from Braindecode's reader and from descriptions of the files by others, and tested
    on files made alike; no original file was at hand.

    Examples
    --------
    >>> dataset = PhysioNet2018("challenge-2018")  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["tr03-0005"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['F3-M2', 'F4-M1', 'C3-M2', 'C4-M1', 'O1-M2', 'O2-M1', 'E1-M2']
    """

    info = DatasetInfo(
        name="physionet2018",
        title="PhysioNet/CinC Challenge 2018, training set",
        licence="ODC-By 1.0",
        login=False,
        download="135 GB for all 994 nights, about 140 MB a night",
        url="https://physionet.org/content/challenge-2018/1.0.0/",
        citation="Ghassemi et al. (2018), Computing in Cardiology 45, doi:10.22489/CinC.2018.049; "
        "Goldberger et al. (2000), Circulation 101(23), doi:10.1161/01.CIR.101.23.e215",
        also_called=(
            "PhysioNet/CinC Challenge 2018",
            "PhysioNet/CinC 2018",
            "You Snooze You Win",
            "PC18",
        ),
    )
    layout = "tr03-0005.hea beside tr03-0005.mat and tr03-0005.arousal, and so on"
    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {s: s for s in ("W", "N1", "N2", "N3", "R")}
    #: Channels opened unless others are asked for: EEG and eyes.
    default_channels: ClassVar[tuple[str, ...]] = tuple(_TYPES)[:7]

    def scan(self, folder: Path) -> list[Recording]:
        """List the labelled nights below a folder; one that lacks a file is listed too."""
        headers: dict[str, Path] = {}
        for path in sorted(folder.rglob("tr*.hea")):
            if _NAME.fullmatch(path.stem) is None:
                continue
            if path.stem in headers:
                raise DataError(f"{path} is the same night as {headers[path.stem]}; keep one")
            headers[path.stem] = path
        table = next(iter(sorted(folder.rglob("age-sex.csv"))), None)
        sexes = {"F": "female", "f": "female", "M": "male", "m": "male"}
        people = (
            {}
            if table is None
            else read_people(table, subject="Record", age="Age", sex="Sex", sexes=sexes)
        )
        return [
            Recording(
                subject=subject,
                session="1",
                age=people.get(subject, Person()).age,
                sex=people.get(subject, Person()).sex,
                files=tuple(path for end in _ENDS if (path := header.with_suffix(end)).is_file()),
            )
            for subject, header in headers.items()
        ]

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the labelled nights that are not there yet from PhysioNet, and check them."""
        from sleepshift.datasets import download

        there = {night.subject for night in self.scan(folder) if len(night.files) == len(_ENDS)}
        if len(there) >= _N_PEOPLE if subjects is None else there.issuperset(subjects):
            return
        names = download.list_physionet(_PROJECT, folder)
        people = {Path(name).stem for name in names if _NAME.fullmatch(Path(name).stem)}
        check_people(subjects, people, self.info.title)
        wanted = people.intersection(people if subjects is None else subjects) - there
        files = {subject + end for subject in wanted for end in _ENDS} | {"age-sex.csv"}
        download.fetch_physionet(_PROJECT, [n for n in names if Path(n).name in files], folder)

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Read channels of one night, with its stages as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Names as in the file; `default_channels`, by default. The raw has them in this order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts and in memory. Stages that reach past the last sample are cut there.

        Raises
        ------
        DataError
            If a file is missing, truncated or damaged, a channel is not there, or a stage is
            not known.
        """
        import mne

        names = list(self.default_channels if channels is None else channels)
        header = recording.files[0]
        missing = {header.with_suffix(end) for end in _ENDS} - set(recording.files)
        if missing:
            raise DataError(
                f"{header.name} lacks {min(missing).name}: put it into {header.parent}, or leave "
                "the night out with --skip-bad"
            )
        signals = _read_signals(header, names)
        kinds = [_TYPES.get(name, "misc") for name in names]
        info = mne.create_info(names, float(_RATE), kinds, verbose="ERROR")
        raw = mne.io.RawArray(signals, info, verbose="ERROR")
        scoring = header.with_suffix(".arousal")
        return attach(raw, _read_stages(scoring, self.stage_codes), self.stage_codes, scoring.name)


def _read_signals(path: Path, names: Sequence[str]) -> np.ndarray:
    """Channels in Volts, where they are voltages, after a look at what the header promises."""
    import wfdb

    try:
        _check_lines(path)
        header = wfdb.rdheader(str(path.with_suffix("")))
        _check_header(header, path)
    except _DAMAGED as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}") from error
    there = list(map(str, header.sig_name))  # a name that is missing is None
    if missing := [name for name in names if there.count(name) != 1]:
        raise DataError(
            f"{path.name} has no channel {', '.join(missing)}, or has it twice; it holds "
            f"{', '.join(there)}"
        )
    if not names:
        raise DataError(f"no channel of {path.name} was named; it holds {', '.join(there)}")
    picks = [there.index(name) for name in names]
    scales = [_scale(header, k, path) for k in picks]
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")), channels=picks)
        signals = np.stack([record.p_signal[:, record.sig_name.index(name)] for name in names])
    except _DAMAGED as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}") from error
    return signals * np.array(scales)[:, None]


def _check_lines(path: Path) -> None:
    """Refuse a header that wfdb would not come back from: it believes any number of signals."""
    if path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES >> 10} kB")
    lines = path.read_text(encoding="ascii", errors="ignore").splitlines()  # as wfdb does
    if any(len(line) > _MAX_LINE for line in lines):
        raise ValueError(f"it has a line of more than {_MAX_LINE} characters")
    record, *signals = [s for line in lines if (s := line.strip()) and s[0] != "#"] or [""]
    match = _RECORD_LINE.fullmatch(record)
    if match is None:
        raise ValueError("its first line does not describe a recording")
    if int(match[1]) != len(signals):
        raise ValueError(f"it promises {match[1]} signals and describes {len(signals)}")


def _check_header(header: Any, path: Path) -> None:
    """Refuse other files, formats and rates than the Challenge has, and other sizes than stated."""
    import wfdb

    if not isinstance(header, wfdb.Record) or not header.n_sig:
        raise ValueError("it describes no signals of one piece")
    for field, value in (
        ("file_name", f"{path.stem}.mat"),  # a header could name any file
        ("fmt", "16"),
        ("byte_offset", _MAT_HEADER),
        ("samps_per_frame", 1),
    ):
        if getattr(header, field) != [value] * header.n_sig:
            raise ValueError(f"{field} is {getattr(header, field)}, not {value} throughout")
    if any(header.skew or ()):
        raise ValueError("its signals are shifted against each other")
    if header.fs != _RATE or header.counter_freq not in (None, _RATE):
        raise ValueError(f"it claims {header.fs:g} Hz, where the Challenge has {_RATE} Hz")
    promised = _MAT_HEADER + 2 * header.n_sig * (header.sig_len or 0)
    size = path.with_suffix(".mat").stat().st_size
    if size != promised:
        raise ValueError(f"it promises {promised} bytes, {path.stem}.mat has {size}")


def _scale(header: Any, k: int, path: Path) -> float:
    """Factor that makes Volts of channel `k`, 1 for what is stored as no voltage."""
    name, unit, gain = header.sig_name[k], header.units[k], header.adc_gain[k]
    if not (np.isfinite(gain) and gain > 0) or (name in _TYPES and unit not in _VOLTS):
        raise DataError(f"{path.name} gives channel {name} no usable scale; {ADVICE}")
    return _VOLTS.get(unit, 1.0)


def _read_stages(path: Path, stage_codes: Mapping[str, str | None]) -> mne.Annotations:
    """One annotation an epoch, from the first stage on."""
    notes = read_notes(path, _RATE)
    if unknown := [n for _, n in notes if n not in stage_codes and not _EVENT.fullmatch(n)]:
        raise DataError(
            f"{path.name} has the unknown annotation {unknown[0]!r:.40}; known are "
            f"{', '.join(stage_codes)} and events in brackets; {ADVICE}"
        )
    onset = np.array([sample for sample, note in notes if note in stage_codes]) / _RATE
    stages = [note for _, note in notes if note in stage_codes]
    if not stages:
        raise DataError(f"{path.name} has no stages; {ADVICE}")
    epochs = (onset - onset[0]) / WINDOW_SECONDS
    counts = np.diff(np.rint(epochs)).astype(int)
    off_grid = np.abs(epochs - np.rint(epochs)) * WINDOW_SECONDS > _TOLERANCE
    if onset[0] < 0 or off_grid.any() or (counts < 1).any() or counts.sum() > 10_000:
        raise DataError(
            f"{path.name} has stages that do not follow each other in epochs of {WINDOW_SECONDS} "
            f"s; {ADVICE}"
        )
    texts = np.repeat(stages, [*counts, 1]).tolist()
    return epoch_annotations(texts, onset=float(onset[0]))
