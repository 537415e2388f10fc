"""Sleep-EDF, Sleep Cassette: 153 home nights of 78 healthy people, 25 to 101 years old."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.datasets.base import Dataset, DatasetInfo, Recording
from sleepshift.datasets.edf_header import (
    ADVICE,
    channel_type,
    check_annotations,
    check_signals,
    read_header,
)
from sleepshift.errors import DataError, one_line

if TYPE_CHECKING:
    import mne

__all__ = ["SleepEDF"]

_PSG_NAME = re.compile(r"SC4(\d\d)(\d)[A-Z]\d-PSG\.edf")
# Hz of the EEG and EOG, and of the EMG envelope where it is asked for alone.
_RATES = (100.0, 1.0)
# What MNE raises on a header that passed the checks here and is damaged all the same.
_UNREADABLE = (
    OSError,
    ValueError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    LookupError,
    TypeError,
)


class SleepEDF(Dataset):
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
    )
    needs_folder = False
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

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the nights of `subjects`, sorted by subject and night.

        A night whose hypnogram is missing is listed too, and `read` says so. Without a
        folder, this downloads what is not there yet.

        Parameters
        ----------
        subjects : sequence of str, optional
            Ids such as "0" and "82"; all, by default.

        Raises
        ------
        DataError
            If the folder is missing, holds no recording, holds a night twice or lacks a
            subject; or if the download fails.
        """
        wanted = None if subjects is None else [str(subject) for subject in subjects]
        found = _download(wanted) if self.data is None else _find(self.data)
        _check_present(wanted, {subject for subject, _ in found}, self.data)
        people = cassette_people()
        nights = sorted(found, key=lambda night: (int(night[0]), night[1]))
        return [
            Recording(
                subject=subject,
                session=session,
                age=people.get(subject, (None, None))[0],
                sex=people.get(subject, (None, None))[1],
                files=found[subject, session],
            )
            for subject, session in nights
            if wanted is None or subject in wanted
        ]

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
        psg, hypnogram = _pair(recording)
        names = list(self.default_channels if channels is None else channels)
        check_signals(read_header(psg), names, psg)
        annotations = self._stages(hypnogram)

        import mne

        try:
            raw = mne.io.read_raw_edf(
                psg, include=names, stim_channel=None, preload=False, verbose="ERROR"
            )
            raw.reorder_channels(names)
            kinds = {name: channel_type(name) for name in names}
            raw.set_channel_types(kinds, on_unit_change="ignore", verbose="ERROR")
            # A hypnogram ends with hours of "?" past the last sample, so MNE would warn each time.
            raw.set_annotations(annotations, emit_warning=False, verbose="ERROR")
            # MNE keeps, with no length, what begins just after the last sample.
            raw.annotations.delete(raw.annotations.duration <= 0)
        except _UNREADABLE as error:
            raise DataError(
                f"{psg.name} cannot be read ({one_line(error, 200)}); {ADVICE}"
            ) from error
        if raw.info["sfreq"] not in _RATES:
            raise DataError(
                f"{psg.name} claims {raw.info['sfreq']:g} Hz, where Sleep Cassette has "
                f"{' or '.join(f'{rate:g}' for rate in _RATES)} Hz; {ADVICE}"
            )
        if not any(self.stage_codes[text] for text in raw.annotations.description):
            raise DataError(
                f"{hypnogram.name} scores nothing within the {raw.duration:.0f} s of {psg.name}; "
                "check that the two belong together"
            )
        return raw

    def _stages(self, path: Path) -> mne.Annotations:
        """Read a hypnogram, and refuse one from which a stage would vanish or be doubled."""
        check_annotations(path)

        import mne

        try:
            annotations = mne.read_annotations(path)
        except _UNREADABLE as error:
            raise DataError(
                f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}"
            ) from error
        for text in annotations.description:
            if text not in self.stage_codes:
                raise DataError(
                    f"{path.name} has the unknown annotation {str(text)!r}; known are "
                    f"{', '.join(self.stage_codes)}; correct the file or use --skip-bad"
                )
        ends = annotations.onset + annotations.duration
        if (annotations.onset < 0).any() or (annotations.duration <= 0).any():
            raise DataError(f"{path.name} has a stage before the start or without length; {ADVICE}")
        if (annotations.onset[1:] < ends[:-1]).any():
            raise DataError(f"{path.name} scores the same time twice; {ADVICE}")
        return annotations


def _find(folder: Path) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Map (subject, session) to its PSG and every hypnogram that goes with it."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the one with the SC4*-PSG.edf files")
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
    if not found:
        raise DataError(
            f"{folder} holds no SC4ssNxx-PSG.edf; give the folder of the cassette study"
        )
    return found


def _check_present(wanted: list[str] | None, present: set[str], folder: Path | None) -> None:
    """Refuse subjects that are not there, naming those that are."""
    if absent := sorted(set(wanted or ()) - present, key=_by_number):
        raise DataError(
            f"no recording of subject {_few(absent)} in {folder or 'Sleep-EDF'}; "
            f"there are {_few(sorted(present, key=_by_number))}"
        )


def _few(subjects: list[str]) -> str:
    """The first of a list, and how many there are."""
    shown = ", ".join(subjects[:10])
    return shown if len(subjects) <= 10 else f"{shown}, ... ({len(subjects)} people)"


def _download(subjects: list[str] | None) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Let MNE fetch the nights that are not there yet and check their hashes."""
    known = cassette_people()
    _check_present(subjects, set(known), None)
    wanted = [subject for subject in known if subjects is None or subject in subjects]

    from mne.datasets.sleep_physionet.age import fetch_data

    try:
        pairs = fetch_data([int(subject) for subject in wanted], on_missing="ignore")
    except (OSError, ValueError) as error:  # requests' errors are OSErrors, a bad hash a ValueError
        reason = one_line(error, 200)
        raise DataError(
            f"Sleep-EDF could not be downloaded ({reason}); try again, or download it from "
            f"{SleepEDF.info.url} and pass its folder with --data"
        ) from error
    found: dict[tuple[str, str], tuple[Path, ...]] = {}
    for psg, hypnogram in pairs:
        name = Path(psg).name
        found[str(int(name[3:5])), name[5]] = (Path(psg), Path(hypnogram))
    return found


@lru_cache(maxsize=1)
def cassette_people() -> dict[str, tuple[float, str]]:
    """Age and sex of every subject, from the table that MNE ships (SC-subjects.xls)."""
    table = files("mne.datasets.sleep_physionet").joinpath("age_records.csv")
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return {row["subject"]: (float(row["age"]), row["sex"]) for row in rows}


def _pair(recording: Recording) -> tuple[Path, Path]:
    psg, *hypnograms = recording.files
    if not hypnograms:
        raise DataError(
            f"{psg.name} has no hypnogram: put {psg.name[:7]}?-Hypnogram.edf into the folder, "
            "or leave the night out with --skip-bad"
        )
    if len(hypnograms) > 1:
        names = ", ".join(str(path) for path in hypnograms)
        raise DataError(f"{psg.name} has {len(hypnograms)} hypnograms ({names}); keep one")
    return psg, hypnograms[0]


def _by_number(subject: str) -> tuple[int, str]:
    return (int(subject) if subject.isdecimal() else -1, subject)
