"""What classifiers have in common whose answers are those of one network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sleepshift.estimators.inputs import TakesWindows, as_fitted
from sleepshift.estimators.readout import read_out
from sleepshift.estimators.stored import StoredNetwork
from sleepshift.models.taps import Groups
from sleepshift.windows.windows import Windows

__all__ = ["NetworkClassifier", "StagerNetwork", "StoredClassifier"]


class NetworkClassifier(TakesWindows, ClassifierMixin, BaseEstimator):
    """What every classifier with a fitted ``module_`` can do.

    A subclass sets ``module_`` (whose last layer is ``final_layer``), ``classes_``,
    ``ch_names_``, ``sfreq_``, ``n_times_`` and ``history_`` in `fit`, and has a ``device``
    and, if its network stages sequences, their ``sequence_length``.
    """

    module_: nn.Module
    classes_: np.ndarray
    ch_names_: tuple[str, ...]
    sfreq_: float | None
    n_times_: int
    device: str
    sequence_length: int | None = None
    history_: list[dict[str, Any]]

    def _view(self, X: Any) -> Windows:
        check_is_fitted(self, "module_")
        return as_fitted(X, self)

    def read_out(
        self,
        X: Any,
        kinds: Sequence[str] = ("logits",),
        *,
        attention: Groups = (),
        cache: str | Path | None = None,
    ) -> dict[str, np.ndarray]:
        """What the network computes on its way to the logits, one row a window.

        Parameters
        ----------
        X : as in `fit`
        kinds : sequence of {"logits", "features", "window", "attention"}
        attention : sequence of sequences of str
            Groups of submodules; see `sleepshift.models.taps.tapped`.
        cache : str, Path or None
            Folder where outputs are kept; see `sleepshift.estimators.cache`.
        """
        windows, length = self._view(X), self.sequence_length
        return read_out(
            self.module_,
            windows,
            kinds,
            attention=attention,
            sequence_length=length,
            device=self.device,
            cache=cache,
        )

    def _logits(self, X: Any) -> np.ndarray:
        return self.read_out(X)["logits"]

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, shape (n_windows, n_classes).

        With two classes it is the second's minus the first's, shape (n_windows,), as
        scikit-learn has it.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (n_windows, n_classes), columns in the order of ``classes_``."""
        return softmax(self._logits(X).astype(np.float64), axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable stage of each window, shape (n_windows,).

        Raises
        ------
        ValueError
            If a window has no most probable stage, since its values are not finite.
        """
        logits = self._logits(X)
        if not np.isfinite(logits).all():
            raise ValueError("the network's output is not finite; does X hold NaN?")
        return self.classes_[logits.argmax(axis=1)]

    def transform(self, X: Any, *, cache: str | Path | None = None) -> np.ndarray:
        """Features before the last layer, shape (n_windows, n_features); see `read_out`."""
        features = self.read_out(X, ("features",), cache=cache)["features"]
        return features.reshape(len(features), -1)

    def pretrained_module(self, n_outputs: int) -> nn.Module:
        """A copy of the fitted network to go on from.

        Raises
        ------
        ValueError
            If it has another number of outputs.
        """
        check_is_fitted(self, "module_")
        if n_outputs != len(self.classes_):
            raise ValueError(f"the base knows {len(self.classes_)} stages, not {n_outputs}")
        return copy.deepcopy(self.module_)

    @property
    def n_parameters_(self) -> int:
        """Number of the network's parameters."""
        check_is_fitted(self, "module_")
        return sum(p.numel() for p in self.module_.parameters())


class StoredClassifier(StoredNetwork, NetworkClassifier):
    """A classifier that can be stored: its network, its stages and what it was fitted on."""

    _network = "module_"

    def fitted_state(self) -> tuple[nn.Module, dict[str, Any]]:
        """Network and plain facts from which `restore` makes the same fitted estimator."""
        module, facts = super().fitted_state()
        return module, {"classes": self.classes_.tolist(), **facts}

    def restore(self, facts: dict[str, Any]) -> nn.Module:
        """Set the fitted attributes and return a network whose weights are still to be loaded."""
        self.classes_ = np.array(facts["classes"])
        return self._restore(facts, len(self.classes_))


class StagerNetwork(StoredClassifier):
    """A classifier whose network, view and device are those of a `SleepStager` it is given.

    A subclass says which of its parameters that is; it is not fitted itself.
    """

    _given: ClassVar[str]

    @property
    def _stager(self) -> Any:
        return getattr(self, self._given)

    @property
    def model(self) -> str:  # type: ignore[override]
        """The network."""
        return self._stager.model

    @property
    def model_params(self) -> dict[str, Any] | None:  # type: ignore[override]
        """Further arguments of the network."""
        return self._stager.model_params

    @property
    def weights(self) -> Any:  # type: ignore[override]
        """Weights that the network starts from."""
        return self._stager.weights

    @property
    def channels(self) -> Any:
        """Channels of the view."""
        return self._stager.channels

    @property
    def device(self) -> str:  # type: ignore[override]
        """Where it computes."""
        return self._stager.device

    @property
    def sequence_length(self) -> int | None:  # type: ignore[override]
        """Windows a sequence, where the network stages sequences."""
        return self._stager.sequence_length
