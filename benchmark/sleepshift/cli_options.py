"""What several commands take, and how they prepare a task's windows."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sleepshift.display import packing
from sleepshift.errors import SleepShiftError, storage

if TYPE_CHECKING:
    from sleepshift.methods import Method
    from sleepshift.protocol.task import Task

__all__ = [
    "DataOption",
    "DataSeedOption",
    "DeviceOption",
    "OutOption",
    "SchedulerOption",
    "SettingsOption",
    "SkipOption",
    "TaskArgument",
    "ThreadsOption",
    "TimeoutOption",
    "WandbOption",
    "WorkersOption",
    "checked_settings",
    "local_weights",
    "parse_settings",
    "prepare_windows",
    "split_names",
]

TaskArgument = Annotated[str, typer.Argument(help="Task file, or the name of a known task.")]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of windows, artifacts and cells.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with the recordings.")]
DataSeedOption = Annotated[int, typer.Option(min=0, help="Seed of every draw of people.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="param=value, for all methods that have it.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad recordings out, and list them.")
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, help="Processes of a Dask cluster on this machine.")
]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a running Dask scheduler, whose workers are used.")
]
ThreadsOption = Annotated[
    int, typer.Option(min=1, help="Compute threads of a job; another number rounds differently.")
]
TimeoutOption = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds after which a job has failed.")
]
WandbOption = Annotated[
    str | None, typer.Option("--wandb", help="Project of Weights & Biases to follow the run.")
]


def prepare_windows(task: Any, data: Path | None, out: Path, skip_bad: bool) -> Path:
    """Pack a task's windows under a progress bar, unless they are there; the store's folder."""
    with storage(out), packing(task.name) as advance:
        return task.prepare(out / "windows", data=data, skip_bad=skip_bad, advance=advance)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Names and values of ``--set param=value``.

    Raises
    ------
    SleepShiftError
        If one is not written so.

    Examples
    --------
    >>> parse_settings(["max_epochs=3", "model=attnsleep"])
    {'max_epochs': 3, 'model': 'attnsleep'}
    """
    parsed: dict[str, Any] = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SleepShiftError(f"--set {text}: write it as param=value")
        try:
            parsed[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            parsed[name] = value
    return parsed


def local_weights(name: str, value: Any, out: Path) -> Any:
    """A setting; weights become the run's own copy, named by what is in it.

    Parameters
    ----------
    name : str
    value : object
        Of a setting called ``weights`` a path, or ``hub:owner/name``, which is fetched, once.
    out : Path
        Folder of the run; the copies go below it, where every process finds them and nobody
        changes them.

    Returns
    -------
    object

    Raises
    ------
    TaskError
        If they cannot be had, or are no safetensors file.
    """
    from sleepshift.models.pretrained import HUB, fetch_weights, keep_weights, names_weights

    value = os.path.expanduser(value) if isinstance(value, str) else value
    if not names_weights(name, value):
        return value
    kept = fetch_weights(value, out / "weights") if str(value).startswith(HUB) else Path(value)
    return str(keep_weights(kept, out / "weights").resolve())


def checked_settings(
    settings: list[str] | None, tasks: Sequence[Task], methods: Sequence[Method], out: Path
) -> dict[str, Any]:
    """Settings that methods take; weights are copied once all else is known to be right.

    Parameters
    ----------
    settings : list of str or None
        As `parse_settings` takes them.
    tasks : sequence of Task
    methods : sequence of Method
    out : Path
        As in `local_weights`.

    Returns
    -------
    dict

    Raises
    ------
    SleepShiftError
        If a setting is not one, or weights cannot be had.
    """
    from sleepshift.models.pretrained import names_weights
    from sleepshift.runner import check_overrides

    parsed = parse_settings(settings or [])
    files = [name for name, value in parsed.items() if names_weights(name, value)]
    check_overrides(tasks, methods, parsed | dict.fromkeys(files))
    return {name: local_weights(name, value, out) for name, value in parsed.items()}


def split_names(text: str | None) -> list[str] | None:
    """Names separated by commas.

    Examples
    --------
    >>> split_names("majority, source-only")
    ['majority', 'source-only']
    """
    return None if text is None else [name.strip() for name in text.split(",")]
