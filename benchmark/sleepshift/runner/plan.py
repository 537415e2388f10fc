"""Plan: the grid of cells, and the jobs it comes down to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sleepshift.digest import digest
from sleepshift.errors import TaskError
from sleepshift.methods import Method, Settings
from sleepshift.models.pretrained import kept_name, names_weights
from sleepshift.protocol.fold import Fold
from sleepshift.protocol.task import Task
from sleepshift.runner.keys import Keyed
from sleepshift.runner.overrides import check_overrides, override, own_overrides, settings_of
from sleepshift.windows import Windows, open_store

__all__ = [
    "CellJob",
    "FitJob",
    "GridCell",
    "Plan",
    "TaskData",
    "chosen_folds",
    "plan",
]


@dataclass(frozen=True)
class TaskData:
    """A task and its prepared windows, in the task's stage scheme, split into folds."""

    task: Task
    windows: Windows
    folds: list[Fold]

    @classmethod
    def open(
        cls, task: Task, store: Path, *, data_seed: int = 0, allow_missing: bool = False
    ) -> TaskData:
        """Open a prepared store and split it.

        Parameters
        ----------
        task : Task
        store : Path
            Folder of its windows.
        data_seed, allow_missing
            As in `Task.folds`.
        """
        windows = open_store(store).to_scheme(task.windows.scheme)
        folds = task.folds(windows, data_seed=data_seed, allow_missing=allow_missing)
        return cls(task, windows, folds)


@dataclass(frozen=True)
class FitJob:
    """Fit an artifact that several cells share; `needs` are keys of artifacts by parameter."""

    key: str
    name: str
    task: str
    estimator: Any
    fold: Fold
    needs: dict[str, str]

    @property
    def after(self) -> list[str]:
        """Keys of the jobs that come before this one."""
        return list(self.needs.values())


@dataclass(frozen=True)
class CellJob(FitJob):
    """Fit a method's estimator (or take its artifact) and score it on `test`.

    With `choose_pass` it is scored after the training pass that does best there.
    """

    data: TaskData
    artifact: str | None
    test: Windows
    choose_pass: bool = False

    @property
    def after(self) -> list[str]:
        """Keys of the jobs that come before this one."""
        return [self.artifact] if self.artifact else super().after


@dataclass(frozen=True)
class GridCell:
    """One (task, fold, method, seed); several may share a job, and a skipped one has none.

    `definition` is a hash of what the task asks, `settings` what the command line changed:
    rows in which they differ do not belong in one table. `n_labeled` counts the target people
    with labels; `artifacts` are keys of the shared models that the cell needs.
    """

    task: str
    fold: str
    group: str
    n_labeled: int
    method: str
    seed: int
    revision: int
    definition: str
    settings: str
    key: str | None
    skipped: str | None = None
    artifacts: tuple[str, ...] = ()


@dataclass
class Plan:
    """Jobs by key, and the grid that asks for them.

    `request` is what another process can make the same plan from: a kind of
    `sleepshift.runner.request.Request`, and the name of one that is saved.
    """

    fits: dict[str, FitJob] = field(default_factory=dict)
    cells: dict[str, CellJob] = field(default_factory=dict)
    grid: list[GridCell] = field(default_factory=list)
    request: tuple[type, str] | None = None

    def job(self, key: str) -> FitJob:
        """The job of a key."""
        return self.cells[key] if key in self.cells else self.fits[key]


