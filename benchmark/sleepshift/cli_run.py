"""``sleepshift run``: score methods on tasks."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sleepshift.cli_options import (
    DataOption,
    DataSeedOption,
    DeviceOption,
    OutOption,
    SchedulerOption,
    SettingsOption,
    SkipOption,
    ThreadsOption,
    TimeoutOption,
    WandbOption,
    WorkersOption,
    checked_settings,
    prepare_windows,
    split_names,
)
from sleepshift.display import console, print_results, running
from sleepshift.errors import GridError, SleepShiftError, storage

if TYPE_CHECKING:
    from sleepshift.runner import Options, Outcome, Plan, Tracker

__all__ = ["check_workers", "execute", "print_failures", "print_starts", "run"]

TasksArgument = Annotated[list[str], typer.Argument(help="Task files, or names of known tasks.")]


def run(
    tasks: TasksArgument,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of model seeds.")] = 1,
    data_seed: DataSeedOption = 0,
    folds: Annotated[str | None, typer.Option(help="Comma-separated names or positions.")] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    threads: ThreadsOption = 1,
    timeout: TimeoutOption = None,
    wandb: WandbOption = None,
    device: DeviceOption = "auto",
    settings: SettingsOption = None,
    skip_bad: SkipOption = False,
) -> None:
    """Score methods on tasks: what is missing is computed, what is stored is kept."""
    from sleepshift.protocol import load_task

    asked = [load_task(name) for name in tasks]
    if len({task.name for task in asked}) < len(asked):
        raise SleepShiftError("two of the tasks have the same name; rename one file")
    from sleepshift.methods import get_methods

    recipes = get_methods(split_names(methods))
    with console.status("loading libraries"):
        from sleepshift import runner
        from sleepshift.estimators.devices import check_device
        from sleepshift.windows import read_manifest
    check_workers(workers, scheduler, device)
    options = runner.Options(threads=threads, timeout=timeout, wandb=wandb)
    tracker = runner.Tracker(wandb, out)
    if scheduler is None:  # the machines of a scheduler may have other devices
        check_device(device)
    overrides = checked_settings(settings, asked, recipes, out)
    with storage(out):
        stores = [prepare_windows(task, data, out, skip_bad) for task in asked]
        request = runner.Request(
            tasks=[task.model_dump(mode="json") for task in asked],
            stores=[store.name for store in stores],
            methods=[method.name for method in recipes],
            seeds=list(range(seeds)),
            folds=split_names(folds),
            data_seed=data_seed,
            device=device,
            overrides=overrides,
            allow_missing=skip_bad,
        )
        plan, opened = request.make(out)
        command = shlex.join(["sleepshift", *sys.argv[1:]])
        manifests = {task.name: read_manifest(p) for task, p in zip(asked, stores, strict=True)}
        runner.record_grid(out, plan, opened, manifests, recipes, command)
    stopped = False
    try:
        outcome = execute(plan, out, options, workers=workers, scheduler=scheduler)
        _summarise(plan, outcome, out)
    except KeyboardInterrupt:
        stopped, tracker = True, runner.Tracker(None, out)
        console.print("stopped; what is finished is kept, run again for the rest", style="yellow")
    _show(out, [task.name for task in asked], tracker)
    if stopped:
        raise typer.Exit(130)
    if outcome.failed:
        raise typer.Exit(1)


def execute(
    plan: Plan,
    out: Path,
    options: Options,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Outcome:
    """Execute a plan here or on workers, under progress bars.

    Parameters
    ----------
    plan : Plan
    out : Path
        Folder of the run.
    options : Options
    workers : int or None
        Of a Dask cluster of this machine.
    scheduler : str or None
        Address of a running one.
    """
    from sleepshift import runner

    store = runner.ArtifactStore(out)
    with _stoppable(), contextlib.ExitStack() as stack:
        todo, client = runner.missing(plan, store), None
        if todo and (workers is not None or scheduler is not None):
            from sleepshift.runner.cluster import connected, local_workers

            cluster = local_workers(workers) if workers else connected(str(scheduler))
            client = stack.enter_context(cluster)
            console.print(f"dashboard: {client.dashboard_link}", soft_wrap=True)
        report = stack.enter_context(running(len(plan.cells)))
        return runner.execute(plan, store, todo=todo, client=client, options=options, report=report)


def check_workers(workers: int | None, scheduler: str | None, device: str) -> None:
    """Refuse what cannot be had together, before anything is computed.

    Raises
    ------
    SleepShiftError
        Naming it.
    """
    if workers is not None and scheduler is not None:
        raise SleepShiftError("--workers starts a cluster, --scheduler uses one; give one of them")
    if (workers is not None or scheduler is not None) and device.startswith("cuda:"):
        raise SleepShiftError(f"--device {device}: workers are given cards in turns; say cuda")


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let a queue's request to end (SIGTERM) do what Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _summarise(plan: Plan, outcome: Outcome, out: Path) -> None:
    console.print(
        f"{len(plan.grid)} grid cells: {len(outcome.scored)} jobs scored, {outcome.kept} kept, "
        f"{len(outcome.fitted)} shared models fitted, {len(outcome.failed)} failed"
    )
    skipped: dict[str, dict[str, None]] = {}
    for cell in plan.grid:
        if cell.skipped:
            skipped.setdefault(cell.skipped, {})[cell.method] = None
    for reason, methods in skipped.items():
        console.print(escape(f"skipped, {reason}: {', '.join(methods)}"))
    print_failures(plan, outcome, out)


def print_starts(plan: Plan) -> list[str]:
    """Print which weights networks begin with that saw the dataset, or may have.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    list of str
        Those that saw it.
    """
    from sleepshift.estimators.stored import starts_of
    from sleepshift.leaderboard.marks import MARKS, start_facts

    told: dict[str, str] = {}
    for job in plan.cells.values():
        for start in starts_of(job.estimator):
            found = start_facts([vars(start)], job.data.task.dataset.sources)
            told[found["pretrained"]] = found["pretrained_saw"]
    for name, answer in told.items():
        if answer != "no":
            says = MARKS["saw" if answer == "yes" else "unknown"].says
            console.print(escape(f"{name}: {says}"), soft_wrap=True)
    return [name for name, answer in told.items() if answer == "yes"]


def print_failures(plan: Plan, outcome: Outcome, out: Path) -> None:
    """Name what failed, why, and where to read more; and how many jobs came after it.

    Parameters
    ----------
    plan : Plan
    outcome : Outcome
    out : Path
        Folder of the run.
    """
    from sleepshift.runner.work import AFTER

    own = {k: why for k, why in outcome.failed.items() if not why.startswith(AFTER)}
    for key, reason in own.items():
        settings = next((c.settings for c in plan.grid if c.key == key), "")
        name = f"{plan.job(key).name} ({settings})" if settings else plan.job(key).name
        where = f"(traceback: {out}/failures/{key}.json)"
        said = f"{escape(name)}: {escape(reason)}  {escape(where)}"
        console.print(f"[red]failed[/red] {said}", soft_wrap=True)
    if after := len(outcome.failed) - len(own):
        console.print(f"{after} jobs were not tried, since what they need failed")


def _show(out: Path, tasks: list[str], tracker: Tracker) -> None:
    """Print the table of what there is by now, and track it."""
    from sleepshift.leaderboard.collect import collect
    from sleepshift.leaderboard.tracked import track_results

    try:
        results = collect(out, tasks=tasks, partial=True, mixed=True)
        print_results(results)
        for line in track_results(results, tracker):
            console.print(escape(line), style="yellow", soft_wrap=True)
        console.print(f"tables, pictures and a page: sleepshift report {out}")
    except GridError as error:  # nothing was scored, and why has been said
        console.print(escape(str(error)), style="yellow")
