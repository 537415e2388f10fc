"""Encoders that learn from the order of windows in the night, without labels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from sleepshift.estimators.inputs import TakesWindows, as_fitted, as_windows, split_people
from sleepshift.estimators.pretext import (
    FreshTuples,
    PretextNet,
    TupleDataset,
    draw_pairs,
    draw_triplets,
)
from sleepshift.estimators.readout import predict_logits
from sleepshift.estimators.stored import StoredNetwork
from sleepshift.estimators.training import budget, seeded, train
from sleepshift.models.parts import WithHead
from sleepshift.stages import WINDOW_SECONDS
from sleepshift.windows.windows import Windows

__all__ = ["RelativePositioning", "TemporalShuffling"]


class RelativePositioning(StoredNetwork, TakesWindows, TransformerMixin, BaseEstimator):
    """Learn to tell windows that are close in time from windows that are far apart.

    The encoder is a network of the catalogue whose last layer gives the embedding; two
    embeddings are compared by their absolute difference (Banville et al. 2019, arXiv
    1911.05419). As a transformer it makes a stager in front of any classifier.

    Parameters
    ----------
    model, model_params, weights, channels, sfreq, batch_size, lr, weight_decay, device, verbose
        As in `SleepStager`; a batch holds tuples.
    embedding_size : int
    tau_pos, tau_neg : float or None, float
        Seconds: pairs at most `tau_pos` apart are close, at least `tau_neg` apart are far.
        None is 60 s, for temporal shuffling 180 s.
    n_pairs : int
        Tuples a pass, drawn anew for each.
    max_epochs, patience, valid_size : int, int, float
        People set aside for validation keep their tuples through all passes.
    random_state : int or None
        Model seed: weights, tuples, dropout.
    data_seed : int
        Who is set aside for validation.

    Attributes
    ----------
    encoder_ : torch.nn.Module
    history_ : list of dict
    ch_names_, sfreq_, n_parameters_

    Notes
    -----
    A plain array is read as one recording of consecutive 30-s windows, with nobody to set
    aside for validation; `Windows` know their recordings and onsets.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> stager = make_pipeline(RelativePositioning(), LogisticRegression())
    """

    _network = "encoder_"
    encoder_: nn.Module

    _draw: ClassVar[Callable[..., Any]] = staticmethod(draw_pairs)
    _n_windows: ClassVar[int] = 2
    _tau_pos: ClassVar[float] = 60.0

    __metadata_request__fit = {"X_target_unlabeled": True}

    def __init__(
        self,
        model: str = "chambon2018",
        model_params: dict[str, Any] | None = None,
        weights: str | Path | None = None,
        channels: Sequence[str] | None = None,
        sfreq: float | None = None,
        embedding_size: int = 100,
        tau_pos: float | None = None,
        tau_neg: float = 900.0,
        n_pairs: int = 2000,
        max_epochs: int = 20,
        batch_size: int = 64,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        valid_size: float = 0.2,
        patience: int | None = 5,
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
        self.embedding_size = embedding_size
        self.tau_pos = tau_pos
        self.tau_neg = tau_neg
        self.n_pairs = n_pairs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.valid_size = valid_size
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.data_seed = data_seed
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> RelativePositioning:
        """Learn the encoder; labels are ignored.

        Parameters
        ----------
        X : Windows, ndarray, Braindecode windows dataset or MNE Epochs
        y : ignored
        X_target_unlabeled : like X, or None
            Further signals to learn from.

        Raises
        ------
        ValueError
            If the windows have no order in time, or times do not fit.
        """
        tau_pos = self._tau_pos if self.tau_pos is None else self.tau_pos
        if not 0 < tau_pos <= self.tau_neg:
            raise ValueError(f"0 < tau_pos <= tau_neg, not {tau_pos} and {self.tau_neg}")
        parts = [X] if X_target_unlabeled is None else [X, X_target_unlabeled]
        views = [as_windows(part, sfreq=self.sfreq).without_labels() for part in parts]
        windows = Windows.concat(
            [_as_recording(view.pick(self.channels), str(k)) for k, view in enumerate(views)]
        )
        with seeded(self.random_state):
            encoder = self._build(windows.shape[1:], windows.sfreq, self.embedding_size)
            data, valid = split_people(windows, self.valid_size, self.data_seed, stratify=False)
            draw = partial(type(self)._draw, tau_pos=tau_pos, tau_neg=self.tau_neg)
            rng = np.random.default_rng(self.random_state)
            n_valid = max(1, round(self.valid_size * self.n_pairs))
            self.history_ = train(
                PretextNet(encoder, self.embedding_size, self._n_windows),
                TupleDataset(data, draw, self.n_pairs, rng),
                None if valid is None else TupleDataset(valid, draw, n_valid, rng),
                **budget(self),
                callbacks=[FreshTuples()],
            )
        self._remember(encoder.eval(), windows)
        return self

    def transform(self, X: Any, *, cache: str | Path | None = None) -> np.ndarray:
        """Embeddings, shape (n_windows, embedding_size).

        Parameters
        ----------
        X : as in `fit`
        cache : str, Path or None
            Folder where embeddings are kept; see `sleepshift.estimators.cache`.
        """
        check_is_fitted(self, "encoder_")
        windows = as_fitted(X, self)
        return predict_logits(self.encoder_, windows, device=self.device, cache=cache)

    def pretrained_module(self, n_outputs: int) -> nn.Module:
        """A copy of the encoder under a fresh linear head."""
        check_is_fitted(self, "encoder_")
        return WithHead(copy.deepcopy(self.encoder_), self.embedding_size, n_outputs)

    @property
    def n_parameters_(self) -> int:
        """Number of the encoder's parameters."""
        check_is_fitted(self, "encoder_")
        return sum(p.numel() for p in self.encoder_.parameters())

    def restore(self, facts: dict[str, Any]) -> nn.Module:
        """Set the fitted attributes and return a network whose weights are still to be loaded."""
        return self._restore(facts, self.embedding_size)


def _as_recording(windows: Windows, name: str) -> Windows:
    """Windows that do not say whose they are, as one recording of one person."""
    if windows.subjects is not None:
        return windows
    frame = windows.metadata.assign(subject="", session=name)
    if "onset" not in frame:
        frame["onset"] = float(WINDOW_SECONDS) * windows.rows
    return Windows.from_arrays(
        np.asarray(windows), metadata=frame, ch_names=windows.ch_names, sfreq=windows.sfreq
    )


class TemporalShuffling(RelativePositioning):
    """Learn to tell whether the middle one of three windows lies between the other two.

    The sibling of `RelativePositioning` (Banville et al. 2019), with the same parameters;
    `tau_pos` bounds the distance of the outer two, and a middle window out of place lies at
    least `tau_neg` from both.
    """

    _draw = staticmethod(draw_triplets)
    _n_windows = 3
    _tau_pos = 180.0
