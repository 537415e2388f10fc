"""Any BIDS folder whose event tables hold sleep stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.bids_tables import (
    BidsFile,
    check_length,
    find_files,
    read_bids_people,
    read_events,
)
from sleepshift.datasets.edf import open_edf
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.eeglab import open_set
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.scorings import attach
from sleepshift.datasets.tables import read_table
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import get_scheme

if TYPE_CHECKING:
    import mne

__all__ = ["BidsFolder"]

_FORMATS = (".edf", ".set")
# Hz: what no recorder has is a damaged header, and may ask for more memory than there is.
_RATES = (1.0, 20_000.0)
# What BIDS calls a channel -> what MNE does.
_TYPES = {"EEG": "eeg", "EOG": "eog", "VEOG": "eog", "HEOG": "eog", "EMG": "emg", "ECG": "ecg"}


class BidsFolder(FolderDataset):
    """Recordings of a folder in BIDS, in EDF or EEGLAB's format, scored in their event tables.

    Parameters
    ----------
    data : path
        The folder: ``sub-<label>/[ses-<label>/]eeg/..._eeg.edf`` (or ``.set``), beside it
        ``..._events.tsv``. Derivatives are not read.
    scheme : str
        Scheme of the stages.
    column : str
        Column of the event tables that holds them; rows with "n/a" there are left out.
    codes : mapping
        Text in that column -> stage of the scheme; "" for what is dropped. A text that is not
        listed is an error.
    task, acquisition, session : str, optional
        Labels that recordings must have; any, by default.
    scoring : str, optional
        Acquisition label of the event tables, where it is not the recording's ("" for none).
    datatype : str
        Folder of the recordings, and ending of their names.
    person_column : str, optional
        Column of ``participants.tsv`` that says who a ``sub-<label>`` is, where one person has
        several labels. Then all of a person's recordings stay together, and a session is
        called after its label.
    complete : bool
        Whether a scoring must cover its recording, one epoch after the other, from the first
        second to the last whole epoch. A truncated table is noticed only then.

    Notes
    -----
    Ages and sexes come from columns ``age`` and ``sex`` (or ``gender``) of
    ``participants.tsv``, if it is there. Types and bad channels come from ``channels.tsv``, if
    it is there; bad ones take no part in derivations. Signals come in Volts. Tested on sidecars
    of published folders and signals of our own; a folder of yours may need other settings.

    Raises
    ------
    TaskError
        If a setting makes no sense.

    Examples
    --------
    >>> dataset = BidsFolder("study", column="stage", codes={"0": "W", "1": "N1", "9": ""})
    >>> dataset.stage_codes
    {'0': 'W', '1': 'N1', '9': None}
    >>> dataset.recordings()  # doctest: +SKIP
    """

    info = DatasetInfo(
        name="bids",
        title="A BIDS folder",
        licence="that of the files",
        login=False,
        download="none",
        url="",
        citation="",
        people_of=None,
    )
    needs_folder = True
    layout: ClassVar[str] = "sub-<label>/[ses-<label>/]eeg/..._eeg.edf or .set and ..._events.tsv"

    def __init__(
        self,
        data: Path | str | None = None,
        scheme: str = "aasm5",
        column: str = "trial_type",
        codes: Mapping[str, str] | None = None,
        task: str | None = None,
        acquisition: str | None = None,
        session: str | None = None,
        scoring: str | None = None,
        datatype: str = "eeg",
        person_column: str | None = None,
        complete: bool = True,
    ) -> None:
        super().__init__(data)
        self.scheme = get_scheme(scheme).name
        self.column, self.task, self.acquisition = column, task, acquisition
        self.session, self.scoring, self.datatype = session, scoring, datatype
        self.person_column, self.complete = person_column, bool(complete)
        stages = get_scheme(scheme).stages
        if not isinstance(codes, Mapping) or not codes:
            raise TaskError(f"codes must map texts of column {column!r} to stages of {scheme!r}")
        if wrong := [stage for stage in codes.values() if stage not in ("", *stages)]:
            raise TaskError(
                f"codes: {scheme!r} has no stage {wrong[0]!r}; use {', '.join(stages)}, or '' for "
                "what is dropped"
            )
        if not datatype.isalnum():
            raise TaskError(f"datatype must be the name of a folder, not {datatype!r}")
        # Instances differ in what their tables hold, unlike those of other datasets.
        self.stage_codes = {  # type: ignore[misc]
            str(text): stage or None for text, stage in codes.items()
        }

    def params(self) -> dict[str, Any]:
        """Settings that decide what a recording holds."""
        return {
            "scheme": self.scheme,
            "column": self.column,
            "codes": dict(self.stage_codes),
            "complete": self.complete,
        }

    def scan(self, folder: Path) -> list[Recording]:
        """List the recordings of a folder; one without a scoring is listed too."""
        people = read_bids_people(folder, self.person_column)
        endings = [f"{self.datatype}{suffix}" for suffix in _FORMATS]
        found: dict[tuple[str, str], Recording] = {}
        for file in find_files(
            folder,
            endings,
            task=self.task,
            acquisition=self.acquisition,
            datatype=self.datatype,
        ):
            if self.session not in (None, file.session):
                continue
            recording = self._recording(file, people)
            night = recording.subject, recording.session
            if night in found:
                raise DataError(
                    f"{file.path.name} and {found[night].files[0].name} are both session "
                    f"{night[1]} of {night[0]}; choose by task, acquisition or session"
                )
            found[night] = recording
        return list(found.values())

    def _recording(self, file: BidsFile, people: Mapping[str, Any]) -> Recording:
        person = people.get(file.subject)
        if person is None and self.person_column is not None:
            raise DataError(
                f"participants.tsv does not say who sub-{file.subject} is; add a row, or leave "
                "person_column out"
            )
        session = file.session or "1"
        if self.person_column is not None:
            session = f"{file.subject}-{file.session}" if file.session else file.subject
        beside = [
            file.beside("events.tsv", self.scoring),
            file.beside("channels.tsv"),
            file.path.with_suffix(".fdt"),
        ]
        return Recording(
            subject=file.subject if person is None else person.name,
            session=session,
            age=None if person is None else person.age,
            sex=None if person is None else person.sex,
            files=(file.path, *(path for path in beside if path.exists())),
        )

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one recording, with its scoring as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str
            Names as in the file; they must be given.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts. Stages that reach past the last sample are cut there.

        Raises
        ------
        DataError
            If the scoring is missing, a file is truncated or damaged, a channel is not there,
            a stage is not among `codes`, or the rate is not between 1 and 20,000 Hz.
        """
        path = recording.files[0]
        events = next((p for p in recording.files if p.name.endswith("_events.tsv")), None)
        if events is None:
            raise DataError(
                f"{path.name} has no table of events; put it beside the recording, name its "
                "acquisition by the setting scoring, or use --skip-bad"
            )
        if not channels:
            raise DataError("dataset 'bids' has no channels of its own; name those to read")
        types, bads = self._channels(recording)
        if path.suffix == ".edf":
            raw = open_edf(
                path, channels, types={name: types.get(name, "eeg") for name in channels}
            )
        else:
            raw = open_set(path, channels, rates=(), types=types)
        rate = raw.info["sfreq"]
        if not _RATES[0] <= rate <= _RATES[1]:
            raise DataError(
                f"{path.name} claims {rate:.6g} Hz, where recorders have {_RATES[0]:g} to "
                f"{_RATES[1]:g} Hz; {ADVICE}"
            )
        raw.info["bads"] = [name for name in channels if name in bads]
        scoring = read_events(events, self.column, self.stage_codes, contiguous=self.complete)
        if self.complete:
            end = scoring.onset[-1] + scoring.duration[-1]
            if scoring.onset[0] != 0:
                raise DataError(
                    f"{events.name} begins at {scoring.onset[0]:g} s; download it again, or set "
                    "complete = false where a scoring may begin late"
                )
            check_length(round(end / 30), raw.duration, events.name, path.name)
        return attach(raw, scoring, self.stage_codes, events.name)

    def _channels(self, recording: Recording) -> tuple[dict[str, str], set[str]]:
        """MNE types and bad channels, as a table beside the recording has them."""
        path = next((p for p in recording.files if p.name.endswith("_channels.tsv")), None)
        if path is None:
            return {}, set()
        table = read_table(path, ["name", "type"])
        types = {
            name: _TYPES.get(kind.upper(), "misc")
            for name, kind in zip(table["name"], table["type"], strict=True)
        }
        if "status" not in table:
            return types, set()
        return types, set(table["name"][table["status"] == "bad"])
