"""A small network for windows of features."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """Standardise, two hidden layers, logits.

    Parameters
    ----------
    n_chans, n_times : int
        Channels, and features per channel.
    n_outputs : int
    n_hidden : int
    drop_prob : float

    Notes
    -----
    Input (batch, n_chans, n_times), output (batch, n_outputs). The first layer is a batch
    normalisation without weights: features are standardised by statistics of the training
    windows, and by nothing else.

    Examples
    --------
    >>> MLP(n_chans=3, n_times=10, n_outputs=5)(torch.zeros(2, 3, 10)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        n_hidden: int = 64,
        drop_prob: float = 0.25,
    ) -> None:
        super().__init__()
        self.standardise = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(n_chans * n_times, affine=False)
        )
        self.hidden = nn.Sequential(
            nn.Linear(n_chans * n_times, n_hidden),
            nn.ReLU(),
            nn.Dropout(drop_prob),
            nn.Linear(n_hidden, n_hidden),
            nn.ReLU(),
            nn.Dropout(drop_prob),
        )
        self.final_layer = nn.Linear(n_hidden, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        return self.final_layer(self.hidden(self.standardise(x)))
