"""Two branches of convolutions, one of long kernels and one of short ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["TwoScale", "WeightNormLinear"]

_STRIDE = 50


class WeightNormLinear(nn.Module):
    """A linear layer whose weights are a direction times a gain, one gain an output.

    Salimans and Kingma (2016), NeurIPS. It is not `torch.nn.utils.parametrizations.weight_norm`,
    whose modules cannot be pickled.

    Parameters
    ----------
    n_in, n_out : int

    Examples
    --------
    >>> layer, x = WeightNormLinear(3, 2), torch.ones(1, 3)
    >>> longer = WeightNormLinear(3, 2)
    >>> longer.load_state_dict(layer.state_dict() | {"direction": 7 * layer.direction.data})
    <All keys matched successfully>
    >>> torch.allclose(longer(x), layer(x))
    True
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        start = nn.Linear(n_in, n_out)
        self.direction = nn.Parameter(start.weight.detach().clone())
        self.gain = nn.Parameter(self.direction.detach().norm(dim=1, keepdim=True))
        self.bias = nn.Parameter(start.bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (batch, n_out)."""
        weight = self.gain * nn.functional.normalize(self.direction, dim=1)
        return nn.functional.linear(x, weight, self.bias)


class _Branch(nn.Sequential):
    """Three convolutions, and the largest value of each map over time."""

    def __init__(
        self, n_chans: int, filters: Sequence[int], kernel_size: int, stride: int, pool: int
    ) -> None:
        first, second, third = filters
        super().__init__(
            nn.Conv1d(n_chans, first, kernel_size, stride, padding=kernel_size // 2),
            nn.SiLU(),
            nn.MaxPool1d(pool),
            nn.Conv1d(first, second, 7, 2, padding=3),
            nn.SiLU(),
            nn.Conv1d(second, third, 5, padding=2),
            nn.SiLU(),
            nn.AdaptiveMaxPool1d(1),
            nn.Flatten(),
        )


class TwoScale(nn.Module):
    """Two convolutional branches, and two linear layers on the largest values of their maps.

    Parameters
    ----------
    n_chans, n_times : int
    n_outputs : int
    sfreq : float or None
        Not used: the kernels count samples, and were chosen at 100 Hz, where they span 4 s
        and half a second.
    filters : sequence of three int
        Of the convolutions of each branch.
    n_hidden : int
        Width of the first linear layer.
    drop_prob : float

    Raises
    ------
    ValueError
        If a window is too short for the long kernels' pooling.

    Notes
    -----
    Input (batch, n_chans, n_times), output logits (batch, n_outputs). Both linear layers are
    `WeightNormLinear`; activations are SiLU.

    The public description of the network gives filters, kernels, strides and widths of the
    layers, and that there is a pooling after the first convolution. Chosen here: padding by
    half a kernel, pooling by 2 after the long kernels and by 8 after the short ones, dropout
    before either linear layer, no normalisation between convolutions, torch's first weights.

    References
    ----------
    The network of the entry that came third in the sleep task of the BEETL competition
    (NeurIPS 2021), described in the repository michal-nahlik/neurips-beetl-2021.

    Examples
    --------
    >>> TwoScale(n_chans=2, n_times=3000, n_outputs=5)(torch.zeros(4, 2, 3000)).shape
    torch.Size([4, 5])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        filters: Sequence[int] = (64, 128, 256),
        n_hidden: int = 1024,
        drop_prob: float = 0.2,
    ) -> None:
        super().__init__()
        if n_times <= _STRIDE:
            raise ValueError(f"TwoScale takes windows of {_STRIDE + 1} samples or more")
        self.coarse = _Branch(n_chans, filters, kernel_size=401, stride=_STRIDE, pool=2)
        self.fine = _Branch(n_chans, filters, kernel_size=51, stride=5, pool=8)
        self.hidden = nn.Sequential(
            nn.Dropout(drop_prob),
            WeightNormLinear(2 * filters[-1], n_hidden),
            nn.SiLU(),
            nn.Dropout(drop_prob),
        )
        self.final_layer = WeightNormLinear(n_hidden, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        seen = torch.cat([self.coarse(x), self.fine(x)], dim=1)
        return self.final_layer(self.hidden(seen))
