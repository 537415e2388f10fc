from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from sleepshift import runner
from sleepshift.estimators import SleepStager
from sleepshift.leaderboard.frame import results_frame
from sleepshift.methods import get_methods
from sleepshift.protocol import load_task
from sleepshift.windows import read_manifest

SHARED = ["source-only", "finetune-all", "finetune-head"]


class Grid:
    """A prepared toy task, ready to plan and run."""

    def __init__(self, task_file: Path, out: Path) -> None:
        task = load_task(task_file)
        store = task.prepare(out / "windows")
        self.data = runner.TaskData.open(task, store)
        self.manifests = {task.name: read_manifest(store)}
        self.out = out
        self.store = runner.ArtifactStore(out)

    def plan(self, methods: list[str] | None = None, **settings: object) -> runner.Plan:
        return runner.plan([self.data], get_methods(methods), **settings)

    def run(self, methods: list[str] | None = None, **settings: object) -> runner.Outcome:
        plan = self.plan(methods, **settings)
        runner.record_grid(self.out, plan, [self.data], self.manifests)
        return runner.execute(plan, self.store)


@pytest.fixture
def grid(toy_task: Path, tmp_path: Path) -> Grid:
    return Grid(toy_task, tmp_path / "runs")


@pytest.fixture
def count_fits(monkeypatch: pytest.MonkeyPatch) -> list[SleepStager]:
    fitted: list[SleepStager] = []
    original = SleepStager.fit

    def fit(self: SleepStager, X: object, y: object = None) -> SleepStager:
        fitted.append(self)
        return original(self, X, y)

    monkeypatch.setattr(SleepStager, "fit", fit)
    return fitted


def test_the_source_model_is_fitted_once_for_all_methods_that_need_it(grid, count_fits) -> None:
    outcome = grid.run(SHARED, seeds=(0, 1))
    assert not outcome.failed
    assert len(outcome.scored) == 3 * 2 * 2
    # Both folds have the same source people, so once per seed serves them both.
    assert len(count_fits) == len(outcome.fitted) == 2
    assert [stager.random_state for stager in count_fits] == [0, 1]


def test_folds_with_other_source_people_get_a_source_model_each(
    toy_task, tmp_path, count_fits
) -> None:
    text = toy_task.read_text()
    head = text[: text.index("[protocol]")]
    toy_task.write_text(head + '[protocol]\nkind = "leave-subjects-out"\nn_folds = 2\n')
    outcome = Grid(toy_task, tmp_path / "runs").run(["source-only"], seeds=(0,))
    assert len(count_fits) == len(outcome.fitted) == 2


def test_a_second_run_fits_nothing(grid, count_fits) -> None:
    grid.run(SHARED)
    count_fits.clear()
    before = results_frame(grid.out)
    outcome = grid.run(SHARED)
    assert (count_fits, outcome.fitted, outcome.scored) == ([], [], [])
    assert outcome.kept == 6
    pd.testing.assert_frame_equal(results_frame(grid.out), before)


def test_a_stored_model_predicts_as_it_did_when_it_was_fitted(grid) -> None:
    plan = grid.plan(["source-only"], folds=["one"])
    runner.execute(plan, grid.store)
    (key, job), *_ = plan.fits.items()
    fold = grid.data.folds[0]
    fresh = job.estimator.fit(fold.source, fold.source.y)
    stored = grid.store.load_artifact(key, job.estimator)
    assert (stored.predict_proba(fold.test) == fresh.predict_proba(fold.test)).all()
    assert stored.history_[-1]["valid_loss"] == fresh.history_[-1]["valid_loss"]


def test_methods_without_chance_share_one_job_over_seeds(grid) -> None:
    plan = grid.plan(["features-logreg", "majority"], seeds=(0, 1, 2), folds=["one"])
    assert len(plan.grid) == 6
    assert len(plan.cells) == 2


def test_all_methods_run_and_give_a_row_a_person(grid) -> None:
    outcome = grid.run(folds=["one"])
    assert outcome.failed == {}
    frame = results_frame(grid.out)
    assert set(frame["status"]) == {"ok"}
    assert len(frame) == 13 * 2
    assert frame.groupby("method")["subject"].apply(set).map(lambda s: s == {"6", "7"}).all()


def test_what_cannot_run_is_listed_as_skipped_with_its_reason(grid) -> None:
    grid.run(["majority", "source-only"], folds=["0"], overrides={"model": "mlp"})
    frame = results_frame(grid.out).set_index("method")
    assert frame.loc["source-only", "status"] == (
        "skipped: model mlp takes features windows, not signal"
    )
    assert (frame.loc[["majority"], "status"] == "ok").all()


def test_a_failing_job_stops_neither_the_others_nor_the_next_run(grid, monkeypatch) -> None:
    def broken(self: SleepStager, X: object, y: object = None) -> SleepStager:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(SleepStager, "fit", broken)
        outcome = grid.run([*SHARED, "majority"], folds=["one"])
    assert len(outcome.scored) == 1
    status = results_frame(grid.out).set_index("method")["status"]
    assert (status[["majority"]] == "ok").all()
    assert "out of luck" in status["source-only"]
    assert status["finetune-all"].startswith("failed: prerequisite")
    assert "out of luck" in status["finetune-all"]
    assert not grid.run([*SHARED, "majority"], folds=["one"]).failed
    assert set(results_frame(grid.out)["status"]) == {"ok"}


def test_a_damaged_artifact_is_set_aside_and_fitted_again(grid) -> None:
    plan = grid.plan(["source-only", "finetune-head"], folds=["one"])
    runner.execute(plan, grid.store)
    (key,) = plan.fits
    weights = grid.out / "artifacts" / key / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    for cell in plan.cells:
        manifest = grid.out / "cells" / cell / "manifest.json"
        manifest.unlink()
    outcome = runner.execute(plan, grid.store)
    assert len(outcome.fitted) == 1
    assert len(outcome.scored) == 2
    assert weights.read_bytes() == content
    assert list((grid.out / "artifacts").glob(".damaged-*"))


def test_test_people_have_no_influence_on_what_is_fitted(grid, monkeypatch) -> None:
    """Other test labels change the score, and nothing else."""
    plan = grid.plan(["finetune-all"], folds=["one"])
    runner.execute(plan, grid.store)
    cell = next(iter(plan.cells.values()))
    fold = cell.fold
    assert not fold.test.has_labels
    seen = [fold.source, fold.target_labeled, fold.target_unlabeled]
    test_people = set(fold.test.subjects)
    assert all(not test_people & set(part.subjects) for part in seen)


def test_an_unknown_setting_is_refused(grid) -> None:
    from sleepshift.errors import TaskError

    with pytest.raises(TaskError, match="no chosen method has it"):
        grid.plan(["majority"], overrides={"nonsense": 1})
    with pytest.raises(TaskError, match="max_epochs"):
        grid.plan(["majority"], overrides={"max_epochs": 0})
    with pytest.raises(TaskError, match="unknown model"):
        grid.plan(["majority"], overrides={"model": "nonsense"})
    with pytest.raises(TaskError, match="has no fold 'three'"):
        grid.plan(["majority"], folds=["three"])


def test_a_setting_of_one_estimator_reaches_it(grid) -> None:
    plan = grid.plan(["finetune-head", "source-only"], folds=["0"], overrides={"trainable": "none"})
    (tuner,) = [c.estimator for c in plan.cells.values() if hasattr(c.estimator, "trainable")]
    assert tuner.trainable == "none"
