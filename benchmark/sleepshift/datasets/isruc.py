"""ISRUC-Sleep: nights of patients and healthy people, each scored by two experts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import open_edf
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.isruc_sheet import SHEET_STAGES, read_sheet, read_sheet_person
from sleepshift.datasets.people_table import Person
from sleepshift.datasets.scorings import attach, epoch_annotations
from sleepshift.errors import DataError, TaskError, one_line
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Isruc"]

_RATE = 200.0
#: People of each group.
_PEOPLE = {1: 100, 2: 8, 3: 10}
_GROUP = re.compile(r"(?:isruc[ _-]?)?(?:sub)?[ _-]?(?:group|sg)[ _-]?(1|2|3|iii|ii|i)", re.I)
_NUMBERS = {"i": 1, "ii": 2, "iii": 3}
# Older headers name the references A1 and A2 and the eyes LOC and ROC, newer ones M1, M2, E1, E2.
_OLD_AND_NEW = (
    *((f"{left}-A2", f"{left}-M2") for left in ("F3", "C3", "O1")),
    *((f"{right}-A1", f"{right}-M1") for right in ("F4", "C4", "O2")),
    ("LOC-A2", "E1-M2"),
    ("ROC-A1", "E2-M1"),
)
_SPELLINGS: dict[str, tuple[str, ...]] = {
    **{old: (old, new) for old, new in _OLD_AND_NEW},
    **{new: (new, old) for old, new in _OLD_AND_NEW},
    "EMG chin": ("X1", "24"),
    "ECG": ("X2",),
}
_TYPES = {
    **{name: "eog" if name[0] in "LRE" else "eeg" for pair in _OLD_AND_NEW for name in pair},
    **{"EMG chin": "emg", "X1": "emg", "ECG": "ecg", "X2": "ecg"},
}
_MAX_BYTES = 2**20  # of a text file; they have two kilobytes
# The signals that its authors extracted from the nights lack the last 30 epochs, and the .rec
# and the stages of some nights differ in length; more than that is two nights mixed up.
_SLACK = 30
# Share of epochs in which a sheet may name another stage than the text file of its scorer.
_MAX_DIFFERENT = 0.1


class Isruc(FolderDataset):
    """Recordings of ISRUC-Sleep, one of its three groups at a time.

    Group 1 is 100 patients with one night, group 2 eight patients with two, group 3 ten
    healthy people with one. Two experts scored every night by the AASM's rules of 2007: the
    labels are those of `scorer`, the other's are `second_scoring`.

    Parameters
    ----------
    data : path, optional
        Folder of the group, with ``1/1.rec``, ``1/1_1.txt``, ``1/1_2.txt`` and so on (group 2:
        ``1/1/1.rec``, ``1/1/1_1.txt``, ``1/2/2.rec``); or the folder around it, in which the
        group's own is called "subgroupIII", "Subgroup_3", "group3", "sg3" or the like.
    group : {3, 1, 2}
    scorer : {1, 2}
        Whose stages are the labels.

    Notes
    -----
    Subject ids are the numbers of the folders, "1" to "100"; sessions are "1", and "2" in
    group 2. The archives (.rar) have to be unpacked by hand. A recording is EDF with another
    suffix; one that was renamed to ``.edf`` is taken too, and read lazily.

    Channels are called as in the article: F3-A2, C3-A2, O1-A2, F4-A1, C4-A1, O2-A1, LOC-A2,
    ROC-A1, which finds those with mastoids (F3-M2, E1-M2) too, and the other way round; "EMG
    chin" and "ECG" are X1 and X2. Others go by the name in the file. Person 8 of group 1 has
    no frontal channels, and person 40 has electrodes without references, by what others say.

    A stage is one digit a line: 0 W, 1 N1, 2 N2, 3 N3, 5 REM. Both scorers must have as many
    epochs as each other, as their sheets (``1_1.xlsx``) where these are there, and as the
    signals have, give or take 30; a sheet may name another stage in one epoch of ten. A
    scorer without text file is read from the sheet; a night that lacks both of either scorer is
    refused, whoever's stages are the labels. Ages and sexes come from the sheets.

    One original sheet was read: 880 epochs, and a man of 64 years. The rest was written from
    descriptions and readers of others and tested on files made alike; no original signal and
    no text file was at hand.

    Examples
    --------
    >>> dataset = Isruc("ISRUC", group=3)  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["1"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['C3-A2', 'C4-A1', 'LOC-A2', 'ROC-A1']
    """

    info = DatasetInfo(
        name="isruc",
        title="ISRUC-Sleep",
        licence="free to download; terms on its site",
        login=False,
        download="one .rar archive a person, by hand",
        url="https://sleeptight.isr.uc.pt/",
        citation="Khalighi et al. (2016), Comput. Methods Programs Biomed. 124, "
        "doi:10.1016/j.cmpb.2015.10.013",
    )
    layout = "1/1.rec beside 1/1_1.txt and 1/1_2.txt, and so on (group 2: 1/1/1.rec)"
    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        code: stage for stage, code in SHEET_STAGES.items()
    }
    #: Channels opened unless others are asked for: those that most people have.
    default_channels: ClassVar[tuple[str, ...]] = ("C3-A2", "C4-A1", "LOC-A2", "ROC-A1")

    def __init__(self, data: Path | str | None = None, group: int = 3, scorer: int = 1) -> None:
        super().__init__(data)
        # 1.0 and True are equal to 1, and would name other stores.
        if type(group) is not int or group not in _PEOPLE:
            raise TaskError(f"group must be 1, 2 or 3, not {group!r}")
        if type(scorer) is not int or scorer not in (1, 2):
            raise TaskError(f"scorer must be 1 or 2, not {scorer!r}")
        self.group = group
        self.scorer = scorer
        # Of the night that was read last: its second scoring is asked for next.
        self._scored: dict[Recording, dict[int, list[str]]] = {}

    def params(self) -> dict[str, int]:
        """Settings that decide what the recordings hold."""
        return {"group": self.group, "scorer": self.scorer}

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights of the group, one whose stages are missing too; no sheet is opened."""
        found = []
        for person in sorted(_group_folder(folder, self.group).iterdir()):
            if not (person.is_dir() and re.fullmatch(r"[1-9]\d{0,2}", person.name)):
                continue
            places = [person / "1", person / "2"] if self.group == 2 else [person]
            nights = {place: files for place in places if (files := _files(place))}
            if nights and int(person.name) > _PEOPLE[self.group]:
                raise DataError(
                    f"{person} is there, but group {self.group} has {_PEOPLE[self.group]} people; "
                    "name the folder of that group, or set another group"
                )
            for place, files in nights.items():
                session = place.name if self.group == 2 else "1"
                found.append(Recording(subject=person.name, session=session, files=files))
        return found

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the recordings of `subjects`, with the ages and sexes that their sheets state.

        Parameters
        ----------
        subjects : sequence of str, optional
            All, by default; the sheets of others are not opened.

        Raises
        ------
        DataError
            If the folder is missing or holds no recording, or a subject is not there.
        """
        nights = [(night, _who(night.files)) for night in super().recordings(subjects)]
        return [replace(night, age=who.age, sex=who.sex) for night, who in nights]

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night, with the stages of the chosen scorer as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            `default_channels`, by default. Only these are read, and the raw has them in this
            order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts, in memory. Stages that reach past the last sample are cut there.

        Raises
        ------
        DataError
            If a scorer's file is missing, a file is damaged, lengths do not fit, a channel is
            not there, or a stage is not known.
        """
        signals = recording.files[0]
        names = self.default_channels if channels is None else channels
        raw = open_edf(signals, names, spellings=_SPELLINGS, types=_TYPES)
        if raw.info["sfreq"] != _RATE:
            raise DataError(
                f"{signals.name} claims {raw.info['sfreq']:g} Hz, where ISRUC-Sleep has {_RATE:g} "
                f"Hz (slower channels cannot be read alone); {ADVICE}"
            )
        scorings = self._scorings(recording)
        self._scored = {recording: scorings}
        epochs = int(raw.n_times / _RATE / WINDOW_SECONDS)
        name = f"{signals.stem}_{self.scorer}"
        if abs(len(scorings[self.scorer]) - epochs) > _SLACK:
            raise DataError(
                f"{name} scores {len(scorings[self.scorer])} epochs and {signals.name} has "
                f"{epochs}; {ADVICE}"
            )
        annotations = epoch_annotations(scorings[self.scorer])
        return attach(raw, annotations, self.stage_codes, name)

    def second_scoring(self, recording: Recording) -> mne.Annotations:
        """Stages of the other expert."""
        scorings = self._scored.get(recording) or self._scorings(recording)
        return epoch_annotations(scorings[3 - self.scorer])

    def _scorings(self, recording: Recording) -> dict[int, list[str]]:
        """Codes of both experts, as many of one as of the other."""
        scorings = {number: _scoring(recording, number) for number in (1, 2)}
        if len(scorings[1]) != len(scorings[2]):
            raise DataError(
                f"{recording.files[0].name} has {len(scorings[1])} epochs by scorer 1 and "
                f"{len(scorings[2])} by scorer 2: one of their files is cut short; {ADVICE}"
            )
        return scorings


def _group_folder(folder: Path, group: int) -> Path:
    """The folder of a group: the one named, or the one in it that is called so."""

    def number(path: Path) -> int | None:
        match = _GROUP.fullmatch(path.name)
        return match and (_NUMBERS.get(match[1].lower()) or int(match[1]))

    groups = {path: k for path in sorted(folder.iterdir()) if path.is_dir() and (k := number(path))}
    own = [path for path, k in groups.items() if k == group]
    if len(own) > 1:
        raise DataError(f"{own[0]} and {own[1]} are both of group {group}; keep one")
    if groups and not own:
        there = ", ".join(path.name for path in groups)
        raise DataError(f"{folder} holds {there}, but not group {group}; set another group")
    if not groups and number(folder.absolute()) not in (None, group):
        raise DataError(f"{folder} is not of group {group}; set another group, or folder")
    return own[0] if own else folder


def _files(place: Path) -> tuple[Path, ...]:
    """The recording of a folder, and what the two experts left beside it."""
    stem = place / place.name
    either = (stem.with_suffix(".rec"), stem.with_suffix(".edf"))
    signals = [path for path in either if path.is_file()][:1]
    beside = (place / f"{place.name}_{k}{end}" for k in (1, 2) for end in (".txt", ".xlsx"))
    return (*signals, *(path for path in beside if path.is_file())) if signals else ()


def _who(files: tuple[Path, ...]) -> Person:
    """Age and sex by the first sheet that has them."""
    people = (read_sheet_person(path) for path in files if path.suffix == ".xlsx")
    return next((person for person in people if person != Person()), Person())


def _scoring(recording: Recording, number: int) -> list[str]:
    """Codes of one expert: the text file's, held against the sheet, or the sheet's alone."""
    signals = recording.files[0]
    paths = {path.name: path for path in recording.files}
    text, sheet = (paths.get(f"{signals.stem}_{number}{end}") for end in (".txt", ".xlsx"))
    named = [] if sheet is None else read_sheet(sheet).stages
    codes = [SHEET_STAGES.get(stage or "", str(stage)) for stage in named]
    if text is None and sheet is None:
        raise DataError(
            f"{signals.name} has no {signals.stem}_{number}.txt (nor .xlsx) of scorer {number}; "
            f"put it into {signals.parent}, or leave the night out with --skip-bad"
        )
    if text is None:
        assert sheet is not None
        return _known(codes, sheet)
    written = _known(_read_text(text), text)
    if sheet is None:
        return written
    if len(codes) != len(written):
        raise DataError(
            f"{text.name} has {len(written)} epochs and {sheet.name} {len(codes)}: one of them is "
            f"cut short; {ADVICE}"
        )
    different = float(np.mean(np.array(codes) != np.array(written)))
    if different > _MAX_DIFFERENT:
        raise DataError(
            f"{text.name} and {sheet.name} differ in {different:.0%} of their epochs: they are "
            f"not of one night and scorer; {ADVICE}"
        )
    return written


def _read_text(path: Path) -> list[str]:
    """One code a line; only the end may be blank."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large for the stages of a night")
        content = path.read_bytes().decode("ascii")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}); {ADVICE}") from error
    return [line.strip() for line in content.rstrip().split("\n")]


def _known(codes: list[str], path: Path) -> list[str]:
    known = SHEET_STAGES.values()
    if unknown := [(k, code) for k, code in enumerate(codes, start=1) if code not in known]:
        epoch, code = unknown[0]
        raise DataError(
            f"{path.name} has the unknown stage {code!r:.40} in epoch {epoch}; known are "
            f"{', '.join(f'{c} ({stage})' for stage, c in SHEET_STAGES.items())}; {ADVICE}"
        )
    return codes
