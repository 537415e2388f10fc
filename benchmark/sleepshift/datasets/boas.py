"""Bitbrain Open Access Sleep (BOAS): PSG and a headband on the same night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.bids_tables import check_length, find_files, read_bids_people, read_events
from sleepshift.datasets.edf import check_rate, open_edf
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.folder import FolderDataset, check_people
from sleepshift.datasets.scorings import attach
from sleepshift.errors import DataError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Boas"]

_RATE = 256.0
# Seconds by which one recorder may have run longer than the other.
_APART = 5.0
_EEG = ("PSG_F3", "PSG_F4", "PSG_C3", "PSG_C4", "PSG_O1", "PSG_O2", "HB_1", "HB_2")
_TYPES = {
    **dict.fromkeys(_EEG, "eeg"),
    **dict.fromkeys(("PSG_EOG", "PSG_EOGL", "PSG_EOGR"), "eog"),
    "PSG_EMG": "emg",
}


class Boas(FolderDataset):
    """BOAS: 128 nights with a PSG and a headband at once, scored by the consensus of three.

    The two EDF files of a night are merged: channels "PSG_..." come from the one, "HB_..." from
    the other. Stages are the human consensus ("stage_hum"); "8", a disconnection, is dropped,
    and those of a program ("stage_ai") are never read.

    Parameters
    ----------
    data : path, optional
        The BIDS folder. By default the nights asked for are downloaded from OpenNeuro.

    Notes
    -----
    Recordings are called sub-1 to sub-128, but some are of one person: a subject here is the
    ``pid`` of ``participants.tsv`` and a session the number of the recording, so that a person's
    nights stay together. The README counts 108 people, the table of version 1.1.0 names 100.

    Which channels a recording has differs ("PSG_EOG", or "PSG_EOGL" and "PSG_EOGR").

    *What was checked:* tables and sidecars of five nights (sub-1, 2, 3, 17 and 60), among them
    that a scoring has as many epochs as fit into the recording, and that both files of a night
    are stated to be of one length. *What was not:* the signals, which we did not have; that
    both files of a night begin together is what the publication says and cannot be seen in
    them. Files whose lengths differ by more than 5 s are refused.

    References
    ----------
    Lopez-Larraz et al., OpenNeuro, doi:10.18112/openneuro.ds005555.v1.1.0

    Examples
    --------
    >>> dataset = Boas("ds005555")  # doctest: +SKIP
    >>> [night.session for night in dataset.recordings(["89"])]  # doctest: +SKIP
    ['1', '2']
    """

    info = DatasetInfo(
        name="boas",
        title="Bitbrain Open Access Sleep (OpenNeuro ds005555)",
        licence="CC0",
        login=False,
        download="about 0.3 GB a night, 128 nights (estimated from the sizes of twenty files)",
        url="https://openneuro.org/datasets/ds005555",
        citation="Lopez-Larraz et al., Bitbrain Open Access Sleep Dataset, OpenNeuro, "
        "doi:10.18112/openneuro.ds005555.v1.1.0",
        also_called=("ds005555", "Bitbrain Open Access Sleep"),
    )
    layout = "participants.tsv and sub-N/eeg/sub-N_task-Sleep_acq-psg_eeg.edf, ..._acq-headband_..."
    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "0": "W",
        "1": "N1",
        "2": "N2",
        "3": "N3",
        "4": "R",
        "8": None,
    }
    #: Channels opened unless others are asked for.
    default_channels: ClassVar[tuple[str, ...]] = ("PSG_F3", "PSG_C3", "HB_1", "HB_2")

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights of a folder; one without headband or scoring is listed too."""
        files = find_files(folder, ["eeg.edf"], task="Sleep", acquisition="psg")
        people = read_bids_people(folder, "pid") if files else {}
        nights = []
        for file in files:
            if file.subject not in people:
                raise DataError(
                    f"participants.tsv does not say who sub-{file.subject} is; {ADVICE}"
                )
            person = people[file.subject]
            beside = (file.beside("eeg.edf", "headband"), file.beside("events.tsv"))
            nights.append(
                Recording(
                    subject=person.name,
                    session=file.subject,
                    age=person.age,
                    sex=person.sex,
                    files=(file.path, *(path for path in beside if path.exists())),
                )
            )
        return nights

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the nights of these people from OpenNeuro that are not there yet."""
        from sleepshift.datasets.download import fetch_openneuro

        if not (folder / "participants.tsv").is_file():
            fetch_openneuro("ds005555", ["participants.tsv"], folder)
        people = read_bids_people(folder, "pid")
        check_people(subjects, {person.name for person in people.values()}, self.info.title)
        for label, person in people.items():
            if subjects is None or person.name in subjects:
                start = f"sub-{label}/eeg/sub-{label}_task-Sleep_acq-"
                ends = ("psg_eeg.edf", "headband_eeg.edf", "psg_events.tsv")
                missing = [start + end for end in ends if not (folder / (start + end)).is_file()]
                if missing:
                    fetch_openneuro("ds005555", missing, folder)

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night, with its consensus scoring as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            Names as in the files; `default_channels`, by default.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts, in the order of `channels`; lazy if they are of one file.

        Raises
        ------
        DataError
            If a file is missing, truncated or damaged, a channel is not there, the two files
            do not fit each other, or the scoring does not fit them.
        """
        names = list(self.default_channels if channels is None else channels)
        bands = [name for name in names if name.startswith("HB_")]
        parts = []
        if len(bands) < len(names) or not names:
            rest = [name for name in names if name not in bands]
            parts.append(_open(recording.files[0], rest))
        if bands:
            parts.append(_open(_beside(recording, "_acq-headband_eeg.edf"), bands))
        seconds = parts[0].duration  # of the PSG, which was scored, unless it is not read at all
        raw = _merge(parts, recording).reorder_channels(names)
        path = _beside(recording, "_acq-psg_events.tsv")
        scoring = read_events(path, "stage_hum", self.stage_codes)
        if scoring.onset[0] != 0 or (scoring.duration != WINDOW_SECONDS).any():
            raise DataError(f"{path.name} does not score epochs of 30 s from 0 s; {ADVICE}")
        check_length(len(scoring), seconds, path.name, recording.files[0].name)
        return attach(raw, scoring, self.stage_codes, path.name)


