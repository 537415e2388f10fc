"""The command line. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sleepshift.cli_options import (
    DataOption,
    DataSeedOption,
    OutOption,
    SkipOption,
    TaskArgument,
    prepare_windows,
    split_names,
)
from sleepshift.cli_run import run
from sleepshift.cli_runs import runs
from sleepshift.cli_search import search
from sleepshift.cli_submit import score, submit, validate
from sleepshift.display import catalogue, console, console_error, print_results, table
from sleepshift.errors import DamageWarning, SleepShiftError, TaskError, one_line

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A transfer-learning benchmark for sleep staging.",
)

app.command()(run)


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(help="Folder of a run, or with --check a leaderboard.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; RUNS/leaderboard.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Allow missing cells.")] = False,
    mixed: Annotated[bool, typer.Option("--mixed", help="Allow rows of other versions.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Recompute every figure from the rows instead.")
    ] = False,
) -> None:
    """Write a leaderboard from a run, or check one against its own rows."""
    from sleepshift.leaderboard.report import check_report, write_report

    if check:
        console.print(f"{runs}: {check_report(runs)} rows, every figure follows from them")
        return
    out = out or runs / "leaderboard"
    print_results(write_report(runs, out, tasks=split_names(tasks), partial=partial, mixed=mixed))
    console.print(f"page: {out / 'index.html'}", soft_wrap=True)


@app.command()
def prepare(
    task: TaskArgument,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    skip_bad: SkipOption = False,
) -> None:
    """Pack a task's windows, so that later runs start at once."""
    from sleepshift.protocol import load_task
    from sleepshift.windows import read_manifest

    store = prepare_windows(load_task(task), data, out, skip_bad)
    manifest = read_manifest(store)
    counts = ", ".join(f"{stage} {n}" for stage, n in manifest["n_per_stage"].items())
    if withheld := manifest.get("n_withheld"):
        counts += f", {withheld} whose labels are not public"
    console.print(f"{store}: {manifest['n_windows']} windows ({counts})")
    for bad in manifest["skipped"]:
        console.print(f"left out: {bad['reason']}")


@app.command()
def audit(
    task: TaskArgument,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    skip_bad: SkipOption = False,
    data_seed: DataSeedOption = 0,
) -> None:
    """Look for people or windows on both sides of a split, and for dead signals."""
    from sleepshift.protocol import load_task
    from sleepshift.windows import open_store

    asked = load_task(task)
    windows = open_store(prepare_windows(asked, data, out, skip_bad))
    folds = asked.folds(windows, data_seed=data_seed, allow_missing=skip_bad)
    rows = []
    for fold in folds:
        parts = (fold.source, fold.target_labeled, fold.target_unlabeled, fold.test)
        sizes = [
            "-" if part is None else f"{part.metadata['subject'].nunique()} people, {len(part)}"
            for part in parts
        ]
        rows.append([fold.name, *sizes])
    table(
        f"{asked.name}: no leak found",
        ["fold", "source", "target labelled", "target unlabelled", "test"],
        rows,
    )


@app.command()
def tasks() -> None:
    """List the tasks there are."""
    from sleepshift.protocol import load_task, task_files

    entries = []
    for path in task_files().values():
        task = load_task(path)
        facts = f"{task.protocol.kind} on {_terms(task.dataset.name, task.dataset)}"
        facts += f"; {_presence(task.dataset.name, task.dataset.params)}"
        entries.append((task.name, task.title, facts))
    catalogue(entries)


def _presence(name: str, params: Mapping[str, Any]) -> str:
    """Whether the recordings are where they are looked for without ``--data``."""
    from sleepshift.datasets import dataset_class

    if dataset_class(name).needs_folder:
        return "name its folder with --data"
    try:
        dataset = dataset_class(name)(**params)
    except TaskError:
        return "as its settings say"
    if not dataset.reads_files:
        return "needs no files"
    return f"{dataset.count_present() or 'no'} recordings here"


def _terms(name: str, terms: Any) -> str:
    """On what terms data are had: licence, login, download."""
    login = "login needed" if terms.login else "no login"
    return f"{name}; {terms.licence}; {login}; download: {terms.download}"


@app.command()
def methods() -> None:
    """List the methods there are, and what each needs of a task."""
    from sleepshift.methods import METHODS
    from sleepshift.methods.needs import NEEDS

    entries = []
    for method in METHODS.values():
        needs = "".join(f"; needs {NEEDS[need].words}" for need in method.needs)
        facts = f"{method.family}; learns from {method.learns_from}{needs}"
        entries.append((method.name, method.summary, facts))
    catalogue(entries)


@app.command()
def datasets() -> None:
    """List the datasets there are."""
    from sleepshift.datasets import DATASETS, dataset_class

    infos = {name: dataset_class(name).info for name in DATASETS}
    entries = []
    for name, info in infos.items():
        terms = _terms(info.url or "no page", info)
        entries.append((name, info.title, f"{terms}; {_presence(name, {})}"))
    catalogue(entries)


@app.command()
def models() -> None:
    """List the networks that ``--set model=...`` can name."""
    from sleepshift.models.catalogue import MODELS

    entries = []
    for model in MODELS.values():
        channels = "any number of channels" if model.max_channels is None else "one channel"
        item = "sequences of windows" if model.sequence else "windows"
        entries.append((model.name, model.summary, f"{item} of {model.kind}; {channels}"))
    catalogue(entries)
    console.print("Any class of braindecode.models can be named too, such as EEGNet or BIOT.")


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    subjects: Annotated[int, typer.Option(min=1, help="Number of people.")] = 6,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulation.")] = 0,
) -> None:
    """Write a folder of simulated EDF files laid out as Sleep-EDF is."""
    from sleepshift.datasets.export import write_sleep_edf

    nights = write_sleep_edf(out, subjects, seed=seed)
    console.print(f"{out}: {len(nights)} nights of {subjects} simulated people")


app.command()(search)
app.command()(submit)
app.command()(validate)
app.command()(score)
app.command()(runs)


def _say_warning(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
    """A warning in one line, without the line of code it came from."""
    console_error.print(f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True)


def main() -> None:
    """Run the command line; errors a user can mend end in one line and exit code 2."""
    # Idle threads that spin starve whoever else computes on the machine, and then themselves:
    # beside one other job the grid was seen five times slower. OpenMP reads this once, when
    # torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Braindecode warns of MNE's plans at every import; that is no news for a user.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("always", category=DamageWarning)
    warnings.showwarning = _say_warning
    try:
        app()
    except (SleepShiftError, OSError) as error:
        text = one_line(error)
        console_error.print(f"[red]error:[/red] {escape(text)}", soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
