"""The grid's record: which cells a run was asked for, and what their tasks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sleepshift.atomic import read_json, write_json
from sleepshift.errors import GridError, one_line
from sleepshift.methods import Method
from sleepshift.runner.plan import Plan, TaskData

__all__ = ["read_grid", "record_grid"]

_LOCK_SECONDS = 60


class _Scoring(BaseModel):
    scheme: str
    primary: str


class _SecondScorer(BaseModel):
    scheme: str
    counts: dict[str, list[list[int]]]


class _TaskFacts(BaseModel):
    """What tables and pages read of a task; the rest is carried along."""

    model_config = ConfigDict(extra="allow")

    title: str
    description: str
    commands: list[str]
    simulated: bool
    scheme: str
    protocol: str
    folds: dict[str, str]
    transductive: list[str]
    scoring: _Scoring
    second_scorer: _SecondScorer
    skipped_recordings: list[dict[str, str]]


class _MethodFacts(BaseModel):
    family: str
    learns_from: str
    labels: list[str]
    unlabeled: bool
    deep: bool
    floor: bool
    privileged: bool
    #: Not in records of older versions.
    selected_on_test: bool = False


class _CellFacts(BaseModel):
    task: str
    fold: str
    group: str
    n_labeled: int
    method: str
    seed: int
    revision: int
    definition: str
    settings: str
    #: A digest: as a folder's name it must lead nowhere else.
    key: str | None = Field(pattern=r"^[0-9a-f]{20}$")
    skipped: str | None
    #: None in records of older versions.
    artifacts: list[str] | None = None

    @model_validator(mode="after")
    def _scored_or_skipped(self) -> _CellFacts:
        if (self.key is None) == (self.skipped is None):
            raise ValueError("a cell has a key, or a reason why it was skipped")
        return self


class _Record(BaseModel):
    tasks: dict[str, _TaskFacts]
    methods: dict[str, _MethodFacts]
    cells: list[_CellFacts]


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

    Raises
    ------
    GridError
        If another run does not let go of the record.
    """
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / "grid.lock", timeout=_LOCK_SECONDS):
            grid = read_grid(root, missing_ok=True)
            _merge(grid, plan, tasks, manifests, methods, command)
            write_json(root / "grid.json", grid)
    except Timeout:
        raise GridError(
            f"another run has held {root}/grid.lock for {_LOCK_SECONDS} s; is it stuck?"
        ) from None


def _merge(
    grid: dict[str, Any],
    plan: Plan,
    tasks: list[TaskData],
    manifests: dict[str, dict[str, Any]],
    methods: Sequence[Method],
    command: str,
) -> None:
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
            "sources": task.dataset.sources,
            "scheme": task.windows.scheme,
            "protocol": task.protocol.kind,
            "folds": {fold.name: fold.group for fold in data.folds},
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
        grid["methods"][method.name] = {
            name: getattr(method, name) for name in _MethodFacts.model_fields
        }
    grid["cells"] = list(cells.values())


def _identity(cell: dict[str, Any]) -> tuple[Any, ...]:
    return (cell["task"], cell["fold"], cell["method"], cell["seed"])


def read_grid(root: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    """Read a run's record.

    Parameters
    ----------
    root : Path
        Folder of a run.
    missing_ok : bool
        Whether a folder without one is an empty one.

    Raises
    ------
    GridError
        If the folder holds no run.
    """
    record = read_json(root / "grid.json")
    if record is None and not (root / "grid.json").exists():
        if not missing_ok:
            raise GridError(
                f"{root} holds no run; start one with: sleepshift run TASK --out {root}"
            )
        return {"tasks": {}, "methods": {}, "cells": []}
    try:
        grid = _Record.model_validate(record)
        for cell in grid.cells:
            if cell.task not in grid.tasks or cell.method not in grid.methods:
                raise ValueError(f"nothing is said of {cell.task} or {cell.method}")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _damaged(root, f"{where}: {first['msg']}") from None
    except ValueError as error:
        raise _damaged(root, one_line(error, 120)) from None
    return grid.model_dump()


def _damaged(root: Path, what: str) -> GridError:
    return GridError(
        f"{root}/grid.json is damaged, or of another version ({what}); move it away and run again"
    )
