"""What a person at a terminal sees: tables, and training as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from sleepshift.leaderboard.results import Results
    from sleepshift.runner.execute import Report
    from sleepshift.windows.store import Advance

__all__ = [
    "catalogue",
    "console",
    "console_error",
    "packing",
    "print_leaderboard",
    "print_results",
    "running",
    "table",
]

console = Console()
console_error = Console(stderr=True)


def catalogue(entries: Sequence[tuple[str, str, str]]) -> None:
    """Print names, what each is, and under it the facts one needs to choose."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, what, facts in entries:
        table.add_row(name, f"{escape(what)}\n[dim]{escape(facts)}[/dim]")
    console.print(table)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a plain table."""
    shown = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for row in rows:
        shown.add_row(*map(escape, row))
    console.print(shown)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )


@contextmanager
def packing(name: str) -> Iterator[Advance]:
    """A bar over the recordings of a dataset."""
    with ExitStack() as stack:
        bars: list[tuple[Any, Any]] = []  # a download, which comes first, draws bars of its own

        def advance(recording: str, done: int, total: int) -> None:
            if not bars:
                made = stack.enter_context(_bars())
                bars.append((made, made.add_task(f"windows of {name}", note="")))
            made, bar = bars[0]
            made.update(bar, completed=done, total=total, note=recording)

        yield advance


@contextmanager
def running(n_jobs: int) -> Iterator[Report]:
    """A bar over jobs and a bar over the training passes of the one at work."""
    from sleepshift.estimators.training import on_epoch

    with _bars() as bars:
        jobs = bars.add_task("cells", total=n_jobs, note="")
        passes = bars.add_task("training", total=None, note="", visible=False)
        cells = 0

        def report(event: str, name: str) -> None:
            nonlocal cells
            bars.update(passes, visible=False)
            if event == "failed":
                console.print(f"[red]failed[/red] {escape(name)}")
            elif event == "note":
                console.print(escape(name), style="yellow")
            elif event == "start":
                bars.update(jobs, note=name)
            elif event == "done":
                cells += 1
                bars.update(jobs, completed=cells, note=name)

        def epoch(done: int, total: int, row: dict[str, Any]) -> None:
            losses = "  ".join(
                f"{k} {row[k]:.3f}" for k in ("train_loss", "valid_loss") if k in row
            )
            bars.update(passes, completed=done, total=total, note=losses, visible=True)

        token = on_epoch.set(epoch)
        try:
            yield report
        finally:
            on_epoch.reset(token)


def _short(value: float, digits: int = 2) -> str:
    """A share without its leading zero, so that a table fits 80 columns."""
    return f"{value:.{digits}f}".replace("0.", ".", 1)


#: Columns that a group of people takes on the screen.
_GROUP_WIDTH = 27


def print_leaderboard(leaderboard: pd.DataFrame, tasks: dict[str, dict[str, Any]]) -> None:
    """Print tables of each task: methods by rows, two groups of people beside each other."""
    from sleepshift.leaderboard.marks import MARKS, kinds

    for name, of_task in leaderboard.groupby("task", sort=False):
        facts = tasks[str(name)]
        primary = facts["scoring"]["primary"]
        label = " (simulated data)" if facts["simulated"] else ""
        groups = list(dict.fromkeys(of_task["group"]))
        heading = f"{name}{label}: {primary} [95 % interval over people], kappa"
        console.print(escape(heading))
        longest = max(map(len, of_task["method"]))
        beside = 2 if longest + 2 * _GROUP_WIDTH <= console.width else 1
        for first in range(0, len(groups), beside):
            console.print(_groups_table(of_task, groups[first : first + beside], primary))
        there = {kind for flag in of_task["flag"] for kind in kinds(flag)}
        for kind, mark in MARKS.items():
            if kind in there:
                console.print(f"{mark.sign} {mark.says}")


def print_results(results: Results) -> None:
    """Print a run's tables, and what is to be known of them."""
    print_leaderboard(results.table, results.tasks)
    unscored = results.rows[results.rows["status"].str.startswith("unscored")]
    for task, status in unscored[["task", "status"]].drop_duplicates().itertuples(index=False):
        console.print(escape(f"{task}: {status}"), soft_wrap=True)
    for note in results.manifest["notes"]:
        console.print(escape(note), style="yellow")


def _groups_table(of_task: pd.DataFrame, groups: list[str], primary: str) -> Table:
    from sleepshift.leaderboard.marks import MARKS, kinds

    shown = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("method", no_wrap=True)
    for group in groups:
        n_people = int(of_task.loc[of_task["group"] == group, "n_people"].max())
        shown.add_column(escape(f"{group} (n={n_people})"), no_wrap=True)
        shown.add_column("kappa", justify="right")
    by_method = of_task[of_task["group"].isin(groups)].set_index(["method", "group"])
    width = max(1, *(len(kinds(flag)) for flag in by_method["flag"]))
    for method in by_method.index.unique("method"):
        cells = []
        for group in groups:
            if (method, group) not in by_method.index:
                cells += ["-", "-"]
                continue
            row = by_method.loc[(method, group)]
            low, high = row[f"{primary}_low"], row[f"{primary}_high"]
            signs = "".join(MARKS[kind].sign for kind in kinds(row["flag"]))
            interval = f"[{_short(low)}, {_short(high)}]"
            cells.append(f"{_short(row[primary], 3)}{signs:{width}} {interval}")
            cells.append(_short(row["kappa"]))
        shown.add_row(escape(str(method)), *cells)
    return shown
