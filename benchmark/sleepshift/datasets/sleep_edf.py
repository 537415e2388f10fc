"""Sleep-EDF, Sleep Cassette: 153 home nights of 78 healthy people, 25 to 101 years old."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import check_rate, open_edf
from sleepshift.datasets.folder import FolderDataset, check_people, data_home
from sleepshift.datasets.pairs import pair
from sleepshift.datasets.scorings import attach, read_edf_scoring
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import mne

__all__ = ["SleepEDF"]

_PSG_NAME = re.compile(r"SC4(\d\d)(\d)[A-Z]\d-PSG\.edf")
# Hz of the EEG and EOG, and of the EMG envelope where it is asked for alone.
_RATES = (100.0, 1.0)


class SleepEDF(FolderDataset):
    """Recordings of the Sleep Cassette study of Sleep-EDF Expanded 1.0.0.

    Labels are Rechtschaffen and Kales, six classes. Signals are opened by plain MNE:
    Braindecode's ``SleepPhysionet`` leaves the EOG out or opens all seven channels, and then
    MNE upsamples those stored at 1 Hz, which costs five times the reading time.

    Parameters
    ----------
    data : path, optional
        Folder with ``SC4ssNxx-PSG.edf`` and ``SC4ssNxx-Hypnogram.edf`` anywhere below it.
        By default MNE downloads the subjects asked for from PhysioNet, and checks them.

    Notes
    -----
    Subject ids are MNE's, "0" to "82" (39, 68, 69, 78 and 79 do not exist); sessions are the
    nights "1" and "2"; 13, 36 and 52 have one night. Ages and sexes come from the table that
    MNE ships; an id that is not in it has neither.

    Examples
    --------
    >>> dataset = SleepEDF("sleep-cassette")  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["0"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['EEG Fpz-Cz', 'EEG Pz-Oz', 'EOG horizontal']
    """

    info = DatasetInfo(
        name="sleep-edf",
        title="Sleep-EDF Expanded 1.0.0, Sleep Cassette",
        licence="ODC-By 1.0",
        login=False,
        download="7.4 GB for all 153 nights, 48 MB a night",
        url="https://physionet.org/content/sleep-edfx/1.0.0/",
        citation="Kemp et al. (2000), IEEE Trans. Biomed. Eng. 47(9), doi:10.1109/10.867928; "
        "Goldberger et al. (2000), Circulation 101(23), doi:10.1161/01.CIR.101.23.e215",
        people_of=("beetl",),
        also_called=("Sleep Cassette", "EDF-20", "EDF-78", "EDFx", "SEDF"),
    )
    layout = "SC4ssNxx-PSG.edf beside SC4ssNxx-Hypnogram.edf"
    scheme = "rk6"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "Sleep stage W": "W",
        "Sleep stage 1": "S1",
        "Sleep stage 2": "S2",
        "Sleep stage 3": "S3",
        "Sleep stage 4": "S4",
        "Sleep stage R": "R",
        "Sleep stage ?": None,
        "Movement time": None,
    }
    #: Channels opened unless others are asked for: those stored at 100 Hz.
    default_channels: ClassVar[tuple[str, ...]] = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")

    @property
    def folder(self) -> Path:
        """Where the recordings are, or would be: MNE has a folder of its own for them."""
        own = data_home("PHYSIONET_SLEEP_PATH") / "physionet-sleep-data"
        return own if self.data is None else self.data

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights below a folder; one whose hypnogram is missing is listed too."""
        people = cassette_people()
        return [
            Recording(
                subject=subject,
                session=session,
                age=people.get(subject, (None, None))[0],
                sex=people.get(subject, (None, None))[1],
                files=files,
            )
            for (subject, session), files in _find(folder).items()
        ]

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Let MNE download the nights that are not there yet, and check their hashes."""
        known = cassette_people()
        check_people(subjects, known, "Sleep-EDF")
        wanted = [subject for subject in known if subjects is None or subject in subjects]

        from mne.datasets.sleep_physionet.age import fetch_data

        try:
            fetch_data([int(subject) for subject in wanted], on_missing="ignore")
        except (OSError, ValueError) as error:  # requests' are OSErrors, a bad hash a ValueError
            raise DataError(
                f"Sleep-EDF could not be downloaded ({one_line(error, 200)}); try again, or "
                f"download it from {self.info.url} and pass its folder with --data"
            ) from error

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night lazily, with its hypnogram as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Names as in the file; `default_channels`, by default. Only these are opened, and
            the raw has them in this order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts. Stages that reach past the last sample are cut there.

        Raises
        ------
        DataError
            If the hypnogram is missing, a file is truncated or damaged, a channel is not
            there, or an annotation is not a stage of Sleep-EDF.
        """
        named = f"{recording.files[0].name[:7]}?-Hypnogram.edf"
        psg, hypnogram = pair(recording, named, "hypnogram")
        raw = open_edf(psg, self.default_channels if channels is None else channels)
        check_rate(raw, psg, _RATES, "Sleep Cassette")
        scoring = read_edf_scoring(hypnogram, self.stage_codes)
        return attach(raw, scoring, self.stage_codes, hypnogram.name)


def _find(folder: Path) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Map (subject, session) to its PSG and every hypnogram that goes with it."""
    hypnograms: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("SC4*-Hypnogram.edf")):
        # The seventh letter names the recorder, the eighth the scorer: the PSG has a digit there.
        hypnograms.setdefault(path.name[:7], []).append(path)
    found: dict[tuple[str, str], tuple[Path, ...]] = {}
    for psg in sorted(folder.rglob("SC4*-PSG.edf")):
        match = _PSG_NAME.fullmatch(psg.name)
        if match is None:
            continue
        night = str(int(match[1])), match[2]
        if night in found:
            raise DataError(
                f"{psg} is the same night as {found[night][0]}; keep one of the two in {folder}"
            )
        found[night] = (psg, *hypnograms.get(psg.name[:7], ()))
    return found


@lru_cache(maxsize=1)
def cassette_people() -> dict[str, tuple[float, str]]:
    """Age and sex of every subject, from the table that MNE ships (SC-subjects.xls)."""
    table = files("mne.datasets.sleep_physionet").joinpath("age_records.csv")
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return {row["subject"]: (float(row["age"]), row["sex"]) for row in rows}
