"""Simulated electrodes: one night's physiology, seen from the scalp and, weaker, from the ears."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from sleepshift.datasets.electrodes import ELECTRODES, Electrodes
from sleepshift.datasets.physiology import SFREQ, Night, make_person
from sleepshift.windows import Derivation, derive

# Ten minutes of each stage.
STAGES = np.repeat([0, 1, 2, 3, 4], 20)
N3 = 3
LEFT, RIGHT = (tuple(f"E{side}{place}" for place in "ABEIGK") for side in "LR")
DERIVATIONS = {
    "A1-A2": Derivation("A1-A2", ("A1",), ("A2",)),
    "C3-O1": Derivation("C3-O1", ("C3",), ("O1",)),
    "C4-O2": Derivation("C4-O2", ("C4",), ("O2",)),
    "L-R": Derivation("L-R", LEFT, RIGHT),
    "L": Derivation("L", LEFT[:2], LEFT[2:]),
    "R": Derivation("R", RIGHT[:2], RIGHT[2:]),
}


def _night(subject=0, age=30.0, seed=0, number=1):
    return Night(make_person(subject, age, seed), number, STAGES, np.full(len(STAGES), 0.5))


@pytest.fixture(scope="module")
def whole_heads():
    """Nights without bad electrodes: electrode -> signal in uV, and the scalp channel beside."""
    heads = []
    for subject in range(20):
        night = _night(subject)
        electrodes = Electrodes(night)
        if not electrodes.bads:
            head = {name: 1e6 * electrodes.signal(name) for name in ELECTRODES}
            heads.append(head | {"EEG Fpz-Cz": 1e6 * night.channel("EEG Fpz-Cz")})
    return heads[:5]


def _derived(head, *names):
    x = np.stack([head[name] for name in ELECTRODES])
    return derive(x, list(ELECTRODES), [DERIVATIONS[name] for name in names])


def _in_band(signal, low, high):
    return sosfiltfilt(butter(4, [low, high], "bandpass", fs=SFREQ, output="sos"), signal)


def _spread(signal):
    return np.subtract(*np.percentile(signal, [75, 25]))


def test_there_are_six_electrodes_on_the_scalp_and_twelve_in_the_ears():
    assert set(ELECTRODES) == {"A1", "A2", "C3", "C4", "O1", "O2"} | {
        f"E{side}{place}" for side in "LR" for place in "ABEIGK"
    }
    assert len(ELECTRODES) == 18
    assert set(ELECTRODES.values()) == {"eeg"}


def test_signals_are_finite_and_of_plausible_size(whole_heads):
    for head in whole_heads:
        for name in ELECTRODES:
            assert head[name].shape == (len(STAGES) * 30 * SFREQ,)
            assert np.isfinite(head[name]).all()
            assert 8 < _spread(head[name]) < 80, name


def test_same_key_same_signal_whatever_else_is_asked():
    alone = Electrodes(_night()).signal("ERG")
    night = _night()
    electrodes = Electrodes(night)
    channel = night.channel("EEG Fpz-Cz")
    for name in ELECTRODES:
        electrodes.signal(name)
    np.testing.assert_array_equal(alone, electrodes.signal("ERG"))
    np.testing.assert_array_equal(channel, night.channel("EEG Fpz-Cz"))
    np.testing.assert_array_equal(channel, _night().channel("EEG Fpz-Cz"))


@pytest.mark.parametrize("other", [{"subject": 1}, {"seed": 1}, {"number": 2}])
def test_people_nights_and_seeds_are_independent(other):
    a, b = (Electrodes(night).signal("C3") for night in (_night(), _night(**other)))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_electrodes_share_a_reference_that_derivations_take_away(whole_heads):
    for head in whole_heads:
        near = np.corrcoef(head["ELA"], head["ERK"])[0, 1]
        assert near > 0.5  # the bowl of one ear and the canal of the other
        left, right = _derived(head, "L", "R")
        assert abs(np.corrcoef(left, right)[0, 1]) < near - 0.2
        assert _spread(left) < 0.8 * _spread(head["ELA"])


def test_the_ear_sees_the_physiology_of_the_night_attenuated(whole_heads):
    """Slow waves of the scalp are in both ears, smaller, and not the same in both."""
    deep = slice(N3 * 60000, (N3 + 1) * 60000)
    names = ("A1-A2", "C3-O1", "L-R", "L", "R")
    for head in whole_heads:
        waves = {
            name: _in_band(signal, 0.5, 4)[deep]
            for name, signal in zip(names, _derived(head, *names), strict=True)
        }
        waves["Fpz"] = _in_band(head["EEG Fpz-Cz"], 0.5, 4)[deep]
        assert _spread(waves["L"]) < _spread(waves["L-R"]) < 0.6 * _spread(waves["A1-A2"])

        def alike(a, b, waves=waves):
            return np.corrcoef(waves[a], waves[b])[0, 1]

        assert alike("Fpz", "C3-O1") > 0.4
        assert alike("A1-A2", "L-R") > 0.5
        for side in ("L", "R"):
            assert 0.15 < alike("Fpz", side) < 0.75
        assert abs(alike("L", "R")) < 0.5


@pytest.mark.parametrize("name", ["A1-A2", "C3-O1", "C4-O2", "L-R"])
def test_slow_waves_grow_with_depth(whole_heads, name):
    power = np.mean(
        [
            np.square(_in_band(_derived(head, name)[0], 0.5, 2)).reshape(5, -1).mean(axis=1)
            for head in whole_heads
        ],
        axis=0,
    )
    assert power[N3] > 1.3 * np.delete(power, N3).max()


def test_some_nights_have_one_to_three_bad_ear_electrodes_and_never_a_whole_bowl():
    drawn = [Electrodes(_night(subject)).bads for subject in range(300)]
    counts = np.bincount([len(bads) for bads in drawn], minlength=4)
    assert len(counts) == 4
    assert 0.5 < counts[0] / 300 < 0.7
    assert (counts[1:] > 20).all()
    assert {name for bads in drawn for name in bads} == {n for n in ELECTRODES if n[0] == "E"}
    for bads in drawn:
        assert not {"ELA", "ELB"} <= set(bads)
        assert not {"ERA", "ERB"} <= set(bads)
    # Electrodes are put on anew each night.
    assert any(Electrodes(_night(s, number=2)).bads != drawn[s] for s in range(20))


def test_bad_electrodes_are_flat_or_nothing_but_noise():
    kinds = set()
    for subject in range(30):
        electrodes = Electrodes(_night(subject))
        good = next(name for name in ("ELB", "ERB", "ELK") if name not in electrodes.bads)
        for name in electrodes.bads[:1]:
            signal = electrodes.signal(name)
            flat = not np.ptp(signal)
            kinds.add(flat)
            assert flat or _spread(signal) > 8 * _spread(electrodes.signal(good))
    assert kinds == {True, False}


def test_unknown_electrode():
    with pytest.raises(KeyError):
        Electrodes(_night()).signal("ELC")
