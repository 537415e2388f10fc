"""Adapting a fitted network to target people of whom there are signals and no labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from sleepshift.estimators.inputs import as_fitted, as_labelled, encode
from sleepshift.estimators.network import NetworkClassifier
from sleepshift.estimators.readout import items
from sleepshift.estimators.routing import fitted_base, unfitted
from sleepshift.estimators.training import budget, seeded, settle, train
from sleepshift.models.parts import tensors
from sleepshift.windows.windows import Windows

__all__ = ["AdaBN", "PseudoLabels"]


class _FromBase(NetworkClassifier):
    """Starts from a fitted base and keeps its view."""

    base: Any

    __metadata_request__fit = {"X_target_unlabeled": True}

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return unfitted(base=self.base)

    @property
    def sequence_length(self) -> int | None:  # type: ignore[override]
        """Windows a sequence, where the base stages sequences."""
        return getattr(getattr(self, "base_", self.base), "sequence_length", None)

    def _start(self, X: Any, y: Any, X_target_unlabeled: Any) -> tuple[nn.Module, Windows]:
        """A copy of the fitted base's network, and the target signals in its view."""
        if X_target_unlabeled is None:
            raise ValueError(f"{type(self).__name__} needs X_target_unlabeled")
        self.base_ = fitted_base(self.base, X, y, X_target_unlabeled=X_target_unlabeled)
        self.classes_ = self.base_.classes_
        self.ch_names_ = tuple(self.base_.ch_names_)
        self.sfreq_ = self.base_.sfreq_
        self.n_times_ = self.base_.n_times_
        module = self.base_.pretrained_module(len(self.classes_))
        return module, as_fitted(X_target_unlabeled, self.base_).without_labels()


class AdaBN(_FromBase):
    """A fitted network with the batch-normalisation statistics of target people.

    The network stays as it is but for the running mean and variance of its batch
    normalisations, which become those of the target signals: the plain mean over batches.
    After fitting, all other tensors are compared with what they were.

    Parameters
    ----------
    base : estimator
        With ``pretrained_module(n_outputs)`` and batch normalisations, such as a
        `SleepStager`; cloned and fitted on (X, y), unless it comes fitted inside a
        `sklearn.frozen.FrozenEstimator`.
    batch_size : int
        Windows a batch of the target signals.
    device : str

    Attributes
    ----------
    base_ : fitted base
    module_, classes_, ch_names_, sfreq_, n_parameters_

    References
    ----------
    Li et al. (2018), Adaptive Batch Normalization for practical domain adaptation, Pattern
    Recognition 80, 109-117.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> norms = {"n_conv_chs": 2, "apply_batch_norm": True}
    >>> base = SleepStager(sfreq=10.0, max_epochs=1, model_params=norms)
    >>> AdaBN(base).fit(X, y, X_target_unlabeled=3 * X).predict(3 * X).shape
    (20,)
    """

    def __init__(self, base: Any, batch_size: int = 64, device: str = "auto") -> None:
        self.base = base
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> AdaBN:
        """Fit the base on (X, y), then measure the target signals.

        Parameters
        ----------
        X, y
            Source windows and labels, as in `SleepStager.fit`.
        X_target_unlabeled
            Signals of target people; labels that they may carry are not looked at.

        Raises
        ------
        ValueError
            If there are no target signals, or the network has no batch normalisation.
        RuntimeError
            If another part of the network changed.
        """
        module, target = self._start(X, y, X_target_unlabeled)
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            raise ValueError("AdaBN: this network has no batch normalisation")
        before = {name: tensor.clone() for name, tensor in tensors(module).items()}
        length = self.sequence_length
        n_items = max(1, self.batch_size // (length or 1))
        settle(module, items(target, length), n_items, self.device)
        moved = {id(buffer) for norm in norms for buffer in norm.buffers()}
        for name, tensor in tensors(module).items():
            if id(tensor) not in moved and not torch.equal(tensor, before[name]):
                raise RuntimeError(f"{name} changed, which is no statistic of a normalisation")
        self.module_, self.history_ = module.eval(), []
        return self


class PseudoLabels(_FromBase):
    """Go on training with what the network itself is sure of on target people.

    The base stages the target signals once; windows whose most probable stage has at least
    `threshold` get it as a label, and the network goes on learning from them and the source
    windows together. No pass is chosen: there are no target labels to choose by.

    Parameters
    ----------
    base : estimator
        As in `AdaBN`.
    threshold : float
        Probability from which on a stage is taken as a label, between 0 and 1.
    max_epochs, batch_size, lr, weight_decay, device, random_state
        As in `SleepStager`; all passes are made.
    verbose : int

    Attributes
    ----------
    base_ : fitted base
    n_pseudo_ : int
        Target windows that got a label.
    module_, classes_, history_, ch_names_, sfreq_, n_parameters_

    References
    ----------
    Lee (2013), Pseudo-Label, ICML Workshop on Challenges in Representation Learning.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> base = SleepStager(sfreq=10.0, max_epochs=1, model_params={"n_conv_chs": 2})
    >>> more = PseudoLabels(base, threshold=0.0, max_epochs=1)
    >>> more.fit(X, y, X_target_unlabeled=X[:5]).n_pseudo_
    5
    """

    patience = None

    def __init__(
        self,
        base: Any,
        threshold: float = 0.9,
        max_epochs: int = 10,
        batch_size: int = 64,
        lr: float = 3e-4,
        weight_decay: float = 0.0,
        device: str = "auto",
        random_state: int | None = 0,
        verbose: int = 0,
    ) -> None:
        self.base = base
        self.threshold = threshold
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> PseudoLabels:
        """Fit the base on (X, y), then train on source windows and sure target windows.

        Parameters
        ----------
        X, y
            Source windows and labels, as in `SleepStager.fit`.
        X_target_unlabeled
            Signals of target people; labels that they may carry are not looked at.

        Raises
        ------
        ValueError
            If there are no target signals, or `threshold` is no probability.
        """
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a probability, not {self.threshold!r}")
        module, target = self._start(X, y, X_target_unlabeled)
        windows, y, _ = as_labelled(X, y, sfreq=self.sfreq_)
        source = encode(as_fitted(windows, self.base_), y, self.classes_)
        probabilities = self.base_.predict_proba(target)
        sure = probabilities.max(axis=1) >= self.threshold
        self.n_pseudo_ = int(sure.sum())
        length = self.sequence_length
        if self.n_pseudo_:
            taught = target.with_labels(np.where(sure, probabilities.argmax(axis=1), -1))
            taught.scheme = source.scheme
            # A sequence keeps its windows without label; one that comes alone teaches nothing.
            source = Windows.concat([source, taught if length else taught[sure]])
        with seeded(self.random_state):
            self.history_ = train(module, items(source, length), None, **budget(self, length))
        self.module_ = module.eval()
        return self
