"""Adapting to target people by their signals alone."""

from __future__ import annotations

from typing import Any

from sleepshift.methods.base import Method, Settings
from sleepshift.methods.transfer import stager


def _adabn(settings: Settings) -> Any:
    from sleepshift.estimators import AdaBN

    return AdaBN(stager(settings), batch_size=settings.batch_size, device=settings.device)


def _pseudo_label(settings: Settings) -> Any:
    from sleepshift.estimators import PseudoLabels

    return PseudoLabels(
        stager(settings),
        max_epochs=settings.finetune_epochs,
        batch_size=settings.batch_size,
        lr=settings.finetune_lr,
        device=settings.device,
        random_state=settings.random_state,
    )


def _coral(settings: Settings) -> Any:
    from sleepshift.estimators import Coral

    return Coral(stager(settings))


def _euclidean_alignment(settings: Settings) -> Any:
    from sleepshift.estimators import EuclideanAlignment

    return EuclideanAlignment(stager(settings))


def _dann(settings: Settings) -> Any:
    from sleepshift.estimators import DomainAdversarial

    return DomainAdversarial(stager(settings))


METHODS = (
    Method(
        name="adabn",
        family="adaptation",
        summary="source-only with the batch-normalisation statistics of target signals",
        learns_from="source labels, then unlabelled target signals",
        labels=("source",),
        make=_adabn,
        needs=("one_view", "target_unlabeled", "batch_norm"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="pseudo-label",
        family="adaptation",
        summary="source-only, then trained on the stages it is sure of in target signals too",
        learns_from="source labels, then unlabelled target signals",
        labels=("source",),
        make=_pseudo_label,
        needs=("one_view", "target_unlabeled"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="coral",
        family="adaptation",
        summary="logistic regression on source-only's features, recoloured as the target's",
        learns_from="source labels, then unlabelled target signals",
        labels=("source",),
        make=_coral,
        needs=("one_view", "target_unlabeled", "single_windows"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="dann",
        family="adaptation",
        summary="the network trained to stage the source by features that do not tell the domain",
        learns_from="source labels and unlabelled target signals",
        labels=("source",),
        make=_dann,
        needs=("one_view", "target_unlabeled", "single_windows"),
        unlabeled=True,
        deep=True,
    ),
    Method(
        name="euclidean-alignment",
        family="adaptation",
        summary="the network on recordings whose channels are each whitened by themselves",
        learns_from="source labels; each recording's own signals",
        labels=("source",),
        make=_euclidean_alignment,
        needs=("one_view", "several_channels"),
        deep=True,
    ),
)
