"""What the folder of a run holds, and what of it nothing needs any more.

::

    artifacts/<key>/  cells/<key>/  outputs/<key>/  windows/<name>/
    search/<name>/record.json  wandb/<run>/  grid.json

A name that a file mentions is only ever looked up among the folders that are there: no path is
made from it, and what lies behind a symbolic link is neither counted nor removed.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sleepshift.atomic import alive, read_json
from sleepshift.runner.grid import read_grid

__all__ = ["Inventory", "Item", "TaskState", "manifest_of", "shared_models", "take_stock"]

#: Rooms of a run's folder, and what is in them.
KINDS = {
    "cells": "cells",
    "artifacts": "shared models",
    "outputs": "cached outputs",
    "windows": "window stores",
    "weights": "weights to start from",
    "search": "searches",
    "submissions": "submissions",
    "wandb": "tracked runs",
}
DAMAGED, LEFT_OVER = "damaged folders", "leftovers of killed processes"

_DAY = 24 * 3600.0


@dataclass(frozen=True)
class Item:
    """One folder, or left-over file, of a run.

    Parameters
    ----------
    kind : str
        One of the values of `KINDS`, or `DAMAGED`, or `LEFT_OVER`.
    path : Path
    size : int
        Bytes.
    changed, used : float
        When it was last written, and last written or read, in seconds since 1970.
    needed : bool
        Whether something needs it, or might.
    """

    kind: str
    path: Path
    size: int
    changed: float
    used: float
    needed: bool


@dataclass
class TaskState:
    """Cells of a task's grid: how many are stored, missing, failed (and so missing), skipped."""

    stored: int = 0
    missing: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass
class Inventory:
    """What a folder holds.

    Parameters
    ----------
    tasks : dict of str to TaskState
    items : list of Item
    notes : list of str
        Why more is kept than one would think.
    """

    tasks: dict[str, TaskState] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def prune(self) -> list[Item]:
        """Remove what nothing needs; returns what was removed.

        A folder loses its name before its content, so that nobody finds half of one.
        """
        removed = []
        for item in self.items:
            if item.needed:
                continue
            mine = f".tmp-{os.getpid()}-{socket.gethostname()}-~"
            aside = tempfile.mkdtemp(prefix=mine, dir=item.path.parent)
            try:
                item.path.rename(Path(aside, "removed"))
                removed.append(item)
            except FileNotFoundError:  # who made it has renamed or removed it meanwhile
                continue
            finally:
                shutil.rmtree(aside)
        return removed


@dataclass
class _Needs:
    """Names that a grid or a search refers to; None is all there are."""

    cells: set[str] | None = field(default_factory=set)
    artifacts: set[str] | None = field(default_factory=set)
    windows: set[str] | None = field(default_factory=set)
    outputs: bool = False
    #: What rows and searches say of their settings, names of files among it.
    settings: str | None = ""

    def have(self, kind: str, name: str) -> bool:
        """Whether an item of that kind is needed."""
        if kind == "outputs":
            return self.outputs
        if kind == "weights":
            return self.settings is None or name in self.settings
        names = getattr(self, kind, None)
        return names is None or name in names


def take_stock(root: Path) -> Inventory:
    """What the folder of a run holds.

    Parameters
    ----------
    root : Path

    Raises
    ------
    GridError
        If it holds neither a run nor a search, or its grid is damaged.
    """
    rooms = (*_entries(root, "search"), *_entries(root, "submissions"))
    searches = [path for path in rooms if not path.name.startswith(".")]
    grid = read_grid(root, missing_ok=bool(searches))
    found = Inventory(tasks={name: TaskState() for name in grid["tasks"]})
    # Sizes and times before contents, since reading is a use.
    items = list(_items(root))
    _count_cells(root, grid, found)
    needs = _needs_of_grid(root, grid, found)
    for search in searches:
        _add_search(needs, search, found)
    if needs.artifacts is not None:
        needs.artifacts = _with_prerequisites(root, needs.artifacts)
    for room, item in items:
        needed = needs.have(room, item.path.name)
        if item.kind == LEFT_OVER:
            needed = _may_be_in_use(item)
        elif item.kind == DAMAGED:
            needed = False
        elif room in ("windows", "weights") and not needed:
            # A run packs the windows of all its tasks before it says that it needs them.
            needed = time.time() - item.changed < _DAY
        found.items.append(Item(**{**vars(item), "needed": needed}))
    return found


def manifest_of(folder: Path) -> dict[str, Any]:
    """A folder's manifest; empty where it is absent or damaged.

    Parameters
    ----------
    folder : Path
    """
    return _read(folder / "manifest.json")


def shared_models(root: Path, cell: Mapping[str, Any]) -> set[str] | None:
    """Keys of the shared models that a cell of the grid was made from.

    Parameters
    ----------
    root : Path
        Folder of the run.
    cell : mapping
        Of `read_grid`.

    Returns
    -------
    set of str, or None
        None where nothing says so: records of older versions lack them.
    """
    if (named := _names(cell.get("artifacts"))) is not None:
        return named
    facts = manifest_of(root / "cells" / str(cell["key"]))
    if "artifact" not in facts:
        return None
    own = {facts["artifact"]} if isinstance(facts["artifact"], str) else set()
    return own | _prerequisites(facts)


def _prerequisites(facts: dict[str, Any]) -> set[str]:
    needs = facts.get("needs")
    names = needs.values() if isinstance(needs, dict) else ()
    return {name for name in names if isinstance(name, str)}


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else None
    return found if isinstance(found, dict) else {}


