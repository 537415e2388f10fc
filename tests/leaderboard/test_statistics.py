"""Figures of people, intervals over them, and Holm's correction."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.statistics import (
    bootstrap_interval,
    groups,
    holm,
    one_stage,
    per_person,
    scores,
)

# ---------------------------------------------------------------------- intervals


def test_the_interval_holds_95_percent_of_means_of_redrawn_people() -> None:
    values = np.random.default_rng(1).normal(size=20)
    low, high = bootstrap_interval(values, n_resamples=20000)
    rng = np.random.default_rng(3)
    means = [rng.choice(values, len(values)).mean() for _ in range(20000)]
    assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)


def test_the_interval_is_the_same_when_asked_again_and_leaves_chance_alone() -> None:
    values = np.random.default_rng(1).normal(size=9)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert bootstrap_interval(values) == bootstrap_interval(values.copy())
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan], [np.nan, np.nan], [np.inf, 0.5]])
def test_fewer_than_two_people_have_no_interval(values: list[float]) -> None:
    assert np.isnan(bootstrap_interval(np.array(values, dtype=float))).all()


def test_the_order_of_people_does_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=9)
    assert bootstrap_interval(values[::-1]) == bootstrap_interval(values)


def test_people_who_score_alike_have_an_interval_without_width() -> None:
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.integers(0, 3))
def test_the_interval_lies_among_the_people_and_leaves_out_who_has_none(
    values: list[float], n_nan: int
) -> None:
    people = np.array(values)
    low, high = bootstrap_interval(people, n_resamples=99)
    assert people.min() - 1e-12 <= low <= high <= people.max() + 1e-12
    with_nan = np.append(people, np.full(n_nan, np.nan))
    assert bootstrap_interval(with_nan, n_resamples=99) == (low, high)


# ---------------------------------------------------------------------- people


def test_groups_are_by_task_and_group_in_the_order_they_come(rows_of) -> None:
    parts = [
        rows_of({"majority": [0.1, 0.2]}, group=group, fold=fold, task=task)
        for task, group, fold in (("u", "b", "1"), ("t", "b", "1"), ("u", "b", "2"), ("u", "a", ""))
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame.loc[len(frame)] = {"task": "x", "group": "c", "status": "missing"}
    frame.loc[len(frame)] = {"task": "t", "group": "b", "status": "skipped: no"}
    found = {key: len(part) for key, part in groups(frame)}
    assert list(found.items()) == [(("u", "b"), 4), (("t", "b"), 2), (("u", "a"), 2)]
    assert list(groups(frame[frame["status"] != "ok"])) == []


def test_a_person_is_the_mean_over_seeds_and_folds(rows_of) -> None:
    values = np.random.default_rng(0).random((3, 4))
    frame = rows_of({"pooled": values})
    each = per_person(frame)
    assert list(each.index) == ["p0", "p1", "p2", "p3"]
    for name in METRICS:
        assert each[name].to_numpy() == pytest.approx(values.mean(axis=0))
    again = pd.concat([frame, frame.assign(fold="1", kappa=frame["kappa"] + 0.5)])
    assert per_person(again)["kappa"].to_numpy() == pytest.approx(values.mean(axis=0) + 0.25)


def test_who_was_scored_to_have_one_stage_has_no_kappa_for_any_method(rows_of) -> None:
    frame = rows_of({"pooled": [0.3, 0.4], "majority": [0.1, 0.2]})
    frame.loc[frame["subject"] == "p1", "n_stages"] = 1
    assert one_stage(frame).to_dict() == {"p0": False, "p1": True}
    for method, part in frame.groupby("method"):
        each = per_person(part)
        assert each.loc["p1", ["macro_f1", "kappa", "g_mean"]].isna().all(), method
        assert each.loc["p1", ["accuracy", "balanced_accuracy", "nll"]].notna().all()
        assert each.loc["p0"].notna().all()


def test_scores_have_a_row_a_person_and_nan_where_a_method_has_none(rows_of) -> None:
    frame = rows_of({"pooled": [0.3, 0.4, 0.5], "majority": [0.1, np.nan, 0.2]})
    frame = frame.drop(index=0)
    found = scores(frame, "kappa")
    expected = pd.DataFrame(
        {"pooled": [np.nan, 0.4, 0.5], "majority": [0.1, np.nan, 0.2]}, ["p0", "p1", "p2"]
    )
    pd.testing.assert_frame_equal(found, expected, check_names=False)
    pd.testing.assert_frame_equal(scores(frame.iloc[::-1], "kappa")[found.columns], found)


# ---------------------------------------------------------------------- Holm


def test_holm_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, then not below the one before.
    assert holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.array([0.02])).tolist() == [0.02]
    assert holm(np.array([])).tolist() == []
    # What is no test is in no family.
    assert holm(np.array([0.02, np.nan, 0.01, np.nan])) == pytest.approx(
        [0.02, np.nan, 0.02, np.nan], nan_ok=True
    )
    assert np.isnan(holm(np.array([np.nan]))).all()


def holm_by_definition(p: list[float]) -> list[float]:
    """The largest of (k - rank + 1) p over the p-values that are no larger."""
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    return [
        min(1.0, max((len(p) - r) * p[ordered[r]] for r in range(ordered.index(i) + 1)))
        for i in range(len(p))
    ]


def holm_of_statsmodels(p: list[float]) -> np.ndarray:
    """As statsmodels 0.14 writes it in `multipletests(p, method="holm")`."""
    values = np.asarray(p)
    order = np.argsort(values)
    corrected = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected[corrected > 1] = 1
    unsorted = np.empty_like(corrected)
    unsorted[order] = corrected
    return unsorted


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_what_it_is_defined_to_be(p: list[float]) -> None:
    corrected = holm(np.array(p))
    assert corrected.tolist() == pytest.approx(holm_by_definition(p))
    assert corrected.tolist() == pytest.approx(holm_of_statsmodels(p).tolist())
    assert (corrected >= np.array(p) - 1e-15).all()
    assert (corrected <= 1).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order(p: list[float], random) -> None:
    order = list(range(len(p)))
    random.shuffle(order)
    shuffled = holm(np.array(p)[order])
    assert shuffled.tolist() == pytest.approx(holm(np.array(p))[order].tolist())
