"""The jobs behind a table: one row each, with what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sleepshift.runner import read_grid
from sleepshift.runner.inventory import manifest_of, shared_models

__all__ = ["COLUMNS", "jobs_frame"]

_NUMBERS = (
    "wall_seconds",
    "cpu_seconds",
    "peak_memory_mb",
    "peak_gpu_memory_mb",
    "threads",
    "energy_kwh",
)

COLUMNS = ("key", "kind", "name", "tasks", "methods", *_NUMBERS, "device", "gpu", "machine")


def jobs_frame(root: Path, tasks: Sequence[str] | None = None) -> pd.DataFrame:
    """Costs of the stored jobs that the cells of a grid come from, each once.

    Parameters
    ----------
    root : Path
        Folder of a run.
    tasks : sequence of str or None
        Tasks to look at; None is all.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`: shared models (``kind`` is ``"fit"``) in the order of their first
        cell, then cells (``"cell"``). ``tasks`` and ``methods`` name, separated by commas, all
        that share a job, whose cost is in none of them alone. What a run did not measure is
        missing, as all costs of older versions are.
    """
    cells: dict[str, list[dict[str, Any]]] = {}
    fits: dict[str, list[dict[str, Any]]] = {}
    for cell in read_grid(root)["cells"]:
        if cell["key"] is None or (tasks is not None and cell["task"] not in tasks):
            continue
        cells.setdefault(cell["key"], []).append(cell)
        for key in sorted(shared_models(root, cell) or ()):
            fits.setdefault(key, []).append(cell)
    rows = _rows(root / "artifacts", "fit", fits) + _rows(root / "cells", "cell", cells)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in _NUMBERS:
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _rows(folder: Path, kind: str, jobs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    stored = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    rows = []
    for key, cells in jobs.items():
        if key not in stored or not (facts := manifest_of(folder / key)):
            continue
        cost = facts.get("cost")
        rows.append(
            {
                **(cost if isinstance(cost, dict) else {}),
                "key": key,
                "kind": kind,
                "name": facts.get("name"),
                "tasks": ",".join(dict.fromkeys(cell["task"] for cell in cells)),
                "methods": ",".join(dict.fromkeys(cell["method"] for cell in cells)),
                "machine": facts.get("machine"),
            }
        )
    return rows
