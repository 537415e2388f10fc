"""Making signals or features of two domains alike, in closed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sleepshift.estimators.domains import DelegatingClassifier
from sleepshift.estimators.inputs import as_windows, labels_of
from sleepshift.estimators.probe import features_of
from sleepshift.estimators.routing import fit_routed, fitted_base, unfitted
from sleepshift.windows.windows import Windows

__all__ = ["Coral", "EuclideanAlignment", "align_recordings"]

_BATCH = 512


def align_recordings(windows: Windows) -> Windows:
    """Whiten the channels of each recording by its own mean covariance.

    A window x (channels, times) becomes R^(-1/2) x, where R is the mean of x x^T / times over
    the windows of its recording, so that all recordings have the identity for mean covariance.
    Labels are not looked at. With one channel this is a division by the root mean square.

    Parameters
    ----------
    windows : Windows
        Windows that do not say whose they are count as one recording.

    Returns
    -------
    Windows
        Held in memory, with the labels and metadata of `windows`.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(50, 2, 100)) * [[5], [0.1]]
    >>> aligned = np.asarray(align_recordings(Windows.from_arrays(x, sfreq=10.0)))
    >>> np.allclose(np.mean(aligned @ aligned.transpose(0, 2, 1) / 100, axis=0), np.eye(2))
    True
    """
    aligned, signals = np.empty(windows.shape, np.float32), windows.without_labels()
    for rows in _recordings(windows):
        batches = [rows[k : k + _BATCH] for k in range(0, len(rows), _BATCH)]
        covariance = np.zeros((windows.shape[1],) * 2)
        for batch in batches:
            x = np.asarray(signals[batch], dtype=np.float64)
            covariance += np.einsum("nct,ndt->cd", x, x) / x.shape[2]
        whiten = _power(covariance / len(rows), -0.5).astype(np.float32)
        for batch in batches:
            aligned[batch] = whiten @ np.asarray(signals[batch])
    return Windows.from_arrays(
        aligned,
        windows.y if windows.has_labels else None,
        metadata=windows.metadata,
        ch_names=windows.ch_names,
        sfreq=windows.sfreq,
        scheme=windows.scheme,
    )


def _recordings(windows: Windows) -> list[np.ndarray]:
    """Positions of the windows of each recording."""
    if windows.subjects is None:
        return [np.arange(len(windows))]
    frame = windows.metadata
    keys = [name for name in ("subject", "session") if name in frame]
    return list(frame.groupby(keys, sort=False, dropna=False).indices.values())


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """A power of a covariance; directions without variance stay without."""
    values, vectors = np.linalg.eigh(matrix)
    floor = max(values.max(), 0) * len(values) * np.finfo(np.float64).eps
    live = values > floor
    powers = np.zeros_like(values)
    powers[live] = values[live] ** exponent
    return (vectors * powers) @ vectors.T


class EuclideanAlignment(DelegatingClassifier):
    """A classifier of windows whose recordings are each whitened by their own signals.

    Every recording is aligned by itself, those of the test people too, by what is handed over
    at once: predict all windows of a recording together. See `align_recordings`.

    Parameters
    ----------
    estimator : classifier
        Cloned and fitted on aligned windows; it is given the aligned target windows it asks for.

    Attributes
    ----------
    classifier_ : fitted classifier
    classes_ : ndarray

    References
    ----------
    He and Wu (2020), Transfer Learning for Brain-Computer Interfaces: A Euclidean Space Data
    Alignment Approach, IEEE Trans. Biomed. Eng. 67(2), 399-410.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> stager = SleepStager(sfreq=10.0, max_epochs=1, model_params={"n_conv_chs": 2})
    >>> EuclideanAlignment(stager).fit(X, y).predict(X).shape
    (20,)
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def get_metadata_routing(self) -> MetadataRouter:
        """Ask for the target windows that the classifier asks for, and no others."""
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return MetadataRouter(owner=self).add(estimator=self.estimator, method_mapping=mapping)

    def fit(self, X: Any, y: Any = None, **roles: Any) -> EuclideanAlignment:
        """Align all windows, recording by recording, and fit the classifier.

        Parameters
        ----------
        X, y
            Source windows and labels.
        **roles
            Target windows and labels by the names that the classifier's ``fit`` has.

        Returns
        -------
        EuclideanAlignment
        """
        aligned = dict(roles)
        for name, view in roles.items():
            if name.startswith("X_") and view is not None:
                view = self._view(view)
                view = view.without_labels() if name == "X_target_unlabeled" else view
                aligned[name] = align_recordings(view)
        self.classifier_ = fit_routed(
            clone(self.estimator), self._inputs(X), labels_of(X, y), **aligned
        )
        return self

    @available_if(lambda self: hasattr(self.estimator, "fitted_state"))
    def fitted_state(self) -> tuple[nn.Module, dict[str, Any]]:
        """Network and plain facts from which `restore` makes the same fitted estimator."""
        check_is_fitted(self)
        return self.classifier_.fitted_state()

    def restore(self, facts: dict[str, Any]) -> nn.Module:
        """Set the fitted attributes and return a network whose weights are still to be loaded."""
        self.classifier_ = clone(self.estimator)
        return self.classifier_.restore(facts)

    def _view(self, X: Any) -> Windows:
        windows = as_windows(X, sfreq=getattr(self.estimator, "sfreq", None))
        return windows.pick(getattr(self.estimator, "channels", None))

    def _inputs(self, X: Any) -> Windows:
        return align_recordings(self._view(X))

    @property
    def n_parameters_(self) -> int:
        """Number of the network's parameters, where there is a network."""
        return self.classifier_.n_parameters_


