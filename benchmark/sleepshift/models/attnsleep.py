"""AttnSleep as its authors' code computes it, where Braindecode's differs."""

from __future__ import annotations

from typing import Any

import torch
from braindecode.models import AttnSleep
from torch import nn

__all__ = ["OriginalAttnSleep"]


class OriginalAttnSleep(AttnSleep):
    """AttnSleep with the arithmetic and the first weights of the published code.

    Braindecode's network has the same parameters under the same names, so that weights load
    either way. It differs in two places: it normalises the query of the attention, where the
    original computes that normalisation and does not use it (8 tensors never learn); and its
    layer normalisation divides by the biased deviation with eps under the root, where the
    original divides by the unbiased deviation plus eps. The original draws convolutions
    from N(0, 0.02) and the gains of batch normalisations from N(1, 0.02), and leaves causal
    convolutions and linear layers as torch makes them.

    Parameters
    ----------
    **kwargs
        Those of `braindecode.models.AttnSleep`.

    References
    ----------
    Eldele et al. (2021), An Attention-Based Deep Learning Approach for Sleep Stage
    Classification With Single-Channel EEG, IEEE TNSRE 29, 809-818.

    Examples
    --------
    >>> network = OriginalAttnSleep(n_outputs=5, n_chans=1, n_times=3000, sfreq=100)
    >>> sum(parameter.numel() for parameter in network.parameters())
    522805
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        encoder = self.feature_extractor[1]
        encoder.norm = _UnbiasedNorm(encoder.norm)
        for layer in encoder.layers:
            layer.residual_self_attn = _PlainQuery(layer.residual_self_attn)
            layer.residual_ff.norm = _UnbiasedNorm(layer.residual_ff.norm)
        self.apply(_draw)


class _UnbiasedNorm(nn.Module):
    """Layer normalisation by the unbiased standard deviation plus eps."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return self.weight * centred / (x.std(-1, keepdim=True) + self.eps) + self.bias


class _PlainQuery(nn.Module):
    """Attention added to its query, which is not normalised; the normalisation stays idle."""

    def __init__(self, residual: Any) -> None:
        super().__init__()
        self.norm, self.dropout, self.fn_attn = residual.norm, residual.dropout, residual.fn_attn

    def forward(self, x: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return x + self.dropout(self.fn_attn(x, key, value))


def _draw(module: nn.Module) -> None:
    if type(module) is nn.Conv1d:  # causal convolutions are a subclass, and are left alone
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
