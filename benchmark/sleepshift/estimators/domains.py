"""Which domain an ordinary classifier learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from sleepshift.estimators.inputs import as_windows
from sleepshift.estimators.routing import route
from sleepshift.windows.windows import Windows

__all__ = ["LinearProbe", "TrainOn"]


class _Delegating(ClassifierMixin, BaseEstimator):
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


class TrainOn(_Delegating):
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
        y_target_labeled = _labels(X_target_labeled, y_target_labeled)
        if self.domain == "pooled":
            y = _labels(X, y)
            X, y = _join(X, X_target_labeled), np.concatenate([y, y_target_labeled])
        else:
            X, y = X_target_labeled, y_target_labeled
        self.classifier_ = clone(self.estimator).fit(X, y)
        return self

    @property
    def n_parameters_(self) -> int:
        """Number of the network's parameters, where there is a network."""
        return self.classifier_.n_parameters_


def _labels(X: Any, y: Any) -> Any:
    if y is None and not isinstance(X, Windows):
        raise ValueError("labels are missing, and these windows carry none")
    return X.y if y is None else y


def _join(X: Any, other: Any) -> Any:
    if isinstance(X, Windows):
        return Windows.concat([X, as_windows(other, sfreq=X.sfreq)])
    return np.concatenate([np.asarray(X), np.asarray(other)])


class LinearProbe(_Delegating):
    """A linear classifier on the features of a frozen encoder.

    Parameters
    ----------
    encoder : transformer
        Learns from the source windows, without their labels if it is self-supervised; it
        is cloned and fitted, unless it comes fitted in a `FrozenEstimator`.
    classifier : classifier or None
        Learns from the features of the labelled target windows, or of (X, y) where there
        are none; None is standardisation and logistic regression.

    Attributes
    ----------
    encoder_, classifier_ : fitted
    classes_ : ndarray
    """

    __metadata_request__fit = {"X_target_unlabeled": True}

    def __init__(self, encoder: Any, classifier: Any = None) -> None:
        self.encoder = encoder
        self.classifier = classifier

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return {} if isinstance(self.encoder, FrozenEstimator) else {"encoder": self.encoder}

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_target_labeled: Any = None,
        y_target_labeled: Any = None,
        X_target_unlabeled: Any = None,
    ) -> LinearProbe:
        """Fit the encoder on the signals, then the classifier on labelled features."""
        self.encoder_ = self.encoder
        if not isinstance(self.encoder, FrozenEstimator):
            encoder = clone(self.encoder)
            extra = route(encoder, X_target_unlabeled=X_target_unlabeled)
            self.encoder_ = encoder.fit(X, y, **extra)
        if X_target_labeled is not None:
            X, y = X_target_labeled, y_target_labeled
        y = _labels(X, y)
        default = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier = default if self.classifier is None else clone(self.classifier)
        self.classifier_ = classifier.fit(self._inputs(X), y)
        return self

    def _inputs(self, X: Any) -> np.ndarray:
        return self.encoder_.transform(X)

    @property
    def n_parameters_(self) -> int:
        """Number of the encoder's parameters."""
        return self.encoder_.n_parameters_
