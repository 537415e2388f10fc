"""Simulated signals: do spectra, events and heart do in each stage what people's do?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, find_peaks, hilbert, sosfiltfilt, welch

from sleepshift.datasets import graphoelements
from sleepshift.datasets.heart import beat_times
from sleepshift.datasets.physiology import CHANNELS, SFREQ, Night, make_person

# Ten minutes of each stage; shallow and deep N3 apart.
STAGES = np.repeat([0, 1, 2, 3, 3, 4], 20)
DEPTH = np.repeat([0.5, 0.5, 0.5, 0.1, 0.9, 0.5], 20)
W, N1, N2, SHALLOW, DEEP, REM = range(6)


def _night(subject: int = 0, age: float = 30, seed: int = 0, number: int = 1) -> Night:
    return Night(make_person(subject, age, seed), number, STAGES, DEPTH)


def _parts(signal: np.ndarray) -> np.ndarray:
    return signal.reshape(6, -1)


def _power(signal: np.ndarray, low: float, high: float) -> np.ndarray:
    frequency, density = welch(_parts(signal) * 1e6, SFREQ, nperseg=400)
    return density[:, (frequency >= low) & (frequency < high)].sum(axis=1) * 0.25


@pytest.fixture(scope="module")
def people():
    """Eight young and eight old people: subject -> channel -> signal in Volts."""

    def cohort(age, first):
        nights = [_night(subject, age) for subject in range(first, first + 8)]
        return [{name: night.channel(name) for name in CHANNELS} for night in nights]

    return {"young": cohort(28, 0), "old": cohort(88, 50)}


def _mean_power(cohort, channel, low, high):
    return np.mean([_power(person[channel], low, high) for person in cohort], axis=0)


def test_signals_are_finite_and_of_plausible_size(people):
    for person in people["young"] + people["old"]:
        for name, signal in person.items():
            assert signal.shape == (len(STAGES) * 30 * SFREQ,)
            assert np.isfinite(signal).all()
            spread = 1e6 * np.subtract(*np.percentile(signal, [95, 5]))
            low, high = {"eeg": (10, 150), "eog": (20, 300), "emg": (3, 100), "ecg": (50, 1500)}[
                CHANNELS[name]
            ]
            assert low < spread < high, name


def test_same_key_same_signal_whatever_else_is_asked():
    alone = _night().channel("EAR left")
    night = _night()
    for name in CHANNELS:
        night.channel(name)
    np.testing.assert_array_equal(alone, night.channel("EAR left"))


@pytest.mark.parametrize("other", [{"subject": 1}, {"seed": 1}, {"number": 2}])
def test_people_nights_and_seeds_are_independent(other):
    a, b = _night().channel("EEG Pz-Oz"), _night(**other).channel("EEG Pz-Oz")
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_a_person_is_the_same_every_night():
    assert make_person(3, 40, 5) == make_person(3, 40, 5)
    assert make_person(3, 40, 5) != make_person(4, 40, 5)


def test_wake_has_an_alpha_peak_that_is_stronger_at_the_back(people):
    for person in people["young"]:
        frequency, density = welch(_parts(person["EEG Pz-Oz"])[W], SFREQ, nperseg=400)
        inside = (frequency >= 7) & (frequency <= 13)
        neighbours = density[(frequency >= 4) & (frequency < 6)].mean()
        assert density[inside].max() > 2 * neighbours
    alpha = _mean_power(people["young"], "EEG Pz-Oz", 8, 12)
    assert alpha[W] > 3 * alpha[[N2, DEEP, REM]].max()
    assert alpha[W] > 2 * _mean_power(people["young"], "EEG Fpz-Cz", 8, 12)[W]


def test_slow_waves_grow_with_depth(people):
    delta = _mean_power(people["young"], "EEG Fpz-Cz", 0.5, 2)
    assert delta[DEEP] > 1.3 * delta[SHALLOW]
    assert delta[SHALLOW] > 1.5 * delta[N2]
    assert delta[N2] > 1.3 * delta[REM]


def test_spindles_mark_stage_two(people):
    sigma = _mean_power(people["young"], "EEG Fpz-Cz", 12, 15)
    assert sigma[N2] > 1.3 * max(sigma[N1], sigma[REM])
    band = butter(4, [11.5, 15], "bandpass", fs=SFREQ, output="sos")
    bursts = []
    for person in people["young"]:
        envelope = np.abs(hilbert(sosfiltfilt(band, person["EEG Fpz-Cz"] * 1e6)))
        bursts.append((_parts(envelope) > 12).mean(axis=1))
    share = np.mean(bursts, axis=0)
    assert share[N2] > 3 * share[REM]


def test_age_changes_the_waves(people):
    def ratio(channel, low, high, stage):
        young, old = (_mean_power(people[who], channel, low, high) for who in ("young", "old"))
        return old[stage] / young[stage]

    assert ratio("EEG Fpz-Cz", 0.5, 2, DEEP) < 0.7
    assert ratio("EEG Fpz-Cz", 12, 15, N2) < 0.8
    assert ratio("EEG Pz-Oz", 8, 12, W) < 0.8
    drawn = [[make_person(i, age) for i in range(60)] for age in (28, 88)]
    for trait, falls in (("alpha", True), ("exponent", True), ("heart_variability", True)):
        young, old = (np.mean([getattr(p, trait) for p in group]) for group in drawn)
        assert (old < young) == falls, trait


def test_people_differ():
    group = [make_person(i, 40) for i in range(60)]
    assert np.std([p.alpha for p in group]) > 0.4
    assert np.std([p.spindle for p in group]) > 0.3
    assert np.std([p.heart_rate for p in group]) > 4
    assert np.std([np.log(p.gains["alpha"]) for p in group]) > 0.15


def _largest_steps(signal: np.ndarray) -> np.ndarray:
    smooth = sosfiltfilt(butter(4, 12, fs=SFREQ, output="sos"), _parts(signal))
    return np.percentile(np.abs(smooth[:, 5:] - smooth[:, :-5]), 99, axis=1)


def test_eyes_move_fast_in_rem_and_slowly_in_stage_one(people):
    slow = _mean_power(people["young"], "EOG horizontal", 0.24, 0.6)
    # A saccade takes 50 ms; slow waves, which leak into the EOG, take longer.
    fast = np.mean([_largest_steps(p["EOG horizontal"]) for p in people["young"]], axis=0)
    assert slow[N1] > 1.5 * slow[N2]
    assert fast[REM] > 1.3 * fast[N2]


def test_chin_relaxes(people):
    tone = np.mean([_parts(p["EMG submental"]).std(axis=1) for p in people["young"]], axis=0)
    still = np.mean(
        [np.median(np.abs(_parts(p["EMG submental"])), axis=1) for p in people["young"]], axis=0
    )
    assert tone[W] > tone[N2]
    assert still[W] > still[N2] > still[REM]


def _rates(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean heart rate and its relative spread in each stage."""
    peaks, _ = find_peaks(signal, height=0.45 * np.percentile(signal, 99.7), distance=35)
    rate = 60 * SFREQ / np.diff(peaks)
    stage = peaks[1:] * 6 // len(signal)
    own = [rate[stage == index] for index in range(6)]
    return np.array([r.mean() for r in own]), np.array([r.std() / r.mean() for r in own])


