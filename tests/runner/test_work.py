"""One job: done, kept, failed, too slow, or with nowhere to put what it found."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
import time
import warnings
from typing import Any

import pandas as pd
import pytest
import torch
from sklearn.dummy import DummyClassifier
from threadpoolctl import threadpool_info

from sleepshift import runner
from sleepshift.errors import GridError, SleepShiftError, StorageError, TaskError, storage
from sleepshift.leaderboard.frame import results_frame
from sleepshift.methods import Method
from sleepshift.runner.work import Workbench, compute_threads

ENDLESS = {"max_epochs": 10_000, "patience": 10_000}
TIMES = ["fit_seconds", "predict_seconds"]


class Warner(DummyClassifier):
    """A majority classifier that warns whenever it is fitted."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Warner:
        warnings.warn("the lbfgs solver\n  did not converge", UserWarning, stacklevel=2)
        warnings.warn("a library's own plans", FutureWarning, stacklevel=2)
        return super().fit(X, y)


WARNING = Method(
    name="warner",
    family="floor",
    summary="warns",
    learns_from="source labels",
    labels=("source",),
    make=lambda settings: Warner(),
)


def test_a_job_that_takes_too_long_fails_and_the_others_go_on(grid):
    plan = grid.plan(["majority", "source-only"], folds=["one"], overrides=ENDLESS)
    start = time.monotonic()
    outcome = runner.execute(plan, grid.store, options=runner.Options(timeout=1.5))
    assert 1.5 <= time.monotonic() - start < 10
    assert outcome.scored == ["toy · one · majority"]
    first, after = outcome.failed.values()
    assert first == "it took longer than --timeout 1.5 s"
    assert after.startswith("prerequisite toy · one · source-only failed: it took longer")


def test_a_failed_job_is_tried_again_by_the_next_run_alone(grid, count_fits):
    plan = grid.plan(["source-only"], overrides={"lr": 1e30})
    (fit,) = plan.fits
    options = runner.Options()
    for n_tries in (1, 1, 2):
        bench = Workbench(plan, grid.store, options if n_tries == 1 else runner.Options())
        done = bench.do(fit)
        assert done.status == "failed"
        assert done.reason.startswith("FloatingPointError: training diverged")
        assert len(count_fits) == n_tries


def test_a_job_that_is_stored_is_kept(grid):
    plan = grid.plan(["majority"], folds=["one"])
    (cell,) = plan.cells
    assert [Workbench(plan, grid.store).do(cell).status for _ in range(2)] == ["scored", "kept"]


def test_a_model_damaged_after_planning_is_fitted_again_on_the_way(grid):
    plan = grid.plan(["source-only"], folds=["one"])
    (fit,), (cell,) = plan.fits, plan.cells
    bench = Workbench(plan, grid.store)
    before = bench.do(fit)
    weights = grid.out / "artifacts" / fit / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = bench.do(cell, [before])
    assert done.status == "scored"
    assert len(done.notes) == 1
    assert f"{fit} was damaged: set aside as .damaged-{fit}-0" in done.notes[0]
    assert weights.read_bytes() == content


def test_what_methods_warn_of_is_heard_once(grid):
    events: list[tuple[str, str]] = []
    plan = grid.plan([WARNING])
    runner.execute(plan, grid.store, report=lambda event, text: events.append((event, text)))
    notes = [text for event, text in events if event == "note"]
    assert notes == ["the lbfgs solver did not converge"]
    assert len(plan.cells) == 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, r"it cannot be written to \(Read-only file system\)"),
        (errno.ESTALE, "the disk does not answer"),
    ],
)
def test_a_store_that_takes_no_more_stops_the_run_and_keeps_what_is_finished(
    grid, monkeypatch, code, said
):
    from sleepshift.runner import artifacts

    whole, n_writes = artifacts.new_folder, 0

    def full(path: Any) -> Any:
        nonlocal n_writes
        n_writes += 1
        if n_writes > 2:
            raise OSError(code, os.strerror(code))
        return whole(path)

    methods = ["majority", "features-logreg", "source-only"]
    monkeypatch.setattr(artifacts, "new_folder", full)
    with pytest.raises(StorageError, match=said):
        grid.run(methods)
    monkeypatch.setattr(artifacts, "new_folder", whole)
    assert (results_frame(grid.out)["status"] == "ok").sum() == 4
    outcome = grid.run(methods)
    assert (outcome.kept, len(outcome.scored), outcome.failed) == (2, 4, {})


def test_a_full_disk_ends_the_run_while_outputs_are_kept_too(grid, monkeypatch):
    from sleepshift.estimators import cache

    def full(path: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "new_folder", full)
    with pytest.raises(StorageError, match="outputs: the disk is full"):
        grid.run(["majority", "features-logreg"])


def test_a_recording_that_cannot_be_read_is_not_the_stores_fault(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "data" / "x.edf"))
    with pytest.raises(PermissionError), storage(tmp_path / "runs"):
        raise error
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "runs" / "cells"))
    with pytest.raises(StorageError, match="Permission denied"), storage(tmp_path / "runs"):
        raise error


def test_what_is_stored_in_time_is_no_failure_however_long_its_tracking_takes(grid, monkeypatch):
    @contextlib.contextmanager
    def slow(self: Any, **facts: Any) -> Any:
        yield
        time.sleep(1.5)

    monkeypatch.setattr(runner.Tracker, "job", slow)
    plan = grid.plan(["majority"], folds=["one"])
    outcome = runner.execute(plan, grid.store, options=runner.Options(timeout=1))
    assert (len(outcome.scored), outcome.failed) == (1, {})


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(TaskError, match="--timeout"):
        runner.Options(timeout=timeout)


def test_a_timeout_without_an_alarm_is_refused_before_anything_is_computed(grid):
    caught: list[BaseException] = []

    def run() -> None:
        try:
            runner.execute(grid.plan(["majority"]), grid.store, options=runner.Options(timeout=5))
        except SleepShiftError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "only workers can be stopped" in str(caught[0])
    assert not (grid.out / "cells").exists()


def test_a_failure_that_says_nothing_is_still_one(grid):
    (grid.out / "failures").mkdir(parents=True)
    (grid.out / "failures" / "key.json").write_text("{}")
    assert grid.store.failure("key") == "it is not said why"


def test_a_cell_that_is_neither_scored_nor_skipped_is_refused(grid):
    grid.run(["majority"], folds=["one"])
    record = json.loads((grid.out / "grid.json").read_text())
    record["cells"][0]["key"] = None
    (grid.out / "grid.json").write_text(json.dumps(record))
    with pytest.raises(GridError, match="a cell has a key, or a reason"):
        runner.read_grid(grid.out)


def test_an_error_that_is_not_the_stores_passes_as_it_is(tmp_path):
    with pytest.raises(FileNotFoundError), storage(tmp_path):
        (tmp_path / "nothing").read_text()


def test_threads_are_as_many_as_said_and_given_back():
    before = torch.get_num_threads()
    with compute_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with compute_threads(1):
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}


def test_a_run_in_another_thread_gives_the_same_rows(grid, make_grid, toy_task, tmp_path):
    methods = ["source-only", "finetune-all"]
    grid.run(methods)
    other = make_grid(toy_task, tmp_path / "thread")
    thread = threading.Thread(target=other.run, args=(methods,))
    thread.start()
    thread.join()
    frames = [results_frame(g.out).drop(columns=TIMES) for g in (grid, other)]
    pd.testing.assert_frame_equal(*frames)
