"""The command that searches settings: what is tried, chosen on people held out, and printed."""

from __future__ import annotations

import ast
import shlex
import sys
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
    TaskArgument,
    ThreadsOption,
    TimeoutOption,
    WorkersOption,
    checked_settings,
    local_weights,
    parse_settings,
    prepare_windows,
    split_names,
)
from sleepshift.cli_run import check_workers, execute, print_failures, print_starts
from sleepshift.display import console, table
from sleepshift.errors import SleepShiftError, storage

if TYPE_CHECKING:
    import pandas as pd

    from sleepshift.runner import Outcome, Plan

__all__ = ["parse_grid", "search"]

#: Combinations that are printed; the file has all.
N_SHOWN = 30


def search(
    task: TaskArgument,
    method: Annotated[str, typer.Argument(help="Name of a method.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PARAM=VALUES]...", help="More of --grid.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="PARAM=VALUES",
            help="What to try: --grid alpha=0.3,0.7 lr=1e-3,1e-4, or in quotes, or with --grid "
            "before each.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of model seeds.")] = 1,
    data_seed: DataSeedOption = 0,
    folds: Annotated[str | None, typer.Option(help="Comma-separated names or positions.")] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    threads: ThreadsOption = 1,
    timeout: TimeoutOption = None,
    device: DeviceOption = "auto",
    settings: SettingsOption = None,
    skip_bad: SkipOption = False,
) -> None:
    """Search settings of a method, chosen on people held out and never on test people."""
    from sleepshift.methods import get_methods
    from sleepshift.protocol import load_task

    asked = load_task(task)
    values = parse_grid([*(grid or []), *(words or [])])
    if "," in method:
        raise SleepShiftError(f"a search is of one method; choose one of {method}")
    (recipe,) = get_methods([method])
    check_workers(workers, scheduler, device)
    with console.status("loading libraries"):
        from sleepshift import runner
        from sleepshift import search as searching
        from sleepshift.estimators.devices import check_device
    if scheduler is None:
        check_device(device)
    overrides = checked_settings(settings, [asked], [recipe], out)
    values = {
        name: _different(name, [local_weights(name, value, out) for value in tried])
        for name, tried in values.items()
    }
    combinations = searching.combine(asked, recipe, values, overrides)
    with storage(out):
        request = searching.SearchRequest(
            tasks=[asked.model_dump(mode="json")],
            stores=[prepare_windows(asked, data, out, skip_bad).name],
            methods=[method],
            seeds=list(range(seeds)),
            folds=split_names(folds),
            data_seed=data_seed,
            device=device,
            overrides=overrides,
            allow_missing=skip_bad,
            combinations=combinations,
        )
        plan, (opened,) = request.make(out)
        command = shlex.join(["sleepshift", *sys.argv[1:]])
        folder = searching.record_search(
            out, plan, combinations, overrides=overrides, data_seed=data_seed, command=command
        )
    try:
        options = runner.Options(threads=threads, timeout=timeout)
        outcome = execute(plan, out, options, workers=workers, scheduler=scheduler)
    except KeyboardInterrupt:
        console.print("stopped; what is finished is kept, search again for the rest")
        raise typer.Exit(130) from None
    scores = searching.read_scores(plan, len(combinations), runner.ArtifactStore(out))
    results = searching.cv_results(combinations, scores)
    selected = searching.selections(combinations, scores)
    searching.write_tables(folder, results, selected)

    label = " (simulated data)" if asked.simulated else ""
    heading = f"{method} on {asked.name}{label}: {asked.scoring.primary}, mean ± std (rank)"
    console.print(escape(heading), soft_wrap=True)
    _print_combinations(results)
    _print_rules(selected, plan)
    if recipe.unlabeled and any(fold.transductive for fold in opened.folds):
        console.print("it learns from the test people's own unlabelled signals, as the task allows")
    print_starts(plan)
    _print_failures(plan, outcome, out)
    console.print(f"tables: {folder}", soft_wrap=True)
    said = [
        *(["--seeds", str(seeds)] if seeds > 1 else []),
        *(["--data-seed", str(data_seed)] if data_seed else []),
        *(["--data", str(data)] if data else []),
        *(["--out", str(out)] if out != Path("runs") else []),
        *(["--skip-bad"] if skip_bad else []),
        *(["--device", device] if device != "auto" else []),
        *(["--threads", str(threads)] if threads > 1 else []),
        *(word for text in settings or [] for word in ("--set", text)),
    ]
    run = ["sleepshift", "run", task, "--methods", method, *said]
    _print_commands(run, selected, n_folds=len(opened.folds))
    if outcome.failed:
        raise typer.Exit(1)


def parse_grid(words: list[str]) -> dict[str, list[Any]]:
    """Parameters and the values to try, of ``--grid param=value,value``.

    Values are written as for ``--set``; commas inside brackets and quotes do not part them.

    Parameters
    ----------
    words : list of str
        Each with one parameter, or several that spaces part.

    Raises
    ------
    SleepShiftError
        If one is not written so, or repeats itself.

    Examples
    --------
    >>> parse_grid(["lr=1e-3,1e-4 monitor=loss,macro_f1"])
    {'lr': [0.001, 0.0001], 'monitor': ['loss', 'macro_f1']}
    """
    grid: dict[str, list[Any]] = {}
    for word in " ".join(words).split():
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise SleepShiftError(f"--grid {word}: write it as param=value,value")
        if name in grid:
            raise SleepShiftError(f"--grid {name}: it is given twice; list all values once")
        if not all(text.split(",")):
            raise SleepShiftError(f"--grid {word}: a value is missing")
        grid[name] = _different(name, _values(name, text))
    return grid


