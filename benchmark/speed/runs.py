"""What running grids costs: sharing work out, running again, planning."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from speed.measure import Figure, Measured, cores, in_turns, sleepshift

__all__ = ["finished", "planning", "workers"]

GOAL = 1.2
#: Seconds that nothing new may take.
LIMIT = 5.0

_TOY = """
title = "Toy"
revision = 1
simulated = true
description = "Three simulated people teach, two older ones are tested by turns."

[dataset]
name = "simulated"
licence = "BSD-3-Clause"
login = false
download = "nothing"
params = { people = [[3, 25, 40], [2, 70, 85]], nights = 1, hours = 0.25, seed = 3 }

[windows]
scheme = "aasm5"
sfreq = 100.0
scaling = "robust"
views = { student = ["EEG Fpz-Cz"] }

[scoring]
scheme = "aasm5"
primary = "macro_f1"

[training]
model = "chambon2018"
max_epochs = 1

[protocol]
kind = "cross-age"
source = { subjects = ["0-2"] }

[[protocol.folds]]
name = "one"
test = { subjects = ["3"] }

[[protocol.folds]]
name = "two"
test = { subjects = ["4"] }
"""


def _toy(folder: Path) -> Path:
    path = folder / "toy.toml"
    path.write_text(_TOY)
    return path


def workers(quick: bool) -> Measured:
    """A grid by two workers, by one, and by one process with all cores."""
    methods = "source-only,pooled,finetune-all"
    task, seeds, passes, rounds = "cross-age-simulated", 3, 1, 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if quick:
            task, methods, seeds, passes, rounds = str(_toy(folder)), "source-only", 2, 1, 1
        sleepshift("prepare", task, "--out", folder / "prepared", cwd=folder)
        folds = "one,two" if quick else "65-79,80-95"
        grid = f"--methods {methods} --folds {folds} --seeds {seeds}"
        asked = f"{grid} --set max_epochs={passes} --device cpu".split()
        count = 0

        def run(*options: object) -> None:
            nonlocal count
            count += 1
            out, prepared = folder / f"runs-{count}", folder / "prepared" / "windows"
            shutil.copytree(prepared, out / "windows", copy_function=os.link)
            sleepshift("run", task, *asked, "--out", out, *options, cwd=folder)

        works = {
            "two workers": lambda: run("--workers", 2),
            "one worker": lambda: run("--workers", 1),
            "one process": lambda: run("--threads", cores()),
        }
        seconds = in_turns(works, rounds, warm_up=False)
    two = seconds["two workers"]
    figures = [
        Figure.of_times(f"`--workers 2`: against {what}", two, seconds[other], goal=goal)
        for other, what, goal in (
            ("one worker", "`--workers 1`, one thread", GOAL),
            ("one process", f"one process, `--threads {cores()}`", None),
        )
    ]
    words = f"""
`sleepshift run` of {methods} with {seeds} seeds on {Path(task).stem}, two folds, at most {passes}
passes; windows are prepared, all else is done. Two workers of one compute thread each against one
such worker (both on a Dask cluster whose start is part of it), and against one process without a
cluster whose network computes on {cores()} threads. Whole commands in turns, fresh folders."""
    return Measured(figures, words)


def finished(quick: bool) -> Measured:
    """`sleepshift run` of a grid where every cell is there already."""
    seeds, rounds = (3, 1) if quick else (500, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = _toy(folder)
        asked = f"--methods source-only --seeds {seeds} --device cpu".split()

        def run(*options: object) -> str:
            out = folder / "runs"
            return sleepshift("run", task, *asked, "--out", out, *options, cwd=folder)

        run("--workers", 2)
        seconds = in_turns({"again": run}, rounds, warm_up=False)["again"]
        n_cells = _check_kept(run(), 2 * seeds)
    figure = Figure.within(f"a finished grid of {n_cells} cells, run again", seconds, LIMIT)
    words = f"""
The whole command `sleepshift run`, imports and the printed table included, on a run in which all
{n_cells} cells (source-only, {seeds} seeds, two folds of a toy task) are stored already."""
    return Measured([figure], words)


def _check_kept(said: str, n_cells: int) -> int:
    """The number of cells, if all of them were there.

    Raises
    ------
    ValueError
        If some were computed.
    """
    if f"{n_cells} kept" not in " ".join(said.split()):
        raise ValueError(f"not all of {n_cells} cells were kept: {said[:500]}")
    return n_cells


def planning(quick: bool) -> Measured:
    """A plan of 10,000 cells on a prepared store."""
    from sleepshift.methods import METHODS
    from sleepshift.protocol import load_task
    from sleepshift.runner import Plan, TaskData, plan

    wanted, rounds = (100, 1) if quick else (10_000, 3)
    task, methods = load_task("label-budget-simulated"), list(METHODS.values())
    with tempfile.TemporaryDirectory() as name:
        store = task.prepare(Path(name))
        made: Plan

        def work(seeds: Sequence[int]) -> None:
            nonlocal made
            made = plan([TaskData.open(task, store)], methods, seeds=seeds)

        work([0])
        n_seeds = -(-wanted // _possible(made))
        seconds = in_turns({"plan": lambda: work(range(n_seeds))}, rounds)["plan"]
    n_cells, n_jobs = _possible(made), len(made.fits) + len(made.cells)
    figure = Figure.within(f"planning {n_cells} cells", seconds, LIMIT)
    words = f"""
`plan` of all methods with {n_seeds} seeds on {task.name}, in one process, from opening the
prepared store to the graph of {n_jobs} jobs; only the {n_cells} cells are counted that the task
lets run, of {len(made.grid)} in the grid."""
    return Measured([figure], words)


def _possible(plan: object) -> int:
    return sum(cell.key is not None for cell in plan.grid)  # type: ignore[attr-defined]
