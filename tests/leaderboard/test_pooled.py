"""Figures of all predictions together, against formulas by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score

from sleepshift.leaderboard.pooled import COLUMNS, pooled

#: Two people of three counts each: one long night, and a short one that goes worse.
ONE = np.array(
    [[30, 2, 0, 0, 0], [3, 4, 3, 0, 0], [0, 2, 40, 3, 1], [0, 0, 5, 12, 0], [1, 2, 2, 0, 9]]
)
OTHER = np.array(
    [[2, 1, 0, 0, 0], [1, 0, 1, 0, 1], [2, 0, 3, 0, 0], [0, 0, 0, 1, 1], [0, 1, 0, 0, 2]]
)
TASKS = {"t": {"scoring": {"scheme": "aasm5", "primary": "kappa"}}}
METHODS = {
    "attnsleep": {"privileged": False, "selected_on_test": False},
    "attnsleep@published": {"privileged": False, "selected_on_test": True},
    "old": {},
}


def row(counts: np.ndarray, **where: object) -> dict[str, object]:
    text = ";".join(" ".join(map(str, line)) for line in counts.tolist())
    made = {"task": "t", "group": "all", "fold": "0", "method": "attnsleep", "seed": 0}
    return made | {"status": "ok", "scheme": "aasm5", "confusion": text} | where


def predictions(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of every window that was counted."""
    truth, predicted = np.nonzero(counts)
    times = counts[truth, predicted]
    return np.repeat(truth, times), np.repeat(predicted, times)


def mean_geometric(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Macro geometric mean of sensitivity and specificity, window by window."""
    found = []
    for stage in range(5):
        own, said = truth == stage, predicted == stage
        sensitivity = (own & said).sum() / own.sum()
        specificity = (~own & ~said).sum() / (~own).sum()
        found.append((sensitivity * specificity) ** 0.5)
    return float(np.mean(found))


def test_figures_are_those_of_all_windows_together() -> None:
    rows = pd.DataFrame([row(ONE, subject="a"), row(OTHER, subject="b", fold="1")])
    (found,) = pooled(rows, TASKS, METHODS).to_dict("records")
    truth, predicted = predictions(ONE + OTHER)
    assert found["n_windows"] == len(truth) == ONE.sum() + OTHER.sum()
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted))
    assert found["g_mean"] == pytest.approx(mean_geometric(truth, predicted))
    by_stage = f1_score(truth, predicted, average=None)
    assert [found[f"f1_{s}"] for s in ("W", "N1", "N2", "N3", "R")] == pytest.approx(by_stage)


def test_by_hand_in_two_stages() -> None:
    """8 of 10 and 3 of 5 right: sensitivities .8 and .6, each the other's specificity."""
    counts = np.zeros((5, 5), int)
    counts[:2, :2] = [[8, 2], [2, 3]]
    (found,) = pooled(pd.DataFrame([row(counts)]), TASKS, METHODS).to_dict("records")
    assert found["accuracy"] == pytest.approx(11 / 15)
    assert found["macro_f1"] == pytest.approx((0.8 + 0.6) / 2)
    chance = (10 * 10 + 5 * 5) / 15**2
    assert found["kappa"] == pytest.approx((11 / 15 - chance) / (1 - chance))
    assert found["g_mean"] == pytest.approx(np.sqrt(0.8 * 0.6))


def test_seeds_are_averaged_and_groups_and_methods_are_apart() -> None:
    rows = [row(ONE), row(OTHER, seed=1), row(OTHER, group="old"), row(ONE, method="old")]
    rows.append(row(ONE, method="attnsleep@published"))
    rows.append({"task": "t", "group": "all", "method": "attnsleep", "status": "missing"})
    found = pooled(pd.DataFrame(rows), TASKS, METHODS)
    assert list(found.columns[: len(COLUMNS)]) == list(COLUMNS)
    assert found[["group", "method"]].apply(tuple, axis=1).tolist() == [
        ("all", "attnsleep"),
        ("all", "old"),
        ("all", "attnsleep@published"),
        ("old", "attnsleep"),
    ]
    each = [accuracy_score(*predictions(counts)) for counts in (ONE, OTHER)]
    assert found["accuracy"].tolist() == pytest.approx([np.mean(each), each[0], each[0], each[1]])
    assert found["n_seeds"].tolist() == [2, 1, 1, 1]
    assert [flag.partition(":")[0] for flag in found["flag"]] == ["", "", "optimistic", ""]


def test_counts_are_merged_into_the_stages_that_are_scored() -> None:
    counts = np.diag([3, 1, 4, 1, 0, 2])
    counts[3, 4] = 2  # S3 taken for S4: both are N3
    (found,) = pooled(pd.DataFrame([row(counts, scheme="rk6")]), TASKS, METHODS).to_dict("records")
    assert found["accuracy"] == found["f1_N3"] == 1


def test_nothing_scored_is_an_empty_table() -> None:
    rows = pd.DataFrame([{"task": "t", "group": "all", "method": "old", "status": "missing"}])
    found = pooled(rows, TASKS, METHODS)
    assert found.empty
    assert list(found) == list(COLUMNS)
