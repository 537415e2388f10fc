"""`SleepStager`: one network on one view."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sleepshift.estimators.inputs import (
    TakesWindows,
    as_fitted,
    as_labelled,
    encode,
    split_positions,
)
from sleepshift.estimators.readout import items, read_out
from sleepshift.estimators.stored import StoredNetwork
from sleepshift.estimators.training import (
    budget,
    class_weights,
    cross_entropy,
    seeded,
    settle,
    train,
)
from sleepshift.models.taps import Groups
from sleepshift.windows.windows import Windows

__all__ = ["NetworkClassifier", "SleepStager", "StoredClassifier"]


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


class SleepStager(StoredClassifier):
    """A network that stages windows, trained with skorch through Braindecode.

    Parameters
    ----------
    model : str
        Name in the catalogue of networks (``sleepshift models``).
    model_params : dict or None
        Further arguments of the network's constructor.
    weights : str, Path or None
        A safetensors file whose weights the network starts from; its last layer starts fresh
        where the file's has another shape.
    channels : sequence of str or None
        Channels of the view, by name; None takes all that X has.
    sfreq : float or None
        Rate of X where it is a plain array; `Windows` carry their own.
    sequence_length : int or None
        Consecutive windows that a sequence network stages together; None for networks that
        stage single windows.
    max_epochs, batch_size, lr, weight_decay
        Training budget; Adam, cross-entropy. A batch counts windows. No pass (0) leaves the
        weights as they are initialised, a control; batch normalisations learn their
        statistics, unless they come with `weights`.
    optimizer_params : dict or None
        Further arguments of `torch.optim.Adam`: ``{"amsgrad": True}``.
    lr_drop : (int, float) or None
        A pass, and the learning rate after it: ``(10, 1e-4)``.
    class_weight : {"balanced", "attnsleep"} or None
        ``"balanced"`` weighs stages by the inverse of their share in the training people;
        ``"attnsleep"`` as `sleepshift.estimators.training.attnsleep_weights` says.
    valid_size : float
        Share of the people set aside to stop early and keep the best pass; 0 trains on all.
    patience : int or None
        Passes that are no better on the people set aside before stopping.
    monitor : {"loss", "macro_f1"}
        What is better: a lower loss or a higher macro F1. Distilled networks have logits on
        a teacher's scale, of which the macro F1 does not depend.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    random_state : int or None
        Model seed: weights, shuffling, dropout.
    data_seed : int
        Who is set aside for validation.
    verbose : int
        1 prints skorch's table.

    Attributes
    ----------
    module_ : torch.nn.Module
    classes_ : ndarray
        All stages of the scheme where X carries one, else the labels seen.
    history_ : list of dict
        One row a training pass.
    ch_names_, sfreq_, n_parameters_

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> stager = SleepStager(sfreq=10.0, max_epochs=1, model_params={"n_conv_chs": 2})
    >>> stager.fit(X, y).predict_proba(X).shape
    (20, 2)
    """

    def __init__(
        self,
        model: str = "chambon2018",
        model_params: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        channels: Sequence[str] | None = None,
        sfreq: float | None = None,
        sequence_length: int | None = None,
        max_epochs: int = 20,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer_params: dict[str, Any] | None = None,
        lr_drop: tuple[int, float] | None = None,
        class_weight: str | None = None,
        valid_size: float = 0.2,
        patience: int | None = 5,
        monitor: str = "loss",
        device: str = "auto",
        random_state: int | None = 0,
        data_seed: int = 0,
        verbose: int = 0,
    ) -> None:
        self.model = model
        self.model_params = model_params
        self.weights = weights
        self.channels = channels
        self.sfreq = sfreq
        self.sequence_length = sequence_length
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.optimizer_params = optimizer_params
        self.lr_drop = lr_drop
        self.class_weight = class_weight
        self.valid_size = valid_size
        self.patience = patience
        self.monitor = monitor
        self.device = device
        self.random_state = random_state
        self.data_seed = data_seed
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> SleepStager:
        """Train a fresh network.

        Parameters
        ----------
        X : Windows, ndarray (n, channels, times), Braindecode windows dataset or MNE Epochs
        y : array-like, shape (n,), or None
            None takes the labels that X carries.

        Raises
        ------
        ValueError
            If X, y or a parameter does not fit.
        """
        windows, y, classes = as_labelled(X, y, sfreq=self.sfreq)
        windows = encode(windows.pick(self.channels), y, classes)
        with seeded(self.random_state):
            module = self._build(windows.shape[1:], windows.sfreq, len(classes))
            data, valid = self._split(windows)
            weight = self._class_weight(windows.y[data], len(classes))
            self.history_ = []
            if self.max_epochs:
                self.history_ = train(
                    module,
                    items(windows[data], self.sequence_length),
                    None if valid is None else items(windows[valid], self.sequence_length),
                    criterion=cross_entropy(weight),
                    monitor=self.monitor,
                    **budget(self, self.sequence_length),
                )
            else:
                self._settle(module, windows[data])
        self.classes_ = classes
        self._remember(module.eval(), windows)
        return self

    def _split(self, windows: Windows) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions of the training people's windows, and of those who validate."""
        return split_positions(windows, self.valid_size, self.data_seed)

    def _settle(self, module: nn.Module, windows: Windows) -> None:
        """What a network without any pass of training learns of the training windows."""
        length = self.sequence_length
        if self.weights is None:
            settle(module, items(windows, length), budget(self, length)["batch_size"])

    def _class_weight(self, codes: np.ndarray, n_classes: int) -> torch.Tensor | None:
        return class_weights(self.class_weight, codes, n_classes)
