"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sleepshift.errors import DamageWarning

__all__ = [
    "alive",
    "new_folder",
    "read_json",
    "seal",
    "whole",
    "write_bytes",
    "write_json",
    "write_text",
]


_TEMPORARY = ".tmp-"


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder beside `path`; rename it to `path` when the block ends well.

    If someone else finished the same folder first, theirs stays: equal names mean equal
    content here.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Path
        The temporary folder.

    Examples
    --------
    >>> root = Path(tempfile.mkdtemp())
    >>> with new_folder(root / "cell") as folder:
    ...     _ = (folder / "rows.csv").write_text("a")
    >>> (root / "cell" / "rows.csv").read_text()
    'a'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    mine = f"{_TEMPORARY}{os.getpid()}-{socket.gethostname()}-~"
    temporary = Path(tempfile.mkdtemp(prefix=mine, dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Remove what processes of this machine left behind when they were killed."""
    for folder in parent.glob(f"{_TEMPORARY}*-{socket.gethostname()}-~*"):
        pid, _, rest = folder.name.removeprefix(_TEMPORARY).partition("-")
        ours = rest.startswith(f"{socket.gethostname()}-~")
        if ours and pid.isdecimal() and not alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine is there.

    Parameters
    ----------
    pid : int
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_text(path: Path, text: str) -> None:
    """Replace a file by UTF-8 text in one step."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".tmp-{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, keys in their order, in one step."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """Read a JSON file; `default` where it is absent or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # brackets within brackets
        return default


def seal(folder: Path, facts: dict[str, Any] | None = None) -> None:
    """Write a folder's manifest, last: facts about it and the checksums of its files."""
    write_json(folder / "manifest.json", {**(facts or {}), "checksums": _checksums(folder)})


def whole(folder: Path) -> bool:
    """Whether a sealed folder is there and undamaged; a damaged one is moved out of the way."""
    if not folder.is_dir():
        return False
    manifest = read_json(folder / "manifest.json")
    # Somebody else may set it aside while it is read.
    with contextlib.suppress(OSError):
        if isinstance(manifest, dict) and manifest.get("checksums") == _checksums(folder):
            return True
    if not folder.is_dir():
        return False
    n = 0
    while (aside := folder.with_name(f".damaged-{folder.name}-{n}")).exists():
        n += 1
    # Somebody else may have set it aside just now, or nobody may write here.
    with contextlib.suppress(OSError):
        folder.rename(aside)
        warnings.warn(
            f"{folder} was damaged: set aside as {aside.name}", DamageWarning, stacklevel=2
        )
    return False


def _checksums(folder: Path) -> dict[str, str]:
    names = (f for f in folder.iterdir() if f.name != "manifest.json")
    files = sorted(f for f in names if not f.name.startswith("."))  # a system's own
    return {f.name: _checksum(f) for f in files}


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
