"""Building, storing and restoring the one network that an estimator fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from sklearn.utils.validation import check_is_fitted
from torch import nn

from sleepshift.models import build_model
from sleepshift.models.pretrained import Pretrained, load_weights, read_pretrained
from sleepshift.windows.windows import Windows

__all__ = ["StoredNetwork", "starts_of"]


class StoredNetwork:
    """What estimators with parameters ``model`` and ``model_params`` share.

    A subclass says where its fitted network is kept.
    """

    _network: ClassVar[str]

    model: str
    model_params: dict[str, Any] | None
    weights: str | Path | None = None
    sequence_length: int | None = None
    history_: list[dict[str, Any]]

    def _build(self, shape: tuple[int, ...], sfreq: float | None, n_outputs: int) -> nn.Module:
        """A network to start from, for windows of this shape (n_chans, n_times)."""
        network = self._empty(shape, sfreq, n_outputs)
        if self.weights is not None:
            load_weights(network, self.weights)
        return network

    def _empty(self, shape: tuple[int, ...], sfreq: float | None, n_outputs: int) -> nn.Module:
        """The network with fresh weights."""
        return build_model(
            self.model,
            n_chans=shape[0],
            n_times=shape[1],
            sfreq=sfreq,
            n_outputs=n_outputs,
            sequence=self.sequence_length is not None,
            **self.model_params or {},
        )

    def _remember(self, network: nn.Module, windows: Windows) -> None:
        """Set the fitted attributes."""
        setattr(self, self._network, network)
        self.ch_names_ = windows.ch_names
        self.sfreq_ = windows.sfreq
        self.n_times_ = windows.shape[2]

    def fitted_state(self) -> tuple[nn.Module, dict[str, Any]]:
        """Network and plain facts from which `restore` makes the same fitted estimator."""
        check_is_fitted(self, self._network)
        facts = {
            "ch_names": list(self.ch_names_),
            "sfreq": self.sfreq_,
            "n_times": self.n_times_,
            "history": self.history_,
        }
        return getattr(self, self._network), facts

    def _restore(self, facts: dict[str, Any], n_outputs: int) -> nn.Module:
        """Set the fitted attributes; the network's weights are still to be loaded."""
        self.ch_names_ = tuple(facts["ch_names"])
        self.sfreq_ = facts["sfreq"]
        self.n_times_ = facts["n_times"]
        self.history_ = facts["history"]
        shape = (len(self.ch_names_), self.n_times_)
        network = self._empty(shape, self.sfreq_, n_outputs).eval()
        setattr(self, self._network, network)
        return network


def starts_of(estimator: Any) -> list[Pretrained]:
    """Weights that the networks of an estimator, or of its parts, start from.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    list of Pretrained
        Each file once.

    Raises
    ------
    TaskError
        If a file cannot be read.
    """
    parts = [estimator, *estimator.get_params().values()]
    starts = [part.weights for part in parts if isinstance(part, StoredNetwork) and part.weights]
    return [read_pretrained(weights) for weights in dict.fromkeys(starts)]
