"""Simulated polysomnography: what brain, eyes, chin and heart do in each stage of sleep.

Nothing here was recorded from anyone. A channel is a weighted sum of shared sources
(rhythms and events whose strength follows the stage) and of its own 1/f background and
noise. Each source has its own random stream, named by seed, person, night and source, so
asking for fewer channels gives the same signals.

Stages are soft: the body of each 30-s window blends its scored stage with one that scorers
confuse it with, changes of stage take half a minute, and every source waxes and wanes. Age
acts as it does in people: smaller slow waves, fewer and weaker spindles, slower and weaker
alpha, a flatter background, a less variable heart, blurrier stages.

Strengths, noises and the spread between people were set by hand so that staging is about as
hard as on real nights. Band powers and logistic regression, fitted on 12 people of 25-59
years, reached these Cohen's kappas (mean over 12 new people a group, then over 6 seeds;
5 stages, 4-hour nights; the ECG by heart rate and its variability):

======================  =====  =====  =====
channels                25-59  65-79  80-95
======================  =====  =====  =====
EEG Fpz-Cz, EEG Pz-Oz    0.70   0.57   0.47
EEG Fpz-Cz               0.65   0.51   0.41
EAR left, EAR right      0.55   0.46   0.40
EOG horizontal           0.53   0.52   0.49
ECG                      0.32   0.26   0.22
======================  =====  =====  =====

On the real nights of Sleep-EDF, Fpz-Cz gives 0.67, 0.52 and 0.45. How band powers differ
between stages was held against those nights too: a regression fitted on them stages
simulated people of 25-59 years with kappa 0.57.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sleepshift.datasets import graphoelements
from sleepshift.datasets.heart import beat_times, electrocardiogram, heart_rate
from sleepshift.datasets.hypnograms import blur_stages
from sleepshift.datasets.waveforms import (
    add_events,
    draw_onsets,
    named_stream,
    pink_noise,
    rhythm,
    to_samples,
)
from sleepshift.stages import WINDOW_SECONDS

__all__ = ["CHANNELS", "SFREQ", "Night", "Person", "make_person"]

#: Samples a second of every channel.
SFREQ = 100

# Strength of each source in W, N1, N2, N3, REM: uV (r.m.s. of rhythms and noises).
_STRENGTH: dict[str, tuple[float, float, float, float, float]] = {
    "background": (9.0, 9.0, 10.5, 12.0, 7.5),
    "alpha": (14.0, 4.5, 2.0, 1.5, 2.5),
    "theta": (4.5, 5.2, 5.2, 7.0, 4.6),
    "beta": (6.0, 3.6, 2.2, 1.8, 3.4),
    "delta": (3.5, 5.0, 9.0, 18.0, 3.5),
    "muscle": (6.0, 2.5, 1.4, 1.0, 1.1),
    "chin": (12.0, 7.0, 5.0, 4.0, 2.2),
    "movement": (20.0, 9.0, 5.0, 4.0, 6.0),
    "slow eyes": (14.0, 32.0, 8.0, 3.0, 6.0),
}
# Events a second.
_RATE: dict[str, tuple[float, float, float, float, float]] = {
    "slow waves": (0.0, 0.0, 0.04, 0.75, 0.0),
    "K-complexes": (0.0, 0.004, 0.025, 0.01, 0.0),
    "vertex waves": (0.002, 0.06, 0.012, 0.0, 0.003),
    "spindles": (0.0, 0.004, 0.12, 0.06, 0.0),
    "sawtooth": (0.0, 0.003, 0.0, 0.0, 0.05),
    "saccades": (0.25, 0.04, 0.01, 0.005, 0.22),
    "blinks": (0.15, 0.01, 0.001, 0.0, 0.005),
    "twitches": (0.02, 0.01, 0.004, 0.002, 0.03),
}
# Centre and width of the rhythms' spectral peaks in Hz; alpha moves with the person.
_PEAKS = {
    "alpha": (10.0, 1.2),
    "theta": (5.8, 2.0),
    "beta": (20.0, 8.0),
    "delta": (1.0, 1.6),
    "slow eyes": (0.35, 0.2),
    "movement": (1.5, 2.0),
}
_SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "slow waves": graphoelements.slow_waves,
    "K-complexes": graphoelements.k_complexes,
    "vertex waves": graphoelements.vertex_waves,
    "spindles": graphoelements.spindles,
    "sawtooth": graphoelements.sawtooth_waves,
    "saccades": graphoelements.saccades,
    "blinks": graphoelements.blinks,
    "twitches": graphoelements.twitches,
}
# Standard deviation of the slow changes of log strength, and of log event rate.
_WAXING = 0.25
_CLUSTERING = 0.5
# How strongly each channel sees each source; the eyes pull at the ears in opposite ways.
_EAR = {
    "alpha": 0.3, "theta": 0.35, "beta": 0.35, "delta": 0.4, "muscle": 1.2,
    "slow waves": 0.4, "K-complexes": 0.35, "vertex waves": 0.15, "spindles": 0.25,
    "saccades": 0.2, "slow eyes": 0.2, "twitches": 0.3, "movement": 0.2,
}  # fmt: skip
_MIXING: dict[str, dict[str, float]] = {
    "EEG Fpz-Cz": {
        "alpha": 0.5, "theta": 0.9, "beta": 1.0, "delta": 1.0, "muscle": 1.0, "slow waves": 1.0,
        "K-complexes": 1.0, "vertex waves": 0.8, "spindles": 0.9, "sawtooth": 0.8,
        "saccades": 0.2, "blinks": 0.8, "slow eyes": 0.15, "movement": 0.25,
    },
    "EEG Pz-Oz": {
        "alpha": 1.2, "theta": 0.7, "beta": 0.7, "delta": 0.6, "muscle": 0.6, "slow waves": 0.5,
        "K-complexes": 0.4, "vertex waves": 0.5, "spindles": 0.7, "sawtooth": 0.3,
        "saccades": 0.05, "blinks": 0.05, "movement": 0.15,
    },
    "EOG horizontal": {
        "alpha": 0.2, "theta": 0.4, "beta": 0.5, "delta": 0.6, "muscle": 1.2, "slow waves": 0.6,
        "K-complexes": 0.6, "spindles": 0.3, "saccades": 1.0, "blinks": 0.3, "slow eyes": 1.0,
    },
    "EMG submental": {"chin": 1.0, "twitches": 1.0},
    "EAR left": _EAR,
    "EAR right": {**_EAR, "saccades": -0.2, "slow eyes": -0.2},
    "ECG": {"chin": 0.15, "twitches": 1.0, "movement": 1.7},
}  # fmt: skip
# Own 1/f background (share of "background") and own white noise (uV) of each channel.
_OWN_NOISE: dict[str, tuple[float, float]] = {
    "EEG Fpz-Cz": (1.0, 1.0),
    "EEG Pz-Oz": (0.9, 1.0),
    "EOG horizontal": (1.0, 2.0),
    "EMG submental": (0.1, 1.0),
    "EAR left": (0.9, 2.5),
    "EAR right": (0.9, 2.5),
    "ECG": (1.0, 12.0),
}

#: Name -> MNE channel type of every channel there is.
CHANNELS: Mapping[str, str] = {
    "EEG Fpz-Cz": "eeg",
    "EEG Pz-Oz": "eeg",
    "EOG horizontal": "eog",
    "EMG submental": "emg",
    "ECG": "ecg",
    "EAR left": "eeg",
    "EAR right": "eeg",
}


@dataclass(frozen=True, kw_only=True)
class Person:
    """What stays the same from night to night.

    Parameters
    ----------
    subject, seed : int
        Key of all of the person's random streams.
    age : float
        Years.
    alpha, spindle : float
        Hz.
    exponent : float
        Slope of the 1/f background.
    blur : float
        Mean share of another stage in a window's body.
    heart_rate : float
        Beats a minute in stage 2.
    heart_variability : float
        Factor on all fluctuations of the heart rate.
    r_peak : float
        Height of the R peaks of the electrocardiogram in uV.
    gains : mapping of str to float
        Factor on the strength of each source; also "<source> rate" for events.
    """

    subject: int
    seed: int
    age: float
    alpha: float
    spindle: float
    exponent: float
    blur: float
    heart_rate: float
    heart_variability: float
    r_peak: float
    gains: Mapping[str, float]


# Change of log strength (or log rate) from 25 to 90 years.
_AGEING = {
    "slow waves": -0.7,
    "slow waves rate": -0.3,
    "delta": -0.3,
    "K-complexes": -0.4,
    "K-complexes rate": -0.5,
    "spindles": -0.6,
    "spindles rate": -0.9,
    "alpha": -0.5,
    "beta": 0.3,
    "muscle": 0.4,
    "chin": -0.2,
    "saccades rate": -0.4,
}


def make_person(subject: int, age: float, seed: int = 0) -> Person:
    """Draw a person of a given age.

    Parameters
    ----------
    subject : int
        0 or more; the same subject and seed give the same person.
    age : float
        Years.
    seed : int

    Examples
    --------
    >>> make_person(0, 30).alpha > make_person(0, 90).alpha
    True
    """
    rng = named_stream(seed, subject, "person")
    old = (age - 25) / 65
    names = [*_STRENGTH, *_RATE, *(f"{event} rate" for event in _RATE)]
    spread = dict(zip(names, 0.22 * rng.standard_normal(len(names)), strict=True))
    z = rng.standard_normal(7).tolist()
    return Person(
        subject=subject,
        seed=seed,
        age=age,
        alpha=10.3 - 1.2 * old + 0.7 * z[0],
        spindle=13.2 + 0.3 * old + 0.5 * z[1],
        exponent=1.3 - 0.4 * old + 0.12 * z[2],
        blur=float(np.clip(0.09 + 0.19 * old + 0.04 * z[3], 0.08, 0.6)),
        heart_rate=60 + 2 * old + 7 * z[4],
        heart_variability=float(np.exp(-0.8 * old + 0.3 * z[5])),
        r_peak=900 * float(np.exp(0.25 * z[6])),
        gains={name: float(np.exp(spread[name] + old * _AGEING.get(name, 0))) for name in names},
    )


class Night:
    """The signals of one night of one person.

    Parameters
    ----------
    person : Person
    night : int
        Part of the key of the random streams.
    stages : ndarray of int, shape (n_windows,)
        0 W, 1 N1, 2 N2, 3 N3, 4 REM; 30-s windows.
    depth : ndarray of float, shape (n_windows,)
        How deep N3 is, 0 to 1; scales slow waves.

    Examples
    --------
    >>> night = Night(make_person(0, 30), 1, np.array([0, 1, 2, 3]), np.full(4, 0.5))
    >>> night.channel("EEG Fpz-Cz").shape
    (12000,)
    """

    def __init__(self, person: Person, night: int, stages: np.ndarray, depth: np.ndarray) -> None:
        self.person = person
        self.stages = np.asarray(stages)
        self.depth = np.asarray(depth, dtype=float)
        self._key = (person.seed, person.subject, night)
        self._sources: dict[str, np.ndarray] = {}
        self.n_seconds = len(self.stages) * WINDOW_SECONDS
        self.n_times = self.n_seconds * SFREQ

    def channel(self, name: str) -> np.ndarray:
        """One channel in Volts, ndarray of float32, shape (n_times,).

        Raises
        ------
        KeyError
            If `name` is not in `CHANNELS`.
        """
        rng = self.stream(f"channel {name}")
        coloured, white = _OWN_NOISE[name]
        # Electrodes never sit quite the same: contact and place differ by person and night.
        contact = np.exp(0.2 * rng.standard_normal(len(_MIXING[name]) + 2)).astype(np.float32)
        signal = pink_noise(rng, self.n_times, SFREQ, self.person.exponent)
        signal *= to_samples(contact[0] * coloured * self.strength("background", rng), SFREQ)
        signal += rng.standard_normal(self.n_times, dtype=np.float32) * (contact[1] * white)
        for (source, weight), place in zip(_MIXING[name].items(), contact[2:], strict=True):
            signal += self.source(source) * (weight * place)
        if name == "ECG":
            signal += self._heart()
        signal *= np.float32(1e-6)
        return signal

    @cached_property
    def body(self) -> np.ndarray:
        """What the body does: share of each stage in each second, shape (n_seconds, 5)."""
        return blur_stages(self.stages, self.person.blur, self.stream("body"))

    def stream(self, name: str) -> np.random.Generator:
        """Random numbers of this night that no other name shares."""
        return named_stream(*self._key, name)

    def _waxing(self, rng: np.random.Generator, spread: float) -> np.ndarray:
        """Slow lognormal change of strength over tens of seconds, shape (n_seconds,)."""
        steps = rng.standard_normal(self.n_seconds // 10 + 2)
        smooth = np.convolve(steps, np.full(4, 0.5), mode="same")
        seconds = np.arange(self.n_seconds) / 10
        return np.exp(spread * np.interp(seconds, range(len(smooth)), smooth))

    def strength(self, name: str, rng: np.random.Generator) -> np.ndarray:
        """Strength of a rhythm or noise, in uV in each second."""
        strength = self.body @ np.array(_STRENGTH[name]) * self.person.gains[name]
        return strength * self._waxing(rng, _WAXING)

    def _deepness(self) -> np.ndarray:
        """Factor on the slow waves in each second: 0.5 in shallow N3 to 1.5 in deep N3."""
        return 0.5 + np.repeat(self.depth, WINDOW_SECONDS)

    def source(self, name: str) -> np.ndarray:
        """One shared source in uV, ndarray of float32, shape (n_times,)."""
        if name not in self._sources:
            rng = self.stream(name)
            if name in _RATE:
                self._sources[name] = self._sum(name, *self._events(name, rng))
            else:
                self._sources[name] = self._tone(name, self.strength(name, rng), rng)
        return self._sources[name]

    def lateral(self, name: str) -> np.ndarray:
        """What of a source pulls the two sides apart, in uV, ndarray of float32, shape (n_times,).

        It waxes and wanes with the source: events are the same ones, each leaning to a side
        of its own; rhythms and noises have the same strength and other waves.
        """
        course, rng = self.stream(name), self.stream(f"lateral {name}")
        if name in _RATE:
            onsets, waveforms = self._events(name, course)
            return self._sum(name, onsets, waveforms * rng.standard_normal((len(onsets), 1)))
        return self._tone(name, self.strength(name, course), rng)

    def _tone(self, name: str, per_second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        strength = to_samples(per_second, SFREQ)
        if name in _PEAKS:
            frequency, width = _PEAKS[name]
            if name == "alpha":
                frequency = self.person.alpha
            return strength * rhythm(rng, self.n_times, SFREQ, frequency, width)
        noise = rng.standard_normal(self.n_times + 1, dtype=np.float32)
        return strength * np.diff(noise) * np.float32(np.sqrt(0.5))

    def _events(self, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Onsets in samples, and a waveform each."""
        rate = self.body @ np.array(_RATE[name]) * self.person.gains[f"{name} rate"]
        rate *= self._waxing(rng, _CLUSTERING)
        if name == "slow waves":
            rate *= self._deepness()
        onsets = draw_onsets(rng, rate, SFREQ)
        if name == "spindles":
            waveforms = graphoelements.spindles(rng, len(onsets), self.person.spindle)
        else:
            waveforms = _SHAPES[name](rng, len(onsets))
        if name == "slow waves":
            waveforms *= self._deepness()[onsets // SFREQ, None] ** 0.5
        return onsets, waveforms

    def _sum(self, name: str, onsets: np.ndarray, waveforms: np.ndarray) -> np.ndarray:
        return add_events(self.n_times, onsets, waveforms) * np.float32(self.person.gains[name])

    def _heart(self) -> np.ndarray:
        rng = self.stream("heart")
        person = self.person
        rate = heart_rate(rng, self.body, person.heart_rate, person.heart_variability)
        return electrocardiogram(rng, beat_times(rate), self.n_times, SFREQ, person.r_peak)