def _beside(recording: Recording, ending: str) -> Path:
    path = next((path for path in recording.files if path.name.endswith(ending)), None)
    if path is None:
        raise DataError(
            f"{recording} has no file ...{ending} beside it: get it, or leave the night out with "
            "--skip-bad"
        )
    return path


def _open(path: Path, names: Sequence[str]) -> mne.io.BaseRaw:
    raw = open_edf(path, names, types={name: _TYPES.get(name, "misc") for name in names})
    check_rate(raw, path, [_RATE], "BOAS")
    return raw


def _merge(parts: Sequence[mne.io.BaseRaw], recording: Recording) -> mne.io.BaseRaw:
    """Put the channels of both recorders into one raw, cut to the shorter."""
    if len(parts) == 1:
        return parts[0]
    psg, band = parts
    if abs(psg.duration - band.duration) > _APART:
        raise DataError(
            f"{recording} has {psg.duration:g} s and the headband {band.duration:g} s; the two "
            f"do not belong together, or one is truncated: {ADVICE}"
        )
    n_times = min(psg.n_times, band.n_times)
    for raw in parts:
        if raw.n_times > n_times:
            raw.crop(tmax=(n_times - 1) / _RATE, verbose="ERROR")
        raw.load_data(verbose="ERROR")
        # Recorders have clocks of their own; MNE adds only what began at the same time.
        raw.set_meas_date(None)
    return psg.add_channels([band], force_update_info=True)