def _names(value: Any) -> set[str] | None:
    """Names in a record: one, or a list of them or of mappings with a key; else None."""
    if isinstance(value, str):
        return {value}
    if not isinstance(value, (list, tuple)):
        return None
    names = [entry.get("key") if isinstance(entry, dict) else entry for entry in value]
    if not all(name is None or isinstance(name, str) for name in names):
        return None
    return {name for name in names if name is not None}


def _entries(root: Path, room: str) -> list[Path]:
    """What is in a room, links left out; nothing where the room itself is one."""
    folder = root / room
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.is_symlink())


def _items(root: Path) -> Iterator[tuple[str, Item]]:
    """Items by room; whether they are needed is not known yet."""
    for room, kind in KINDS.items():
        for path in _entries(root, room):
            if path.name.startswith(".tmp-"):
                yield room, _item(LEFT_OVER, path)
            elif path.name.startswith(".damaged-"):
                yield room, _item(DAMAGED, path)
            elif (room == "weights" and path.is_file()) or (
                path.is_dir() and (room != "wandb" or "run-" in path.name)
            ):
                yield room, _item(kind, path)
    for room in (".", "failures", "plans"):
        for path in _entries(root, room):
            if path.name.startswith(".tmp-"):
                yield room, _item(LEFT_OVER, path)


def _item(kind: str, path: Path) -> Item:
    size, changed, used = 0, 0.0, 0.0
    for file in _tree(path):
        try:
            found = file.lstat()
        except FileNotFoundError:  # a run goes on meanwhile
            continue
        changed = max(changed, found.st_mtime)
        used = max(used, found.st_mtime)
        if stat.S_ISREG(found.st_mode):
            size += found.st_size
            if file.name != "manifest.json":  # which is read by whoever takes stock
                used = max(used, found.st_atime)
    return Item(kind, path, size, changed, used, needed=True)


def _tree(path: Path) -> Iterator[Path]:
    yield path
    for folder, _, files in os.walk(path, followlinks=False):
        yield Path(folder)
        yield from (Path(folder, name) for name in files)


def _may_be_in_use(item: Item) -> bool:
    """Whether a temporary folder is that of a living process, or of one that might live.

    The name tells the process and its machine; of another machine's, or a file that tells
    neither, only the age is known.
    """
    number, _, rest = item.path.name.removeprefix(".tmp-").partition("-")
    if rest.startswith(f"{socket.gethostname()}-~") and number.isdecimal():
        return alive(int(number))
    return time.time() - item.changed < _DAY


def _count_cells(root: Path, grid: dict[str, Any], found: Inventory) -> None:
    stored = {path.name for path in _entries(root, "cells") if (path / "manifest.json").is_file()}
    failed = {path.stem for path in _entries(root, "failures")}
    for cell in grid["cells"]:
        state = found.tasks[cell["task"]]
        if cell["key"] is None:
            state.skipped += 1
        elif cell["key"] in stored:
            state.stored += 1
        else:
            state.missing += 1
            state.failed += cell["key"] in failed


def _needs_of_grid(root: Path, grid: dict[str, Any], found: Inventory) -> _Needs:
    cells = [cell for cell in grid["cells"] if cell["key"] is not None]
    models = [shared_models(root, cell) for cell in cells]
    windows = [_names(facts.get("windows")) for facts in grid["tasks"].values()]
    needs = _Needs(
        cells={cell["key"] for cell in cells},
        artifacts=_union(models),
        windows=_union(windows),
        outputs=any(state.missing for state in found.tasks.values()),
        settings=" ".join({cell["settings"] for cell in cells}),
    )
    if needs.artifacts is None:
        found.notes.append(
            "all shared models are kept: an older version, or a missing cell, does not say which "
            "it needs"
        )
    if needs.windows is None:
        found.notes.append("all window stores are kept: grid.json does not say which are needed")
    return needs


def _add_search(needs: _Needs, search: Path, found: Inventory) -> None:
    """Add what a search refers to; one whose record cannot be read may need everything."""
    record = _read(search / "record.json")
    if needs.settings is not None:
        needs.settings = None if not record else f"{needs.settings} {record}"
    for kind in ("cells", "artifacts", "windows"):
        known = getattr(needs, kind)
        setattr(needs, kind, _union([known, _names(record.get(kind))]))
    stored = {path.name for path in _entries(search.parents[1], "cells")}
    wanted = _names(record.get("cells"))
    needs.outputs = needs.outputs or wanted is None or not wanted <= stored
    if not all(_names(record.get(kind)) is not None for kind in ("cells", "artifacts", "windows")):
        found.notes.append(
            f"what {search.parent.name}/{search.name} might need is kept: its record.json is "
            "missing or damaged"
        )


def _union(parts: Iterable[set[str] | None]) -> set[str] | None:
    """All names; None as soon as one part is all there are."""
    names: set[str] = set()
    for part in parts:
        if part is None:
            return None
        names |= part
    return names


def _with_prerequisites(root: Path, keys: set[str]) -> set[str]:
    """Shared models, and those that they were made from."""
    stored = {path.name: path for path in _entries(root, "artifacts")}
    todo, known = list(keys), set(keys)
    while todo:
        key = todo.pop()
        new = _prerequisites(manifest_of(stored[key]) if key in stored else {}) - known
        todo += new
        known |= new
    return known
