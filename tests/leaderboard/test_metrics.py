"""Metrics of confusion matrices against scikit-learn's on the labels themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    multilabel_confusion_matrix,
)

from sleepshift.errors import TaskError
from sleepshift.leaderboard.metrics import (
    METRICS,
    calibration_error,
    f1_per_stage,
    merge_confusion,
    metrics,
    recall_per_stage,
)
from sleepshift.stages import SCHEMES, convert, merge_map

counts = st.integers(2, 6).flatmap(
    lambda n: arrays(np.int64, (n, n), elements=st.one_of(st.just(0), st.integers(0, 12)))
)


def labels_of(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = np.indices(confusion.shape)
    return np.repeat(truth.ravel(), confusion.ravel()), np.repeat(
        predicted.ravel(), confusion.ravel()
    )


def reference(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")
        return {
            "accuracy": accuracy_score(truth, predicted),
            "balanced_accuracy": balanced_accuracy_score(truth, predicted),
            "macro_f1": f1_score(truth, predicted, average="macro"),
            "weighted_f1": f1_score(truth, predicted, average="weighted"),
            "kappa": cohen_kappa_score(truth, predicted),
            "g_mean": g_mean(truth, predicted),
        }


def g_mean(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Over the stages of the truth: the root of sensitivity times specificity."""
    stages = np.unique(truth)
    (tn, fp), (fn, tp) = np.moveaxis(
        multilabel_confusion_matrix(truth, predicted, labels=stages), 0, 2
    )
    return float(np.mean(np.sqrt(tp / (tp + fn) * (tn / (tn + fp)))))


@settings(max_examples=200, deadline=None)
@given(counts.filter(lambda c: c.sum() > 0))
@example(np.array([[0, 0], [0, 5]]))  # one stage, always right
@example(np.array([[0, 0], [5, 0]]))  # always wrong
@example(np.array([[3, 2, 0], [0, 0, 0], [0, 0, 0]]))  # one stage in truth
@example(np.array([[0, 0, 4], [0, 0, 0], [0, 0, 3]]))  # one stage predicted
@example(np.array([[0, 4, 1], [2, 0, 3], [5, 6, 0]]))  # all wrong
@example(np.array([[4, 0, 1], [2, 0, 3], [5, 0, 7]]))  # a stage that is never predicted
@example(np.array([[4, 1, 1], [0, 0, 0], [5, 2, 7]]))  # a stage that is never true
@example(np.array([[0, 1], [0, 0]]))  # one window, wrong
@example(np.array([[0, 0], [0, 1]]))  # one window, right
def test_metrics_are_scikit_learns(confusion: np.ndarray) -> None:
    got, expected = metrics(confusion), reference(*labels_of(confusion))
    assert tuple(got) == METRICS
    for name in METRICS:
        assert got[name] == pytest.approx(expected[name], abs=1e-12, nan_ok=True), name


def test_kappa_of_one_stage_alone_is_not_a_number() -> None:
    assert np.isnan(metrics(np.diag([0, 9, 0]))["kappa"])


def test_nothing_scored_is_not_a_number() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(v) for v in metrics(np.zeros((5, 5), dtype=int)).values())


