"""`LinearProbe`: a linear classifier on the features of a frozen encoder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepshift.estimators.domains import DelegatingClassifier
from sleepshift.estimators.inputs import labels_of
from sleepshift.estimators.routing import fitted_base, unfitted

__all__ = ["LinearProbe", "features_of"]


def features_of(encoder: Any, X: Any, cache: str | Path | None) -> np.ndarray:
    """Features of a fitted encoder, kept in `cache` where it is a network."""
    if "cache" in inspect.signature(encoder.transform).parameters:
        return encoder.transform(X, cache=cache)
    return encoder.transform(X)


class LinearProbe(DelegatingClassifier):
    """A linear classifier on the features of a frozen encoder.

    Parameters
    ----------
    encoder : transformer
        Learns from the source windows, without their labels if it is self-supervised; it
        is cloned and fitted, unless it comes fitted in a `FrozenEstimator`.
    classifier : classifier or None
        Learns from the features of the labelled target windows, or of (X, y) where there
        are none; None is standardisation and logistic regression.
    cache : str, Path or None
        Folder where the features of an encoder that is a network are kept for other probes;
        see `sleepshift.estimators.cache`.

    Attributes
    ----------
    encoder_, classifier_ : fitted
    classes_ : ndarray

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> encoder = SleepStager(sfreq=10.0, max_epochs=1, model_params={"n_conv_chs": 2})
    >>> LinearProbe(encoder).fit(X, y).predict(X).shape
    (20,)
    """

    __metadata_request__fit = {"X_target_unlabeled": True}

    def __init__(
        self, encoder: Any, classifier: Any = None, cache: str | Path | None = None
    ) -> None:
        self.encoder = encoder
        self.classifier = classifier
        self.cache = cache

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return unfitted(encoder=self.encoder)

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
        self.encoder_ = fitted_base(self.encoder, X, y, X_target_unlabeled=X_target_unlabeled)
        if X_target_labeled is not None:
            X, y = X_target_labeled, y_target_labeled
        y = labels_of(X, y)
        default = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier = default if self.classifier is None else clone(self.classifier)
        self.classifier_ = classifier.fit(self._inputs(X), y)
        return self

    def _inputs(self, X: Any) -> np.ndarray:
        return features_of(self.encoder_, X, self.cache)

    @property
    def n_parameters_(self) -> int:
        """Number of the encoder's parameters."""
        return self.encoder_.n_parameters_
