"""Plan a search, and write down what it is before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sleepshift.atomic import write_json
from sleepshift.digest import digest
from sleepshift.errors import TaskError
from sleepshift.methods import Method, get_methods
from sleepshift.protocol.holdout import hold_out
from sleepshift.runner import Plan, Request, TaskData, plan
from sleepshift.runner.plan import chosen_folds
from sleepshift.runner.request import PlainSettings
from sleepshift.search.grid import check_searchable

__all__ = ["SearchRequest", "plan_search", "record_search"]


class SearchRequest(Request):
    """A search of one method on one task in plain values, as workers are told of it.

    Parameters
    ----------
    combinations : list of dict
        As `plan_search` takes them.
    """

    combinations: list[PlainSettings]

    def plan(self, tasks: list[TaskData]) -> Plan:
        """Jobs and cells of the search; see `plan_search`."""
        (data,), (method,) = tasks, get_methods(self.methods)
        return plan_search(
            data,
            method,
            self.combinations,
            seeds=self.seeds,
            folds=self.folds,
            data_seed=self.data_seed,
            device=self.device,
            overrides=self.overrides,
        )


def plan_search(
    data: TaskData,
    method: Method,
    combinations: Sequence[Mapping[str, Any]],
    *,
    seeds: Sequence[int] = (0,),
    folds: Sequence[str] | None = None,
    data_seed: int = 0,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Jobs of every combination on folds with people held out; shared models are one job.

    Parameters
    ----------
    data : TaskData
        As `TaskData.open` gives it; people are held out here.
    method : Method
    combinations : sequence of mapping
        As `combine` gives them.
    seeds, folds, data_seed, device, overrides
        As in `sleepshift.runner.plan`.

    Returns
    -------
    Plan
        Its ``grid`` has the cells of the first combination, then those of the second, in the
        same order of seeds and folds.

    Raises
    ------
    TaskError
        If a fold or a setting is unknown, nobody can be held out, the method can run on no
        fold or chooses its pass on those it is scored on, or a parameter changes nothing of it.
    """
    check_searchable(method)
    asked = {fold.name: fold for fold in chosen_folds(data, folds)}
    held = [hold_out(fold, data_seed=data_seed) for fold in asked.values()]
    data, merged = replace(data, folds=held), Plan()
    for combination in combinations:
        part = plan(
            [data],
            [method],
            seeds=seeds,
            data_seed=data_seed,
            device=device,
            overrides={**combination, **(overrides or {})},
        )
        merged.fits = part.fits | merged.fits
        merged.cells = part.cells | merged.cells
        merged.grid += part.grid
    if not merged.cells:
        reason = merged.grid[0].skipped
        raise TaskError(f"{method.name} cannot run on {data.task.name}: {reason}")
    _refuse_idle(merged, method, combinations)
    return merged


def _refuse_idle(plan: Plan, method: Method, combinations: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a parameter whose values all give the same models."""
    n_cells = len(plan.grid) // len(combinations)
    for name in combinations[0]:
        n_values = len({repr(combination[name]) for combination in combinations})
        models: dict[str, set[tuple[str | None, ...]]] = {}
        for k, combination in enumerate(combinations):
            others = repr({n: value for n, value in combination.items() if n != name})
            keys = tuple(cell.key for cell in plan.grid[k * n_cells : (k + 1) * n_cells])
            models.setdefault(others, set()).add(keys)
        if n_values > 1 and all(len(keys) == 1 for keys in models.values()):
            raise TaskError(f"--grid {name}: it changes nothing of {method.name}; leave it out")


def record_search(
    root: Path,
    plan: Plan,
    combinations: Sequence[Mapping[str, Any]],
    *,
    overrides: Mapping[str, Any] | None = None,
    data_seed: int = 0,
    command: str = "",
) -> Path:
    """Write ``record.json``: what is searched, on whom it is chosen, and what it stands on.

    A search is not part of the run in whose folder it lies: its cells enter no table.

    Parameters
    ----------
    root : Path
        Folder of windows, artifacts and cells.
    plan : Plan
        Of `plan_search`.
    combinations, overrides, data_seed
        What the plan was made from.
    command : str
        What the user typed.

    Returns
    -------
    Path
        Folder of the search, the same for the same search.
    """
    n_cells = len(plan.grid) // len(combinations)
    cells = [
        {
            "combination": k // n_cells,
            "fold": cell.fold,
            "group": cell.group,
            "seed": cell.seed,
            "key": cell.key,
            "skipped": cell.skipped,
        }
        for k, cell in enumerate(plan.grid)
    ]
    job = next(iter(plan.cells.values()))
    task, method = job.data.task, plan.grid[0].method
    facts = {
        "command": command,
        "method": method,
        "combinations": [dict(combination) for combination in combinations],
        "overrides": dict(overrides or {}),
        "data_seed": data_seed,
        "task": {
            "name": task.name,
            "title": task.title,
            "revision": task.revision,
            "definition": task.definition,
            "simulated": task.simulated,
            "protocol": task.protocol.kind,
            "scoring": task.scoring.model_dump(),
            "training": task.training.model_dump(),
        },
        "held_out": {
            fold.name: {
                "source_validation": list(fold.source_validation),
                "target_validation": list(fold.target_validation),
            }
            for fold in (job.fold for job in plan.cells.values())
        },
        "windows": job.data.windows.name,
        "cells": cells,
        "artifacts": sorted(plan.fits),
    }
    what = {k: v for k, v in facts.items() if k not in ("command", "task", "artifacts")}
    name = f"{task.name}-{method}-{digest([what, task.definition, task.revision], 8)}"
    write_json(root / "search" / name / "record.json", facts)
    return root / "search" / name
