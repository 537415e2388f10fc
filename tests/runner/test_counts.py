"""Counts of predictions against loops written out here."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.leaderboard.metrics import calibration_error
from sleepshift.runner.counts import N_BINS, person_counts, reliability


def drawn(n: int, n_stages: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, n_stages, n), rng.dirichlet(np.full(n_stages, 0.5), n)


def error_in_a_loop(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error as Guo et al. (2017) write it, bins open below."""
    total = 0.0
    for b in range(N_BINS):
        confidences, hits = [], []
        for stage, row in zip(truth.tolist(), probabilities.tolist(), strict=True):
            confidence = max(row)
            if b / N_BINS < confidence <= (b + 1) / N_BINS:
                confidences.append(confidence)
                hits.append(row.index(confidence) == stage)
        if hits:
            gap = abs(sum(hits) / len(hits) - sum(confidences) / len(hits))
            total += len(hits) / len(truth) * gap
    return total


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 999))
def test_calibration_error_is_that_of_a_loop(n: int, n_stages: int, seed: int) -> None:
    truth, probabilities = drawn(n, n_stages, seed)
    bins = np.array(reliability(truth, probabilities))
    # Sums of confidence are kept to four digits.
    error = error_in_a_loop(truth, probabilities)
    assert calibration_error(bins) == pytest.approx(error, abs=N_BINS * 5e-5 / n + 1e-12)


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 999))
def test_bins_hold_every_window_once(n: int, n_stages: int, seed: int) -> None:
    truth, probabilities = drawn(n, n_stages, seed)
    bins = reliability(truth, probabilities)
    assert len(bins) == N_BINS
    assert sum(row[0] for row in bins) == n
    assert sum(row[1] for row in bins) == (probabilities.argmax(axis=1) == truth).sum()
    for k, (size, hits, total) in enumerate(bins):
        assert 0 <= hits <= size
        assert size * k / N_BINS - 1e-4 <= total <= size * (k + 1) / N_BINS + 1e-4
        assert [type(value) for value in (size, hits, total)] == [int, int, float]


@pytest.mark.parametrize("k", range(6, N_BINS + 1))
def test_edges_belong_to_the_bin_below(k: int) -> None:
    edge = k / N_BINS
    rest = (1 - edge) / 2
    sizes = [row[0] for row in reliability(np.array([0]), np.array([[edge, rest, rest]]))]
    assert sizes.index(1) == k - 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certainty_is_in_the_last_bin_even_if_it_is_rounded_above_one(dtype: type) -> None:
    sure = np.array([[1.0, 0.0], [1.0000001, 0.0]], dtype=dtype)
    assert reliability(np.array([0, 1]), sure)[-1][:2] == [2, 1]


def test_no_windows_are_empty_bins() -> None:
    assert reliability(np.array([], dtype=int), np.zeros((0, 5))) == [[0, 0, 0.0]] * N_BINS


# ---------------------------------------------------------------------- people


def people(*rows: tuple[str, float, str]) -> SimpleNamespace:
    return SimpleNamespace(metadata=pd.DataFrame(rows, columns=["subject", "age", "sex"]))


def test_counts_of_people_are_apart_in_the_order_they_come() -> None:
    test = people(*[("b", 70.0, "F")] * 2, ("a", np.nan, "M"), ("b", 70.0, "F"))
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    b, a = person_counts(test, np.array([0, 0, 1, 1]), probabilities)
    assert (b["subject"], b["age"], b["sex"]) == ("b", 70.0, "F")
    assert (a["subject"], a["age"], a["sex"]) == ("a", None, "M")
    assert b["confusion"] == [[1, 1], [1, 0]]
    assert a["confusion"] == [[0, 0], [0, 1]]
    assert b["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.3)) / 3)
    assert a["nll"] == pytest.approx(-math.log(0.6))
    assert sum(n for n, *_ in b["reliability"]) == 3


def test_a_stage_that_was_held_impossible_surprises_but_not_without_end() -> None:
    (one,) = person_counts(people(("a", 1.0, "F")), np.array([1]), np.array([[1.0, 0.0]]))
    assert one["nll"] == pytest.approx(-math.log(1e-12))


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 999))
def test_windows_whose_label_is_withheld_are_not_counted(n: int, n_stages: int, seed: int) -> None:
    truth, probabilities = drawn(n, n_stages, seed)
    rng = np.random.default_rng(seed)
    test = people(*[(name, 50.0, "F") for name in rng.choice(list("abc"), n)])
    withheld = rng.random(n) < 0.4
    found = person_counts(test, np.where(withheld, -1, truth), probabilities)
    for person in found:
        own = (test.metadata["subject"] == person["subject"]).to_numpy() & ~withheld
        if not own.any():
            assert person["confusion"] is person["nll"] is person["reliability"] is None
            continue
        alone = SimpleNamespace(metadata=test.metadata[own].reset_index(drop=True))
        assert [person] == person_counts(alone, truth[own], probabilities[own])
        assert np.sum(person["confusion"]) == own.sum()
