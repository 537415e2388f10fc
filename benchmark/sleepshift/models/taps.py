"""Taps: what a network computes on its way to the logits, one row a window."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

__all__ = ["KINDS", "Tapped", "attention_energy", "attention_groups", "by_window", "tapped"]

#: What can be tapped: the logits, what enters ``final_layer``, what a sequence network's
#: window encoder gives, and the energies of layer maps over time.
KINDS = ("logits", "features", "window", "attention")

Groups = Sequence[Sequence[str]]
T = TypeVar("T")


def attention_energy(maps: torch.Tensor) -> torch.Tensor:
    """Energy over time of a layer's maps: the sum of squares over all axes between.

    Parameters
    ----------
    maps : Tensor, shape (n, channels, ..., times)

    Returns
    -------
    Tensor, shape (n, times)

    Raises
    ------
    ValueError
        If there is no axis of channels.

    Notes
    -----
    The attention of Zagoruyko and Komodakis 2017 (arXiv 1612.03928), over time.

    Examples
    --------
    >>> attention_energy(torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])).tolist()
    [[10.0, 4.0]]
    """
    if maps.ndim < 3:
        raise ValueError(f"maps are (n, channels, ..., times), not of shape {tuple(maps.shape)}")
    return maps.square().flatten(1, -2).sum(dim=1)


def attention_groups(outputs: Mapping[str, T]) -> list[list[T]]:
    """Energies of the layer maps among the outputs, by group.

    Examples
    --------
    >>> attention_groups({"attention.0.0": 1, "attention.0.1": 2, "attention.1.0": 3, "logits": 4})
    [[1, 2], [3]]
    """
    groups: dict[int, dict[int, T]] = {}
    for name, value in outputs.items():
        kind, *place = name.split(".")
        if kind == "attention":
            group, layer = map(int, place)
            groups.setdefault(group, {})[layer] = value
    return [[maps[k] for k in sorted(maps)] for _, maps in sorted(groups.items())]


@contextlib.contextmanager
def tapped(
    module: nn.Module, kinds: Iterable[str] = ("logits",), attention: Groups = ()
) -> Iterator[dict[str, torch.Tensor]]:
    """Collect outputs of the latest forward pass of a network.

    Braindecode's sleep stagers have no common way to return what they compute; hooks work
    on all of them.

    Parameters
    ----------
    module : nn.Module
        A network of the catalogue.
    kinds : iterable of str
        Some of `KINDS`; ``"logits"`` are always there.
    attention : sequence of sequences of str
        Groups of submodules whose maps (n, channels, ..., times) are wanted as energies.

    Yields
    ------
    dict of str to Tensor
        Filled by each forward pass. The first axis counts windows, those of a sequence one
        after the other: ``logits`` (n, n_outputs), ``features`` and ``window`` (n, ...),
        ``attention.<group>.<layer>`` (n, times).

    Raises
    ------
    ValueError
        If the network has no such part.
    """
    kinds, sequence = set(kinds), hasattr(module, "window_encoder")
    if unknown := kinds - set(KINDS):
        raise ValueError(f"no tap {unknown.pop()!r}; there are {', '.join(KINDS)}")
    if "window" in kinds and not sequence:
        raise ValueError(
            f"{type(module).__name__} stages single windows, so it has no window level of its "
            "own; use a sequence network"
        )
    if "attention" in kinds and not attention:
        raise ValueError(f"{type(module).__name__} has no maps over time to compare")
    taken: dict[str, torch.Tensor] = {}
    with contextlib.ExitStack() as hooks:

        def on(part: nn.Module, hook: Callable[..., None]) -> None:
            hooks.callback(part.register_forward_hook(hook).remove)

        on(module, _put(taken, "logits", by_window))
        if "features" in kinds:

            def features(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
                taken["features"] = inputs[0].flatten(0, 1) if sequence else inputs[0]

            head = module.get_submodule("final_layer")
            if isinstance(head, nn.ModuleList):
                raise ValueError(
                    f"{type(module).__name__} has several last layers; it can only be trained whole"
                )
            hooks.callback(head.register_forward_pre_hook(features).remove)
        if "window" in kinds:
            on(module.get_submodule("window_encoder"), _put(taken, "window"))
        if "attention" in kinds:
            for group, paths in enumerate(attention):
                for layer, path in enumerate(paths):
                    name = f"attention.{group}.{layer}"
                    on(_part(module, path), _put(taken, name, attention_energy))
        yield taken


def _part(module: nn.Module, path: str) -> nn.Module:
    try:
        return module.get_submodule(path)
    except AttributeError:
        raise ValueError(
            f"{type(module).__name__} has no part {path!r}; attention is compared between networks "
            "of one kind, or in groups that both have"
        ) from None


def _put(
    taken: dict[str, torch.Tensor],
    name: str,
    change: Callable[[torch.Tensor], torch.Tensor] = lambda output: output,
) -> Callable[..., None]:
    def hook(_: nn.Module, __: Any, output: torch.Tensor) -> None:
        taken[name] = change(output)

    return hook


def by_window(logits: torch.Tensor) -> torch.Tensor:
    """Logits (batch, n_outputs, n_windows) of a sequence network as (n, n_outputs)."""
    return logits.movedim(1, -1).flatten(0, -2) if logits.ndim > 2 else logits


class Tapped(nn.Module):
    """A network whose forward pass returns all that is tapped.

    Parameters
    ----------
    module : nn.Module
    kinds, attention
        As in `tapped`.
    """

    def __init__(self, module: nn.Module, kinds: Iterable[str], attention: Groups = ()) -> None:
        super().__init__()
        self.module = module
        self.kinds = tuple(kinds)
        self.attention = attention

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs by name; see `tapped`."""
        with tapped(self.module, self.kinds, self.attention) as taken:
            self.module(x)
        return taken
