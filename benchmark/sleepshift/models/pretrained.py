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
    "kept_name",
    "load_weights",
    "names_weights",
    "read_pretrained",
    "save_weights",
    "weights_hash",
]

#: How weights on the hub are named: ``hub:owner/name``.
HUB = "hub:"

_HEAD = "final_layer."
_FIELD = "trained_on"
_MOST_NAMES, _LONGEST_NAME = 100, 80


@dataclass(frozen=True)
class Pretrained:
    """What is known of a file of weights.

    Parameters
    ----------
    name : str
        Of the file, or of the place on the hub it came from.
    trained_on : tuple of str or None
        Names of datasets; None where the file does not say.

    Examples
    --------
    >>> str(Pretrained("mine", ("sleep-edf", "shhs")))
    'mine (trained on sleep-edf, shhs)'
    """

    name: str
    trained_on: tuple[str, ...] | None

    def __str__(self) -> str:
        if self.trained_on is None:
            return f"{self.name} (it does not say what it was trained on)"
        return f"{self.name} (trained on {', '.join(self.trained_on) or 'nothing'})"


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

    Parameters
    ----------
    path : path

    Returns
    -------
    str

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

    Parameters
    ----------
    path : path

    Returns
    -------
    Pretrained
        Its words are letters, digits and few signs, whatever the file holds; one that names
        more than 100 datasets, or in more than 80 letters, says nothing.

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
    if not isinstance(trained_on, list) or len(trained_on) > _MOST_NAMES:
        return Pretrained(name, None)
    if not all(isinstance(one, str) and len(one) <= _LONGEST_NAME for one in trained_on):
        return Pretrained(name, None)
    return Pretrained(name, tuple(_plain(one) for one in trained_on))


def _plain(text: str) -> str:
    """What a file says of itself, fit for any table."""
    return re.sub(r"[^A-Za-z0-9 .,+@/()-]+", "_", text)[:_LONGEST_NAME].strip(" _") or "?"


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
        As of `keep_weights`.

    Raises
    ------
    TaskError
        If what reaches the hub is not installed, or the file cannot be had.
    """
    name = place.removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise TaskError(f"weights {place}: write it as {HUB}owner/name")
    own = f"hub@{name.replace('/', '@')}"
    for kept in sorted(folder.glob(f"{own}@*.safetensors")):
        if kept.name == kept_name(kept, own):
            return kept
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise TaskError(
            f"weights {place}: pip install huggingface_hub, or name a safetensors file"
        ) from None
    try:
        path = Path(hf_hub_download(name, "model.safetensors"))
    except Exception as error:  # noqa: BLE001 - the hub's own errors are many, all of them hers
        raise TaskError(
            f"weights {place} cannot be had ({one_line(error, 150)}); check the name and the "
            "connection, or name a safetensors file"
        ) from None
    return keep_weights(path, folder, own)


def names_weights(name: str, value: Any) -> bool:
    """Whether a setting names a file to start from, or a place on the hub.

    Parameters
    ----------
    name : str
        Of the setting; other estimators have a parameter ``weights`` too.
    value : object

    Returns
    -------
    bool
    """
    if name.rpartition("__")[2] != "weights" or not isinstance(value, (str, Path)):
        return False
    path = Path(value)
    return str(value).startswith(HUB) or path.suffix == ".safetensors" or path.is_file()


def kept_name(path: Path, name: str | None = None) -> str:
    """How `keep_weights` calls a file: by its name and what is in it."""
    found = weights_hash(path)[:8]
    stem = (name or path.name).removesuffix(".safetensors").removesuffix(f"@{found}")
    plain = re.sub(r"[^A-Za-z0-9.@-]+", "_", stem).strip("._")[:_LONGEST_NAME].strip("._")
    return f"{plain or 'weights'}@{found}.safetensors"


def keep_weights(path: Path, folder: Path, name: str | None = None) -> Path:
    """Copy a file of weights to a folder, under a name that says what is in it.

    Parameters
    ----------
    path, folder : Path
    name : str, optional
        What to call it; the file's own name.

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
    kept = folder / kept_name(path, name)
    if not kept.is_file() or weights_hash(kept) != weights_hash(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, path.read_bytes())
    return kept


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        if path.is_dir():
            raise IsADirectoryError
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise TaskError(f"weights {path}: there is no such file") from None
    except IsADirectoryError:
        raise TaskError(f"weights {path}: it is a folder; name a safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise TaskError(f"weights {path}: no safetensors file ({one_line(error, 100)})") from None
