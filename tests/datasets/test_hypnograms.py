"""Simulated stages: do they follow the real nights they were measured on?"""

from __future__ import annotations

import csv
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from sleepshift.datasets import hypnograms as h

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "sleep_edf_stages"


def _ages() -> dict[int, float]:
    table = files("mne.datasets.sleep_physionet").joinpath("age_records.csv").read_text()
    return {int(row["subject"]): float(row["age"]) for row in csv.DictReader(table.splitlines())}


def _nights(age: float, count: int, n_windows: int = 900) -> np.ndarray:
    return np.stack(
        [h.simulate_stages(age, n_windows, np.random.default_rng(i)) for i in range(count)]
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="the real stage sequences are not on this machine")
def test_committed_numbers_reproduce_from_the_real_nights():
    ages = _ages()
    paths = sorted(REAL.glob("SC4*.json"))
    assert len(paths) == 153
    nights = [(ages[int(path.name[3:5])], json.loads(path.read_text())) for path in paths]
    for low, high in h.AGE_BANDS:
        band = [(age, h.main_sleep(stages)) for age, stages in nights if low <= age < high]
        mean_age = round(float(np.mean([age for age, _ in band])), 1)
        measured = h.transition_statistics(stages for _, stages in band)
        np.testing.assert_allclose(h.transition_matrices(mean_age), measured, atol=0.0015)


@pytest.mark.parametrize("age", [18, 29, 40.5, 69, 90, 110])
def test_matrices_are_probabilities(age):
    matrices = h.transition_matrices(age)
    assert matrices.shape == (3, 5, 5)
    assert matrices.min() >= 0
    np.testing.assert_allclose(matrices.sum(axis=2), 1)


def test_matrices_lie_between_those_of_the_bands():
    young, middle, between = map(h.transition_matrices, (29.0, 54.1, 41.5))
    assert np.all(between <= np.maximum(young, middle) + 1e-3)
    assert np.all(between >= np.minimum(young, middle) - 1e-3)


def test_statistics_recover_a_known_chain():
    measured = h.transition_statistics(_nights(30, 200))
    frequent = h.transition_matrices(30)
    # Wake is rare in young people, so its rows are known least well.
    np.testing.assert_allclose(measured, frequent, atol=0.05)


def test_statistics_skip_what_is_not_scored():
    measured = h.transition_statistics([[2, 2, -1, 4, 4, 4]])
    assert measured[0, 2, 2] == 1
    assert measured[:, 2, 4].sum() == 0
    np.testing.assert_allclose(measured.sum(axis=2), 1)


def test_main_sleep_leaves_naps_and_long_wake_out():
    nap, night = [2] * 20, [2] * 100 + [0] * 100 + [4] * 50
    stages = [0] * 300 + nap + [0] * 500 + night + [0] * 300
    kept = h.main_sleep(stages)
    assert kept.tolist() == [0] * 10 + night + [0] * 10
    assert h.main_sleep([0] * 30).size == 0


def test_night_starts_awake_and_repeats():
    first = h.simulate_stages(40, 480, np.random.default_rng(3))
    again = h.simulate_stages(40, 480, np.random.default_rng(3))
    other = h.simulate_stages(40, 480, np.random.default_rng(4))
    assert first[0] == 0
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert set(np.unique(first)) <= set(range(5))


def test_older_people_wake_more_and_have_less_deep_sleep():
    young, old = _nights(29, 60), _nights(90, 60)
    assert np.mean(old == 0) > 1.7 * np.mean(young == 0)
    assert np.mean(old == 1) > 1.5 * np.mean(young == 1)
    assert np.mean(old == 3) < 0.5 * np.mean(young == 3)


def test_deep_sleep_comes_early_and_rem_late():
    nights = _nights(29, 60)
    assert np.mean(nights[:, :300] == 3) > 2 * np.mean(nights[:, 600:] == 3)
    assert np.mean(nights[:, 600:] == 4) > 1.5 * np.mean(nights[:, :300] == 4)


def test_deep_sleep_is_split_and_nothing_else_changes():
    shares = []
    for age in (29.0, 90.0):
        stages = np.concatenate(_nights(age, 40))
        codes, depth = h.split_deep_sleep(stages, age, np.random.default_rng(0))
        np.testing.assert_array_equal(np.isin(codes, (3, 4)), stages == 3)
        np.testing.assert_array_equal(codes == 5, stages == 4)
        np.testing.assert_array_equal(codes[stages < 3], stages[stages < 3])
        assert 0 < depth.min() <= depth.max() < 1
        assert depth[codes == 4].min() > depth[codes == 3].max()
        shares.append(np.mean(codes[stages == 3] == 4))
    assert 0.25 < shares[0] < 0.6
    assert shares[1] < 0.7 * shares[0]


def test_blur_keeps_shares_and_grows():
    stages = _nights(50, 1)[0]
    pure = np.repeat(np.eye(5)[stages], 30, axis=0)
    kept = []
    for share in (0.05, 0.3):
        body = h.blur_stages(stages, share, np.random.default_rng(1))
        assert body.shape == (27000, 5)
        assert body.min() >= 0
        np.testing.assert_allclose(body.sum(axis=1), 1)
        kept.append(np.mean(np.sum(body * pure, axis=1)))
    assert kept[0] > 0.85
    assert kept[1] < kept[0] - 0.1
