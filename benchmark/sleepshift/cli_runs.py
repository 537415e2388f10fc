"""The command that lists what the folder of a run holds, and clears away what nothing needs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal
from rich.markup import escape

from sleepshift.display import console, table

if TYPE_CHECKING:
    from sleepshift.runner.inventory import Item

__all__ = ["runs"]


def runs(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run.")] = Path("runs"),
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what no grid and no search needs any more.")
    ] = False,
) -> None:
    """List what the folder of a run holds, and what of it nothing needs any more."""
    with console.status("loading libraries"):
        from sleepshift.runner.inventory import take_stock

    found = take_stock(out)
    columns = ["stored", "missing", "failed", "skipped"]
    rows = [
        [name, *(str(getattr(state, column)) for column in columns)]
        for name, state in found.tasks.items()
    ]
    table(f"{out}: cells", ["task", *columns], rows)
    kinds = list(dict.fromkeys(item.kind for item in found.items))
    rows = [_row(kind, [item for item in found.items if item.kind == kind]) for kind in kinds]
    table(f"{out}: files", ["what", "count", "size", "last use", "not needed"], rows)
    for note in found.notes:
        console.print(escape(note), style="yellow", soft_wrap=True)
    if prune:
        removed = found.prune()
        size = decimal(sum(item.size for item in removed))
        console.print(f"removed {_counted(removed)}: {size} freed" if removed else _NOTHING)
    elif idle := [item for item in found.items if not item.needed]:
        size = decimal(sum(item.size for item in idle))
        said = f"nothing needs {_counted(idle)}; free {size} with: sleepshift runs {out} --prune"
        console.print(escape(said), soft_wrap=True)


_NOTHING = "nothing to remove: all of it is needed"


def _row(kind: str, items: Sequence[Item]) -> list[str]:
    idle = [item for item in items if not item.needed]
    last = datetime.fromtimestamp(max(item.used for item in items))
    return [
        kind,
        str(len(items)),
        decimal(sum(item.size for item in items)),
        f"{last:%Y-%m-%d %H:%M}",
        f"{len(idle)} ({decimal(sum(item.size for item in idle))})" if idle else "-",
    ]


def _counted(items: Sequence[Item]) -> str:
    """How many of each kind, in words."""
    kinds = [item.kind for item in items]
    return ", ".join(f"{kind} ({kinds.count(kind)})" for kind in dict.fromkeys(kinds))
