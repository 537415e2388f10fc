"""Networks of whole sequences of windows, in three sizes that can teach one another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["SIZES", "SequenceStager"]

N_STEPS = 4  # times at which the features of a window are kept
KERNEL_SIZE = 5
FIRST_POOL, POOL = 8, 2


@dataclass(frozen=True)
class _Size:
    """Filters of the convolutions, pooled after each group; the recurrent layers."""

    filters: tuple[tuple[int, ...], ...]
    n_hidden: int
    n_layers: int


SIZES = {
    "teacher": _Size(((32,), (64, 64), (64, 64), (64, 64)), n_hidden=64, n_layers=3),
    "assistant": _Size(((24,), (56, 56), (56, 56)), n_hidden=56, n_layers=2),
    "student": _Size(((16,), (48,), (48,)), n_hidden=52, n_layers=1),
}


class _Recurrent(nn.Module):
    """Bidirectional LSTM whose output is the tensor alone."""

    def __init__(self, n_features: int, n_hidden: int, n_layers: int, drop_prob: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            n_features,
            n_hidden,
            n_layers,
            batch_first=True,
            bidirectional=True,
            dropout=drop_prob if n_layers > 1 else 0.0,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]


class SequenceStager(nn.Module):
    """Convolutions within each window, a bidirectional LSTM over the windows.

    Parameters
    ----------
    n_chans, n_times : int
    n_outputs : int
    sfreq : float or None
        The first kernel is half a second long, its stride a sixteenth; None takes windows
        for 30 s.
    size : {"teacher", "assistant", "student"}
        Seven, five or three convolutions; three, two or one recurrent layers. With one
        channel of 3000 samples at 100 Hz and 5 classes these are 479,685, 258,789
        and 119,373 parameters.
    drop_prob : float
        Between the encoders, and between recurrent layers.

    Raises
    ------
    ValueError
        If there is no such size, windows are too short, or a batch is not of sequences.

    Notes
    -----
    Input (batch, n_windows, n_chans, n_times) for any number of windows, output logits
    (batch, n_outputs, n_windows). Its parts, whose outputs can be matched:

    - ``window_encoder``: (batch * n_windows, n_chans, n_times) to (batch * n_windows,
      `n_window_features`);
    - ``sequence_encoder``: to (batch, n_windows, `n_sequence_features`);
    - ``final_layer``: to (batch, n_windows, n_outputs).

    Neither encoder ends in dropout, so that what is matched is not noise.

    References
    ----------
    Liang et al., "Teacher assistant-based knowledge distillation extracting multi-level
    features on single channel sleep EEG" (SleepKD), IJCAI 2023. The numbers of layers are
    theirs, and a student of about a quarter of the teacher's parameters; widths and kernels
    are not published.

    Examples
    --------
    >>> net = SequenceStager(n_chans=1, n_times=3000, n_outputs=5, size="student")
    >>> net(torch.zeros(2, 7, 1, 3000)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(
        self,
        n_chans: int,
        n_times: int,
        n_outputs: int,
        sfreq: float | None = None,
        size: str = "teacher",
        drop_prob: float = 0.2,
    ) -> None:
        super().__init__()
        if size not in SIZES:
            raise ValueError(f"no size {size!r}; there are {', '.join(SIZES)}")
        spec = SIZES[size]
        rate = n_times / 30 if sfreq is None else sfreq
        stride = max(1, round(rate / 16))
        pools = [FIRST_POOL] + [POOL] * (len(spec.filters) - 2)
        shortest = stride * FIRST_POOL * POOL ** (len(pools) - 1)
        if n_times < shortest:
            raise ValueError(
                f"the {size} takes windows of {shortest} samples or more at {rate:g} Hz, "
                f"not {n_times}"
            )
        width = spec.filters[0][0]
        layers = _convolution(n_chans, width, 2 * round(rate / 4) + 1, stride)
        for pool, filters in zip(pools, spec.filters[1:], strict=True):
            layers.append(nn.MaxPool1d(pool))
            for n_out in filters:
                layers += [nn.BatchNorm1d(width), *_convolution(width, n_out, KERNEL_SIZE)]
                width = n_out
        layers += [nn.AdaptiveAvgPool1d(N_STEPS), nn.BatchNorm1d(width), nn.Flatten()]
        self.n_window_features = N_STEPS * width
        self.n_sequence_features = 2 * spec.n_hidden
        # Normalised after the activation and the pooling, so that what a layer sees is centred
        # whatever step the weights before it took, and the statistics kept for evaluation stay
        # true. Normalised before, accuracy on simulated nights fell to chance between passes.
        self.window_encoder = nn.Sequential(*layers)
        self.dropout = nn.Dropout(drop_prob)
        self.sequence_encoder = _Recurrent(
            self.n_window_features, spec.n_hidden, spec.n_layers, drop_prob
        )
        self.final_layer = nn.Linear(self.n_sequence_features, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, n_outputs, n_windows)."""
        if x.ndim != 4:
            raise ValueError(
                "a sequence network takes (batch, n_windows, n_chans, n_times), "
                f"not {tuple(x.shape)}"
            )
        features = self.window_encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        sequence = self.sequence_encoder(self.dropout(features))
        return self.final_layer(sequence).transpose(1, 2)


def _convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution that shortens by its stride and no more, and activation."""
    return [nn.Conv1d(n_in, n_out, kernel, stride, padding=kernel // 2), nn.ReLU()]
