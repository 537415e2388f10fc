"""Collect what a run has scored so far."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sleepshift import __version__
from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import SOMETIMES, results_frame
from sleepshift.leaderboard.results import Results
from sleepshift.leaderboard.table import check_grid
from sleepshift.runner import read_grid

__all__ = ["collect"]


def collect(
    runs: Path,
    *,
    tasks: Sequence[str] | None = None,
    partial: bool = False,
    mixed: bool = False,
) -> Results:
    """What a run has scored so far, night by night figures aside.

    Parameters
    ----------
    runs : Path
        Folder of a run.
    tasks : sequence of str or None
        Tasks to report; None is all in the run.
    partial, mixed : bool
        Allow missing cells, or rows that do not belong together; the table says so.

    Returns
    -------
    Results

    Raises
    ------
    GridError
        If the grid is incomplete or mixed, or holds nothing to report.
    """
    grid, rows = read_grid(runs), results_frame(runs)
    if unknown := [name for name in tasks or () if name not in grid["tasks"]]:
        raise GridError(f"{runs} holds no task {unknown[0]!r}; it has {', '.join(grid['tasks'])}")
    if tasks is not None:
        rows = rows[rows["task"].isin(list(tasks))]
    if not (rows["status"] == "ok").any():
        reasons = rows["status"].drop_duplicates().tolist()
        raise GridError(f"no cell has been scored; the first one is {reasons[0]}")
    may_be_empty = [c for c in rows if c.startswith("f1_") or c in SOMETIMES]
    unused = [c for c in may_be_empty if rows[c].isna().all()]
    rows = rows.drop(columns=unused)
    facts = {name: grid["tasks"][name] for name in dict.fromkeys(rows["task"])}
    methods = {name: grid["methods"][name] for name in dict.fromkeys(rows["method"])}
    notes = check_grid(rows, facts, partial=partial, mixed=mixed)
    manifest = {"sleepshift": __version__, "notes": notes, "tasks": facts, "methods": methods}
    return Results(rows, pd.DataFrame(), [], manifest)