@given(counts.filter(lambda c: c.sum() > 0))
def test_no_warning_is_given_and_values_are_plain_numbers(confusion: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert {type(v) for v in metrics(confusion).values()} == {float}
        f1_per_stage(confusion)


@given(counts.filter(lambda c: c.sum() > 0), st.randoms(use_true_random=False))
def test_the_order_of_stages_does_not_matter(confusion: np.ndarray, random: object) -> None:
    order = list(range(len(confusion)))
    random.shuffle(order)
    shuffled = metrics(confusion[np.ix_(order, order)])
    for name, value in metrics(confusion).items():
        assert shuffled[name] == pytest.approx(value, abs=1e-12, nan_ok=True)


@given(counts.filter(lambda c: c.sum() > 0))
def test_a_stage_that_never_occurs_changes_nothing(confusion: np.ndarray) -> None:
    padded = metrics(np.pad(confusion, (0, 1)))
    for name, value in metrics(confusion).items():
        assert padded[name] == pytest.approx(value, abs=1e-12, nan_ok=True)


@given(counts)
def test_f1_of_each_stage_is_scikit_learns(confusion: np.ndarray) -> None:
    truth, predicted = labels_of(confusion)
    got = f1_per_stage(confusion)
    for stage in range(len(confusion)):
        if stage not in truth and stage not in predicted:
            assert np.isnan(got[stage])
        else:
            expected = f1_score(truth == stage, predicted == stage, zero_division=0)
            assert got[stage] == pytest.approx(expected, abs=1e-12)


@given(counts)
def test_recall_of_each_stage_is_the_share_that_was_found(confusion: np.ndarray) -> None:
    truth, predicted = labels_of(confusion)
    for stage, got in enumerate(recall_per_stage(confusion)):
        own = truth == stage
        if own.any():
            assert got == pytest.approx((predicted[own] == stage).mean(), abs=1e-12)
        else:
            assert np.isnan(got)


def test_g_mean_by_hand() -> None:
    # Sensitivities 3/4 and 4/6, each the other's specificity.
    got = metrics(np.array([[3, 1], [2, 4]]))["g_mean"]
    assert got == pytest.approx(np.sqrt(3 / 4 * 4 / 6))
    assert metrics(np.array([[5, 0, 0], [2, 0, 2], [0, 0, 1]]))["g_mean"] == pytest.approx(
        (np.sqrt(1 * 3 / 5) + 0 + np.sqrt(1 * 7 / 9)) / 3
    )


# ---------------------------------------------------------------------- calibration


def test_calibration_error_by_hand() -> None:
    # 4 windows at .9 of which 2 are right, 6 at .5 of which 5 are.
    bins = np.array([[0, 0, 0.0], [4, 2, 3.6], [6, 5, 3.0]])
    assert calibration_error(bins) == pytest.approx((4 * 0.4 + 6 * abs(5 / 6 - 0.5)) / 10)
    assert calibration_error(np.array([[8, 8, 8.0]])) == 0
    assert calibration_error(np.array([[8, 0, 8.0]])) == 1


def test_nothing_scored_has_no_calibration_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(calibration_error(np.zeros((15, 3))))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 9)), min_size=1))
def test_calibration_error_is_its_definition_in_a_loop(rows: list) -> None:
    bins = np.array([(n, min(n, hits), min(n, total)) for n, hits, total in rows], dtype=float)
    n = sum(row[0] for row in bins)
    expected = 0.0
    for size, hits, total in bins:
        if size:
            expected += size / n * abs(hits / size - total / size)
    got = calibration_error(bins)
    assert np.isnan(got) if not n else got == pytest.approx(expected, abs=1e-12)
    assert not n or 0 <= got <= 1


# ---------------------------------------------------------------------- merging


def test_large_counts_do_not_overflow() -> None:
    confusion = np.full((3, 3), 2**40, dtype=np.int64)
    got = metrics(confusion)
    assert got["accuracy"] == pytest.approx(1 / 3)
    assert got["kappa"] == pytest.approx(0, abs=1e-12)


def merges() -> list[tuple[str, str]]:
    found = []
    for source in SCHEMES:
        for target in SCHEMES:
            try:
                codes = merge_map(source, target)
            except TaskError:
                continue
            if (codes >= 0).all():
                found.append((source, target))
    return found


@pytest.mark.parametrize(("source", "target"), merges())
def test_merged_counts_are_counts_of_merged_labels(source: str, target: str) -> None:
    n, m = len(SCHEMES[source]), len(SCHEMES[target])
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 9, (n, n))
    truth, predicted = (convert(y, source, target) for y in labels_of(confusion))
    expected = confusion_matrix(truth, predicted, labels=range(m))
    merged = merge_confusion(confusion, source, target)
    np.testing.assert_array_equal(merged, expected)
    assert merged.sum() == confusion.sum()


@pytest.mark.parametrize("source", ["aasm5", "rk6"])
def test_counts_cannot_be_merged_into_a_scheme_that_leaves_stages_out(source: str) -> None:
    """They would otherwise be counted as some other stage."""
    confusion = np.ones((len(SCHEMES[source]),) * 2, dtype=int)
    with pytest.raises(TaskError, match="'wake-deep' leaves stages out"):
        merge_confusion(confusion, source, "wake-deep")


def test_counts_cannot_be_split_into_a_finer_scheme() -> None:
    with pytest.raises(TaskError, match="cannot be expressed"):
        merge_confusion(np.ones((3, 3), dtype=int), "stages3", "aasm5")
