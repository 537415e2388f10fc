"""The command line. Heavy imports happen inside the commands that need them."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sleepshift.cli_options import (
    DataOption,
    DataSeedOption,
    DeviceOption,
    SettingsOption,
    SkipOption,
    TaskArgument,
    parse_settings,
    prepare_windows,
)
from sleepshift.cli_submit import score, submit, validate
from sleepshift.display import (
    catalogue,
    console,
    console_error,
    print_leaderboard,
    running,
    table,
)
from sleepshift.errors import GridError, SleepShiftError, one_line

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="A transfer-learning benchmark for sleep staging.",
)

OutOption = Annotated[Path, typer.Option("--out", help="Folder of windows, artifacts and cells.")]
TasksArgument = Annotated[list[str], typer.Argument(help="Task files, or names of known tasks.")]


@app.command()
def run(
    tasks: TasksArgument,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of model seeds.")] = 1,
    data_seed: DataSeedOption = 0,
    folds: Annotated[str | None, typer.Option(help="Comma-separated names or positions.")] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    device: DeviceOption = "auto",
    settings: SettingsOption = None,
    skip_bad: SkipOption = False,
) -> None:
    """Score methods on tasks: what is missing is computed, what is stored is kept."""
    from sleepshift.protocol import load_task

    asked = [load_task(name) for name in tasks]
    if len({task.name for task in asked}) < len(asked):
        raise SleepShiftError("two of the tasks have the same name; rename one file")
    overrides = parse_settings(settings or [])
    from sleepshift.methods import get_methods

    recipes = get_methods(_names(methods))
    with console.status("loading libraries"):
        from sleepshift import runner
        from sleepshift.estimators.training import check_device
        from sleepshift.windows import read_manifest
    check_device(device)
    runner.check_overrides(asked, recipes, overrides)
    prepared, manifests = [], {}
    for task in asked:
        store = prepare_windows(task, data, out, skip_bad)
        prepared.append(
            runner.TaskData.open(task, store, data_seed=data_seed, allow_missing=skip_bad)
        )
        manifests[task.name] = read_manifest(store)
    plan = runner.plan(
        prepared,
        recipes,
        seeds=range(seeds),
        folds=_names(folds),
        data_seed=data_seed,
        device=device,
        overrides=overrides,
    )
    command = " ".join(["sleepshift", *sys.argv[1:]])
    runner.record_grid(out, plan, prepared, manifests, recipes, command)
    with running(len(plan.cells)) as report:
        outcome = runner.execute(plan, runner.ArtifactStore(out), report=report)
    console.print(
        f"{len(plan.grid)} grid cells: {len(outcome.scored)} jobs scored, {outcome.kept} kept, "
        f"{len(outcome.fitted)} shared models fitted, {len(outcome.failed)} failed"
    )
    for cell in dict.fromkeys((c.method, c.skipped) for c in plan.grid if c.skipped):
        console.print(escape(f"skipped {cell[0]}: {cell[1]}"))
    for key, reason in outcome.failed.items():
        where = f"(traceback: {out}/failures/{key}.json)"
        console.print(f"[red]failed[/red] {escape(reason)}  {escape(where)}")
    from sleepshift.leaderboard.report import collect

    try:
        _show(collect(out, tasks=list(manifests), partial=True, mixed=True))
        console.print(f"tables, pictures and a page: sleepshift report {out}")
    except GridError as error:  # nothing was scored, and why has been said
        console.print(escape(str(error)), style="yellow")
    if outcome.failed:
        raise typer.Exit(1)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _show(results: Any) -> None:
    print_leaderboard(results.table, results.tasks)
    unscored = results.rows[results.rows["status"].str.startswith("unscored")]
    for task, status in unscored[["task", "status"]].drop_duplicates().itertuples(index=False):
        console.print(escape(f"{task}: {status}"), soft_wrap=True)
    for note in results.manifest["notes"]:
        console.print(escape(note), style="yellow")


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
    _show(write_report(runs, out, tasks=_names(tasks), partial=partial, mixed=mixed))
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
        entries.append((task.name, task.title, facts))
    catalogue(entries)


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
        entries.append((name, info.title, _terms(info.url or "no download", info)))
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


app.command()(submit)
app.command()(validate)
app.command()(score)


def main() -> None:
    """Run the command line; errors a user can mend end in one line and exit code 2."""
    # Idle threads that spin starve whoever else computes on the machine, and then themselves:
    # beside one other job the grid was seen five times slower. OpenMP reads this once, when
    # torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Braindecode warns of MNE's plans at every import; that is no news for a user.
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except (SleepShiftError, OSError) as error:
        text = one_line(error)
        console_error.print(f"[red]error:[/red] {escape(text)}", soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
