"""Write a leaderboard folder from a run, and check one against its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift import __version__
from sleepshift.atomic import read_json, write_json, write_text
from sleepshift.digest import digest
from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import COLUMNS, person_figures, read_confusion, results_frame
from sleepshift.leaderboard.plot import plot_leaderboard
from sleepshift.leaderboard.table import check_grid, leaderboard, to_markdown
from sleepshift.runner import read_grid

__all__ = ["check_report", "read_report", "write_report"]

#: Figures are written with so many significant digits; tables are made from what was written.
DIGITS = "%.9g"


def write_report(
    runs: Path,
    out: Path,
    *,
    tasks: Sequence[str] | None = None,
    partial: bool = False,
    mixed: bool = False,
) -> pd.DataFrame:
    """Write ``results.csv``, ``leaderboard.csv``, ``.md``, ``.png`` and ``manifest.json``.

    Parameters
    ----------
    runs : Path
        Folder of a run.
    out : Path
        Folder of the leaderboard; other files in it (a README) are left alone.
    tasks : sequence of str or None
        Tasks to report; None is all in the run.
    partial, mixed : bool
        Allow missing cells, or rows that do not belong together; the table says so.

    Returns
    -------
    DataFrame
        The leaderboard.

    Raises
    ------
    GridError
        If the grid is incomplete or mixed, or holds nothing to report.
    """
    grid, frame = read_grid(runs), results_frame(runs)
    if unknown := [name for name in tasks or () if name not in grid["tasks"]]:
        raise GridError(f"{runs} holds no task {unknown[0]!r}; it has {', '.join(grid['tasks'])}")
    if tasks is not None:
        frame = frame[frame["task"].isin(list(tasks))]
    if not (frame["status"] == "ok").any():
        reasons = frame["status"].drop_duplicates().tolist()
        raise GridError(f"no cell has been scored; the first one is {reasons[0]}")
    notes = check_grid(frame, partial=partial, mixed=mixed)
    unused = [c for c in frame if c.startswith("f1_") and frame[c].isna().all()]
    frame = frame.drop(columns=unused)
    facts = {name: grid["tasks"][name] for name in dict.fromkeys(frame["task"])}
    methods = {name: grid["methods"][name] for name in dict.fromkeys(frame["method"])}
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "results.csv", frame.to_csv(index=False, float_format=DIGITS))
    manifest = {
        "sleepshift": __version__,
        "notes": notes,
        "tasks": facts,
        "methods": methods,
        "rows": digest((out / "results.csv").read_text()),
    }
    frame = _read_rows(out / "results.csv")
    table = leaderboard(frame, facts, methods)
    write_text(out / "leaderboard.csv", table.to_csv(index=False, float_format=DIGITS))
    write_text(out / "leaderboard.md", to_markdown(table, frame, facts, methods, notes))
    plot_leaderboard(table, frame, facts, methods, out / "leaderboard.png")
    write_json(out / "manifest.json", manifest)
    return table


def read_report(out: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rows and manifest of a leaderboard folder.

    Raises
    ------
    GridError
        If it is not one.
    """
    manifest = read_json(out / "manifest.json")
    try:
        frame = _read_rows(out / "results.csv")
    except (OSError, ValueError) as error:
        raise GridError(f"{out} is not a leaderboard: {error}") from None
    if not isinstance(manifest, dict) or not {"tasks", "methods", "rows"} <= set(manifest):
        raise GridError(f"{out} is not a leaderboard: manifest.json is missing or damaged")
    if missing := [name for name in COLUMNS if name not in frame]:
        raise GridError(f"{out}/results.csv has no column {missing[0]!r}")
    return frame, manifest


def _read_rows(path: Path) -> pd.DataFrame:
    """Rows of a results.csv; names stay names, whatever they look like."""
    text = ("task", "fold", "method", "subject", "sex", "status", "settings", "definition")
    return pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False, na_values=[""])


def check_report(out: Path) -> int:
    """Recompute every figure of a leaderboard from its confusion counts.

    Returns
    -------
    int
        Number of rows checked.

    Raises
    ------
    GridError
        Naming the first figure that differs.
    """
    frame, manifest = read_report(out)
    if digest((out / "results.csv").read_text(encoding="utf-8")) != manifest["rows"]:
        raise GridError(f"{out}/results.csv is not the one that was reported; report it again")
    scored = frame[frame["status"] == "ok"]
    for row in scored.to_dict("records"):
        task = manifest["tasks"][row["task"]]
        counts = read_confusion(row["confusion"])
        figures = person_figures(counts, row["scheme"], task["scoring"]["scheme"])
        for name, value in figures.items():
            if name in row and not np.isclose(row[name], value, rtol=1e-7, equal_nan=True):
                raise GridError(
                    f"{out}/results.csv: {row['task']}, {row['method']}, person "
                    f"{row['subject']}: {name} is {row[name]}, its counts give {value}"
                )
    table = leaderboard(frame, manifest["tasks"], manifest["methods"])
    made = {
        "leaderboard.csv": table.to_csv(index=False, float_format=DIGITS),
        "leaderboard.md": to_markdown(
            table, frame, manifest["tasks"], manifest["methods"], manifest["notes"]
        ),
    }
    for name, text in made.items():
        if not (out / name).is_file() or (out / name).read_text(encoding="utf-8") != text:
            raise GridError(f"{out}/{name} does not follow from results.csv; report it again")
    return len(scored)
