"""Simulated single electrodes: six on the scalp and six in each ear, against one reference.

An electrode sees the reference, the field of its region and side, and noise of its own. The
fields are sums of the sources of `physiology`: the two sides share a part, which a derivation
from left to right takes away, and a lateral part pulls them apart. The ears see the temporal
field, from farther: the bowl of the ear (A, B) at half of its strength, the canal (E, I, G, K)
at a quarter, so that one side of an ear against the other keeps a little of it. Some nights
have bad ear electrodes, which see nothing: they are flat or nothing but noise.

Everything is drawn from streams of its own, so that no other channel knows of electrodes.
Band powers and logistic regression, fitted on 12 people of 25-59 years, reached these Cohen's
kappas (mean over 12 new people, then over 6 seeds; 5 stages, 4-hour nights):

====================================================  =====
channels                                              kappa
====================================================  =====
A1-A2, C3-O1, C4-O2                                    0.72
EEG Fpz-Cz, EEG Pz-Oz                                  0.72
ear: left against right, within left, within right     0.52
ear: left against right                                0.50
ear: within left                                       0.31
====================================================  =====
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property

import numpy as np

from sleepshift.datasets.physiology import SFREQ, Night
from sleepshift.datasets.waveforms import pink_noise, to_samples

__all__ = ["ELECTRODES", "Electrodes"]

_EARS = tuple(f"E{side}{place}" for side in "LR" for place in "ABEIGK")

#: Name -> MNE channel type of every electrode there is.
ELECTRODES: Mapping[str, str] = dict.fromkeys(("A1", "A2", "C3", "C4", "O1", "O2", *_EARS), "eeg")

# How strongly both sides of each region see each source.
_FIELDS: dict[str, dict[str, float]] = {
    "temporal": {
        "alpha": 0.35, "theta": 0.4, "beta": 0.4, "delta": 0.4, "muscle": 0.6,
        "slow waves": 0.4, "K-complexes": 0.35, "spindles": 0.3, "movement": 0.2,
    },
    "central": {
        "alpha": 0.4, "theta": 0.9, "beta": 0.9, "delta": 0.9, "muscle": 0.3, "slow waves": 1.0,
        "K-complexes": 1.0, "vertex waves": 1.0, "spindles": 1.0, "sawtooth": 0.8,
        "saccades": 0.1, "blinks": 0.2, "movement": 0.2,
    },
    "occipital": {
        "alpha": 1.3, "theta": 0.3, "beta": 0.3, "delta": 0.3, "muscle": 0.5, "slow waves": 0.35,
        "K-complexes": 0.3, "vertex waves": 0.2, "spindles": 0.3, "sawtooth": 0.1, "movement": 0.1,
    },
}  # fmt: skip
# Own 1/f background of each region and side (share of "background").
_BACKGROUND = {"temporal": 0.7, "central": 0.75, "occipital": 0.65}
# What pulls the sides apart, at the temples, and how much of it is left elsewhere.
_LATERAL = {
    "alpha": 0.3, "theta": 0.4, "beta": 0.4, "delta": 0.4, "muscle": 0.5, "slow waves": 0.45,
    "K-complexes": 0.4, "spindles": 0.4, "sawtooth": 0.3,
}  # fmt: skip
_SPREAD = {"temporal": 1.0, "central": 0.4, "occipital": 0.3}
# Eyes that turn to one side are seen with opposite signs at the temples.
_EYES = {"saccades": 0.3, "slow eyes": 0.25}
# What the common reference sees, and all electrodes with it.
_REFERENCE = {"delta": 0.4, "muscle": 0.7, "slow waves": 0.4, "blinks": 0.5, "movement": 0.5}
_REFERENCE_BACKGROUND = 1.0
# How much of the temporal field is left in the bowl and in the canal of the ear.
_REACH = {"A": 0.5, "B": 0.5, "E": 0.25, "I": 0.25, "G": 0.25, "K": 0.25}
# Own noise of an electrode in uV r.m.s., and share of "movement" that shakes it by itself.
_SCALP_NOISE, _SCALP_SHAKES = 1.5, 0.05
_EAR_NOISE, _EAR_SHAKES = 6.0, 0.3
# A night in so many has bad ear electrodes.
_BAD_NIGHTS = 0.4


class Electrodes:
    """The electrodes of one night.

    Parameters
    ----------
    night : Night

    Examples
    --------
    >>> from sleepshift.datasets.physiology import make_person
    >>> night = Night(make_person(0, 30), 1, np.array([0, 1, 2, 3]), np.full(4, 0.5))
    >>> Electrodes(night).signal("ELA").shape
    (12000,)
    """

    def __init__(self, night: Night) -> None:
        self.night = night
        self._fields: dict[tuple[str, str], np.ndarray] = {}

    def signal(self, name: str) -> np.ndarray:
        """One electrode in Volts, ndarray of float32, shape (n_times,).

        Raises
        ------
        KeyError
            If `name` is not in `ELECTRODES`.
        """
        if name not in ELECTRODES:
            raise KeyError(name)
        rng = self.night.stream(f"electrode {name}")
        if name in self.bads:
            return self._bad(rng)
        in_ear = name in _EARS
        level, shakes = (_EAR_NOISE, _EAR_SHAKES) if in_ear else (_SCALP_NOISE, _SCALP_SHAKES)
        contact, worn = np.exp([0.15, 0.4] * rng.standard_normal(2))
        signal = self._noise(rng) * np.float32(level * worn)
        signal += self.night.source("movement") * np.float32(shakes * rng.standard_normal())
        reach = contact * (_REACH[name[-1]] if in_ear else 1.0)
        signal += self._field(*_place(name)) * np.float32(reach)
        signal += self._reference
        signal *= np.float32(1e-6)
        return signal

    @cached_property
    def bads(self) -> tuple[str, ...]:
        """Bad ear electrodes: none on most nights, else one to three, never a whole bowl."""
        rng = self.night.stream("bad electrodes")
        n_bad = int(rng.integers(1, 4)) if rng.random() < _BAD_NIGHTS else 0
        drawn = {_EARS[k] for k in rng.permutation(len(_EARS))[:n_bad]}
        spared = {f"E{side}B" for side in "LR" if f"E{side}A" in drawn}
        return tuple(name for name in _EARS if name in drawn - spared)

    def _bad(self, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.5:
            return np.zeros(self.night.n_times, np.float32)
        return pink_noise(rng, self.night.n_times, SFREQ, 1.0) * np.float32(5e-4)

    def _noise(self, rng: np.random.Generator) -> np.ndarray:
        """Noise of skin and amplifier, unit variance: white, and stronger below 2 Hz."""
        from scipy.signal import lfilter

        pole, zero = 0.9, 0.6
        gain = np.sqrt(1 + (pole - zero) ** 2 / (1 - pole**2))
        # Uniform numbers are drawn fast, and nobody can tell once they are filtered.
        white = rng.random(self.night.n_times, dtype=np.float32)
        white -= np.float32(0.5)
        up, down = (np.array([1, -root], dtype=np.float32) for root in (zero, pole))
        return lfilter(up * np.float32(np.sqrt(12) / gain), down, white)

    @cached_property
    def _reference(self) -> np.ndarray:
        return self._mix("reference", _REFERENCE, _REFERENCE_BACKGROUND)

    @cached_property
    def _lateral(self) -> np.ndarray:
        signal = np.zeros(self.night.n_times, np.float32)
        for name, weight in _LATERAL.items():
            signal += self.night.lateral(name) * np.float32(weight)
        for name, weight in _EYES.items():
            signal += self.night.source(name) * np.float32(weight)
        return signal

    def _field(self, region: str, side: str) -> np.ndarray:
        """What a region sees on one side, in uV."""
        if (region, side) not in self._fields:
            signal = self._mix(f"field {region} {side}", _FIELDS[region], _BACKGROUND[region])
            sign = 1 if side == "left" else -1
            signal += self._lateral * np.float32(sign * _SPREAD[region])
            self._fields[region, side] = signal
        return self._fields[region, side]

    def _mix(self, name: str, weights: Mapping[str, float], background: float) -> np.ndarray:
        """Background of its own and shared sources, which no two heads mix quite alike."""
        night, rng = self.night, self.night.stream(name)
        places = np.exp(0.2 * rng.standard_normal(len(weights)))
        strength = background * night.strength("background", rng)
        signal = pink_noise(rng, night.n_times, SFREQ, night.person.exponent)
        signal *= to_samples(strength, SFREQ)
        for (source, weight), place in zip(weights.items(), places, strict=True):
            signal += night.source(source) * np.float32(weight * place)
        return signal


@cache
def _place(name: str) -> tuple[str, str]:
    """Region and side of an electrode: odd numbers and the letter L are left."""
    if name in _EARS:
        return "temporal", {"L": "left", "R": "right"}[name[1]]
    return {"A": "temporal", "C": "central", "O": "occipital"}[name[0]], (
        "left" if int(name[1]) % 2 else "right"
    )
