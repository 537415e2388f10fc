"""Results on their way to a tracker."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from sleepshift.leaderboard.collect import collect
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.tracked import cell_scores, track_results
from sleepshift.runner.tracking import Tracker, TrackingWarning


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What trackers are told, in place of telling wandb."""
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(Tracker, "summary", lambda self, task, **said: told.append((task, said)))
    return told


def test_scores_of_a_cell_are_means_over_its_people(whole_run) -> None:
    rows = collect(whole_run, partial=True, mixed=True).rows
    scores = cell_scores(rows)
    scored = rows[rows["status"] == "ok"]
    assert scores["n_people"].sum() == len(scored)
    for _, cell in scores.iterrows():
        own = scored
        for name in ("task", "fold", "method", "seed"):
            own = own[own[name] == cell[name]]
        assert cell["n_people"] == len(own)
        for metric in METRICS:
            values = [v for v in own[metric].tolist() if v == v]
            assert cell[metric] == pytest.approx(sum(values) / len(values), nan_ok=True)


def test_every_task_is_told_with_its_cells_and_its_table(whole_run, seen, tmp_path) -> None:
    results = collect(whole_run, partial=True, mixed=True)
    assert track_results(results, Tracker("sleep", tmp_path)) == []
    assert [task for task, _ in seen] == list(results.tasks)
    for task, said in seen:
        table, primary = said["tables"]["leaderboard"], results.tasks[task]["scoring"]["primary"]
        assert set(table["task"]) == set(said["tables"]["cells"]["task"]) == {task}
        assert len(said["figures"]) == len(table)
        row = table.iloc[0]
        assert said["figures"][f"{row['group']}/{row['method']}/{primary}"] == row[primary]
        assert "commands" not in said["config"]  # they name folders of the machine
        assert said["config"]["title"] == results.tasks[task]["title"]


def test_what_went_wrong_and_what_can_be_sent_is_said(whole_run, tmp_path, monkeypatch) -> None:
    def fail(self: Tracker, task: str, **said: Any) -> None:
        warnings.warn("tracking with wandb is off", TrackingWarning, stacklevel=2)

    monkeypatch.setattr(Tracker, "summary", fail)
    (tmp_path / "wandb" / "offline-run-1-a").mkdir(parents=True)
    results = collect(whole_run, partial=True, mixed=True)
    first, *_, last = track_results(results, Tracker("sleep", tmp_path))
    assert first == "tracking with wandb is off"
    assert f"wandb sync {tmp_path}/wandb/offline-run-*" in last
    Path(tmp_path / "wandb" / "offline-run-1-a" / "run-a.wandb.synced").touch()
    assert track_results(results, Tracker("sleep", tmp_path))[-1] == first


def test_without_a_project_nothing_is_told(whole_run, seen, tmp_path) -> None:
    results = collect(whole_run, partial=True, mixed=True)
    assert track_results(results, Tracker(None, tmp_path)) == []
    assert seen == []
