"""The grid's record: which cells a run was asked for, and what their tasks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sleepshift.atomic import read_json, write_json
from sleepshift.errors import GridError
from sleepshift.methods import Method
from sleepshift.runner.plan import Plan, TaskData

__all__ = ["read_grid", "record_grid"]


def record_grid(
    root: Path,
    plan: Plan,
    tasks: list[TaskData],
    manifests: dict[str, dict[str, Any]],
    methods: Sequence[Method],
    command: str = "",
) -> None:
    """Merge a plan's grid into ``grid.json``; a cell planned anew replaces the old one.

    Parameters
    ----------
    root : Path
        Folder of the run.
    plan : Plan
    tasks : list of TaskData
    manifests : dict
        Manifest of each task's window store.
    methods : sequence of Method
    command : str
        What the user typed; kept with the tasks it asked for.
    """
    grid = read_grid(root, missing_ok=True)
    cells = {_identity(cell): cell for cell in grid["cells"]}
    for planned in plan.grid:
        cells[_identity(asdict(planned))] = asdict(planned)
    for data in tasks:
        task, manifest = data.task, manifests[data.task.name]
        before = grid["tasks"].get(task.name, {"commands": []})["commands"]
        grid["tasks"][task.name] = {
            "title": task.title,
            "description": task.description.strip(),
            "commands": list(dict.fromkeys([*before, command])),
            "simulated": task.simulated,
            "dataset": task.dataset.name,
            "scheme": task.windows.scheme,
            "transductive": list(dict.fromkeys(f.group for f in data.folds if f.transductive)),
            "scoring": task.scoring.model_dump(),
            "training": task.training.model_dump(),
            "windows": data.windows.name,
            "n_windows": manifest["n_windows"],
            "n_per_stage": manifest["n_per_stage"],
            "second_scorer": {
                "scheme": manifest["scheme"],
                "counts": manifest.get("second_scorer", {}),
            },
            "skipped_recordings": manifest["skipped"],
            "versions": manifest["versions"],
        }
    for method in methods:
        facts = ("family", "learns_from", "labels", "unlabeled", "deep", "floor", "privileged")
        grid["methods"][method.name] = {name: getattr(method, name) for name in facts}
    grid["cells"] = list(cells.values())
    write_json(root / "grid.json", grid)


def _identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    return (cell["task"], cell["fold"], cell["method"], cell["seed"])


def read_grid(root: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    """Read a run's record.

    Raises
    ------
    GridError
        If the folder holds no run.
    """
    grid = read_json(root / "grid.json")
    if isinstance(grid, dict) and {"tasks", "methods", "cells"} <= set(grid):
        if any("group" not in cell for cell in grid["cells"]):
            raise GridError(f"{root} was run by an older version; run again into another folder")
        return grid
    if grid is not None:
        raise GridError(f"{root}/grid.json is damaged; move it away and run again")
    if not missing_ok:
        raise GridError(f"{root} holds no run; start one with: sleepshift run TASK --out {root}")
    return {"tasks": {}, "methods": {}, "cells": []}
