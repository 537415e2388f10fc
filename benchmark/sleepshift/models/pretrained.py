"""Weights to start from: a safetensors file, and what it says it was trained on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sleepshift.atomic import write_bytes
from sleepshift.errors import TaskError, one_line

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "HUB",
    "Pretrained",
    "fetch_weights",
    "keep_weights",
    "load_weights",
    "read_pretrained",
    "save_weights",
    "weights_hash",
]

#: How weights on the hub are named: ``hub:owner/name``.
HUB = "hub:"

_HEAD = "final_layer."
_FIELD = "trained_on"


@dataclass(frozen=True)
class Pretrained:
    """What is known of a file of weights.

    Parameters
    ----------
    name : str
        Of the file, or of the place on the hub it came from.
    trained_on : tuple of str or None
        Names of datasets; None where the file does not say.
    """

    name: str
    trained_on: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.trained_on is None:
            return f"{self.name} (it does not say what it was trained on)"
        return f"{self.name} (trained on {', '.join(self.trained_on) or 'nothing'})"

    def saw(self, datasets: Sequence[str]) -> bool | None:
        """Whether it was trained on one of these datasets.

        Names are compared by their letters and digits, and one that begins with the other
        counts: a file is free to say "Sleep-EDF-20" or "sleepedfx".

        Parameters
        ----------
        datasets : sequence of str
            All names of a task's dataset.

        Returns
        -------
        bool or None
            None where the file does not say.

        Examples
        --------
        >>> Pretrained("mine", ("Sleep-EDF-20", "shhs")).saw(["beetl", "sleep-edf"])
        True
        """
        if self.trained_on is None:
            return None
        return any(_alike(one, other) for one in self.trained_on for other in datasets)


def _alike(one: str, other: str) -> bool:
    bare = ["".join(filter(str.isalnum, name)).casefold() for name in (one, other)]
    short, long = sorted(bare, key=len)
    return bool(short) and long.startswith(short)


def save_weights(
    module: nn.Module,
    path: Path | str,
    *,
    trained_on: Sequence[str] | None,
    name: str | None = None,
) -> None:
    """Write a network's weights to a safetensors file that says what they were trained on.

    Parameters
    ----------
    module : nn.Module
        Such as ``SleepStager(...).fit(...).module_``.
    path : path
    trained_on : sequence of str or None
        Names of datasets, as in ``sleepshift datasets`` where they are there; None where
        that is not known.
    name : str, optional
        What to call the weights; the name of the file.

    Examples
    --------
    >>> save_weights(stager.module_, "mine.safetensors", trained_on=["shhs"])  # doctest: +SKIP
    """
    import torch
    from safetensors.torch import save

    path = Path(path)
    tensors = {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in module.state_dict().items()
    }
    facts = {"name": name or path.name}
    if trained_on is not None:
        facts[_FIELD] = json.dumps(list(trained_on))
    write_bytes(path, save(tensors, metadata=facts))


def weights_hash(path: Path | str) -> str:
    """SHA-256 of a file of weights.

    Raises
    ------
    TaskError
        If it cannot be read.
    """
    try:
        state = Path(path).stat()
        return _hashed(str(path), state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise TaskError(f"weights {path} cannot be read ({error.strerror})") from None


@lru_cache
def _hashed(path: str, changed: int, size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pretrained(path: Path | str) -> Pretrained:
    """What a file of weights says of itself.

    Raises
    ------
    TaskError
        If it is no safetensors file.
    """
    path = Path(path)
    with _opened(path) as file:
        facts = file.metadata() or {}
    name = _plain(facts.get("name", path.name))
    try:
        trained_on = json.loads(facts[_FIELD])
    except (KeyError, ValueError, RecursionError):
        return Pretrained(name, None)
    if not isinstance(trained_on, list) or not all(isinstance(one, str) for one in trained_on):
        return Pretrained(name, None)
    return Pretrained(name, tuple(_plain(one) for one in trained_on[:100]))


def _plain(text: str) -> str:
    """What a file says of itself, fit for a table."""
    return "".join(c for c in text if c.isprintable() and c.isascii())[:80]


def load_weights(module: nn.Module, path: Path | str) -> None:
    """Set a network's weights from a safetensors file.

    The last layer keeps its fresh weights where the file's has another shape, or none.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    path : path

    Raises
    ------
    TaskError
        If it is no safetensors file, or of another network: with the first tensor that differs.
    """
    path = Path(path)
    with _opened(path) as file:
        held = _tensors(file, path)
    own = module.state_dict()
    fits = {k: v for k, v in held.items() if k in own and v.shape == own[k].shape}
    for key, tensor in own.items():
        if key in fits or key.startswith(_HEAD):
            continue
        there = f"has shape {tuple(held[key].shape)}" if key in held else "is missing"
        raise TaskError(
            f"weights {path.name} are of another network: {key} {there}, and must have shape "
            f"{tuple(tensor.shape)}; set model (and model_params, channels) to theirs"
        )
    if strange := [key for key in held if key not in own and not key.startswith(_HEAD)]:
        raise TaskError(
            f"weights {path.name} are of another network: it has no {strange[0]}; set model to "
            "theirs"
        )
    module.load_state_dict(fits, strict=False)


def _tensors(file: Any, path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a file, of kinds that networks have."""
    from safetensors import SafetensorError

    try:
        held = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise TaskError(f"weights {path} cannot be read ({one_line(error, 100)})") from None
    for key, tensor in held.items():
        if tensor.is_complex() or (tensor.is_floating_point() and not tensor.isfinite().all()):
            raise TaskError(f"weights {path.name}: {key} holds values that are no finite numbers")
    return held


def fetch_weights(place: str, folder: Path) -> Path:
    """Have the weights of a repository on the hub in a file.

    Its ``model.safetensors`` is taken, and nothing else: Braindecode's ``from_pretrained`` would
    build the network that a configuration beside it describes, calling whatever that names.

    Parameters
    ----------
    place : str
        ``hub:owner/name``.
    folder : Path
        Where the file goes; what is there already is taken.

    Returns
    -------
    Path

    Raises
    ------
    TaskError
        If what reaches the hub is not installed, or the file cannot be had.
    """
    name = place.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise TaskError(f"weights {place}: write it as {HUB}owner/name")
    path = folder / f"{name.replace('/', '@')}.safetensors"
    if path.is_file():
        return path
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise TaskError(
            f"weights {place}: pip install huggingface_hub, or name a safetensors file"
        ) from None
    try:
        content = Path(hf_hub_download(name, "model.safetensors")).read_bytes()
    except Exception as error:  # noqa: BLE001 - the hub's own errors are many, all of them hers
        raise TaskError(
            f"weights {place} cannot be had ({one_line(error, 150)}); check the name and the "
            "connection, or name a safetensors file"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)
    return path


def keep_weights(path: Path, folder: Path) -> Path:
    """Copy a file of weights to a folder, under a name that says what is in it.

    Returns
    -------
    Path
        ``<name>@<hash>.safetensors``.

    Raises
    ------
    TaskError
        If it is no safetensors file.
    """
    read_pretrained(path)
    stem, found = path.name.removesuffix(".safetensors"), weights_hash(path)[:8]
    kept = folder / f"{stem.removesuffix(f'@{found}')}@{found}.safetensors"
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, path.read_bytes())
    return kept


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise TaskError(f"weights {path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise TaskError(f"weights {path}: no safetensors file ({one_line(error, 100)})") from None
