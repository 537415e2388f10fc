"""A transformer that looks at each channel by itself, then across channels."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["CrossModalTransformer"]

N_SAMPLES = 50  # a token


class _Patches(nn.Module):
    """Convolve one channel to tokens of 50 samples, at three scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        coarse, fine = width // 4, 3 * width // 8
        self.whole = nn.Sequential(
            nn.Conv1d(1, coarse, 50, stride=50), nn.LeakyReLU(), nn.BatchNorm1d(coarse)
        )
        self.fifths = nn.Sequential(
            nn.Conv1d(1, width // 8, 5, stride=5),
            nn.LeakyReLU(),
            nn.Conv1d(width // 8, coarse, 5, stride=5),
            nn.LeakyReLU(),
            nn.Conv1d(coarse, fine, 2, stride=2),
            nn.LeakyReLU(),
            nn.BatchNorm1d(fine),
        )
        self.halves = nn.Sequential(
            nn.Conv1d(1, coarse, 25, stride=25),
            nn.LeakyReLU(),
            nn.Conv1d(coarse, fine, 2, stride=2),
            nn.LeakyReLU(),
            nn.BatchNorm1d(fine),
        )
        self.mix = nn.Sequential(nn.Conv1d(width, width, 1), nn.LeakyReLU(), nn.BatchNorm1d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Each stride is its kernel, so that each scale gives floor(n_times / 50) tokens.
        scales = [self.whole(x), self.fifths(x), self.halves(x)]
        return self.mix(torch.cat(scales, dim=1))


class _Attention(nn.Module):
    """Attention among tokens with a residual connection, normalised after it."""

    def __init__(self, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, n_heads, batch_first=True)
        self.dropout = nn.Dropout(drop_prob)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended, _ = self.attention(x, x, x, need_weights=False)
        return self.norm(x + self.dropout(attended))


class _FeedForward(nn.Module):
    """Two layers with a residual connection, normalised after it."""

    def __init__(self, width: int, n_hidden: int, drop_prob: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, n_hidden),
            nn.ReLU(),
            nn.Dropout(drop_prob),
            nn.Linear(n_hidden, width),
            nn.Dropout(drop_prob),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.layers(x))


class _Channel(nn.Module):
    """Summary of one channel: a class token that attended to its tokens."""

    positions: torch.Tensor

    def __init__(self, n_times: int, width: int, n_heads: int, drop_prob: float) -> None:
        super().__init__()
        self.patches = _Patches(width)
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        # It follows from the window's length, and so is not stored with the weights.
        positions = _positions(n_times // N_SAMPLES + 1, width)
        self.register_buffer("positions", positions, persistent=False)
        self.dropout = nn.Dropout(drop_prob)
        self.attention = _Attention(width, n_heads, drop_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], dim=1)
        return self.attention(self.dropout(tokens + self.positions))[:, 0]


class CrossModalTransformer(nn.Module):
    """Attention within each channel, then across the summaries of all channels.

    Parameters
    ----------
    n_chans, n_times : int
    n_outputs : int
    sfreq : float or None
        Not used: tokens count samples, and are 0.25 s at the published 200 Hz.
    width : int
        Features of a token; a multiple of 8 and of `n_heads`.
    n_heads : int
    n_hidden : int
        Of the feed-forward layers.
    drop_prob : float

    Raises
    ------
    ValueError
        If a window is shorter than a token, or a batch has another shape than windows.

    Notes
    -----
    Input (batch, n_chans, n_times), output logits (batch, n_outputs). A token is 50 samples;
    samples after the last whole token, at most 49, are not looked at. ``final_layer`` takes
    the summaries of the channels after one another, (batch, n_chans * width). The published
    network, at 3 channels of 6000 samples and 5 classes, has 2,958,853 parameters.

    The published program gave its third branch the first channel. Here each channel has a
    branch of its own.

    References
    ----------
    Anandakumar et al., "A knowledge distillation framework for enhancing ear-EEG based sleep
    staging with scalp-EEG data", arXiv 2211.02638.

    Examples
    --------
    >>> net = CrossModalTransformer(n_chans=2, n_times=3000, n_outputs=5)
    >>> net(torch.zeros(1, 2, 3000)).shape
    torch.Size([1, 5])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        width: int = 256,
        n_heads: int = 8,
        n_hidden: int = 1024,
        drop_prob: float = 0.1,
    ) -> None:
        super().__init__()
        if n_times < N_SAMPLES:
            raise ValueError(
                f"CrossModalTransformer takes windows of {N_SAMPLES} samples or more, not {n_times}"
            )
        if width % 8 or width % n_heads:
            raise ValueError(f"width is a multiple of 8 and of n_heads={n_heads}, not {width}")
        self.shape = (n_chans, n_times)
        self.channels = nn.ModuleList(
            _Channel(n_times, width, n_heads, drop_prob) for _ in range(n_chans)
        )
        self.cls = nn.Parameter(torch.randn(1, 1, width))
        self.across = _Attention(width, n_heads, drop_prob)
        self.feed_forward = nn.ModuleList(
            _FeedForward(width, n_hidden, drop_prob) for _ in range(n_chans)
        )
        self.final_layer = nn.Linear(n_chans * width, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"windows are {self.shape}, not {tuple(x.shape[1:])}")
        summaries = [channel(x[:, [k]]) for k, channel in enumerate(self.channels)]
        tokens = torch.stack([self.cls[0].expand(len(x), -1), *summaries], dim=1)
        _, *fused = self.across(tokens).unbind(1)
        # Feed-forward layers see one token at a time; only these go on.
        features = [layer(z) for layer, z in zip(self.feed_forward, fused, strict=True)]
        return self.final_layer(torch.cat(features, dim=1))


def _positions(n_tokens: int, width: int) -> torch.Tensor:
    """Sines and cosines of the places of tokens, shape (n_tokens, width)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(n_tokens)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
