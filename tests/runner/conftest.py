"""A prepared toy task to plan and run, and a count of what is fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sleepshift import runner
from sleepshift.estimators import SleepStager
from sleepshift.methods import Method, get_methods
from sleepshift.protocol import Task, load_task
from sleepshift.windows import read_manifest


class Grid:
    """A prepared toy task, ready to plan and run."""

    def __init__(self, task: Task | Path, out: Path) -> None:
        task = task if isinstance(task, Task) else load_task(task)
        store = task.prepare(out / "windows")
        self.data = runner.TaskData.open(task, store)
        self.manifests = {task.name: read_manifest(store)}
        self.out = out
        self.store = runner.ArtifactStore(out)

    @staticmethod
    def _methods(methods: Sequence[str | Method] | None) -> list[Method]:
        if methods is None:
            return get_methods()
        own = [method for method in methods if isinstance(method, Method)]
        return own + get_methods([name for name in methods if isinstance(name, str)])

    def plan(
        self, methods: Sequence[str | Method] | None = None, **settings: object
    ) -> runner.Plan:
        return runner.plan([self.data], self._methods(methods), **settings)

    def run(
        self, methods: Sequence[str | Method] | None = None, **settings: object
    ) -> runner.Outcome:
        plan = self.plan(methods, **settings)
        runner.record_grid(self.out, plan, [self.data], self.manifests, self._methods(methods))
        return runner.execute(plan, self.store)


@pytest.fixture
def make_grid() -> Callable[[Task | Path, Path], Grid]:
    """``make_grid(task, out)``, of a task or its file."""
    return Grid


@pytest.fixture
def grid(toy_task: Path, tmp_path: Path) -> Grid:
    """The toy task of two domains."""
    return Grid(toy_task, tmp_path / "runs")


@pytest.fixture
def count_fits(monkeypatch: pytest.MonkeyPatch) -> list[SleepStager]:
    """Every stager that is fitted, in order."""
    fitted: list[SleepStager] = []
    original = SleepStager.fit

    def fit(self: SleepStager, X: object, y: object = None) -> SleepStager:
        fitted.append(self)
        return original(self, X, y)

    monkeypatch.setattr(SleepStager, "fit", fit)
    return fitted
