"""Figures of nights out of stored predictions, and the nights that are shown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.frame import results_frame
from sleepshift.leaderboard.nights import example_nights, nights_frame
from sleepshift.leaderboard.sleep import SCORED, sleep_statistics
from sleepshift.leaderboard.statistics import per_person
from sleepshift.leaderboard.table import leaderboard
from sleepshift.stages import get_scheme


@pytest.fixture
def examples(run, facts):
    """Nights to show of a run."""

    def make() -> list:
        rows = results_frame(run.root)
        return example_nights(run.root, rows, leaderboard(rows, run.grid["tasks"], facts))

    return make


def test_nights_have_the_figures_of_their_windows(run, night, merged) -> None:
    run.add_task("t", scheme="rk6", scoring={"scheme": "aasm5", "primary": "kappa"})
    stages = [0, 0, 1, 2, 3, 4, 5, 0, 2, 0]
    nights = pd.concat([night("a", stages), night("a", [0, 2, 2], session="2")])
    key = run.add_cell("t", "pooled", nights, fold="f", group="g", seed=1)
    frame = nights_frame(run.root, ["t"])
    assert len(frame) == 4
    assert frame["task"].tolist() == ["t"] * 4
    assert (frame["fold"] + frame["group"] + frame["subject"]).tolist() == ["fga"] * 4
    scored = frame[frame["method"] == SCORED].set_index("session")
    assert scored["seed"].isna().all()
    assert scored.loc["1", "minutes_N3"] == 1
    assert scored.loc["1", ["time_in_bed", "sleep_latency", "waso"]].tolist() == [5, 1, 0.5]
    cell = run.store.read_predictions(key, "session", "predicted")
    for row in frame[frame["method"] == "pooled"].to_dict("records"):
        assert row["seed"] == 1
        predicted = merged(cell["predicted"][cell["session"] == row["session"]], "rk6", "aasm5")
        expected = sleep_statistics(predicted, get_scheme("aasm5").stages)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name


def test_scorers_are_there_once_however_many_methods_and_seeds(run, drawn_night) -> None:
    run.add_task("t")
    nights = pd.concat([drawn_night("a", "aasm5"), drawn_night("b", "aasm5")])
    for method in ("pooled", "majority"):
        for seed in (0, 1):
            run.add_cell("t", method, nights, seed=seed)
    counts = nights_frame(run.root, ["t"])["method"].value_counts().to_dict()
    assert counts == {SCORED: 2, "pooled": 4, "majority": 4}


def test_windows_without_a_label_are_in_no_figure(run, night) -> None:
    run.add_task("t")
    run.add_cell("t", "pooled", night("a", [-1, 0, 2, -1, 2, -1]))
    frame = nights_frame(run.root, ["t"]).set_index("method")
    # From the first to the last window that has a label; the slot between counts for time in bed.
    assert (frame["time_in_bed"] == 2).all()
    assert frame.loc[SCORED, ["total_sleep_time", "sleep_latency"]].tolist() == [1, 0.5]
    minutes = [name for name in frame if name.startswith("minutes_")]
    assert (frame[minutes].sum(axis=1) == 1.5).all()


def test_nights_without_an_order_have_no_latency(run, night) -> None:
    run.add_task("t")
    run.add_cell("t", "pooled", night("a", [0, 2, 2, 0], ordered=False), skill=1.0)
    frame = nights_frame(run.root, ["t"])
    assert frame[["sleep_latency", "waso"]].isna().all(axis=None)
    assert (frame["total_sleep_time"] == 1).all()


def test_nights_are_of_the_tasks_asked_for_that_have_a_place_for_every_stage(
    run, drawn_night
) -> None:
    run.add_task("t")
    run.add_task("u")
    run.add_task("deep", scheme="wake-deep", scoring={"scheme": "wake-deep", "primary": "kappa"})
    for task, scheme in (("t", "aasm5"), ("u", "aasm5"), ("deep", "wake-deep")):
        run.add_cell(task, "pooled", drawn_night("a", scheme))
        run.add_cell(task, "takd", skipped="no teacher")
        run.add_cell(task, "majority")
    assert set(nights_frame(run.root, ["t", "deep"])["task"]) == {"t"}
    assert nights_frame(run.root, ["deep"]).empty
    hidden = drawn_night("a", "aasm5").assign(truth=-1)
    run.add_task("v")
    run.add_cell("v", "pooled", hidden)
    assert nights_frame(run.root, ["v"]).empty


# ---------------------------------------------------------------------- examples


def test_the_median_and_the_worst_person_are_shown(run, drawn_night, examples) -> None:
    run.add_task("t")
    nights = [drawn_night(name, "aasm5") for name in "abcdef"]
    for seed in (0, 1):
        run.add_cell("t", "pooled", pd.concat(nights), seed=seed, skill=0.8)
        run.add_cell("t", "majority", pd.concat(nights), seed=seed, skill=0.1)
    median, worst = examples()
    rows = results_frame(run.root)
    own = rows[(rows["method"] == "pooled") & (rows["seed"] == 0)].set_index("subject")["kappa"]
    ordered = own.sort_values()
    assert (median["which"], worst["which"]) == ("median", "worst")
    assert (median["subject"], worst["subject"]) == (ordered.index[2], ordered.index[0])
    for found in (median, worst):
        assert (found["method"], found["seed"], found["session"]) == ("pooled", 0, "1")
        assert found["score"] == own[found["subject"]]
        assert found["stages"] == ["W", "N1", "N2", "N3", "R"]
        assert len(found["scored"]) == len(found["predicted"]) == len(found["probability"]) == 60


def test_slots_hold_what_was_scored_and_predicted_and_how_surely(
    run, night, merged, examples
) -> None:
    run.add_task("t", scheme="rk6", scoring={"scheme": "aasm5", "primary": "accuracy"})
    windows = night("a", [0, 1, 2, 3, 4, 5, -1, 2, 2, 0]).drop(index=[3])
    windows = windows.sample(frac=1, random_state=0)
    later = night("a", [2, 2], session="2")
    key = run.add_cell("t", "pooled", pd.concat([later, windows]))
    found = examples()[0]
    names = ("session", "onset", "truth", "predicted", "probability")
    cell = run.store.read_predictions(key, *names)
    assert found["session"] == "1"
    assert len(found["scored"]) == 10
    for slot in range(10):
        at = (cell["session"] == "1") & (cell["onset"] == 30.0 * slot) & (cell["truth"] >= 0)
        parts = [found[k][slot] for k in ("scored", "predicted", "probability")]
        if slot in (3, 6):
            assert parts == [None] * 3
            continue
        (k,) = np.flatnonzero(at)
        assert parts[:2] == [merged(cell[part][k], "rk6", "aasm5") for part in names[2:4]]
        p = cell["probability"][k]
        assert parts[2] == pytest.approx(100 * np.array([*p[:3], p[3] + p[4], p[5]]), abs=0.51)


def test_the_first_night_of_a_person_is_the_first_by_number(run, night, examples) -> None:
    run.add_task("t")
    nights = [night("a", [0, 1, 2, 3, 4], session=session) for session in ("10", "2")]
    run.add_cell("t", "pooled", pd.concat(nights))
    assert {found["session"] for found in examples()} == {"2"}


def test_nights_without_an_order_are_not_shown(run, night, examples) -> None:
    run.add_task("t")
    run.add_cell("t", "pooled", night("a", [0, 1, 2, 3, 4], ordered=False))
    assert examples() == []


def test_every_group_shows_its_best_method_and_bounds_are_none(run, drawn_night, examples) -> None:
    run.add_task("t")
    run.add_task("deep", scheme="wake-deep", scoring={"scheme": "wake-deep", "primary": "kappa"})
    for group in ("young", "old"):
        nights = pd.concat([drawn_night(f"{group}{k}", "aasm5") for k in range(3)])
        best = {"young": "student-only", "old": "kd-softmax"}[group]
        for method in ("teacher", "student-only", "kd-softmax"):
            skill = 0.95 if method == "teacher" else 0.8 if method == best else 0.2
            run.add_cell("t", method, nights, fold=group, group=group, skill=skill)
    run.add_cell("deep", "pooled", drawn_night("a", "wake-deep"))
    found = [(night["task"], night["group"], night["method"]) for night in examples()]
    assert found == [("t", "young", "student-only")] * 2 + [("t", "old", "kd-softmax")] * 2


def test_a_person_of_several_draws_is_shown_with_the_score_of_the_draw(
    run, drawn_night, examples
) -> None:
    run.add_task("t")
    night = drawn_night("a", "aasm5")
    for draw, skill in enumerate((0.3, 0.9)):
        run.add_cell("t", "pooled", night, fold=f"1-draw-{draw}", group="1 labelled", skill=skill)
    (found, _) = examples()
    rows = results_frame(run.root).set_index("fold")
    assert found["fold"] == "1-draw-0"
    assert found["score"] == rows.loc["1-draw-0", "kappa"]


def test_people_without_a_score_are_not_shown(run, night, drawn_night, examples) -> None:
    run.add_task("t")
    nights = [night("one", [2] * 30), drawn_night("a", "aasm5"), drawn_night("b", "aasm5")]
    run.add_cell("t", "pooled", pd.concat(nights), skill=0.5)
    rows = results_frame(run.root)
    assert per_person(rows)["kappa"].isna().tolist() == [True, False, False]
    assert "one" not in [found["subject"] for found in examples()]
