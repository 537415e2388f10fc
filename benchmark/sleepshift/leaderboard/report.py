"""Write a leaderboard folder from a run, and check one against its own rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import TemplateError

from sleepshift.atomic import write_json, write_text
from sleepshift.digest import digest
from sleepshift.errors import GridError, TaskError, one_line
from sleepshift.leaderboard.collect import collect
from sleepshift.leaderboard.consistency import check_measured
from sleepshift.leaderboard.jobs import jobs_frame
from sleepshift.leaderboard.nights import example_nights, nights_frame
from sleepshift.leaderboard.page import differing_page, plotting, render_page, write_page
from sleepshift.leaderboard.results import ROWS, Results, parse_results, read_results
from sleepshift.leaderboard.text import to_latex, to_markdown

__all__ = ["check_report", "write_report"]

#: Figures are written with so many significant digits; tables are made from what was written.
DIGITS = "%.9g"

# What rows and facts that nobody wrote this way can raise in what is made of them.
_WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_DAMAGE = (TaskError, TemplateError, *_WRONG)


def write_report(
    runs: Path,
    out: Path,
    *,
    tasks: Sequence[str] | None = None,
    partial: bool = False,
    mixed: bool = False,
) -> Results:
    """Write what was measured, and the tables, pictures and page that follow from it.

    Parameters
    ----------
    runs : Path
        Folder of a run.
    out : Path
        Folder of the leaderboard; other files in it (a README) are left alone.
    tasks, partial, mixed
        As in `collect`.

    Returns
    -------
    Results

    Raises
    ------
    GridError
        As `collect` does.
    """
    found = collect(runs, tasks=tasks, partial=partial, mixed=mixed)
    examples = example_nights(runs, found.rows, found.table)
    measured = {
        "rows": _csv(found.rows),
        "nights": _csv(nights_frame(runs, list(found.tasks))),
        "hypnograms": json.dumps(examples, separators=(",", ":")),
    }
    hashes = {part: digest(text) for part, text in measured.items()}
    # Everything follows from what will be read again, and is made before anything is written.
    results = parse_results(measured, {**found.manifest, "drawn_by": plotting(), **hashes})
    derived = {**dict(_derived(results)), "jobs.csv": _csv(jobs_frame(runs, list(found.tasks)))}
    page = render_page(results)
    out.mkdir(parents=True, exist_ok=True)
    for part, text in measured.items():
        write_text(out / ROWS[part], text)
    write_json(out / "manifest.json", results.manifest)
    for name, text in derived.items():
        if text:
            write_text(out / name, text)
        else:
            (out / name).unlink(missing_ok=True)
    write_page(page, out)
    return results


def _csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format=DIGITS) if len(table) else ""


def _derived(results: Results) -> Iterator[tuple[str, str]]:
    """Files of a leaderboard that follow from its rows, by name; those without text are not."""
    for name in ("table", "pooled", "pairs", "gains", "gaps", "sleep", "ranks", "human"):
        yield f"{'leaderboard' if name == 'table' else name}.csv", _csv(getattr(results, name))
    yield "leaderboard.md", to_markdown(results)
    yield "leaderboard.tex", to_latex(results)


def check_report(folder: Path) -> int:
    """Recompute every figure of a leaderboard from what was measured.

    Parameters
    ----------
    folder : Path
        Of a leaderboard.

    Returns
    -------
    int
        Number of rows checked.

    Raises
    ------
    GridError
        Naming the first figure, or file, that differs.
    """
    results = read_results(folder)
    try:
        n_rows = check_measured(results, folder)
        for name, text in _derived(results):
            if _read(folder / name) != text:
                raise _unfounded(folder / name)
        drawn_by = results.manifest.get("drawn_by")
        if wrong := differing_page(folder, render_page(results), drawn_by):
            raise _unfounded(wrong)
    except _DAMAGE as error:
        what = f"{type(error).__name__}: {one_line(error)}"
        raise GridError(f"{folder} is damaged ({what}); report again") from None
    return n_rows


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _unfounded(path: Path) -> GridError:
    return GridError(f"{path} does not follow from the rows beside it; report again")
