from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.statistics import bootstrap_interval
from sleepshift.leaderboard.table import check_grid, leaderboard, to_markdown
from sleepshift.methods import METHODS

TASKS = {
    "t": {
        "title": "A task",
        "simulated": True,
        "pool_folds": False,
        "transductive": ["old"],
        "scheme": "aasm5",
        "scoring": {"scheme": "aasm5", "primary": "kappa"},
        "skipped_recordings": [{"recording": "x.edf", "reason": "x.edf: too short"}],
    }
}

FACTS = {
    name: {
        "family": m.family,
        "labels": m.labels,
        "unlabeled": m.unlabeled,
        "deep": m.deep,
        "floor": m.floor,
        "privileged": m.privileged,
    }
    for name, m in METHODS.items()
}

BOUND = "bound: the teacher on its own view"


def _frame(methods: dict[str, float], *, seeds: int = 1, people: int = 6) -> pd.DataFrame:
    """Rows whose share of right windows is drawn around a method's skill."""
    rng, rows = np.random.default_rng(0), []
    for method, skill in methods.items():
        for seed in range(seeds):
            for person in range(people):
                right = rng.binomial(40, skill, size=5)
                counts = np.diag(right)
                counts[np.arange(5), (np.arange(5) + 1) % 5] += 40 - right
                rows.append(
                    {
                        "task": "t",
                        "fold": "old",
                        "method": method,
                        "seed": seed,
                        "subject": str(person),
                        "status": "ok",
                        "revision": 1,
                        "windows": "w",
                        "settings": "data_seed=0",
                        "definition": "d",
                        "versions": "v",
                        "nll": 1.0,
                        "fit_seconds": 1.0,
                        "n_parameters": 10,
                        **person_figures(counts, "aasm5", "aasm5"),
                    }
                )
    return pd.DataFrame(rows)


def test_figures_are_means_over_people_of_means_over_seeds() -> None:
    frame = _frame({"source-only": 0.7}, seeds=3)
    row = leaderboard(frame, TASKS, FACTS).iloc[0]
    for name in METRICS:
        by_hand = np.mean([frame[frame["subject"] == s][name].mean() for s in "012345"])
        assert row[name] == pytest.approx(by_hand, abs=1e-12)
    assert (row["n_people"], row["n_seeds"]) == (6, 3)


