"""The simulated dataset: made-up people and nights, for tests, trials and teaching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sleepshift.datasets.base import Dataset, DatasetInfo, Recording
from sleepshift.datasets.electrodes import ELECTRODES, Electrodes
from sleepshift.datasets.hypnograms import simulate_stages, split_deep_sleep
from sleepshift.datasets.physiology import CHANNELS, SFREQ, Night, make_person
from sleepshift.datasets.waveforms import named_stream
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["GENERATOR_VERSION", "STAGE_TEXTS", "Simulated", "simulate_night", "stage_bouts"]

#: Raised whenever the same settings would give other signals or stages.
GENERATOR_VERSION = 1

#: Annotation texts as in Sleep-EDF: the codes of the scheme "rk6", then movement.
STAGE_TEXTS = (
    "Sleep stage W",
    "Sleep stage 1",
    "Sleep stage 2",
    "Sleep stage 3",
    "Sleep stage 4",
    "Sleep stage R",
    "Movement time",
)


def simulate_night(
    subject: int, session: int, age: float, n_windows: int, seed: int = 0, awake: int = 0
) -> tuple[np.ndarray, Night]:
    """Make one night of one person.

    Parameters
    ----------
    subject, session, seed : int
        0 or more; together they decide every random number.
    age : float
        Years.
    n_windows : int
        Length in 30-s windows.
    awake : int
        Windows of wake to add before and after.

    Returns
    -------
    stages : ndarray of int64, shape (n_windows + 2 * awake,)
        Codes of the scheme "rk6".
    night : Night
        Gives the signals, channel by channel.

    Examples
    --------
    >>> stages, night = simulate_night(0, 1, 30.0, 20)
    >>> stages.shape, night.n_times
    ((20,), 60000)
    """
    rng = named_stream(seed, subject, session, "hypnogram")
    merged = np.pad(simulate_stages(age, n_windows, rng), awake)
    stages, depth = split_deep_sleep(merged, age, rng)
    return stages, Night(make_person(subject, age, seed), session, merged, depth)


def stage_bouts(stages: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Turn stages into one annotation for each run of equal stages.

    Parameters
    ----------
    stages : ndarray of int, shape (n_windows,)
        Codes of the scheme "rk6", or 6 for movement time.

    Returns
    -------
    onset, duration : ndarray of float64, shape (n_bouts,)
        Seconds.
    text : list of str
        For instance "Sleep stage 2".

    Examples
    --------
    >>> stage_bouts(np.array([0, 0, 2]))
    (array([ 0., 60.]), array([60., 30.]), ['Sleep stage W', 'Sleep stage 2'])
    """
    starts = np.flatnonzero(np.diff(stages, prepend=-1))
    lengths = np.diff(starts, append=len(stages))
    texts = [STAGE_TEXTS[stage] for stage in stages[starts]]
    return starts * float(WINDOW_SECONDS), lengths * float(WINDOW_SECONDS), texts


