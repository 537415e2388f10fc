"""Simulated nights as a folder of EDF files that looks like Sleep-EDF's Sleep Cassette."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sleepshift.atomic import new_folder
from sleepshift.datasets.physiology import SFREQ, Night
from sleepshift.datasets.simulated import STAGE_TEXTS, simulate_night, stage_bouts
from sleepshift.datasets.sleep_edf import cassette_people
from sleepshift.datasets.waveforms import named_stream
from sleepshift.errors import SleepShiftError
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import edfio

__all__ = ["cassette_subjects", "write_sleep_edf"]

# Sleep Cassette people of whom a night is missing.
_ONE_NIGHT = ("13", "36", "52")
# Half of the people are young, as a source of transfer needs most.
_AGE_CYCLE = ((0, 65), (65, 80), (80, 120), (0, 65))
_AWAKE_MINUTES = 40
_DAY_SECONDS = 86400.0
_START = time(22, 0)
# Physical limits in uV of the channels that are stored at 100 Hz.
_LIMITS = {"EEG Fpz-Cz": 500.0, "EEG Pz-Oz": 500.0, "EOG horizontal": 1000.0}
_README = """\
SIMULATED recordings. No person was recorded.

Made by `sleepshift simulate` in the file layout of the Sleep Cassette study of Sleep-EDF
Expanded 1.0.0 (PhysioNet, doi 10.13026/C2X676), so that programs for that data set can be
tried. Subject numbers, ages and sexes are those of its people; the signals and stages are
made up, with transitions between stages as frequent as in its nights (ODC-By 1.0). Do not
report numbers from these files as results on Sleep-EDF.
"""


def cassette_subjects(count: int) -> list[str]:
    """Pick Sleep Cassette subjects spread over all ages.

    Parameters
    ----------
    count : int
        1 to 75: half of them below 65 years, a quarter from 65 to 79, a quarter from 80.

    Returns
    -------
    subjects : list of str
        Sorted; each has two nights in the real study.

    Raises
    ------
    SleepShiftError
        If there are not so many.

    Examples
    --------
    >>> cassette_subjects(4)
    ['0', '21', '40', '60']
    """
    known = {
        subject: age for subject, (age, _) in cassette_people().items() if subject not in _ONE_NIGHT
    }
    if not isinstance(count, int) or not 1 <= count <= len(known):
        raise SleepShiftError(f"subjects must be 1 to {len(known)}, not {count!r}")
    brackets = {
        bracket: [subject for subject, age in known.items() if bracket[0] <= age < bracket[1]]
        for bracket in _AGE_CYCLE
    }
    wanted = dict.fromkeys(brackets, 0)
    turn = 0
    while sum(wanted.values()) < count:
        bracket = _AGE_CYCLE[turn % len(_AGE_CYCLE)]
        wanted[bracket] += wanted[bracket] < len(brackets[bracket])
        turn += 1
    chosen = [
        subjects[index * len(subjects) // wanted[bracket]]
        for bracket, subjects in brackets.items()
        for index in range(wanted[bracket])
    ]
    return sorted(chosen, key=int)


def write_sleep_edf(
    folder: Path | str,
    subjects: int | Sequence[str] = 12,
    nights: int = 1,
    hours: float = 4.0,
    seed: int = 0,
) -> list[Path]:
    """Write simulated nights as EDF files in the layout of Sleep-EDF's Sleep Cassette.

    Each night has 40 minutes of wake before and after, and a few windows of movement time.

    Parameters
    ----------
    folder : path
        Must be new or empty; it appears whole or not at all.
    subjects : int or sequence of str
        How many people (see `cassette_subjects`), or which; ids and ages are those of MNE's
        table of Sleep-EDF, whence every reader of Sleep-EDF takes the ages.
    nights : int
        1 or 2.
    hours : float
        Length of the night between the wake, 0.1 to 20.
    seed : int
        0 or more.

    Returns
    -------
    paths : list of Path
        The PSG files, ``SC4ssNE0-PSG.edf``; beside each lies ``SC4ssNEC-Hypnogram.edf``.

    Raises
    ------
    SleepShiftError
        If the folder holds something, or a setting makes no sense.

    Examples
    --------
    >>> write_sleep_edf("simulated-edf", subjects=4)  # doctest: +SKIP
    """
    folder = Path(folder)
    _check_settings(nights, hours, seed)
    chosen = cassette_subjects(subjects) if isinstance(subjects, int) else list(subjects)
    if not chosen:
        raise SleepShiftError("no subject is asked for; name at least one, or say how many")
    known = cassette_people()
    if unknown := [subject for subject in chosen if subject not in known]:
        raise SleepShiftError(f"Sleep-EDF has no subject {', '.join(unknown)}")
    _make_room(folder)
    names = []
    with new_folder(folder) as temporary:
        for subject in chosen:
            for session in range(1, nights + 1):
                names.append(_write_night(temporary, subject, session, hours, seed))
        (temporary / "README.txt").write_text(_README, encoding="utf-8")
    return [folder / name for name in names]


def _check_settings(nights: int, hours: float, seed: int) -> None:
    if nights not in (1, 2):
        raise SleepShiftError(f"nights must be 1 or 2, not {nights!r}")
    if not 0.1 <= hours <= 20:
        raise SleepShiftError(f"hours must be between 0.1 and 20, not {hours!r}")
    if not isinstance(seed, int) or seed < 0:
        raise SleepShiftError(f"seed must be a whole number of at least 0, not {seed!r}")


def _make_room(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise SleepShiftError(f"{folder} is there already and not empty; name a new folder")
    folder.rmdir()


def _write_night(folder: Path, subject: str, session: int, hours: float, seed: int) -> str:
    """Write one PSG and its hypnogram; return the name of the PSG."""
    import edfio

    age, sex = cassette_people()[subject]
    n_windows = round(hours * 3600 / WINDOW_SECONDS)
    awake = _AWAKE_MINUTES * 60 // WINDOW_SECONDS
    stages, night = simulate_night(int(subject), session, age, n_windows, seed, awake)
    rng = named_stream(seed, int(subject), session, "cassette")
    moved = awake + rng.choice(n_windows, size=min(3, n_windows), replace=False)
    stages[moved] = STAGE_TEXTS.index("Movement time")
    patient = edfio.Patient(
        sex="F" if sex == "female" else "M", name=f"SIMULATED_{sex}_{age:.0f}yr"
    )
    made = edfio.Recording(startdate=date(2000, 1, 1), equipment_code="SIMULATED_by_sleepshift")
    name = f"SC4{int(subject):02d}{session}E"
    psg = edfio.Edf(
        _signals(night, rng),
        patient=patient,
        recording=made,
        starttime=_START,
        data_record_duration=WINDOW_SECONDS,
    )
    psg.write(folder / f"{name}0-PSG.edf")
    hypnogram = edfio.Edf(
        [],
        patient=patient,
        recording=made,
        starttime=_START,
        annotations=_annotations(stages),
    )
    hypnogram.write(folder / f"{name}C-Hypnogram.edf")
    return f"{name}0-PSG.edf"


def _annotations(stages: np.ndarray) -> list[edfio.EdfAnnotation]:
    """Bouts of stages, then "?" from the end of the signals to a full day, as in Sleep-EDF."""
    import edfio

    bouts = [
        edfio.EdfAnnotation(float(onset), float(duration), text)
        for onset, duration, text in zip(*stage_bouts(stages), strict=True)
    ]
    end = len(stages) * float(WINDOW_SECONDS)
    return [*bouts, edfio.EdfAnnotation(end, _DAY_SECONDS - end, "Sleep stage ?")]


def _signals(night: Night, rng: np.random.Generator) -> list[edfio.EdfSignal]:
    """The seven channels of a cassette: three at 100 Hz, four at 1 Hz."""
    import edfio

    def signal(
        name: str, data: np.ndarray, sfreq: int, unit: str, low: float, high: float
    ) -> edfio.EdfSignal:
        return edfio.EdfSignal(
            np.clip(data.astype(np.float64), low, high),
            sfreq,
            label=name,
            physical_dimension=unit,
            physical_range=(low, high),
            transducer_type="SIMULATED",
        )

    fast = [
        signal(name, night.channel(name) * 1e6, SFREQ, "uV", -limit, limit)
        for name, limit in _LIMITS.items()
    ]
    seconds = np.arange(night.n_seconds)
    # The cassette stored the chin as the envelope of its rectified activity.
    envelope = np.abs(night.channel("EMG submental") * 1e6).reshape(-1, SFREQ).mean(axis=1)
    breathing = 400 * np.sin(2 * np.pi * 0.25 * seconds + rng.normal(0, 0.3, len(seconds)).cumsum())
    warmth = 37 - 0.4 * np.sin(np.pi * seconds / len(seconds))
    return [
        *fast,
        signal("Resp oro-nasal", breathing, 1, "", -2048, 2047),
        signal("EMG submental", envelope, 1, "uV", -100, 100),
        signal("Temp rectal", warmth, 1, "DegC", 34, 40),
        signal("Event marker", np.zeros(len(seconds)), 1, "", -2047, 2048),
    ]