def test_the_interval_holds_95_percent_of_means_of_redrawn_people() -> None:
    values = np.random.default_rng(1).normal(size=20)
    low, high = bootstrap_interval(values, n_resamples=20000)
    rng = np.random.default_rng(3)
    means = [rng.choice(values, len(values)).mean() for _ in range(20000)]
    assert (low, high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert np.isnan(bootstrap_interval(values[:1])).all()


def test_methods_are_ranked_by_the_tasks_primary_metric() -> None:
    table = leaderboard(_frame({"majority": 0.2, "source-only": 0.8, "pooled": 0.6}), TASKS, FACTS)
    assert table["method"].tolist() == ["source-only", "pooled", "majority"]
    assert table["rank"].tolist() == [1, 2, 3]


def test_a_deep_method_below_the_feature_floor_is_flagged() -> None:
    table = leaderboard(
        _frame({"features-logreg": 0.6, "source-only": 0.8, "pooled": 0.3}), TASKS, FACTS
    )
    flags = table.set_index("method")["flag"]
    assert flags["pooled"] == "below feature floor"
    assert flags["source-only"] == flags["features-logreg"] == ""


def test_a_method_is_only_held_against_floors_with_no_more_labels() -> None:
    skills = {"features-logreg-target": 0.9, "features-logreg": 0.5, "source-only": 0.7}
    flags = leaderboard(_frame(skills), TASKS, FACTS).set_index("method")["flag"]
    assert flags["source-only"] == ""
    skills["finetune-all"] = 0.7
    flags = leaderboard(_frame(skills), TASKS, FACTS).set_index("method")["flag"]
    assert flags["finetune-all"] == "below feature floor"


def test_a_bound_has_no_rank_and_is_no_floor() -> None:
    skills = {"teacher": 0.9, "student-only": 0.7, "kd-softmax": 0.8, "features-logreg": 0.75}
    table = leaderboard(_frame(skills), TASKS, FACTS).set_index("method")
    assert list(table.index) == ["teacher", "kd-softmax", "features-logreg", "student-only"]
    assert table["rank"].isna().tolist() == [True, False, False, False]
    assert table["rank"].dropna().tolist() == [1, 2, 3]
    assert table["flag"].tolist() == [BOUND, "", "", "below feature floor"]
    written = pd.read_csv(io.StringIO(table.to_csv()))
    assert written["rank"].tolist()[1:] == [1, 2, 3]


def test_a_bound_below_a_floor_is_still_a_bound() -> None:
    table = leaderboard(_frame({"features-logreg": 0.9, "teacher": 0.5}), TASKS, FACTS)
    assert table["flag"].tolist() == ["", BOUND]
    assert table["rank"].tolist()[0] == 1
    text = to_markdown(table, _frame({"features-logreg": 0.9, "teacher": 0.5}), TASKS, FACTS, [])
    assert "| - | teacher |" in text
    assert "| 1 | features-logreg |" in text


def test_methods_recorded_before_there_were_bounds_are_none() -> None:
    frame = _frame({"source-only": 0.8, "features-logreg": 0.6})
    before = {n: {k: v for k, v in f.items() if k != "privileged"} for n, f in FACTS.items()}
    pd.testing.assert_frame_equal(
        leaderboard(frame, TASKS, before), leaderboard(frame, TASKS, FACTS)
    )


def test_an_incomplete_grid_is_refused_unless_it_is_marked() -> None:
    frame = _frame({"source-only": 0.8})
    lost = {"task": "t", "fold": "old", "method": "pooled", "seed": 0, "status": "missing"}
    frame = pd.concat([frame, pd.DataFrame([lost])], ignore_index=True)
    with pytest.raises(GridError, match="t/old/pooled/seed 0"):
        check_grid(frame)
    (note,) = check_grid(frame, partial=True)
    text = to_markdown(leaderboard(frame, TASKS, FACTS), frame, TASKS, FACTS, [note])
    assert text.startswith("**PARTIAL: 1 cells are missing")


@pytest.mark.parametrize("column", ["revision", "definition", "settings", "windows", "versions"])
def test_rows_that_do_not_belong_together_are_refused_unless_marked(column: str) -> None:
    frame = _frame({"source-only": 0.8, "pooled": 0.5})
    frame.loc[0, column] = 2 if column == "revision" else "other"
    with pytest.raises(GridError, match=column):
        check_grid(frame)
    assert check_grid(frame, mixed=True)[0].startswith("MIXED")


def test_folds_that_test_everyone_once_are_one_group() -> None:
    frame = _frame({"source-only": 0.8})
    frame["fold"] = frame["subject"].map(lambda s: str(int(s) // 3))
    pooled = leaderboard(frame, {"t": {**TASKS["t"], "pool_folds": True}}, FACTS)
    assert pooled["group"].tolist() == ["all"]
    assert pooled["n_people"].tolist() == [6]
    assert leaderboard(frame, TASKS, FACTS)["group"].tolist() == ["0", "1"]


def test_markdown_lists_what_was_left_out_and_says_simulated() -> None:
    frame = _frame({"source-only": 0.8})
    skipped = {"task": "t", "fold": "old", "method": "rp-linear", "status": "skipped: no order"}
    frame = pd.concat([frame, pd.DataFrame([skipped])], ignore_index=True)
    text = to_markdown(leaderboard(frame, TASKS, FACTS), frame, TASKS, FACTS, [])
    assert "rp-linear: skipped: no order" in text
    assert "x.edf: too short" in text
    assert "(simulated data)" in text


def test_what_was_left_out_for_one_reason_is_one_line() -> None:
    frame = _frame({"source-only": 0.8})
    lost = [
        {"task": "t", "fold": fold, "method": method, "status": f"skipped: {why}"}
        for fold in ("old", "new")
        for method, why in (("sleepkd", "no sequences"), ("takd", "no helper"), ("ts-linear", ""))
    ]
    lost.append({"task": "t", "fold": "old", "method": "sleepkd@published", "status": "missing"})
    lost.append({"task": "t", "fold": "old", "method": "rp-linear", "status": lost[0]["status"]})
    frame = pd.concat([frame, pd.DataFrame(lost)], ignore_index=True)
    text = to_markdown(leaderboard(frame, TASKS, FACTS), frame, TASKS, FACTS, [])
    _, left_out = text.split("## Left out")
    assert left_out.strip().splitlines() == [
        "- t: sleepkd, rp-linear: skipped: no sequences",
        "- t: takd: skipped: no helper",
        "- t: ts-linear: skipped: ",
        "- t: sleepkd@published: missing",
        "- t, recording left out: x.edf: too short",
    ]


def test_markdown_says_who_learned_from_the_test_peoples_signals_and_where() -> None:
    frame = pd.concat([_frame({"rp-linear": 0.7}), _frame({"rp-linear": 0.6}).assign(fold="new")])
    table = leaderboard(frame, TASKS, FACTS)
    old, new = to_markdown(table, frame, TASKS, FACTS, []).split("## A task: new")
    assert "(their labels stay withheld): rp-linear." in old
    assert "withheld" not in new
    alone = _frame({"source-only": 0.7})
    text = to_markdown(leaderboard(alone, TASKS, FACTS), alone, TASKS, FACTS, [])
    assert "withheld" not in text


def test_people_with_one_scored_stage_count_in_accuracy_alone() -> None:
    frame = _frame({"source-only": 0.8})
    one = person_figures(np.diag([30, 0, 0, 0, 0]), "aasm5", "aasm5")
    for name, value in one.items():
        frame.loc[frame["subject"] == "5", name] = value
    row = leaderboard(frame, TASKS, FACTS).iloc[0]
    others = frame[frame["subject"] != "5"]
    assert row["macro_f1"] == pytest.approx(others["macro_f1"].mean())
    assert row["accuracy"] == pytest.approx(frame["accuracy"].mean())
    assert (row["n_people"], row["n_one_stage"]) == (6, 1)