class Coral(DelegatingClassifier):
    """Logistic regression on source features recoloured with the target's covariance.

    With the features of source and target each standardised by their own mean and deviation,
    Cs and Ct their covariances, each plus the identity, source features f become f Cs^(-1/2)
    Ct^(1/2). A linear classifier of theirs is then asked about target features.

    Parameters
    ----------
    encoder : transformer
        A frozen network, for instance; cloned and fitted on (X, y), unless it comes fitted
        inside a `sklearn.frozen.FrozenEstimator`.
    classifier : classifier or None
        None is logistic regression.
    cache : str, Path or None
        Folder where the features of an encoder that is a network are kept.

    Attributes
    ----------
    encoder_, classifier_ : fitted
    scaler_ : StandardScaler
        Fitted on the target's features.
    recolour_ : ndarray, shape (n_features, n_features)
    classes_ : ndarray

    References
    ----------
    Sun, Feng and Saenko (2016), Return of Frustratingly Easy Domain Adaptation, AAAI.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> encoder = SleepStager(sfreq=10.0, max_epochs=1, model_params={"n_conv_chs": 2})
    >>> Coral(encoder).fit(X, y, X_target_unlabeled=2 * X).predict(2 * X).shape
    (20,)
    """

    __metadata_request__fit = {
        "X_target_labeled": False,
        "y_target_labeled": False,
        "X_target_unlabeled": True,
    }

    def __init__(
        self, encoder: Any, classifier: Any = None, cache: str | Path | None = None
    ) -> None:
        self.encoder = encoder
        self.classifier = classifier
        self.cache = cache

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return unfitted(encoder=self.encoder)

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> Coral:
        """Fit the encoder and, on recoloured source features, the classifier.

        Raises
        ------
        ValueError
            If there are no target signals.
        """
        if X_target_unlabeled is None:
            raise ValueError("Coral needs X_target_unlabeled")
        self.encoder_ = fitted_base(self.encoder, X, y, X_target_unlabeled=X_target_unlabeled)
        y = labels_of(X, y)
        source = features_of(self.encoder_, X, self.cache)
        target = features_of(self.encoder_, X_target_unlabeled, self.cache)
        self.scaler_ = StandardScaler().fit(target)
        source, target = StandardScaler().fit_transform(source), self.scaler_.transform(target)
        eye = np.eye(source.shape[1])
        own, other = (np.cov(part, rowvar=False) + eye for part in (source, target))
        self.recolour_ = _power(own, -0.5) @ _power(other, 0.5)
        default = LogisticRegression(max_iter=1000)
        classifier = default if self.classifier is None else clone(self.classifier)
        self.classifier_ = classifier.fit(source @ self.recolour_, y)
        return self

    def _inputs(self, X: Any) -> np.ndarray:
        return self.scaler_.transform(features_of(self.encoder_, X, self.cache))

    @property
    def n_parameters_(self) -> int:
        """Number of the encoder's parameters."""
        return self.encoder_.n_parameters_
