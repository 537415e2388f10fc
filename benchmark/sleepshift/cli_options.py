"""What several commands take, and how they prepare a task's windows."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Annotated, Any

import typer

from sleepshift.display import packing
from sleepshift.errors import SleepShiftError

__all__ = [
    "DataOption",
    "DataSeedOption",
    "DeviceOption",
    "SettingsOption",
    "SkipOption",
    "TaskArgument",
    "parse_settings",
    "prepare_windows",
]

TaskArgument = Annotated[str, typer.Argument(help="Task file, or the name of a known task.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Folder with the recordings.")]
DataSeedOption = Annotated[int, typer.Option(min=0, help="Seed of every draw of people.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", help="param=value, for all methods that have it.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave bad recordings out, and list them.")
]


def prepare_windows(task: Any, data: Path | None, out: Path, skip_bad: bool) -> Path:
    """Pack a task's windows under a progress bar, unless they are there; the store's folder."""
    with packing(task.name) as advance:
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
        except (ValueError, SyntaxError):
            parsed[name] = value
    return parsed
