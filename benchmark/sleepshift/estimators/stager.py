"""`SleepStager`: one network on one view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sleepshift.estimators.inputs import (
    as_labelled,
    encode,
    split_positions,
)
from sleepshift.estimators.network import StoredClassifier
from sleepshift.estimators.readout import items
from sleepshift.estimators.training import (
    budget,
    class_weights,
    cross_entropy,
    seeded,
    settle,
    train,
)
from sleepshift.windows.windows import Windows

__all__ = ["SleepStager"]


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
            n_items = budget(self, length)["batch_size"]
            settle(module, items(windows, length), n_items, self.device)

    def _class_weight(self, codes: np.ndarray, n_classes: int) -> torch.Tensor | None:
        return class_weights(self.class_weight, codes, n_classes)
