"""A prepared toy task whose settings are searched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sleepshift import runner
from sleepshift.methods import METHODS
from sleepshift.protocol import load_task
from sleepshift.search import plan_search, read_scores


@pytest.fixture
def open_task(tmp_path: Path) -> Callable[[Path], runner.TaskData]:
    """``open_task(file)``, packed below the test's folder."""

    def opened(file: Path) -> runner.TaskData:
        task = load_task(file)
        return runner.TaskData.open(task, task.prepare(tmp_path / "runs" / "windows"))

    return opened


@pytest.fixture
def run_search(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Plan, execute and read a search: ``run_search(data, method, combinations, **options)``."""

    def run(
        data: runner.TaskData,
        method: str,
        combinations: Sequence[dict[str, Any]],
        *,
        out: str = "runs",
        **options: Any,
    ) -> SimpleNamespace:
        plan = plan_search(data, METHODS[method], combinations, **options)
        store = runner.ArtifactStore(tmp_path / out)
        outcome = runner.execute(plan, store)
        scores = read_scores(plan, len(combinations), store)
        return SimpleNamespace(plan=plan, store=store, outcome=outcome, scores=scores)

    return run
