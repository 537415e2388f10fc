"""The rule for bad electrodes: what it finds, and what it must not mind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.datasets.electrodes import ELECTRODES
from sleepshift.datasets.simulated import Simulated
from sleepshift.errors import DataError
from sleepshift.windows import bad_electrodes

NAMES = ("a", "b", "c", "d", "e", "f")


def noise(seconds=600, seed=0):
    return np.random.default_rng(seed).normal(size=(6, 100 * seconds))


def found(x, **settings):
    return bad_electrodes(x, NAMES, sfreq=100.0, **settings)


def flat(x):
    x[:] = 3.0


def gone(x):
    x[:] = np.nan


def loud(x):
    x *= 6


def quiet(x):
    x /= 6


def rail(x):
    """An amplifier at its limit, with a blip now and then."""
    x[:] = 1000.0
    x[::50] = 0.0


HARM = [flat, gone, loud, quiet, rail]


def test_good_electrodes_are_left_alone():
    gains = np.array([0.4, 0.7, 1, 1, 1.5, 2.5])[:, None]
    assert found(noise() * gains) == ()


@pytest.mark.parametrize("harm", HARM)
def test_a_bad_electrode_is_found(harm):
    x = noise()
    harm(x[3])
    assert found(x) == ("d",)


@pytest.mark.parametrize("harm", HARM)
def test_an_electrode_that_fails_for_a_while_is_bad_from_a_fifth_of_the_night(harm):
    for windows, bad in ((3, ()), (5, ("d",))):
        x = noise()  # 20 windows
        harm(x[3, 3000 : 3000 * (windows + 1)])
        assert found(x) == bad


def test_up_to_half_of_a_group_may_be_bad():
    x = noise()
    for row, harm in zip(x, (flat, loud, gone), strict=False):
        harm(row)
    assert found(x) == ("a", "b", "c")
    assert found(np.zeros((6, 6000))) == NAMES


@given(exponent=st.integers(-9, 9), shift=st.floats(-1e3, 1e3))
def test_unit_and_offset_do_not_matter(exponent, shift):
    x = noise(60)
    x[4] *= 9
    assert found((x + shift) * 10.0**exponent) == ("e",)


def test_slow_drift_does_not_matter():
    x = noise()
    x[2] += np.linspace(0, 200, x.shape[1])
    assert found(x) == ()


def test_electrodes_are_held_against_their_own_group():
    x = noise()
    x[3:] *= 20  # the far side of the head
    x[5] *= 10
    sides = (NAMES[:3], NAMES[3:])
    assert found(x, groups=sides) == ("f",)
    assert found(x) != ("f",)
    assert found(x, groups=[NAMES[3:]]) == ("f",)
    x[0] = 0
    assert found(x, groups=[NAMES[3:]]) == ("a", "f")  # flat in no group


def test_nobody_is_loud_in_a_group_of_two():
    x = noise()[:2] * [[1], [100]]
    assert bad_electrodes(x, "ab", sfreq=100.0) == ()
    x[0] = 0
    assert bad_electrodes(x, "ab", sfreq=100.0) == ("a",)


def test_factor_and_share_decide():
    x = noise()
    x[0] *= 3
    x[1, :9000] = np.nan
    assert found(x) == ()
    assert found(x, factor=2) == ("a",)
    assert found(x, max_share=0.1) == ("b",)


def test_a_recording_shorter_than_a_window_is_one_piece():
    x = noise(10)
    flat(x[1])
    assert found(x) == ("b",)


def test_bad_input_is_one_line():
    with pytest.raises(DataError, match="there is no electrode 'z'; there are a, b"):
        found(noise(60), groups=[("a", "z")])
    with pytest.raises(DataError, match="6 electrodes have 2 names"):
        bad_electrodes(noise(60), "ab", sfreq=100.0)


def test_the_bad_electrodes_of_simulated_nights_are_found():
    dataset = Simulated(people=[(12, 25, 80)], hours=0.3)
    ears = [name for name in ELECTRODES if name.startswith("E")]
    sides = [[name for name in ears if name[1] == side] for side in "LR"]
    truth, rule = [], []
    for recording in dataset.recordings():
        raw = dataset.read(recording, ears)
        truth.append(tuple(raw.info["bads"]))
        rule.append(bad_electrodes(raw.get_data(), raw.ch_names, sfreq=100.0, groups=sides))
    assert any(truth)
    assert rule == truth