class Simulated(Dataset):
    """People and nights that never were, made from physiology; see `physiology`.

    Parameters
    ----------
    data : None
        Simulated data need no folder.
    people : sequence of (int, float, float)
        Groups of people: how many, youngest and oldest age in years. Ages spread evenly
        over each group, sexes alternate; subjects are named "0", "1", ... throughout.
    nights : int
        Nights of each person; sessions are named "1", "2", ...
    hours : float
        Length of a night.
    seed : int
        0 or more; another seed gives other people.

    Raises
    ------
    TaskError
        If a setting makes no sense.

    Examples
    --------
    >>> dataset = Simulated(people=[(2, 25, 35)], hours=0.5)
    >>> [(r.subject, r.age, r.sex) for r in dataset.recordings()]
    [('0', 25.0, 'female'), ('1', 35.0, 'male')]
    """

    info: ClassVar[DatasetInfo] = DatasetInfo(
        name="simulated",
        title="Simulated polysomnography (no real people)",
        licence="BSD-3-Clause (as the software that makes it)",
        login=False,
        download="nothing",
        url="",
        citation=(
            "Simulated by sleepshift; stage transitions from Sleep-EDF Expanded 1.0.0 "
            "(doi 10.13026/C2X676, ODC-By 1.0)"
        ),
    )
    needs_folder = False
    reads_files = False
    scheme = "rk6"
    stage_codes: ClassVar[Mapping[str, str | None]] = {
        **dict(zip(STAGE_TEXTS, ("W", "S1", "S2", "S3", "S4", "R", None), strict=True)),
        "Sleep stage ?": None,
    }

    def __init__(
        self,
        data: Path | str | None = None,
        people: Sequence[Sequence[float]] = ((12, 25, 59), (12, 65, 79), (12, 80, 95)),
        nights: int = 1,
        hours: float = 4.0,
        seed: int = 0,
    ) -> None:
        if data is not None:
            raise TaskError("simulated data need no folder: leave the data folder out")
        super().__init__(None)
        self.people = _checked_people(people)
        _check_whole("nights", nights, 1)
        _check_whole("seed", seed, 0)
        if not _is_number(hours) or not 0.1 <= hours <= 24:
            raise TaskError(f"hours must be between 0.1 and 24, not {hours!r}")
        self.nights, self.hours, self.seed = nights, float(hours), seed

    @property
    def population(self) -> str:
        """People of another seed are others."""
        return f"simulated {self.seed}"

    def params(self) -> dict[str, Any]:
        """Settings that decide what the recordings hold, generator version included."""
        return {
            "people": [list(group) for group in self.people],
            "nights": self.nights,
            "hours": self.hours,
            "seed": self.seed,
            "version": GENERATOR_VERSION,
        }

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the recordings of `subjects` (all, by default), by subject and session.

        Raises
        ------
        DataError
            If a subject does not exist.
        """
        ages = np.concatenate([np.linspace(low, high, n) for n, low, high in self.people])
        known = [str(subject) for subject in range(len(ages))]
        wanted = known if subjects is None else list(map(str, subjects))
        if unknown := sorted(set(wanted) - set(known)):
            raise DataError(
                f"no simulated subject {', '.join(unknown)}; there are 0 to {len(ages) - 1}"
            )
        return [
            Recording(
                subject=str(subject),
                session=str(night),
                age=round(float(age), 1),
                sex=("female", "male")[subject % 2],
            )
            for subject, age in enumerate(ages)
            if str(subject) in wanted
            for night in range(1, self.nights + 1)
        ]

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
        """Make one night with the named channels, 100 Hz, in Volts.

        There are the channels of `physiology`, which are the default, and the single
        electrodes of `electrodes`; of these the bad ones are in ``raw.info["bads"]``.

        Raises
        ------
        DataError
            If there is no such channel or recording.
        """
        import mne

        names = list(CHANNELS) if channels is None else list(channels)
        types = {**CHANNELS, **ELECTRODES}
        if not names:
            raise DataError(f"{recording}: no channel is asked for; there are {', '.join(types)}")
        if unknown := [name for name in names if name not in types]:
            raise DataError(
                f"{recording}: no channel {', '.join(unknown)}; there are {', '.join(types)}"
            )
        if recording not in self.recordings([recording.subject]):
            raise DataError(f"{recording}: not a recording of this simulated dataset")
        assert recording.age is not None
        n_windows = round(self.hours * 3600 / WINDOW_SECONDS)
        stages, night = simulate_night(
            int(recording.subject), int(recording.session), recording.age, n_windows, self.seed
        )
        electrodes = Electrodes(night)
        signals = np.empty((len(names), night.n_times))
        for name, signal in zip(names, signals, strict=True):
            signal[:] = electrodes.signal(name) if name in ELECTRODES else night.channel(name)
        info = mne.create_info(names, SFREQ, [types[name] for name in names], verbose=False)
        info["bads"] = [name for name in electrodes.bads if name in names]
        info["description"] = "SIMULATED by sleepshift; no real person"
        raw = mne.io.RawArray(signals, info, verbose=False)
        return raw.set_annotations(mne.Annotations(*stage_bouts(stages)), verbose=False)


def _checked_people(people: Any) -> tuple[tuple[int, float, float], ...]:
    """Groups of people as a tuple of (count, youngest, oldest), or a TaskError."""
    advice = "people must be groups of (how many, youngest age, oldest age), as [[12, 25, 59]]"
    try:
        groups = [tuple(group) for group in people]
    except TypeError:
        raise TaskError(f"{advice}, not {people!r}") from None
    if not groups:
        raise TaskError(f"{advice}; there is no group")
    for group in groups:
        if len(group) != 3 or not all(map(_is_number, group)):
            raise TaskError(f"{advice}, not {group!r}")
        _check_whole("how many people are in a group", group[0], 1)
        if not 18 <= group[1] <= group[2] <= 110:
            raise TaskError(f"ages must rise within 18 to 110 years, not {group[1]} to {group[2]}")
    return tuple((int(count), float(low), float(high)) for count, low, high in groups)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_whole(what: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TaskError(f"{what} must be a whole number of at least {least}, not {value!r}")
