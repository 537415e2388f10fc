"""The tidy frame: rows of scored cells, and one line for the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.leaderboard.frame import (
    COLUMNS,
    SOMETIMES,
    UNSCORED,
    _starts,
    person_figures,
    read_confusion,
    read_reliability,
    results_frame,
)
from sleepshift.leaderboard.metrics import METRICS, metrics


def test_a_row_has_what_the_cell_and_the_person_are(run, drawn_night) -> None:
    run.add_task("t", scheme="rk6", scoring={"scheme": "aasm5", "primary": "kappa"})
    nights = pd.concat([drawn_night("a", "rk6", age=71.5, sex="M"), drawn_night("b", "rk6")])
    run.add_cell("t", "pooled", nights, fold="2-draw-1", group="2 labelled", n_labeled=2, seed=3)
    frame = results_frame(run.root)
    stages = ["f1_W", "f1_N1", "f1_N2", "f1_N3", "f1_R"]
    assert list(frame) == [*COLUMNS, *SOMETIMES, *stages]
    a, b = frame.to_dict("records")
    assert (a["task"], a["fold"], a["group"], a["n_labeled"]) == ("t", "2-draw-1", "2 labelled", 2)
    assert (a["method"], a["seed"], a["status"]) == ("pooled", 3, "ok")
    assert (a["subject"], a["age"], a["sex"]) == ("a", 71.5, "M")
    assert (a["fit_seconds"], a["predict_seconds"], a["n_parameters"]) == (1.5, 0.25, 10)
    assert (a["scheme"], a["windows"], a["versions"]) == ("rk6", "w", "sleepshift=1")
    assert b["subject"] == "b"


def test_figures_of_a_row_follow_from_its_predictions(run, drawn_night, merged) -> None:
    run.add_task("t", scheme="rk6", scoring={"scheme": "aasm5", "primary": "kappa"})
    nights = pd.concat([drawn_night("a", "rk6"), drawn_night("b", "rk6")], ignore_index=True)
    nights.loc[[3, 70], "truth"] = -1
    key = run.add_cell("t", "pooled", nights)
    cell = run.store.read_predictions(key, "subject", "truth", "predicted", "probability")
    for row in results_frame(run.root).to_dict("records"):
        own = (cell["subject"] == row["subject"]) & (cell["truth"] >= 0)
        counts = np.zeros((6, 6), dtype=int)
        np.add.at(counts, (cell["truth"][own], cell["predicted"][own]), 1)
        np.testing.assert_array_equal(read_confusion(row["confusion"]), counts)
        assert row["n_windows"] == own.sum() == 59
        bins = read_reliability(row["reliability"])
        assert bins.shape == (15, 3)
        assert bins[:, :2].sum(axis=0).tolist() == [own.sum(), np.trace(counts)]
        confidence = cell["probability"][own].max(axis=1)
        assert bins[:, 2].sum() == pytest.approx(confidence.sum(), abs=2e-3)
        five = np.zeros((5, 5), dtype=int)
        truth, predicted = (merged(cell[k][own], "rk6", "aasm5") for k in ("truth", "predicted"))
        np.add.at(five, (truth, predicted), 1)
        expected = metrics(five)
        assert [row[name] for name in METRICS] == [expected[name] for name in METRICS]


def test_a_cell_without_people_has_one_row_that_says_why(run, drawn_night) -> None:
    run.add_task("t")
    run.add_cell("t", "majority", drawn_night("a", "aasm5"), n_labeled=2)
    run.add_cell("t", "pooled", skipped="no labelled target people", group="old")
    run.add_cell("t", "target-only", failed="RuntimeError: out of luck")
    run.add_cell("t", "source-only", seed=7)
    frame = results_frame(run.root).set_index("method")
    assert frame["status"].to_dict() == {
        "majority": "ok",
        "pooled": "skipped: no labelled target people",
        "target-only": "failed: RuntimeError: out of luck",
        "source-only": "missing",
    }
    assert frame.loc["pooled", "group"] == "old"
    assert frame.loc["source-only", "seed"] == 7
    lost = frame[frame["status"] != "ok"]
    assert lost[["subject", "kappa", "confusion", "reliability"]].isna().all(axis=None)
    assert frame.loc["majority", "n_labeled"] == 2


def test_people_whose_labels_are_withheld_are_unscored(run, drawn_night) -> None:
    run.add_task("t")
    hidden = drawn_night("b", "aasm5").assign(truth=-1)
    run.add_cell("t", "majority", pd.concat([drawn_night("a", "aasm5"), hidden]))
    a, b = results_frame(run.root).to_dict("records")
    assert (a["status"], b["status"]) == ("ok", UNSCORED)
    assert (b["subject"], b["age"], b["sex"]) == ("b", 70.0, "F")
    assert pd.isna([b["kappa"], b["n_windows"], b["fit_seconds"]]).all()


def test_stages_of_all_tasks_have_columns(run, drawn_night) -> None:
    run.add_task("t")
    run.add_task("u", scheme="wake-deep", scoring={"scheme": "wake-deep", "primary": "kappa"})
    run.add_cell("t", "majority", drawn_night("a", "aasm5"))
    run.add_cell("u", "majority", drawn_night("a", "wake-deep"))
    frame = results_frame(run.root).set_index("task")
    assert list(frame)[-5:] == ["f1_W", "f1_N1", "f1_N2", "f1_N3", "f1_R"]
    assert frame.loc["t", "f1_N1":"f1_R"].notna().all()
    assert frame.loc["u"].isna()[["f1_W", "f1_N1", "f1_N2", "f1_N3", "f1_R"]].tolist() == [
        False, True, True, False, True,
    ]  # fmt: skip
    assert frame["n_stages"].to_dict() == {"t": 5, "u": 2}


def test_figures_count_the_stages_of_the_truth() -> None:
    counts = np.zeros((5, 5), dtype=int)
    counts[2] = [3, 0, 9, 0, 1]
    found = person_figures(counts, "aasm5", "stages3")
    assert (found["n_windows"], found["n_stages"]) == (13, 1)
    assert list(found)[-3:] == ["f1_W", "f1_NREM", "f1_R"]


@given(st.lists(st.lists(st.integers(0, 10**9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_bins_and_counts_are_read_as_they_were_written(rows: list) -> None:
    from sleepshift.leaderboard.frame import _write_rows

    text = _write_rows(rows)
    assert read_confusion(text).tolist() == rows
    assert read_reliability(text).tolist() == rows
    shares = [[value / 7e4 for value in row] for row in rows]
    np.testing.assert_allclose(read_reliability(_write_rows(shares)), shares, rtol=1e-9)


@pytest.mark.parametrize(
    ("facts", "saw"),
    [
        ({"starts": [{"name": "mine", "trained_on": ["shhs"]}]}, "yes"),
        ({"starts": [{"name": "mine", "trained_on": ["mass"]}]}, "no"),
        ({"starts": [{"name": "mine", "trained_on": None}]}, "unknown"),
        ({"starts": []}, None),
        ({}, None),
        # Older versions judged when a cell was made: only a yes is worth keeping.
        ({"pretrained": "mine (trained on shhs)", "pretrained_saw": "yes"}, "yes"),
        ({"pretrained": "mine (trained on shhs)", "pretrained_saw": "no"}, "unknown"),
        ({"pretrained": "mine (trained on shhs)"}, "unknown"),
    ],
)
def test_starts_are_judged_when_rows_are_made(facts, saw) -> None:
    for task in ({"dataset": "shhs"}, {"dataset": "joined", "sources": ["isruc", "shhs"]}):
        assert _starts(facts, task)["pretrained_saw"] == saw
