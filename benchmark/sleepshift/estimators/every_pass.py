"""`EveryPass`: a network of which every training pass is kept, for others to choose among."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback

from sleepshift.estimators.inputs import TakesWindows
from sleepshift.estimators.training import watchers

__all__ = ["EveryPass"]


class EveryPass(TakesWindows, ClassifierMixin, BaseEstimator):
    """Train a network and keep its weights after every pass.

    Some published systems kept the pass that was best on the people they then reported. No
    estimator is given the stages of test people, so this one cannot choose: it offers the
    outputs of all its passes, and whoever scores them can. Left to itself it is the network
    after its last pass.

    Parameters
    ----------
    estimator : SleepStager
        Cloned and fitted on (X, y). With people set aside (``valid_size`` above 0) it may
        stop early, and its own predictions are those of its best pass.

    Attributes
    ----------
    classifier_ : fitted SleepStager
    passes_ : list of dict
        State of the network after each pass.
    classes_ : ndarray

    Notes
    -----
    All passes are in memory, a copy of the network each; they are not stored.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> stager = SleepStager(
    ...     sfreq=10.0, max_epochs=3, valid_size=0, model_params={"n_conv_chs": 2}
    ... )
    >>> [proba.shape for proba in EveryPass(stager).fit(X, y).predict_proba_by_pass(X)]
    [(20, 2), (20, 2), (20, 2)]
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Any = None) -> EveryPass:
        """Fit the classifier, keeping every pass.

        Parameters
        ----------
        X, y
            As in `SleepStager.fit`.
        """
        keeper = _Keeper()
        token = watchers.set((*watchers.get(), keeper))
        try:
            self.classifier_ = clone(self.estimator).fit(X, y)
        finally:
            watchers.reset(token)
        self.passes_ = keeper.states
        return self

    def predict_proba_by_pass(self, X: Any) -> Iterator[np.ndarray]:
        """Probabilities after the first pass, the second, and so on.

        Parameters
        ----------
        X : as in `fit`

        Yields
        ------
        ndarray, shape (n_windows, n_classes)
        """
        check_is_fitted(self)
        classifier = copy.deepcopy(self.classifier_)
        for state in self.passes_:
            classifier.module_.load_state_dict(state)
            yield classifier.predict_proba(X)

    def predict(self, X: Any) -> np.ndarray:
        """Most probable stage of each window, shape (n_windows,)."""
        check_is_fitted(self)
        return self.classifier_.predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (n_windows, n_classes)."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    @property
    def classes_(self) -> np.ndarray:
        """Labels, in the order of the columns of `predict_proba`."""
        return self.classifier_.classes_

    @property
    def n_parameters_(self) -> int:
        """Number of the network's parameters."""
        return self.classifier_.n_parameters_


class _Keeper(Callback):
    """Copies of a network's state, one a pass of its last training."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.states = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        state = net.module_.state_dict()
        self.states.append({name: tensor.to("cpu", copy=True) for name, tensor in state.items()})
