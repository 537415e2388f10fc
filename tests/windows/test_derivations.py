"""Derivations: held against hand-computed sums and against MNE's own."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.derivations import check_derivations, lost_derivations
from sleepshift.errors import DataError, TaskError
from sleepshift.windows import Derivation, derive

LEFT = ("ELA", "ELB", "ELE", "ELI", "ELG", "ELK")
RIGHT = ("ERA", "ERB", "ERE", "ERI", "ERG", "ERK")
EARS = (
    Derivation("L-R", LEFT, RIGHT),
    Derivation("L", LEFT[:2], LEFT[2:]),
    Derivation("R", RIGHT[:2], RIGHT[2:]),
)
# One sample, in which no two sets of electrodes have the same sum.
POWERS = 2.0 ** np.arange(12)[:, None]


def ears(x, bads=(), **settings):
    return derive(x, LEFT + RIGHT, EARS, bads=bads, **settings)


# Bad electrodes -> what is left of [L-R, L, R], by hand.
BY_HAND = {
    (): (63 / 6 - 4032 / 6, 3 / 2 - 60 / 4, 192 / 2 - 3840 / 4),
    ("ELA", "ELK"): (30 / 4 - 4032 / 6, 2 - 28 / 3, 192 / 2 - 3840 / 4),
    ("ELB", "ERB"): (61 / 5 - 3904 / 5, 1 - 60 / 4, 64 - 3840 / 4),
    ("ERE", "ERI", "ERG"): (63 / 6 - 2240 / 3, 3 / 2 - 60 / 4, 192 / 2 - 2048),
}


@pytest.mark.parametrize(("bads", "expected"), BY_HAND.items())
@pytest.mark.parametrize("held", [None, np.nan, np.inf])
def test_means_are_over_the_electrodes_that_are_kept(bads, expected, held):
    x = POWERS.copy()
    for name in bads if held is not None else ():
        x[(LEFT + RIGHT).index(name)] = held
    np.testing.assert_allclose(ears(x, bads)[:, 0], expected, rtol=1e-12)


def raw_of(names, seed=0, n_times=500):
    x = 1e-5 * np.random.default_rng(seed).normal(size=(len(names), n_times))
    return mne.io.RawArray(x, mne.create_info(list(names), 100.0, "eeg"), verbose=False)


def test_one_pair_is_a_bipolar_reference_of_mne():
    raw = raw_of(("C4", "O1", "C3"))
    expected = mne.set_bipolar_reference(raw, "C3", "O1", ch_name="pair", verbose=False)
    got = derive(raw.get_data(), raw.ch_names, [Derivation("C3-O1", ("C3",), ("O1",))])
    np.testing.assert_array_equal(got, expected.get_data(picks=["pair"]))


def test_groups_are_the_combined_channels_of_mne():
    raw = raw_of(LEFT + RIGHT)
    raw.info["bads"] = ["ELB", "ERK", "ERG"]
    sides = {
        side: [raw.ch_names.index(name) for name in names if name not in raw.info["bads"]]
        for side, names in (("left", LEFT), ("right", RIGHT))
    }
    left, right = mne.channels.combine_channels(raw, sides, method="mean").get_data()
    got = ears(raw.get_data(), raw.info["bads"])[0]
    np.testing.assert_allclose(got, left - right, rtol=1e-10, atol=1e-18)


@given(bads=st.sets(st.sampled_from(LEFT + RIGHT), max_size=12), seed=st.integers(0, 99))
def test_bad_electrodes_might_as_well_not_be_there(bads, seed):
    x = np.random.default_rng(seed).normal(size=(12, 5))
    holed = x.copy()
    holed[[name in bads for name in LEFT + RIGHT]] = np.nan
    got = ears(holed, bads, empty="zeros")
    sides = {"L-R": (LEFT, RIGHT), "L": (LEFT[:2], LEFT[2:]), "R": (RIGHT[:2], RIGHT[2:])}
    for row, (plus, minus) in zip(got, sides.values(), strict=True):
        means = [
            np.array([x[(LEFT + RIGHT).index(name)] for name in side if name not in bads])
            for side in (plus, minus)
        ]
        expected = means[0].mean(axis=0) - means[1].mean(axis=0) if all(map(len, means)) else 0
        np.testing.assert_allclose(row, np.broadcast_to(expected, 5), atol=1e-12)
    lost = [name for name, row in zip(sides, got, strict=True) if not row.any()]
    assert lost_derivations(EARS, bads) == tuple(lost)


@given(st.floats(-100, 100), st.sets(st.sampled_from(LEFT + RIGHT), max_size=1))
def test_what_all_electrodes_share_goes_away(shared, bads):
    x = np.random.default_rng(0).normal(size=(12, 5))
    np.testing.assert_allclose(ears(x + shared, bads), ears(x, bads), atol=1e-11)


def test_a_gap_stays_in_the_derivations_of_its_electrode():
    x = np.random.default_rng(0).normal(size=(12, 5))
    x[0, 2] = np.nan  # ELA, which is not listed as bad
    assert np.argwhere(~np.isfinite(ears(x))).tolist() == [[0, 2], [1, 2]]


def test_without_a_minus_the_reference_of_the_recording_stays():
    x = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 9.0]])
    both = derive(x, "abc", [Derivation("mean", ("a", "c")), Derivation("sole", ("b",))])
    assert both.tolist() == [[4.0, 5.5], [3.0, 5.0]]


def test_windows_are_derived_one_by_one():
    x = np.random.default_rng(0).normal(size=(4, 2, 12, 5))
    got = ears(x)
    assert got.shape == (4, 2, 3, 5)
    np.testing.assert_array_equal(got[3, 1], ears(x[3, 1]))


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [(np.float32, np.float32), (np.float64, np.float64), (np.int16, np.float32)],
)
def test_precision_is_kept_and_signals_are_left_alone(given_type, expected):
    x = POWERS.astype(given_type)
    got = ears(x)
    assert got.dtype == expected
    np.testing.assert_allclose(got, ears(POWERS), rtol=1e-6)
    np.testing.assert_array_equal(x, POWERS.astype(given_type))


@pytest.mark.parametrize(
    ("bads", "named"),
    [(LEFT[:2], "'L'.*ELA, ELB"), (RIGHT[2:], "'R'.*ERE, ERI, ERG, ERK"), (RIGHT, "'L-R'.*ERA")],
)
def test_a_side_without_electrodes_is_refused_or_zero(bads, named):
    with pytest.raises(DataError, match=f"derivation {named}") as caught:
        ears(POWERS, bads)
    assert "\n" not in str(caught.value)
    zeros = ears(POWERS, bads, empty="zeros")
    lost = [d.name in lost_derivations(EARS, bads) for d in EARS]
    assert (zeros[lost] == 0).all()
    kept = [k for k, gone in enumerate(lost) if not gone]
    np.testing.assert_array_equal(
        zeros[kept], derive(POWERS, LEFT + RIGHT, [EARS[k] for k in kept], bads=bads)
    )


def test_bad_input_is_one_line():
    with pytest.raises(DataError, match="derivation 'R': there is no electrode 'ERA'"):
        derive(POWERS[:6], LEFT, EARS[2:])
    with pytest.raises(DataError, match="6 electrodes have 12 names"):
        derive(POWERS[:6], LEFT + RIGHT, EARS)
    with pytest.raises(TaskError, match="can 'raise' or be 'zeros', not 'skip'"):
        ears(POWERS, empty="skip")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("X", ()), "derivation 'X': plus names no electrode"),
        (("X", (), ("a",)), "derivation 'X': plus names no electrode"),
        (("X", ("a", "b"), ("c", "b")), "derivation 'X': electrode 'b' is on both sides"),
        (("X", ("a", "a"), ("c",)), "derivation 'X': electrode 'a' is named twice"),
        (("X", ("a",), ("c", "c")), "derivation 'X': electrode 'c' is named twice"),
        (("a", ("a",), ("c",)), "derivation 'a' is named like one of its electrodes"),
        (("c", ("a",), ("c",)), "derivation 'c' is named like one of its electrodes"),
        (("X", "a"), "derivation 'X': list its electrodes"),
    ],
)
def test_a_derivation_that_makes_no_sense_is_one_line(arguments, reason):
    with pytest.raises(TaskError, match=reason) as caught:
        Derivation(*arguments)
    assert "\n" not in str(caught.value)


def test_derivations_must_differ_from_each_other_and_from_electrodes():
    check_derivations(EARS)
    with pytest.raises(TaskError, match="two derivations 'L'"):
        check_derivations([*EARS, Derivation("L", ("x",))])
    with pytest.raises(TaskError, match="derivation 'L' is named like an electrode"):
        check_derivations([*EARS, Derivation("X", ("L",))])


def test_lists_are_as_good_as_tuples():
    assert Derivation("X", ["a"], ["b"]) == Derivation("X", ("a",), ("b",))
    assert hash(Derivation("X", ["a"])) == hash(Derivation("X", ("a",)))
