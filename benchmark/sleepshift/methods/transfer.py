"""One network on either domain or both, and fine-tuning from one to the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sleepshift.methods.base import Method, Settings


def stager(settings: Settings) -> Any:
    """The task's network at the task's budget: the base that other methods share."""
    from sleepshift.estimators import SleepStager

    return SleepStager(
        model=settings.model,
        channels=settings.network_channels,
        sequence_length=settings.sequence_length,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        lr=settings.lr,
        patience=settings.patience,
        monitor=settings.monitor,
        device=settings.device,
        random_state=settings.random_state,
        data_seed=settings.data_seed,
    )


def finetuned(settings: Settings, base: Any, trainable: str) -> Any:
    """A base fine-tuned at the task's budget."""
    from sleepshift.estimators import FineTuner

    return FineTuner(
        base,
        trainable=trainable,
        max_epochs=settings.finetune_epochs,
        batch_size=settings.batch_size,
        lr=settings.finetune_lr,
        patience=settings.patience,
        device=settings.device,
        random_state=settings.random_state,
        data_seed=settings.data_seed,
    )


def _target_only(settings: Settings) -> Any:
    from sleepshift.estimators import TrainOn

    few = replace(settings, max_epochs=settings.target_epochs)
    return TrainOn(stager(few), domain="target")


def _pooled(settings: Settings) -> Any:
    from sleepshift.estimators import TrainOn

    return TrainOn(stager(settings), domain="pooled")


METHODS = (
    Method(
        name="source-only",
        family="transfer",
        summary="the network trained on source people, used as it is",
        learns_from="source labels",
        labels=("source",),
        make=stager,
        needs=("one_view",),
        deep=True,
    ),
    Method(
        name="target-only",
        family="transfer",
        summary="the network trained on the labelled target people alone",
        learns_from="target labels",
        labels=("target",),
        make=_target_only,
        needs=("target_labeled",),
        deep=True,
    ),
    Method(
        name="pooled",
        family="transfer",
        summary="the network trained on source and labelled target people together",
        learns_from="source and target labels",
        labels=("source", "target"),
        make=_pooled,
        needs=("target_labeled",),
        deep=True,
    ),
    Method(
        name="finetune-all",
        family="transfer",
        summary="source-only, then all layers trained on the labelled target people",
        learns_from="source, then target labels",
        labels=("source", "target"),
        make=lambda settings: finetuned(settings, stager(settings), "all"),
        needs=("target_labeled",),
        deep=True,
    ),
    Method(
        name="finetune-head",
        family="transfer",
        summary="source-only, then its last layer trained on the labelled target people",
        learns_from="source, then target labels",
        labels=("source", "target"),
        make=lambda settings: finetuned(settings, stager(settings), "head"),
        needs=("target_labeled",),
        deep=True,
    ),
)