def test_heart_follows_stage_and_person(people):
    found = [_rates(person["ECG"]) for person in people["young"]]
    means = np.array([mean for mean, _ in found])
    relative = np.mean(means / means.mean(axis=1, keepdims=True), axis=0)
    assert np.all((means > 35) & (means < 110))
    assert means.mean(axis=1).std() > 3
    assert relative[W] > relative[[N2, SHALLOW, DEEP]].max()
    spread = np.mean([variation for _, variation in found], axis=0)
    old = np.mean([_rates(person["ECG"])[1] for person in people["old"]], axis=0)
    assert spread[W] > spread[DEEP]
    assert old.mean() < 0.8 * spread.mean()


def test_beats_follow_the_rate():
    np.testing.assert_allclose(np.diff(beat_times(np.full(400, 75.0))), 0.8)


def test_ear_is_a_weaker_mix_of_the_scalp(people):
    for person in people["young"]:
        scalp = np.corrcoef(person["EEG Fpz-Cz"], person["EEG Pz-Oz"])[0, 1]
        ears = np.corrcoef(person["EAR left"], person["EEG Fpz-Cz"])[0, 1]
        assert 0.1 < ears < scalp + 0.2
        assert person["EAR left"].std() < person["EEG Fpz-Cz"].std()


def test_stages_overlap_within_a_person(people):
    """No single band power splits two neighbouring stages without error."""
    windows = people["young"][0]["EEG Fpz-Cz"].reshape(-1, 30 * SFREQ)
    frequency, density = welch(windows, SFREQ, nperseg=400)
    delta = np.log(density[:, (frequency >= 0.5) & (frequency < 4)].sum(axis=1))
    stage_two, shallow = delta[STAGES == 2], delta[STAGES == 3]
    assert shallow.min() < stage_two.max()


@pytest.mark.parametrize("shape", graphoelements.__all__)
def test_event_shapes_start_and_end_near_zero(shape):
    rng = np.random.default_rng(0)
    waveforms = getattr(graphoelements, shape)(rng, 200)
    assert len(waveforms) == 200
    assert getattr(graphoelements, shape)(rng, 0).shape == (0, waveforms.shape[1])
    size = np.abs(waveforms).max(axis=1)
    assert np.all(np.abs(waveforms[:, [0, -1]]) <= 0.15 * size[:, None])
    assert 10 < np.median(size) < 200


def test_unknown_channel():
    with pytest.raises(KeyError):
        _night().channel("EEG Cz")
