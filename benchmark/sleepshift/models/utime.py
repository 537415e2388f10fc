"""U-Time for single windows, as it was used to teach ECG from EEG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import torch
from torch import nn

__all__ = ["PUBLISHED_ATTENTION", "UTime"]

#: The five groups of maps of the published attention transfer. The last map of the decoder
#: is there twice, and so weighs six times as much as the others.
PUBLISHED_ATTENTION: tuple[tuple[str, ...], ...] = (
    tuple(f"pools.{k}" for k in range(5)),
    ("bottleneck",),
    tuple(f"decoder.{k}" for k in range(5)),
    ("decoder.4",),
    ("dense",),
)


class _Convolution(nn.Sequential):
    """Convolution that keeps the length, ReLU, and only then batch normalisation."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, dilation: int = 1) -> None:
        convolution = nn.Conv1d(n_in, n_out, kernel_size, dilation=dilation, padding="same")
        nn.init.xavier_uniform_(convolution.weight)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        super().__init__(convolution, nn.ReLU(), nn.BatchNorm1d(n_out))


class _Decoder(nn.Module):
    """Stretch to the length of the skip connection, join it, convolve."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int) -> None:
        super().__init__()
        self.before = _Convolution(n_in, n_out, kernel_size)
        self.after = nn.Sequential(
            _Convolution(2 * n_out, n_out, kernel_size), _Convolution(n_out, n_out, kernel_size)
        )

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        # Pooling dropped the samples that did not fill a step; a factor would not bring
        # them back.
        x = nn.functional.interpolate(x, size=skip.shape[-1], mode="nearest-exact")
        return self.after(torch.cat([skip, self.before(x)], dim=1))


class UTime(nn.Module):
    """One-dimensional U-net whose scores over time are averaged over the window.

    Parameters
    ----------
    n_chans, n_times : int
    n_outputs : int
    sfreq : float or None
        Not used: the kernels count samples, and were chosen at 200 Hz.
    filters : sequence of int
        Filters of each encoder block; the bottleneck has twice as many as the last.
    pools : sequence of int
        Factor by which each encoder block shortens its map.
    kernel_size : int
    dilation : int
        Of the convolutions of the encoder.

    Raises
    ------
    ValueError
        If a window is too short for the pooling.

    Notes
    -----
    Input (batch, n_chans, n_times), output logits (batch, n_outputs). The published network
    has one channel of 6000 samples: 4,813,215 parameters with 3 classes, 4,813,240 with 4.

    Maps over time, for attention transfer, are the outputs of ``pools.<k>``, ``bottleneck``,
    ``decoder.<k>`` and ``dense``. ``final_layer`` takes (batch, n_outputs, 1).

    References
    ----------
    Joshi et al., "Deep knowledge distillation for sleep staging: EEG-assisted ECG", arXiv
    2112.07252 and 2211.13125. Perslev et al., "U-Time", NeurIPS 2019.

    Examples
    --------
    >>> UTime(n_chans=1, n_times=3000, n_outputs=4)(torch.zeros(2, 1, 3000)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        filters: Sequence[int] = (16, 32, 64, 128, 256),
        pools: Sequence[int] = (3, 2, 2, 2, 2),
        kernel_size: int = 5,
        dilation: int = 2,
    ) -> None:
        super().__init__()
        if len(filters) != len(pools):
            raise ValueError(f"{len(filters)} filters do not go with {len(pools)} pools")
        if n_times < prod(pools):
            raise ValueError(f"UTime takes windows of {prod(pools)} samples or more, not {n_times}")
        widths = [n_chans, *filters]
        self.encoder = nn.ModuleList(
            nn.Sequential(
                _Convolution(n_in, n_out, kernel_size, dilation),
                _Convolution(n_out, n_out, kernel_size, dilation),
            )
            for n_in, n_out in pairwise(widths)
        )
        self.pools = nn.ModuleList(nn.MaxPool1d(size) for size in pools)
        deepest = 2 * filters[-1]
        self.bottleneck = nn.Sequential(
            _Convolution(filters[-1], deepest, kernel_size),
            _Convolution(deepest, deepest, kernel_size),
        )
        upwards = [deepest, *reversed(filters)]
        self.decoder = nn.ModuleList(
            _Decoder(n_in, n_out, kernel_size) for n_in, n_out in pairwise(upwards)
        )
        self.dense = nn.Sequential(nn.Conv1d(filters[0], n_outputs, 1), nn.Tanh())
        self.final_layer = nn.Conv1d(n_outputs, n_outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        skips = []
        for block, pool in zip(self.encoder, self.pools, strict=True):
            x = block(x)
            skips.append(x)
            x = pool(x)
        x = self.bottleneck(x)
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(x, skip)
        return self.final_layer(self.dense(x).mean(-1, keepdim=True)).squeeze(-1)