def plan(
    tasks: Sequence[TaskData],
    methods: Sequence[Method],
    *,
    seeds: Sequence[int] = (0,),
    folds: Sequence[str] | None = None,
    data_seed: int = 0,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Expand a grid into jobs; the same fit asked for twice is one job.

    Parameters
    ----------
    tasks : sequence of TaskData
    methods : sequence of Method
    seeds : sequence of int
        Model seeds.
    folds : sequence of str or None
        Names or positions of the folds; None is all.
    data_seed : int
    device : str
    overrides : mapping or None
        Training settings of the task, or parameters of estimators, to replace.

    Raises
    ------
    TaskError
        If a fold, a setting or its value is unknown.
    """
    check_overrides([data.task for data in tasks], methods, overrides or {})
    result = Plan()
    changed = {"data_seed": data_seed, **(overrides or {})}
    said = " ".join(f"{name}={_said(name, value)}" for name, value in sorted(changed.items()))
    for data in tasks:
        definition, chosen = data.task.definition, chosen_folds(data, folds)
        n_labeled = {fold.name: fold.n_labeled for fold in chosen}
        for seed in seeds:
            settings, rest = settings_of(data.task, seed, data_seed, device, dict(overrides or {}))
            recipes = [_Recipe(method, settings, rest) for method in methods]
            for fold in chosen:
                for recipe in recipes:
                    planned = recipe.plan(result, data, fold)
                    cell = GridCell(
                        task=data.task.name,
                        fold=fold.name,
                        group=fold.group,
                        n_labeled=n_labeled[fold.name],
                        method=recipe.method.name,
                        seed=seed,
                        revision=data.task.revision,
                        definition=definition,
                        settings=said,
                        **planned,
                    )
                    result.grid.append(cell)
    return result


def _said(name: str, value: Any) -> Any:
    """A setting as rows have it: of a file its name and what is in it, wherever it lies."""
    return kept_name(Path(value)) if names_weights(name, value) else value


def chosen_folds(data: TaskData, folds: Sequence[str] | None) -> list[Fold]:
    """The folds of these names or positions; None is all.

    Parameters
    ----------
    data : TaskData
    folds : sequence of str or None

    Raises
    ------
    TaskError
        If there is no such fold.
    """
    if folds is None:
        return data.folds
    names = [fold.name for fold in data.folds]
    chosen = []
    for wanted in folds:
        if wanted in names:
            chosen.append(data.folds[names.index(wanted)])
        elif wanted.isdecimal() and int(wanted) < len(names):
            chosen.append(data.folds[int(wanted)])
        else:
            raise TaskError(f"{data.task.name} has no fold {wanted!r}; it has {', '.join(names)}")
    return chosen


class _Recipe:
    """A method's estimator for one task and seed; all folds share it."""

    def __init__(self, method: Method, settings: Settings, overrides: dict[str, Any]) -> None:
        self.method, self.settings, self.overrides = method, settings, overrides

    @cached_property
    def keyed(self) -> Keyed:
        """The estimator, made when the first fold can use it."""
        estimator = self.method.make(self.settings)
        override(estimator, own_overrides(self.method, estimator, self.overrides))
        return Keyed(estimator)

    def plan(self, plan: Plan, data: TaskData, fold: Fold) -> dict[str, Any]:
        """Add the jobs of a fold to a plan; key and artifacts of the cell, or why there is none."""
        method = self.method
        if reason := method.skip_reason(fold, self.settings):
            return {"key": None, "skipped": reason}
        if method.selected_on_test and (data.windows.labels_of(fold.test) < 0).all():
            return {"key": None, "skipped": "its pass is chosen by labels that are not public"}
        artifacts, needs = _plan_needs(plan, self.keyed, data.task, fold, method.name)
        own = self.keyed.key(fold, needs)
        name, estimator, stored = _name(data.task, fold, method.name), self.keyed.estimator, None
        if hasattr(estimator, "fitted_state"):
            fit = FitJob(own, name, data.task.name, estimator, fold, needs)
            plan.fits.setdefault(own, fit)
            artifacts, needs, stored = [*artifacts, own], {}, own
        test = fold.privileged if method.privileged and fold.privileged else fold.test
        chosen = method.selected_on_test
        what = [own, test.fingerprint, data.task.windows.scheme]
        key = digest([*what, "best pass"] if chosen else what)
        cell = CellJob(
            key, name, data.task.name, estimator, fold, needs, data, stored, test, chosen
        )
        plan.cells.setdefault(key, cell)
        return {"key": key, "artifacts": tuple(artifacts)}


def _name(task: Task, fold: Fold, *rest: str) -> str:
    return " · ".join([task.name, fold.name, *rest])


def _plan_needs(
    plan: Plan, keyed: Keyed, task: Task, fold: Fold, *names: str
) -> tuple[list[str], dict[str, str]]:
    """Add fit jobs for an estimator's prerequisites, theirs first.

    Returns
    -------
    artifacts : list of str
        Keys of all of them.
    needs : dict
        Keys of its own, by parameter.
    """
    artifacts: list[str] = []
    needs: dict[str, str] = {}
    for parameter, base in keyed.prerequisites.items():
        if not hasattr(base.estimator, "fitted_state"):
            continue  # it cannot be stored, so the estimator fits its own
        theirs, own = _plan_needs(plan, base, task, fold, *names, parameter)
        key = base.key(fold, own)
        name = _name(task, fold, *names, parameter)
        plan.fits.setdefault(key, FitJob(key, name, task.name, base.estimator, fold, own))
        needs[parameter] = key
        artifacts += [*theirs, key]
    return artifacts, needs
