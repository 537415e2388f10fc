"""Commands for competitions: write a submission, check one, score one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from sleepshift.atomic import write_bytes, write_json
from sleepshift.cli_options import (
    DataOption,
    DataSeedOption,
    DeviceOption,
    SettingsOption,
    SkipOption,
    TaskArgument,
    checked_settings,
    prepare_windows,
)
from sleepshift.cli_run import execute, print_failures, print_starts
from sleepshift.codes import few
from sleepshift.display import console, console_error, table
from sleepshift.errors import SleepShiftError, TaskError, storage

if TYPE_CHECKING:
    from sleepshift.leaderboard.submissions import Checked
    from sleepshift.protocol.fold import Fold
    from sleepshift.protocol.task import Task

__all__ = ["score", "submit", "validate"]

RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of windows, artifacts and cells.")]


def submit(
    task: TaskArgument,
    method: Annotated[str, typer.Argument(help="Name of a method.")],
    out: Annotated[Path, typer.Option("--out", help="File to write: answer.zip, or text.")],
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    seed: Annotated[int, typer.Option(min=0, help="Model seed.")] = 0,
    data_seed: DataSeedOption = 0,
    device: DeviceOption = "auto",
    settings: SettingsOption = None,
    skip_bad: SkipOption = False,
) -> None:
    """Write a method's answers on the test people: what is stored is kept, the rest computed."""
    from sleepshift.methods import get_methods
    from sleepshift.protocol import load_task

    asked = load_task(task)
    (recipe,) = recipes = get_methods([method])
    if out.is_dir():
        raise SleepShiftError(f"{out} is a folder; name a file, such as {out / 'answer.zip'}")
    with console.status("loading libraries"):
        from sleepshift import runner
        from sleepshift.estimators.devices import check_device
        from sleepshift.leaderboard.marks import fair, marks, words
        from sleepshift.leaderboard.submissions import answer_bytes, answer_frame, check_answer
    if not fair(bounds := marks(vars(recipe))):
        raise TaskError(f"{method} is no competitor, and hands in nothing ({words(bounds)})")
    check_device(device)
    overrides = checked_settings(settings, [asked], recipes, runs)
    store = prepare_windows(asked, data, runs, skip_bad)
    opened = runner.TaskData.open(asked, store, data_seed=data_seed, allow_missing=skip_bad)
    folds = _chosen(asked, opened.folds)
    expected = _expected(asked, folds)
    plan = runner.plan(
        [opened],
        recipes,
        seeds=[seed],
        folds=[fold.name for fold in folds],
        data_seed=data_seed,
        device=device,
        overrides=overrides,
    )
    for cell in plan.grid:
        if cell.skipped is not None:
            raise TaskError(f"{method} has no answers for {asked.name}: {cell.skipped}")
    if print_starts(plan):
        raise TaskError(f"{method} hands in nothing: it began with weights that saw this dataset")
    cells, name = runner.ArtifactStore(runs), f"{asked.name}-{method}-{seed}"
    with storage(runs):  # so that nobody takes them for left over
        used = {
            "cells": list(plan.cells),
            "artifacts": list(plan.fits),
            "windows": store.name,
            "overrides": overrides,
        }
        write_json(runs / "submissions" / name / "record.json", used)
    outcome = execute(plan, runs, runner.Options())
    print_failures(plan, outcome, runs)
    if outcome.failed:
        raise typer.Exit(1)
    names = ("subject", "session", "onset", "predicted")
    predictions = [cells.read_predictions(str(cell.key), *names) for cell in plan.grid]
    frame = answer_frame(predictions, asked.windows.scheme, asked.answer_scheme)
    content = answer_bytes(frame, asked.submission, asked.answer_scheme, out.suffix)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, f"answer{out.suffix}")
        draft.write_bytes(content)
        checked = check_answer(draft, asked.submission, asked.answer_scheme, expected)
    if checked.problems:  # what was predicted does not fit the task: nothing to hand in
        raise SleepShiftError(f"{out} was not written: {'; '.join(few(checked.problems))}")

    write_bytes(out, content)
    n_done = f"{len(outcome.scored)} jobs done, {outcome.kept} kept"
    console.print(escape(f"{method} on {asked.name}, seed {seed}: {n_done}"))
    _say_valid(out, checked)


