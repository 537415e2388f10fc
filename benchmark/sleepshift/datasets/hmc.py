"""HMC: nights of 151 patients of one sleep centre, scored by the AASM's manual."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sleepshift.datasets.base import DatasetInfo, Recording
from sleepshift.datasets.edf import check_rate, open_edf
from sleepshift.datasets.folder import FolderDataset
from sleepshift.datasets.pairs import fetch_pairs, find_pairs, pair
from sleepshift.datasets.scorings import attach, check_contiguous, read_edf_scoring
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["Hmc"]

_PROJECT = "hmc-sleep-staging/1.1"
_RATE = 256.0
_NAME, _SCORING = re.compile(r"(SN\d{3})\.edf"), "_sleepscoring.edf"
_LIGHTS = re.compile(r"Lights (on|off)(@@.*)?")


class Hmc(FolderDataset):
    """Recordings of the Haaglanden Medisch Centrum sleep staging database 1.1.

    One night each of 151 people who were referred to the sleep centre of a hospital, with
    diverse disorders; labels are the five stages of the AASM's manual.

    Parameters
    ----------
    data : path, optional
        Folder with ``SN001.edf`` and ``SN001_sleepscoring.edf`` (and so on) anywhere below it.
        By default the people asked for are downloaded from PhysioNet, and checked.

    Notes
    -----
    Subject ids are those of the files, "SN001"; each has one night, session "1". Neither ages
    nor sexes of single people are published. Channels, all at 256 Hz: ``EEG F4-M1``,
    ``EEG C4-M1``, ``EEG O2-M1``, ``EEG C3-M2``, ``EMG chin``, ``EOG E1-M2``, ``EOG E2-M2`` and
    ``ECG``. Events such as "Lights off" in the scoring are set aside.

    This was written from the published description and tested on files made alike; no original
    file was at hand. It was not checked that every original scoring is one epoch of 30 s after
    the other, as the description has it: a night where it is not is refused.

    References
    ----------
    Alvarez-Estevez and Rijsman (2021), PLoS ONE 16(8), e0256111,
    doi:10.1371/journal.pone.0256111

    Examples
    --------
    >>> dataset = Hmc("hmc")  # doctest: +SKIP
    >>> raw = dataset.read(dataset.recordings(["SN001"])[0])  # doctest: +SKIP
    >>> raw.ch_names  # doctest: +SKIP
    ['EEG F4-M1', 'EEG C4-M1', 'EEG O2-M1', 'EOG E1-M2']
    """

    info = DatasetInfo(
        name="hmc",
        title="Haaglanden Medisch Centrum sleep staging database 1.1",
        licence="CC BY 4.0",
        login=False,
        download="151 nights, one by one",
        url="https://physionet.org/content/hmc-sleep-staging/1.1/",
        citation="Alvarez-Estevez and Rijsman (2022), PhysioNet, doi:10.13026/t79q-fr32; "
        "Alvarez-Estevez and Rijsman (2021), PLoS ONE 16(8), doi:10.1371/journal.pone.0256111; "
        "Goldberger et al. (2000), Circulation 101(23), doi:10.1161/01.CIR.101.23.e215",
        also_called=("Haaglanden Medisch Centrum",),
    )
    layout = "SN001.edf beside SN001_sleepscoring.edf, and so on"
    scheme = "aasm5"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        "Sleep stage W": "W",
        "Sleep stage N1": "N1",
        "Sleep stage N2": "N2",
        "Sleep stage N3": "N3",
        "Sleep stage R": "R",
    }
    #: Channels opened unless others are asked for.
    default_channels: ClassVar[tuple[str, ...]] = (
        "EEG F4-M1",
        "EEG C4-M1",
        "EEG O2-M1",
        "EOG E1-M2",
    )

    def scan(self, folder: Path) -> list[Recording]:
        """List the nights below a folder; one whose scoring is missing is listed too."""
        return find_pairs(folder, _NAME, _SCORING)

    def fetch(self, subjects: Sequence[str] | None, folder: Path) -> None:
        """Download the nights that are not there yet from PhysioNet, and check them."""
        fetch_pairs(_PROJECT, subjects, folder, _NAME, _SCORING)

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Open one night lazily, with its scoring as annotations.

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
            If the scoring is missing, a file is truncated or damaged, a channel is not there,
            the rate is not 256 Hz, or the scoring is not one epoch after the other.
        """
        psg, scoring = pair(recording, f"'{recording.subject}{_SCORING}'")
        raw = open_edf(psg, self.default_channels if channels is None else channels)
        check_rate(raw, psg, [_RATE], "HMC")
        stages = read_edf_scoring(scoring, self.stage_codes, aside=_LIGHTS)
        check_contiguous(stages, scoring.name, seconds=WINDOW_SECONDS, end=raw.duration)
        return attach(raw, stages, self.stage_codes, scoring.name)
