"""SHHS: home nights of thousands of adults, in two visits some years apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import check_rate, open_edf
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.nsrr_xml import CONCEPTS, read_nsrr, read_profusion
from sleepshift.datasets.people_table import Person, read_people
from sleepshift.datasets.scorings import attach, epoch_annotations
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne
    import pandas as pd

__all__ = ["Shhs", "regular_sleepers"]

# Hz of EEG, of signals stored faster at the second visit, and of the EOG where it is read alone.
_RATES = (125.0, 128.0, 250.0, 256.0, 50.0, 64.0)
_SECOND_EEG = ("EEG(sec)", "EEG(SEC)", "EEG (sec)", "EEG sec", "EEG2", "EEG 2")
_SPELLINGS = {"EEG(sec)": _SECOND_EEG}
_TYPES = {
    **dict.fromkeys(("EEG", *_SECOND_EEG), "eeg"),
    **{"EOG(L)": "eog", "EOG(R)": "eog", "EMG": "emg", "ECG": "ecg"},
}
_READERS = {"nsrr": read_nsrr, "profusion": read_profusion}


class Shhs(FolderDataset):
    """Recordings of the Sleep Heart Health Study, one of its two visits at a time.

    Labels are Rechtschaffen and Kales, six classes; movement and what was not scored are
    dropped.

    Parameters
    ----------
    data : path, optional
        Folder with ``shhs1-200001.edf`` and its stages, ``shhs1-200001-nsrr.xml`` or
        ``shhs1-200001-profusion.xml``, anywhere below it: the folders that the NSRR's
        downloader makes will do. Ages and sexes are read from the newest
        ``shhs1-dataset-0.20.0.csv`` (or another version) that is there.
    visit : {1, 2}
        The first visit has 5,793 recordings, the second 2,651.
    annotations : {"nsrr", "profusion"}
        Which of the two files of stages is read. Where both are there they must have equally
        many epochs.

    Notes
    -----
    Subject ids are the study's, "200001"; the session is the visit. The recordings are given
    out by the National Sleep Research Resource (NSRR) after a data use agreement.

    Channels go by the name in the file: "EEG" is C4-A1 and "EEG(sec)" C3-A2, which finds "EEG2",
    "EEG sec" and other spellings too; "EOG(L)", "EOG(R)", "EMG" and "ECG".

    Stages must follow each other from the first second on, and be as many as the recording has
    epochs of 30 s, with or without a last one that is cut short: AttnSleep's reader demands as
    much of the 329 nights that it takes.

    One original Profusion export of another NSRR study was read. The rest was written from
    descriptions and readers of others and tested on files made alike: no original recording of
    SHHS, file in the NSRR's format or table of people was at hand.

    Examples
    --------
    >>> dataset = Shhs("shhs", visit=1)  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["200010"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['EEG', 'EEG(sec)']
    """

    info = DatasetInfo(
        name="shhs",
        title="Sleep Heart Health Study",
        licence="NSRR data use agreement",
        login=True,
        download="tens of MB a night, 5,793 nights of the first visit and 2,651 of the second",
        url="https://sleepdata.org/datasets/shhs",
        citation="Zhang et al. (2018), J. Am. Med. Inform. Assoc. 25(10), "
        "doi:10.1093/jamia/ocy064; Quan et al. (1997), Sleep 20(12)",
        also_called=("Sleep Heart Health",),
    )
    layout = "shhs1-200001.edf with shhs1-200001-nsrr.xml or -profusion.xml, and so on"
    scheme = "rk6"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        **dict(zip(CONCEPTS.values(), ("W", "S1", "S2", "S3", "S4", "R"), strict=False)),
        CONCEPTS["6"]: None,
        CONCEPTS["9"]: None,
    }
    #: Channels opened unless others are asked for: both EEG.
    default_channels: ClassVar[tuple[str, ...]] = ("EEG", "EEG(sec)")

    def __init__(
        self, data: Path | str | None = None, visit: int = 1, annotations: str = "nsrr"
    ) -> None:
        super().__init__(data)
        if visit not in (1, 2) or isinstance(visit, bool):
            raise TaskError(f"visit must be 1 or 2, not {visit!r}")
        if annotations not in _READERS:
            raise TaskError(f"annotations must be {' or '.join(_READERS)}, not {annotations!r}")
        self.visit = visit
        self.annotations = annotations

    def params(self) -> dict[str, int | str]:
        """Settings that decide what the recordings hold."""
        return {"visit": self.visit, "annotations": self.annotations}

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights of the visit; one whose stages are missing is listed too."""
        name = re.compile(rf"shhs{self.visit}-(\d{{6}})(\.edf|-nsrr\.xml|-profusion\.xml)")
        files: dict[str, dict[str, Path]] = {}
        for path in sorted(folder.rglob(f"shhs{self.visit}-*")):
            if (match := name.fullmatch(path.name)) is None:
                continue
            known = files.setdefault(match[1], {}).setdefault(match[2], path)
            if known != path:
                raise DataError(f"{path} is the same file as {known}; keep one of the two")
        people = self._people(folder)
        return [
            Recording(
                subject=subject,
                session=str(self.visit),
                age=people.get(subject, Person()).age,
                sex=people.get(subject, Person()).sex,
                files=tuple(found[end] for end in sorted(found, reverse=True, key=_signals_first)),
            )
            for subject, found in files.items()
            if ".edf" in found
        ]

    def _people(self, folder: Path) -> dict[str, Person]:
        name = re.compile(rf"shhs{self.visit}-dataset-(\d+(?:\.\d+)*)\.csv")
        tables = {
            tuple(map(int, match[1].split("."))): path
            for path in sorted(folder.rglob(f"shhs{self.visit}-dataset-*.csv"))
            if (match := name.fullmatch(path.name))
        }
        if not tables:
            return {}
        return read_people(
            tables[max(tables)],
            subject="nsrrid",
            age=f"age_s{self.visit}",
            sex="gender",
            sexes={"1": "male", "2": "female"},
        )

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night lazily, with its stages as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            `default_channels`, by default. Only these are opened, and the raw has them in this
            order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts. A last stage that reaches past the last sample is cut there.

        Raises
        ------
        DataError
            If the stages are missing, a file is truncated or damaged, lengths do not fit, a
            channel is not there, or a stage is not known.
        """
        signals = recording.files[0]
        names = self.default_channels if channels is None else channels
        raw = open_edf(signals, names, spellings=_SPELLINGS, types=_TYPES)
        check_rate(raw, signals, _RATES, "SHHS")
        stages, name = self._stages(recording)
        epochs = raw.n_times / raw.info["sfreq"] / WINDOW_SECONDS
        if not epochs - 1 < len(stages) < epochs + 1:
            raise DataError(
                f"{name} scores {len(stages)} epochs and {signals.name} has {epochs:.6g}; {ADVICE}"
            )
        return attach(raw, epoch_annotations(stages), self.stage_codes, name)

    def _stages(self, recording: Recording) -> tuple[list[str], str]:
        """Stage of every epoch, and the file that says so."""
        signals = recording.files[0]
        paths = {path.name: path for path in recording.files[1:]}
        own = f"{signals.stem}-{self.annotations}.xml"
        if own not in paths:
            other = f"; {', '.join(paths)} is there, set annotations to read it" if paths else ""
            raise DataError(
                f"{signals.name} has no stages: put {own} into the folder, or leave the night out "
                f"with --skip-bad{other}"
            )
        stages = {
            kind: reader(paths[name])
            for kind, reader in _READERS.items()
            if (name := f"{signals.stem}-{kind}.xml") in paths
        }
        if len({len(epochs) for epochs in stages.values()}) > 1:
            counts = " and ".join(f"{len(epochs)} by {kind}" for kind, epochs in stages.items())
            raise DataError(
                f"{signals.name} has {counts} epochs: one of the files is cut short; {ADVICE}"
            )
        return stages[self.annotations], own


def _signals_first(end: str) -> bool:
    return end == ".edf"


def regular_sleepers(
    table: pd.DataFrame,
    *,
    subject: str = "nsrrid",
    ahi: str = "ahi_a0h3",
    deep: str = "times34p",
    rem: str = "timeremp",
    efficiency: str = "slpeffp",
    minutes: str = "slpprdp",
) -> list[str]:
    """People who sleep as AttnSleep asked of those that it took from the first visit.

    Fewer than 5 apneas and hypopneas an hour, at least 5 % of sleep in stages 3 and 4 and 15 %
    in REM, a sleep efficiency of at least 75 %, and 7 hours of sleep. The article gives the
    rule in words: which columns it means was chosen here by their names and not checked on the
    table, nor whether it gives the 329 people that were published.

    Parameters
    ----------
    table : DataFrame
        As the NSRR publishes it, ``shhs1-dataset-0.20.0.csv`` or another version.
    subject, ahi, deep, rem, efficiency, minutes : str
        Columns of the id, events an hour, per cent of sleep in stages 3 and 4 and in REM, sleep
        efficiency in per cent, and minutes asleep.

    Returns
    -------
    list of str
        Ids, sorted; nobody for whom a value is missing.

    Raises
    ------
    DataError
        If a column is not there.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"nsrrid": [200002, 200001], "ahi_a0h3": [1.0, 9.0],
    ...     "times34p": [12, 12], "timeremp": [20, 20], "slpeffp": [90, 90], "slpprdp": [450, 450]})
    >>> regular_sleepers(table)
    ['200002']
    """
    for column in (subject, ahi, deep, rem, efficiency, minutes):
        if column not in table:
            raise DataError(f"the table has no column {column!r}; name the one that holds it")
    regular = (
        (table[ahi] < 5)
        & (table[deep] >= 5)
        & (table[rem] >= 15)
        & (table[efficiency] >= 75)
        & (table[minutes] >= 7 * 60)
    )
    return sorted(str(int(who)) for who in table.loc[regular, subject])
