"""EESM17 and EESM19: nights with electrodes on the scalp and in both ears."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.bids_tables import check_length, read_events
from sleepshift.datasets.ear_eeg import EarEEG
from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.scorings import epoch_annotations
from sleepshift.datasets.tables import read_table
from sleepshift.errors import DataError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Eesm17", "Eesm19"]


def _table(recording: Recording, ending: str) -> Path:
    path = next((path for path in recording.files if path.name.endswith(ending)), None)
    if path is None:
        raise DataError(
            f"{recording} has no table ...{ending} beside it: get it, or leave the night out with "
            "--skip-bad"
        )
    return path


def _fits(scoring: mne.Annotations, raw: mne.io.BaseRaw, name: str) -> None:
    """Refuse a scoring that goes on after the recording; its last epoch may be cut."""
    if scoring.onset[-1] >= raw.duration:
        raise DataError(
            f"{name} goes on to {scoring.onset[-1]:g} s, the recording has {raw.duration:g} s; "
            f"{ADVICE}"
        )


class Eesm17(EarEEG):
    """Ear-EEG Sleep Monitoring 2017: nine people, one night at home each.

    Partial PSG and twelve electrodes in the ears, one amplifier, 200 Hz. Bad ear electrodes are
    found by `sleepshift.windows.rejection.bad_electrodes` within the scored part of the night,
    each ear by itself, because the list that was made by hand is not public. The recordings
    awake ("task-wake") are not listed.

    Parameters
    ----------
    data : path, optional
        The BIDS folder. By default the nights asked for are downloaded from OpenNeuro.

    Notes
    -----
    Subject ids are labels of BIDS, "001" to "009"; sexes are known, ages are not.

    *When the scoring begins.* Its onsets count from 0, but it begins at the marker
    "Lights Off" of the recording's own event table (1.7 s to 2.2 h after the start), as the
    dataset's README says. We checked it on the tables of all nine nights: of 10,151 markers that
    the recorder sets in sleep ("Artifact", "Obs") 26 fall into epochs scored wake if it begins
    at that marker, 60 if it begins at the recorder's own 30-s epoch around it, and 766 (beside
    824 that fall outside) if at the start of the recording; no shift of up to 20 s does better on
    any night. And every night has as many epochs as "Lights On" comes later than "Lights Off", a
    rest counted as one (not counted in "003"). A table that is shorter or longer is refused;
    one that lost no more than the rest after its last whole epoch cannot be told.

    *What was not checked:* the signals, which we did not have; names, order and rate of the
    channels are those of the published sidecars.

    *Published numbers.* Distillation to ear EEG was published on eight people numbered in
    another order: by their counts of windows (1039, 964, 932, 1150, 926, 758, 293, 857) these
    are "005", "007", "002", "004", "001", "008", "009", "003", and the one who was left out
    is "006". The shares of stages over these eight are the published ones.

    References
    ----------
    Mikkelsen et al. (2017), BioMed. Eng. OnLine 16, 111, doi:10.1186/s12938-017-0400-5

    Examples
    --------
    >>> dataset = Eesm17("ds004348")  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["001"])[0], ["A1", "A2", "ELA"])  # doctest: +SKIP
    >>> raw.info["bads"]  # doctest: +SKIP
    ['ELA']
    """

    info = DatasetInfo(
        name="eesm17",
        title="Ear-EEG Sleep Monitoring 2017 (OpenNeuro ds004348)",
        licence="CC0",
        login=False,
        download="about 0.7 GB a night, nine nights (computed from rate and lengths); the newest "
        "version",
        url="https://openneuro.org/datasets/ds004348/versions/1.0.5",
        citation="Mikkelsen et al. (2017), BioMed. Eng. OnLine 16, 111, "
        "doi:10.1186/s12938-017-0400-5; doi:10.18112/openneuro.ds004348.v1.0.5",
        also_called=("ds004348", "Ear-EEG Sleep Monitoring 2017", "EESM 2017"),
    )
    layout = "sub-00N/ses-001/eeg/sub-00N_ses-001_task-sleep_eeg.set and its tables"
    accession = "ds004348"
    acquisition = ""
    scoring = "scoring"
    tables = (("events.tsv", ""),)
    rate = 200.0
    people = tuple(f"{k:03}" for k in range(1, 10))
    ears = (
        ("ELA", "ELB", "ELE", "ELI", "ELG", "ELK"),
        ("ERA", "ERB", "ERE", "ERI", "ERG", "ERK"),
    )
    default_channels = ("A1", "A2", "C3", "O1", "C4", "O2", *ears[0], *ears[1])

    def _wanted(self, person: str) -> re.Pattern[str]:
        return re.compile(
            rf"sub-{person}/ses-001/eeg/sub-{person}_ses-001_task-sleep_"
            r"(eeg\.(set|fdt|json)|(acq-scoring_)?events\.tsv|channels\.tsv)"
        )

    def _stages(self, recording: Recording, raw: mne.io.BaseRaw) -> tuple[mne.Annotations, str]:
        path = _table(recording, "_task-sleep_acq-scoring_events.tsv")
        scored = read_events(path, "staging", self.stage_codes)
        if scored.onset[0] != 0 or (scored.duration != WINDOW_SECONDS).any():
            raise DataError(f"{path.name} does not count epochs of 30 s from 0; {ADVICE}")
        markers = _table(recording, "_task-sleep_events.tsv")
        off, on = _lights(markers)
        check_length(len(scored), on - off, path.name, f"{markers.name}, lights off to on,")
        scoring = epoch_annotations(list(scored.description), onset=off)
        _fits(scoring, raw, path.name)
        return scoring, path.name


def _lights(path: Path) -> tuple[float, float]:
    """Seconds of the markers that begin and end the scored part of the night."""
    table = read_table(path, ["onset", "trial_type"])
    found = []
    for marker in ("Lights Off", "Lights On"):
        onsets = table["onset"][table["trial_type"] == marker].tolist()
        if len(onsets) != 1 or not re.fullmatch(r"\d+(\.\d*)?", onsets[0]):
            raise DataError(
                f"{path.name} must have one onset of {marker!r}, where the scoring begins or ends, "
                f"and has {len(onsets)}; {ADVICE}"
            )
        found.append(float(onsets[0]))
    return found[0], found[1]


class Eesm19(EarEEG):
    """Ear-EEG Sleep Monitoring 2019: twenty people, four nights at home each.

    Scalp, EOG, chin EMG and twelve dry electrodes in the ears, one amplifier, 500 Hz, two
    scorers. Sessions "001" to "004" are listed; the ear-only nights that ten people slept after
    that have no PSG. The dataset's authors replaced electrodes that took up signals of others
    by values that are not finite; those and others that stand out are found by
    `sleepshift.windows.rejection.bad_electrodes` within the scored part of the night, each ear by
    itself. Shorter gaps of the other electrodes are bridged by straight lines.

    Parameters
    ----------
    data : path, optional
        The BIDS folder. By default the nights asked for are downloaded from OpenNeuro.

    Notes
    -----
    Subject ids are labels of BIDS, "001" to "020". The first scoring gives the labels, the
    second is what `second_scoring` gives, where it is there.

    *What was not checked:* no file of the dataset was at hand. Its layout is from its README and
    from programs that others wrote for it: names of files and columns, codes (those of EESM17),
    channels (25, of which the ear has A, B, C, T, E and I), rate. Onsets are taken as seconds of
    the recording, which begins when the scored file did (README). They may begin after 0, and
    stages must follow each other. Both scorings must begin together and end within a tenth of
    each other: a table that lost more than that is refused, one that lost less at its end is
    not noticed.

    References
    ----------
    Mikkelsen et al. (2019), Sci. Rep. 9, 16824, doi:10.1038/s41598-019-53115-3

    Examples
    --------
    >>> dataset = Eesm19("ds005185")  # doctest: +SKIP
    >>> [night.session for night in dataset.recordings(["001"])]  # doctest: +SKIP
    ['001', '002', '003', '004']
    """

    info = DatasetInfo(
        name="eesm19",
        title="Ear-EEG Sleep Monitoring 2019 (OpenNeuro ds005185)",
        licence="CC0",
        login=False,
        download="about 1.6 GB a night, 80 nights (computed from rate and mean length); the newest "
        "version",
        url="https://openneuro.org/datasets/ds005185/versions/1.0.2",
        citation="Mikkelsen et al. (2019), Sci. Rep. 9, 16824, doi:10.1038/s41598-019-53115-3; "
        "doi:10.18112/openneuro.ds005185.v1.0.2",
        also_called=("ds005185", "Ear-EEG Sleep Monitoring 2019", "EESM 2019"),
    )
    layout = "sub-0NN/ses-00N/eeg/sub-0NN_ses-00N_task-sleep_acq-PSG_eeg.set and its tables"
    accession = "ds005185"
    acquisition = "PSG"
    scoring = "scoring1"
    tables = (("events.tsv", "scoring2"),)
    rate = 500.0
    people = tuple(f"{k:03}" for k in range(1, 21))
    ears = (
        ("ELA", "ELB", "ELC", "ELT", "ELE", "ELI"),
        ("ERA", "ERB", "ERC", "ERT", "ERE", "ERI"),
    )
    default_channels = ("M1", "M2", "C3", "O1", "C4", "O2", *ears[0], *ears[1])

    def scan(self, folder: Path) -> list[Recording]:
        """List the PSG nights of a folder; one without a scoring is listed too."""
        nights = ("001", "002", "003", "004")
        return [recording for recording in super().scan(folder) if recording.session in nights]

    def _wanted(self, person: str) -> re.Pattern[str]:
        return re.compile(
            rf"sub-{person}/ses-00[1-4]/eeg/sub-{person}_ses-00[1-4]_task-sleep_"
            r"(acq-PSG_(eeg\.(set|fdt|json)|channels\.tsv)|acq-scoring[12]_events\.tsv)"
        )

    def second_scoring(self, recording: Recording) -> mne.Annotations | None:
        """Stages of the second scorer; None where that table is not there."""
        ending = "_acq-scoring2_events.tsv"
        if not any(path.name.endswith(ending) for path in recording.files):
            return None
        return read_events(_table(recording, ending), "Scoring2", self.stage_codes)

    def _stages(self, recording: Recording, raw: mne.io.BaseRaw) -> tuple[mne.Annotations, str]:
        path = _table(recording, "_acq-scoring1_events.tsv")
        scoring = read_events(path, "Scoring1", self.stage_codes)
        _fits(scoring, raw, path.name)
        other = self.second_scoring(recording)
        if other is not None:
            begins, ends = ((s.onset[0], s.onset[-1] + s.duration[-1]) for s in (scoring, other))
            _check_scorers(begins, ends, path.name)
        return scoring, path.name


def _check_scorers(first: tuple[float, float], second: tuple[float, float], name: str) -> None:
    """Refuse two scorings of one night that begin, or end, far from each other."""
    longest = max(end - begin for begin, end in (first, second))
    if first[0] != second[0] or abs(first[1] - second[1]) > longest / 10:
        raise DataError(
            f"{name} goes from {first[0]:g} to {first[1]:g} s, the second scoring from "
            f"{second[0]:g} to {second[1]:g} s; {ADVICE}"
        )