def _different(name: str, values: list[Any]) -> list[Any]:
    if twice := [value for k, value in enumerate(values) if value in values[:k]]:
        raise SleepShiftError(f"--grid {name}: {_shown(name, twice[0])} is listed twice")
    return values


def _values(name: str, text: str) -> list[Any]:
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # bare words among them
        if set(text) & set("([{'\""):
            raise SleepShiftError(
                f"--grid {name}={text}: close brackets and quotes, and leave out spaces"
            ) from None
        return [parse_settings([f"{name}={part}"])[name] for part in text.split(",")]


def _print_combinations(results: pd.DataFrame) -> None:
    """Every combination with its mean and rank by each rule, the best by the first rule first."""
    names = [column for column in results if column.startswith("param_")]
    rules = [c.removeprefix("rank_test_") for c in results if c.startswith("rank_test_")]
    shown = results.sort_values(f"rank_test_{rules[0]}", kind="stable") if rules else results
    rows = []
    for _, row in shown.head(N_SHOWN).iterrows():
        figures = []
        for rule in rules:
            mean, std = row[f"mean_test_{rule}"], row[f"std_test_{rule}"]
            spread = f" ± {std:.3f}" if std == std else ""
            figures.append(f"{_figure(mean)}{spread} ({row[f'rank_test_{rule}']})")
        rows.append([*(_shown(name, row[name]) for name in names), *figures])
    table("", [*(name.removeprefix("param_") for name in names), *map(_words, rules)], rows)
    if len(results) > N_SHOWN:
        console.print(f"{len(results) - N_SHOWN} more are in cv_results.csv")


def _print_rules(selected: pd.DataFrame, plan: Plan) -> None:
    """What each rule chooses in each fold, and what that scores on the test people."""
    rules = list(dict.fromkeys(selected["rule"]))
    rows = []
    for group, of_group in selected.groupby("group", sort=False):
        for fold, of_fold in of_group.groupby("fold", sort=False):
            chose = of_fold.set_index("rule")
            picks = [
                f"{_setting(chose.loc[rule])}: {_figure(chose.loc[rule, 'test_score'])}"
                if rule in chose.index
                else "-"
                for rule in rules
            ]
            rows.append([str(fold), *picks])
        if (n_folds := of_group["fold"].nunique()) > 1:
            by_rule = of_group.groupby("rule")["test_score"]
            means = by_rule.mean().where(by_rule.count() == n_folds).reindex(rules)
            rows.append([f"{group}: mean of {n_folds} folds", *map(_figure, means)])
    if not rows:
        return
    console.print("What each rule chooses, and what that scores on the test people:")
    table("", ["fold", *map(_words, rules)], rows)
    if "oracle" in rules:
        console.print("oracle: chosen on the test people, an upper bound")
    else:
        console.print("no oracle: the labels of the test people are not public")
    folds = {job.fold.name: job.fold for job in plan.cells.values()}
    if alone := [name for name, fold in folds.items() if not fold.target_validation]:
        where = "" if len(alone) == len(folds) else f" in {', '.join(alone)}"
        console.print(escape(f"no target validation{where}: it takes two labelled target people"))


def _print_failures(plan: Plan, outcome: Outcome, out: Path) -> None:
    """Which combinations have no scores, and why."""
    skipped = dict.fromkeys((cell.fold, cell.skipped) for cell in plan.grid if cell.skipped)
    for fold, reason in skipped:
        console.print(escape(f"skipped {fold}: {reason}"), soft_wrap=True)
    print_failures(plan, outcome, out)


def _print_commands(run: list[str], selected: pd.DataFrame, *, n_folds: int) -> None:
    """How to run what was chosen: a line for every combination that a rule chose somewhere."""
    chosen_by: dict[tuple[str, ...], list[str]] = {}
    for rule, picks in selected[selected["rule"] != "oracle"].groupby("rule", sort=False):
        lines = []
        for _, of_combination in picks.groupby("combination", sort=False):
            folds = ["--folds", ",".join(of_combination["fold"])]
            settings = [
                word
                for name, value in of_combination["params"].iloc[0].items()
                for word in ("--set", _written(name, value))
            ]
            lines.append(
                shlex.join([*run, *(folds if len(of_combination) < n_folds else []), *settings])
            )
        chosen_by.setdefault(tuple(lines), []).append(_words(str(rule)))
    for commands, rules in chosen_by.items():
        console.print(f"To run the choice of {' and '.join(rules)}, with nobody held out:")
        for line in commands:
            console.print(escape(line), soft_wrap=True, highlight=False)
    if chosen_by:
        console.print("in a folder of its own (--out), or with other settings: report --mixed")


def _words(rule: str) -> str:
    return rule.replace("_", " ")


def _figure(value: float) -> str:
    return f"{value:.3f}" if value == value else "-"


def _setting(row: Any) -> str:
    return " ".join(f"{name}={_shown(name, value)}" for name, value in row["params"].items())


def _shown(name: str, value: Any) -> str:
    """A value as printed: of weights the name of the file."""
    from sleepshift.models.pretrained import names_weights

    return Path(value).name if names_weights(name.removeprefix("param_"), value) else str(value)


def _written(name: str, value: Any) -> str:
    """A setting as ``--set`` reads it."""
    plain = f"{name}={value}"
    return plain if parse_settings([plain])[name] == value else f"{name}={value!r}"
