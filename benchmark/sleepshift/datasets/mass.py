"""MASS: 200 nights in five subsets, with a full EEG and an ECG."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import open_edf
from sleepshift.datasets.edf_header import ADVICE, EdfHeader, channel_type, read_header
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.pairs import find_pairs, pair
from sleepshift.datasets.scorings import attach, check_contiguous, read_edf_scoring
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Mass"]

_NAME, _SCORING = re.compile(r"(01-0[1-5]-\d{4}) PSG\.edf"), " Base.edf"
#: Seconds that the scorers of a subset looked at.
_EPOCHS = {"SS1": 30.0, "SS2": 20.0, "SS3": 30.0, "SS4": 20.0, "SS5": 20.0}
# What "EEG" is: the first whose electrodes a file has.
_EEG = (
    ("EEG C3-LER", None),
    ("EEG C3-CLE", "EEG A2-CLE"),
    ("EEG C4-CLE", "EEG A1-CLE"),
)
_SECOND_LEAD = ("ECG ECGII", "ECG II")
_RATE = 256.0
# Hz by which a header may differ from that, and seconds by which an epoch may.
_DRIFT, _SLACK = 0.5, 0.1
# Some scorings carry the detections of the recording software.
_EVENTS = re.compile(r"<Event .*", re.DOTALL)


class Mass(FolderDataset):
    """Recordings of the Montreal Archive of Sleep Studies, cohort 1.

    SS1 and SS3 are scored in 30-s epochs by the AASM's manual, SS2, SS4 and SS5 in 20-s epochs
    by Rechtschaffen and Kales. The five AASM stages are what all subsets have: S3 and S4 are N3.

    Two channels have one name in all subsets:

    - ``"EEG"`` is C3 against the ears (``EEG C3-LER``) as recorded, or ``EEG C3-CLE`` minus
      ``EEG A2-CLE``, or ``EEG C4-CLE`` minus ``EEG A1-CLE`` where there is no A2.
    - ``"ECG"`` is the first channel whose label begins with ``ECG``; in SS4, lead II.

    Any label of a file names that channel.

    Parameters
    ----------
    data : path, optional
        Folder with ``01-0S-NNNN PSG.edf`` and ``01-0S-NNNN Base.edf`` anywhere below it.
        Nothing can be downloaded: access is by application.
    subsets : sequence of {"SS1", "SS2", "SS3", "SS4", "SS5"}
        Subsets that are listed.
    short_epochs : {"context", "exclude"}
        What becomes of 20-s epochs: a window has one in its middle and 5 s of what is around
        it, so that neighbours overlap; or their subsets are not listed.

    Raises
    ------
    TaskError
        If a subset or `short_epochs` is unknown, or no subset is left.

    Notes
    -----
    Subject ids are those of the files, "01-03-0001"; each has one night, session "1". The files
    state no ages.

    The signals are recorded at 256 Hz, but headers may state a rate with decimals: such a night
    is taken as 256 Hz, and the onsets of its scoring follow its samples.

    A published system for this data multiplied every ECG by -1, which its authors knew to be
    wrong for some records; here every ECG is as recorded.

    This was written from descriptions of the files by others and tested on files made alike; no
    original file was at hand. Above all it was not checked that the epochs of every original
    scoring follow each other without a gap: a night where they do not is refused.

    References
    ----------
    O'Reilly et al. (2014), J. Sleep Res. 23(6), 628-635, doi:10.1111/jsr.12169

    Examples
    --------
    >>> dataset = Mass("mass", subsets=["SS3"])  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["01-03-0001"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['EEG', 'ECG']
    """

    info = DatasetInfo(
        name="mass",
        title="Montreal Archive of Sleep Studies, cohort 1",
        licence="by application, for research",
        login=True,
        download="by application; 200 nights",
        url="http://ceams-carsm.ca/mass/",
        citation="O'Reilly et al. (2014), J. Sleep Res. 23(6), doi:10.1111/jsr.12169",
        also_called=("Montreal Archive of Sleep Studies",),
    )
    layout = "01-0S-NNNN PSG.edf and 01-0S-NNNN Base.edf, S from 1 to 5"
    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "Sleep stage W": "W",
        "Sleep stage 1": "N1",
        "Sleep stage 2": "N2",
        "Sleep stage 3": "N3",
        "Sleep stage 4": "N3",
        "Sleep stage R": "R",
        "Sleep stage ?": None,
    }
    #: Channels opened unless others are asked for.
    default_channels: ClassVar[tuple[str, ...]] = ("EEG", "ECG")

    def __init__(
        self,
        data: Path | str | None = None,
        subsets: Sequence[str] = tuple(_EPOCHS),
        short_epochs: str = "context",
    ) -> None:
        super().__init__(data)
        listed = isinstance(subsets, Sequence) and not isinstance(subsets, str)
        if not listed or any(name not in tuple(_EPOCHS) for name in subsets):
            raise TaskError(f"subsets of MASS are a list of {', '.join(_EPOCHS)}, not {subsets!r}")
        if short_epochs not in ("context", "exclude"):
            raise TaskError(f"short_epochs is 'context' or 'exclude', not {short_epochs!r}")
        self.subsets = tuple(
            name for name in subsets if short_epochs == "context" or _EPOCHS[name] == WINDOW_SECONDS
        )
        if not self.subsets:
            raise TaskError("no subset of MASS is left: name one, and one of 30-s epochs")

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights below a folder; one whose scoring is missing is listed too."""
        nights = find_pairs(folder, _NAME, _SCORING)
        return [night for night in nights if _subset(night) in self.subsets]

    def epoch_seconds(self, recording: Recording) -> float:
        """What the scorers looked at: 30 s, or 20 s in SS2, SS4 and SS5."""
        return _EPOCHS[_subset(recording)]

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Read channels of one night, with its scoring as annotations.

        Parameters
        ----------
        recording : Recording
            One of `recordings`.
        channels : sequence of str, optional
            ``"EEG"``, ``"ECG"`` (both, by default) and labels of the file. Only these are read,
            and the raw has them in this order.

        Returns
        -------
        raw : mne.io.BaseRaw
            In Volts and in memory. Stages that reach past the last sample are cut there.

        Raises
        ------
        DataError
            If the scoring is missing, a file is truncated or damaged, a channel is not there,
            the rate is not 256 Hz, or the scoring is not one epoch after the other.
        """
        import mne

        psg, base = pair(recording, f"'{recording.subject}{_SCORING}'")
        names = self.default_channels if channels is None else tuple(channels)
        header = read_header(psg)
        signs = {name: _electrodes(header, name, psg, _subset(recording)) for name in names}
        labels = dict.fromkeys(label for signed in signs.values() for label in signed if label)
        raw = open_edf(psg, list(labels))
        rate = float(raw.info["sfreq"])
        if abs(rate - _RATE) > _DRIFT:
            raise DataError(f"{psg.name} claims {rate:g} Hz, where MASS has 256 Hz; {ADVICE}")
        row = dict(zip(labels, raw.get_data(verbose="error"), strict=True))
        signals = [row[plus] - row[minus] if minus else row[plus] for plus, minus in signs.values()]
        types = [channel_type(name) for name in signs]
        info = mne.create_info(list(signs), _RATE, types, verbose="error")
        night = mne.io.RawArray(np.array(signals), info, verbose="error")
        scoring = self._scoring(base, rate, self.epoch_seconds(recording), raw.duration)
        return attach(night, scoring, self.stage_codes, base.name)

    def _scoring(self, path: Path, rate: float, seconds: float, end: float) -> mne.Annotations:
        """Stages of one epoch each, in seconds of 256 samples."""
        import mne

        scoring = read_edf_scoring(path, self.stage_codes, aside=_EVENTS, overlap=_SLACK)
        named = [self.stage_codes[text] is not None for text in scoring.description]
        scored = np.flatnonzero(named)
        if scored.size:  # what is unknown at either end may be of any length
            scoring = scoring[scored[0] : scored[-1] + 1]
        check_contiguous(scoring, path.name, seconds=seconds, end=end, tolerance=_SLACK)
        whole = scoring.duration > seconds - _SLACK
        return mne.Annotations(
            scoring.onset * rate / _RATE,
            np.where(whole, seconds, scoring.duration),
            scoring.description,
        )


def _subset(recording: Recording) -> str:
    return f"SS{recording.subject[4]}"


def _electrodes(header: EdfHeader, name: str, psg: Path, subset: str) -> tuple[str, str | None]:
    """Label of a channel, and of the one that is taken away from it, if any."""
    there = set(header.labels)
    if name in there or name not in Mass.default_channels:
        return name, None
    if name == "EEG":
        for plus, minus in _EEG:
            if plus in there and (minus is None or minus in there):
                return plus, minus
    else:
        leads = [label for label in header.labels if label.startswith("ECG")]
        leads = [label for label in leads if subset != "SS4" or label in _SECOND_LEAD]
        if leads:
            return leads[0], None
    raise DataError(
        f"{psg.name} has no channel {name}; it holds {', '.join(header.labels)}: name channels as "
        "they are spelled there, or leave the night out with --skip-bad"
    )
