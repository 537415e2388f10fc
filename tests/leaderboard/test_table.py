"""The leaderboard: means, ranks and flags, and which grids are refused."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.table import check_grid, leaderboard

#: A task of one fold.
OLD = {"t": {"folds": {"old": "old"}}}
BOUND = "bound: the teacher on its own view"
OPTIMISTIC = "optimistic: its training pass is chosen on the test people"


@pytest.fixture(scope="session")
def table_of(facts):
    """``table_of(rows)``: the leaderboard of a task scored by kappa."""
    tasks = {"t": {"scoring": {"scheme": "aasm5", "primary": "kappa"}}}
    return lambda rows: leaderboard(rows, tasks, facts)


def test_figures_are_means_over_people_of_means_over_seeds(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.7}, seeds=3)
    row = table_of(frame).iloc[0]
    for name in METRICS:
        by_hand = np.mean([frame[frame["subject"] == s][name].mean() for s in "012345"])
        assert row[name] == pytest.approx(by_hand, abs=1e-12)
    assert (row["n_people"], row["n_seeds"]) == (6, 3)


def test_methods_are_ranked_by_the_tasks_primary_metric(rows_by_skill, table_of) -> None:
    table = table_of(rows_by_skill({"majority": 0.2, "source-only": 0.8, "pooled": 0.6}))
    assert table["method"].tolist() == ["source-only", "pooled", "majority"]
    assert table["rank"].tolist() == [1, 2, 3]


def test_a_deep_method_below_the_feature_floor_is_flagged(rows_by_skill, table_of) -> None:
    table = table_of(rows_by_skill({"features-logreg": 0.6, "source-only": 0.8, "pooled": 0.3}))
    flags = table.set_index("method")["flag"]
    assert flags["pooled"] == "below feature floor"
    assert flags["source-only"] == flags["features-logreg"] == ""


def test_a_method_is_only_held_against_floors_with_no_more_labels(rows_by_skill, table_of) -> None:
    skills = {"features-logreg-target": 0.9, "features-logreg": 0.5, "source-only": 0.7}
    flags = table_of(rows_by_skill(skills)).set_index("method")["flag"]
    assert flags["source-only"] == ""
    skills["finetune-all"] = 0.7
    flags = table_of(rows_by_skill(skills)).set_index("method")["flag"]
    assert flags["finetune-all"] == "below feature floor"


def test_a_bound_has_no_rank_and_is_no_floor(rows_by_skill, table_of) -> None:
    skills = {"teacher": 0.9, "student-only": 0.7, "kd-softmax": 0.8, "features-logreg": 0.75}
    table = table_of(rows_by_skill(skills)).set_index("method")
    assert list(table.index) == ["teacher", "kd-softmax", "features-logreg", "student-only"]
    assert table["rank"].isna().tolist() == [True, False, False, False]
    assert table["rank"].dropna().tolist() == [1, 2, 3]
    assert table["flag"].tolist() == [BOUND, "", "", "below feature floor"]
    written = pd.read_csv(io.StringIO(table.to_csv()))
    assert written["rank"].tolist()[1:] == [1, 2, 3]


def test_a_bound_below_a_floor_is_still_a_bound(rows_by_skill, table_of) -> None:
    table = table_of(rows_by_skill({"features-logreg": 0.9, "teacher": 0.5}))
    assert table["flag"].tolist() == ["", BOUND]
    assert table["rank"].tolist()[0] == 1


def test_a_method_chosen_on_the_test_people_has_no_rank_and_is_no_floor(
    rows_by_skill, table_of, facts
) -> None:
    skills = {"attnsleep@published": 0.9, "attnsleep": 0.7, "features-logreg": 0.6}
    table = table_of(rows_by_skill(skills)).set_index("method")
    assert list(table.index) == list(skills)
    assert table["rank"].isna().tolist() == [True, False, False]
    assert table["rank"].dropna().tolist() == [1, 2]
    assert table["flag"].tolist() == [OPTIMISTIC, "", ""]


@pytest.mark.parametrize(
    ("saw", "flag", "ranked"),
    [
        ("yes", "start saw this dataset", False),
        ("unknown", "start unknown", True),
        ("no", "", True),
    ],
)
def test_a_start_that_saw_the_dataset_has_no_rank(
    rows_by_skill, table_of, saw: str, flag: str, ranked: bool
) -> None:
    frame = rows_by_skill({"pooled": 0.9, "source-only": 0.8})
    began = frame["method"] == "pooled"
    frame["pretrained_saw"] = pd.Series(saw, frame.index).where(began)
    table = table_of(frame).set_index("method")
    assert table["flag"].to_dict() == {"pooled": flag, "source-only": ""}
    assert table["rank"].notna().to_dict() == {"pooled": ranked, "source-only": True}
    # One seed of several is enough to spoil a method.
    mixed = pd.concat([frame, frame.assign(seed=1, pretrained_saw=None)], ignore_index=True)
    assert table_of(mixed).set_index("method").loc["pooled", "flag"] == flag


def test_a_floor_that_saw_the_dataset_is_no_floor(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"features-gbm": 0.9, "features-logreg": 0.3, "source-only": 0.5})
    assert table_of(frame).set_index("method").loc["source-only", "flag"] == "below feature floor"
    frame["pretrained_saw"] = pd.Series("yes", frame.index).where(frame["method"] == "features-gbm")
    assert table_of(frame).set_index("method").loc["source-only", "flag"] == ""


def test_methods_recorded_before_there_were_bounds_are_none(facts, rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.8, "features-logreg": 0.6})
    tasks = {"t": {"scoring": {"scheme": "aasm5", "primary": "kappa"}}}
    before = {n: {k: v for k, v in f.items() if k != "privileged"} for n, f in facts.items()}
    pd.testing.assert_frame_equal(leaderboard(frame, tasks, before), table_of(frame))


LOST = {"task": "t", "group": "old", "fold": "old", "method": "pooled", "seed": 0}


@pytest.mark.parametrize("status", ["missing", "failed: RuntimeError: out of luck"])
def test_an_incomplete_grid_is_refused_unless_it_is_marked(
    status: str, rows_by_skill, table_of
) -> None:
    frame = rows_by_skill({"source-only": 0.8})
    frame = pd.concat([frame, pd.DataFrame([LOST | {"status": status}])], ignore_index=True)
    with pytest.raises(GridError, match="t/old/pooled/seed 0"):
        check_grid(frame, OLD)
    (note,) = check_grid(frame, OLD, partial=True)
    assert note == "PARTIAL: 1 cells are missing: t/old/pooled/seed 0"
    assert table_of(frame)["method"].tolist() == ["source-only"]


@pytest.mark.parametrize("status", ["skipped: no order", "unscored: labels are not public"])
def test_what_cannot_be_scored_is_not_missing(status: str, rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.8})
    frame = pd.concat([frame, pd.DataFrame([LOST | {"status": status}])], ignore_index=True)
    assert check_grid(frame, OLD) == []
    assert table_of(frame)["method"].tolist() == ["source-only"]


def test_cells_that_were_never_asked_for_are_missing_where_others_were(
    rows_by_skill, table_of
) -> None:
    frame = rows_by_skill({"source-only": 0.8, "pooled": 0.5}, seeds=8)
    few = frame[(frame["method"] != "pooled") | (frame["seed"] == 0)]
    with pytest.raises(GridError, match=r"7 cells are missing: .*, \.\.\.; run again"):
        check_grid(few, OLD)
    (note,) = check_grid(few, OLD, partial=True)
    assert note.count("t/old/pooled/seed") == 5
    assert table_of(few).set_index("method")["n_seeds"].to_dict() == {
        "source-only": 8, "pooled": 1,
    }  # fmt: skip


def test_folds_that_nobody_asked_for_are_missing(rows_by_skill) -> None:
    frame = rows_by_skill({"source-only": 0.8, "pooled": 0.5}, seeds=2)
    skipped = LOST | {"method": "rp-linear", "status": "skipped: no order"}
    frame = pd.concat([frame, pd.DataFrame([skipped])], ignore_index=True)
    two = {"t": {"folds": {"old": "all", "new": "all"}}}
    with pytest.raises(GridError, match="4 cells are missing: t/new/source-only/seed 0, "):
        check_grid(frame, two)
    (note,) = check_grid(frame, two, partial=True)
    assert note.startswith("PARTIAL: 4 cells are missing")
    assert "rp-linear" not in note


@pytest.mark.parametrize("column", ["revision", "definition", "settings", "windows", "versions"])
def test_rows_that_do_not_belong_together_are_refused_unless_marked(
    column: str, rows_by_skill
) -> None:
    frame = rows_by_skill({"source-only": 0.8, "pooled": 0.5})
    frame.loc[0, column] = 2 if column == "revision" else "other"
    with pytest.raises(GridError, match=column):
        check_grid(frame, OLD)
    assert check_grid(frame, OLD, mixed=True)[0].startswith("MIXED")


def test_folds_of_one_group_are_pooled(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.8})
    whole = table_of(frame)
    frame["fold"] = frame["subject"].map(lambda s: str(int(s) // 3))
    pd.testing.assert_frame_equal(table_of(frame), whole)
    assert whole["group"].tolist() == ["old"]
    assert whole["n_people"].tolist() == [6]
    frame["group"] = frame["fold"]
    assert table_of(frame)["group"].tolist() == ["0", "1"]


def test_a_table_says_whose_labels_were_learned_from(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.8, "pooled": 0.7, "target-only": 0.6})
    labels = table_of(frame).set_index("method")["labels"].to_dict()
    assert labels == {"source-only": "source", "pooled": "source", "target-only": "source"}
    table = table_of(frame.assign(n_labeled=3)).set_index("method")
    assert table["labels"].to_dict() == {
        "source-only": "source", "pooled": "source target", "target-only": "target",
    }  # fmt: skip
    assert (table["n_labeled"] == 3).all()


def test_one_person_has_figures_without_intervals(rows_by_skill, table_of) -> None:
    table = table_of(rows_by_skill({"source-only": 0.8, "majority": 0.2}, people=1))
    assert table["n_people"].tolist() == [1, 1]
    assert table["rank"].tolist() == [1, 2]
    for name in METRICS:
        assert table[name].notna().all()
        assert table[[f"{name}_low", f"{name}_high"]].isna().all(axis=None)


def test_a_method_without_the_primary_metric_comes_last(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"majority": 0.2, "source-only": 0.8})
    frame.loc[frame["method"] == "majority", "kappa"] = np.nan
    table = table_of(frame)
    assert table["method"].tolist() == ["source-only", "majority"]
    assert np.isnan(table["kappa"][1])


def test_without_scores_there_is_no_table(rows_by_skill, table_of) -> None:
    assert table_of(rows_by_skill({"majority": 0.2}).assign(status="missing")).empty


def test_people_with_one_scored_stage_count_in_accuracy_alone(rows_by_skill, table_of) -> None:
    frame = rows_by_skill({"source-only": 0.8})
    one = person_figures(np.diag([30, 0, 0, 0, 0]), "aasm5", "aasm5")
    for name, value in one.items():
        frame.loc[frame["subject"] == "5", name] = value
    row = table_of(frame).iloc[0]
    others = frame[frame["subject"] != "5"]
    assert row["macro_f1"] == pytest.approx(others["macro_f1"].mean())
    assert row["accuracy"] == pytest.approx(frame["accuracy"].mean())
    assert (row["n_people"], row["n_one_stage"]) == (6, 1)