def _chosen(task: Task, folds: Sequence[Fold]) -> list[Fold]:
    """The folds whose test people a submission is about."""
    from sleepshift.protocol.protocols import IN_DOMAIN

    name = task.submission.fold
    if name is None:
        return [fold for fold in folds if fold.group != IN_DOMAIN]
    chosen = [fold for fold in folds if fold.name == name]
    if not chosen:
        there = ", ".join(fold.name for fold in folds)
        raise TaskError(f"submission.fold: {task.name} has no fold {name!r}; it has {there}")
    return chosen


def _expected(task: Task, folds: Sequence[Fold]) -> Any:
    """Windows to answer; refused before anything is fitted where their number is wrong."""
    from sleepshift.leaderboard.submissions import expected_windows

    expected, n_lines = expected_windows(folds), task.submission.n_lines
    if n_lines is not None and len(expected) != n_lines:
        raise TaskError(
            f"{task.name} asks about {n_lines} windows, the data at hand have {len(expected)} of "
            "its test people; complete the folder, or correct submission.n_lines"
        )
    return expected


def validate(
    file: Annotated[Path, typer.Argument(help="Submission: a zip archive, or the text alone.")],
    task: TaskArgument,
    data: DataOption = None,
    runs: RunsOption = Path("runs"),
    data_seed: DataSeedOption = 0,
    skip_bad: SkipOption = False,
) -> None:
    """Say exactly what is wrong with a submission; exit code 2 if anything is."""
    from sleepshift.leaderboard.submissions import check_answer, expected_windows
    from sleepshift.protocol import load_task

    asked, expected = load_task(task), None
    form = asked.submission
    if form.format == "csv" or form.n_lines is None:
        from sleepshift.windows import open_store

        windows = open_store(prepare_windows(asked, data, runs, skip_bad))
        folds = asked.folds(windows, data_seed=data_seed, allow_missing=skip_bad)
        expected = expected_windows(_chosen(asked, folds))
    checked = check_answer(file, form, asked.answer_scheme, expected)
    if checked.problems:
        n = len(checked.problems)
        console_error.print(
            f"[red]invalid:[/red] {escape(str(file))}: {n} problem{'s' if n > 1 else ''}",
            soft_wrap=True,
        )
        for problem in few(checked.problems):
            console_error.print(escape(problem), soft_wrap=True, highlight=False)
        raise typer.Exit(2)
    _say_valid(file, checked)


def _say_valid(file: Path, checked: Checked) -> None:
    counts = ", ".join(f"{stage} {n}" for stage, n in checked.counts.items())
    console.print(escape(f"{file}: valid, {checked.n_windows} windows ({counts})"), soft_wrap=True)


def score(
    file: Annotated[Path, typer.Argument(help="Submission: a zip archive, or the text alone.")],
    truth: Annotated[Path, typer.Argument(help="The right stages, in the same order.")],
    scheme: Annotated[str, typer.Option(help="Stage scheme of both files.")] = "rk6",
) -> None:
    """Score a submission as the BEETL competition did, with fairer figures beside it."""
    from sleepshift.leaderboard.official import score_answer

    found = score_answer(file, truth, scheme)
    left_out = f", {found.n_withheld} without a label left out" if found.n_withheld else ""
    console.print(
        f"official score: {found.official:.2f} (100 x mean recall of the stages in the truth, "
        f"{found.n_windows} windows pooled{left_out})",
        soft_wrap=True,
    )
    rows = [
        [stage, f"{recall:.3f}" if n else "not in the truth", str(n)]
        for stage, (recall, n) in found.recalls.items()
    ]
    table("", ["stage", "recall", "windows"], rows)
    merged = "S3 and S4 merged" if scheme == "rk6" else found.scheme
    names = ("macro_f1", "balanced_accuracy", "kappa", "accuracy")
    figures = ", ".join(f"{name.replace('_', ' ')} {found.merged[name]:.4f}" for name in names)
    console.print(f"{merged}: {figures}", soft_wrap=True)
