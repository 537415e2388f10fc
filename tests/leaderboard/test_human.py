"""Agreement of two scorers against figures by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.human import human_agreement
from sleepshift.leaderboard.metrics import METRICS, merge_confusion, metrics
from sleepshift.leaderboard.statistics import bootstrap_interval

RNG = np.random.default_rng(0)
COUNTS = {
    f"p{k}": (RNG.integers(0, 9, (5, 5)) + 20 * np.eye(5, dtype=int)).tolist() for k in range(3)
}


@pytest.fixture
def two_scorers(tasks):
    tasks["t"]["second_scorer"] = {"scheme": "aasm5", "counts": COUNTS}
    return tasks


def test_figures_are_means_over_the_test_people_who_have_two_scorers(rows_of, two_scorers) -> None:
    frame = rows_of({"majority": [0.1] * 2, "pooled": [0.3] * 2})
    frame = pd.concat([frame, rows_of({"pooled": [0.1] * 9}, group="old")])
    young, old = human_agreement(frame, two_scorers).to_dict("records")
    assert (young["task"], young["group"], young["n_people"]) == ("t", "all", 2)
    assert (old["group"], old["n_people"]) == ("old", 3)
    for row, people in ((young, ("p0", "p1")), (old, ("p0", "p1", "p2"))):
        each = [metrics(np.array(COUNTS[person])) for person in people]
        for name in METRICS:
            values = np.array([figures[name] for figures in each])
            assert row[name] == pytest.approx(values.mean())
            ends = (row[f"{name}_low"], row[f"{name}_high"])
            assert ends == pytest.approx(bootstrap_interval(values))


def test_figures_are_in_the_scoring_scheme(rows_of, two_scorers) -> None:
    two_scorers["t"]["scoring"]["scheme"] = "stages3"
    (row,) = human_agreement(rows_of({"majority": [0.1]}), two_scorers).to_dict("records")
    expected = metrics(merge_confusion(np.array(COUNTS["p0"]), "aasm5", "stages3"))
    for name in METRICS:
        assert row[name] == pytest.approx(expected[name])
        assert np.isnan(row[f"{name}_low"])


def test_seeds_and_folds_do_not_count_people_twice(rows_of, two_scorers) -> None:
    once = human_agreement(rows_of({"pooled": [0.1] * 3}), two_scorers)
    frame = rows_of({"pooled": [[0.1] * 3] * 2, "majority": [[0.1] * 3] * 2})
    twice = human_agreement(pd.concat([frame, frame.assign(fold="1")]), two_scorers)
    pd.testing.assert_frame_equal(once, twice)


def test_a_person_with_one_stage_by_the_first_scorer_has_no_kappa(rows_of, two_scorers) -> None:
    one = np.zeros((5, 5), dtype=int)
    one[2] = [1, 2, 30, 0, 0]
    two_scorers["t"]["second_scorer"] = {"scheme": "aasm5", "counts": COUNTS | {"p1": one.tolist()}}
    (row,) = human_agreement(rows_of({"pooled": [0.1] * 2}), two_scorers).to_dict("records")
    assert row["kappa"] == pytest.approx(metrics(np.array(COUNTS["p0"]))["kappa"])
    accuracy = (metrics(np.array(COUNTS["p0"]))["accuracy"] + 30 / 33) / 2
    assert row["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("counts", [{}, {"other": COUNTS["p0"]}, {"p0": np.zeros((5, 5)).tolist()}])
def test_without_a_second_scorer_there_is_no_row(counts, rows_of, tasks) -> None:
    tasks["t"]["second_scorer"] = {"scheme": "aasm5", "counts": counts}
    found = human_agreement(rows_of({"pooled": [0.1]}), tasks)
    assert found.empty
    assert {"task", "group", "n_people", "kappa", "kappa_low"} <= set(found)


def test_a_scheme_that_leaves_stages_out_holds_no_second_scorer(rows_of, two_scorers) -> None:
    """Where the first says wake the second may say a stage that the scheme has no place for."""
    two_scorers["t"]["scoring"]["scheme"] = "wake-deep"
    assert human_agreement(rows_of({"pooled": [0.1]}), two_scorers).empty
