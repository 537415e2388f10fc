"""Encoders learned from the order of windows, with a head on few labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sleepshift.methods.base import Method, Settings
from sleepshift.methods.transfer import finetuned


def encoder(settings: Settings, name: str) -> Any:
    """A self-supervised encoder at the task's budget, by the name of its class."""
    from sleepshift import estimators

    return getattr(estimators, name)(
        model=settings.model,
        channels=settings.network_channels,
        n_pairs=settings.n_pairs,
        max_epochs=settings.pretext_epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        patience=settings.patience,
        device=settings.device,
        random_state=settings.random_state,
        data_seed=settings.data_seed,
    )


def _probe(settings: Settings, name: str) -> Any:
    from sleepshift.estimators import LinearProbe

    return LinearProbe(encoder(settings, name))


def _rp_finetune(settings: Settings) -> Any:
    """The budget of target-only, from which it differs by where the weights start."""
    few = replace(settings, finetune_epochs=settings.target_epochs, finetune_lr=settings.lr)
    return finetuned(few, encoder(settings, "RelativePositioning"), "all")


_SIGNALS = "source and unlabelled target signals; target labels (source labels where none)"

METHODS = (
    Method(
        name="rp-linear",
        family="self-supervised",
        summary="relative positioning, then logistic regression on its frozen features",
        learns_from=_SIGNALS,
        labels=("target",),
        make=lambda settings: _probe(settings, "RelativePositioning"),
        needs=("order", "single_windows"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="rp-finetune",
        family="self-supervised",
        summary="relative positioning, then all layers trained on labels",
        learns_from=_SIGNALS,
        labels=("target",),
        make=_rp_finetune,
        needs=("order", "single_windows"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="ts-linear",
        family="self-supervised",
        summary="temporal shuffling, then logistic regression on its frozen features",
        learns_from=_SIGNALS,
        labels=("target",),
        make=lambda settings: _probe(settings, "TemporalShuffling"),
        needs=("order", "single_windows"),
        unlabeled=True,
        deep=True,
    ),
)
