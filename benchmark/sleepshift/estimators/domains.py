"""Which domain an ordinary classifier learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from sleepshift.estimators.inputs import TakesWindows, as_windows, labels_of
from sleepshift.windows.windows import Windows

__all__ = ["DelegatingClassifier", "TrainOn"]


class DelegatingClassifier(TakesWindows, ClassifierMixin, BaseEstimator):
    """Predict with ``classifier_``, on what `_inputs` makes of X."""

    classifier_: Any

    __metadata_request__fit = {"X_target_labeled": True, "y_target_labeled": True}

    def _inputs(self, X: Any) -> Any:
        return X

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classifier_")

    @property
    def classes_(self) -> np.ndarray:
        """Labels, in the order of the columns of `predict_proba`."""
        return self.classifier_.classes_

    def predict(self, X: Any) -> np.ndarray:
        """Stage of each window, shape (n_windows,)."""
        check_is_fitted(self)
        return self.classifier_.predict(self._inputs(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (n_windows, n_classes)."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(self._inputs(X))


class TrainOn(DelegatingClassifier):
    """Fit a classifier on the labelled target windows, or on both domains together.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted.
    domain : {"target", "pooled"}

    Attributes
    ----------
    classifier_ : fitted classifier
    classes_ : ndarray

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> X = np.zeros((4, 1, 10))
    >>> floor = TrainOn(DummyClassifier(), domain="target")
    >>> fitted = floor.fit(X, [0, 0, 0, 0], X_target_labeled=X, y_target_labeled=[1, 1, 1, 0])
    >>> fitted.predict(X).tolist()
    [1, 1, 1, 1]
    """

    def __init__(self, estimator: Any, domain: str = "target") -> None:
        self.estimator = estimator
        self.domain = domain

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_target_labeled: Any = None,
        y_target_labeled: Any = None,
    ) -> TrainOn:
        """Fit on the chosen domain.

        Raises
        ------
        ValueError
            If `domain` is unknown, or labelled target windows are missing.
        """
        if self.domain not in ("target", "pooled"):
            raise ValueError(f"domain is target or pooled, not {self.domain!r}")
        if X_target_labeled is None:
            raise ValueError("TrainOn needs X_target_labeled and y_target_labeled")
        y_target_labeled = labels_of(X_target_labeled, y_target_labeled)
        if self.domain == "pooled":
            y = labels_of(X, y)
            X, y = _join(X, X_target_labeled), np.concatenate([y, y_target_labeled])
        else:
            X, y = X_target_labeled, y_target_labeled
        self.classifier_ = clone(self.estimator).fit(X, y)
        return self

    @property
    def n_parameters_(self) -> int:
        """Number of the network's parameters, where there is a network."""
        return self.classifier_.n_parameters_


def _join(X: Any, other: Any) -> Any:
    if isinstance(X, Windows):
        return Windows.concat([X, as_windows(other, sfreq=X.sfreq)])
    return np.concatenate([np.asarray(X), np.asarray(other)])
