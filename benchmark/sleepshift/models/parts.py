"""Encoder and head of a network: features before its last layer, and a new last layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["HeadOnFeatures", "WithHead", "tap_features"]


class WithHead(nn.Module):
    """An encoder with a fresh linear head.

    Parameters
    ----------
    encoder : nn.Module
        Maps (batch, n_chans, n_times) to embeddings (batch, n_features).
    n_features, n_outputs : int
    """

    def __init__(self, encoder: nn.Module, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.final_layer = nn.Linear(n_features, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_outputs)."""
        return self.final_layer(self.encoder(x))


@contextlib.contextmanager
def tap_features(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect what enters ``final_layer`` on each forward pass.

    Braindecode's classic sleep stagers have no common way to return features; a pre-hook
    works on all of them.
    """
    taken: list[torch.Tensor] = []
    hook = module.final_layer.register_forward_pre_hook(  # type: ignore[union-attr, operator]
        lambda _, inputs: taken.append(inputs[0].detach())
    )
    try:
        yield taken
    finally:
        hook.remove()


class HeadOnFeatures(nn.Module):
    """``final_layer`` by itself, from tapped features to logits (batch, n_outputs).

    Fully convolutional networks keep a time axis of length 1 here; it is dropped.
    """

    def __init__(self, final_layer: nn.Module) -> None:
        super().__init__()
        self.final_layer = final_layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_outputs)."""
        return self.final_layer(features).flatten(1)
