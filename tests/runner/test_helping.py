"""Distillation helps where it has to: few scored nights, and more with both views that are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sleepshift.leaderboard.collect import collect
from sleepshift.protocol import Task, load_task

TASKS = Path(__file__).resolve().parents[2] / "tasks"


def _small_task() -> Task:
    """From scalp to ear: two people to train on, one to stop by, five not scored, eight to test."""
    task = load_task(TASKS / "scalp-to-ear-few-labels-simulated.toml")
    nights = {"people": [[16, 20, 60]], "nights": 1, "hours": 1.25, "seed": 3}
    changes: dict[str, Any] = {
        "name": "few-labels",
        "dataset": task.dataset.model_copy(update={"params": nights}),
        "windows": task.windows.model_copy(update={"sfreq": 40.0}),
        "protocol": task.protocol.model_copy(update={"n_folds": 2, "labeled": 3}),
    }
    return Task.model_validate(task.model_copy(update=changes).model_dump())


def test_unlabelled_nights_with_both_views_help_where_few_are_scored(
    tmp_path: Path, make_grid: Any
) -> None:
    grid = make_grid(_small_task(), tmp_path / "runs")
    outcome = grid.run(["teacher", "student-only", "kd-unlabeled"], folds=["0"])
    assert outcome.failed == {}
    # A fair comparison: both students stopped since they had got no better for long.
    task = grid.data.task
    for key, job in grid.plan(["student-only", "kd-unlabeled"], folds=["0"]).fits.items():
        passes = grid.store.load_artifact(key, job.estimator).history_
        assert task.training.patience < len(passes) < task.training.max_epochs
    found = collect(grid.out, partial=True).gains.set_index("method")
    assert set(found["reference"]) == {"student-only"}
    assert (found["n_people"] == 8).all()
    assert found.loc["teacher", "gain_low"] > 0
    assert found.loc["kd-unlabeled", "gain_low"] > 0
