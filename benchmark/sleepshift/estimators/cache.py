"""What networks and feature extractors compute of windows: kept on disk, computed once.

Each kind of output has a folder, named by a hash of all that decides it and sealed with its
checksums: a damaged one is set aside and computed anew. Nothing that is loaded can run code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sleepshift.atomic import new_folder, seal, whole
from sleepshift.digest import digest, digest_array
from sleepshift.errors import storage
from sleepshift.windows.store import library_versions

__all__ = ["computed_once", "network_digest"]

_HEAD = "final_layer."


def computed_once(
    cache: str | Path,
    keys: Mapping[str, Any],
    compute: Callable[[Sequence[str]], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Arrays from a cache, after computing those that it does not hold.

    Parameters
    ----------
    cache : str or Path
        Folder that anyone may share, also while others write to it.
    keys : mapping of str to plain values
        Kind of output -> all that decides it, but for the versions of the libraries.
    compute : callable
        Of the kinds that are missing; gives arrays named ``kind`` or ``kind.<part>``.

    Returns
    -------
    dict of str to memmap
        By the names that `compute` gave; they are only read.

    Examples
    --------
    >>> import tempfile
    >>> folder, times = tempfile.mkdtemp(), []
    >>> def squares(kinds):
    ...     times.append(kinds)
    ...     return {"squares": np.arange(3) ** 2}
    >>> [computed_once(folder, {"squares": [3]}, squares)["squares"].tolist() for _ in range(2)]
    [[0, 1, 4], [0, 1, 4]]
    >>> times
    [['squares']]
    """
    folders = {kind: Path(cache) / digest([_made_by(), kind, keys[kind]]) for kind in keys}
    if missing := [kind for kind, folder in folders.items() if not whole(folder)]:
        computed = compute(missing)
        for kind in missing:
            with storage(Path(cache)), new_folder(folders[kind]) as folder:
                for name, array in computed.items():
                    if name.partition(".")[0] == kind:
                        np.save(folder / f"{name}.npy", array, allow_pickle=False)
                seal(folder)
    files = [file for folder in folders.values() for file in sorted(folder.glob("*.npy"))]
    return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}


@lru_cache(maxsize=1)
def _made_by() -> dict[str, str]:
    return library_versions()


def network_digest(network: nn.Module, *, head: bool = True) -> str:
    """Hash of a network: its modules as they are written out, and its weights.

    Parameters
    ----------
    network : nn.Module
    head : bool
        Whether the weights of ``final_layer`` count; what enters it does not depend on them.

    Examples
    --------
    >>> from sleepshift.models.parts import WithHead
    >>> one, other = (WithHead(nn.ReLU(), 4, 2) for _ in range(2))
    >>> network_digest(one) == network_digest(other)
    False
    >>> network_digest(one, head=False) == network_digest(other, head=False)
    True
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    weights = {
        name: digest_array(tensor.numpy(force=True))
        for name, tensor in tensors.items()
        if head or not name.startswith(_HEAD)
    }
    # What weights do not tell: a stride is written out, a number of heads is an attribute.
    settings = {name: _settings(module) for name, module in network.named_modules()}
    return digest([repr(network), settings, weights])


def _settings(module: nn.Module) -> dict[str, Any]:
    """Plain attributes of a module, whether or not it is training aside."""
    plain = {k: v for k, v in vars(module).items() if k != "training" and _is_plain(v)}
    return {"class": f"{type(module).__module__}.{type(module).__qualname__}", **plain}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (str, bool, int, float))
