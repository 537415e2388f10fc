"""Parts of networks: a new last layer, the last layer by itself, and leaving no trace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["HeadOnFeatures", "WithHead", "forget_passes", "tensors"]


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


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, those that are never saved included."""
    return dict(module.named_parameters()) | dict(module.named_buffers())


@contextlib.contextmanager
def forget_passes(module: nn.Module) -> Iterator[None]:
    """Take away what forward passes inside the block leave in plain attributes.

    AttnSleep keeps its last attention weights: with them a fitted network could not be
    copied, would hold a batch of training data, and stay on the device.
    """
    before = {part: dict(vars(part)) for part in module.modules()}
    try:
        yield
    finally:
        for part, attributes in before.items():
            for name, value in list(vars(part).items()):
                if isinstance(value, torch.Tensor) and value is not attributes.get(name):
                    setattr(part, name, attributes.get(name))


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
