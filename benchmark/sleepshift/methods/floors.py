"""Floors: what a deep method has to beat."""

from __future__ import annotations

from typing import Any

from sleepshift.methods.base import Method, Settings


def _logreg(settings: Settings) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sleepshift.estimators import BandPower

    return make_pipeline(
        BandPower(channels=settings.channels), StandardScaler(), LogisticRegression(max_iter=1000)
    )


def _majority(settings: Settings) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="most_frequent")


def _logreg_target(settings: Settings) -> Any:
    from sleepshift.estimators import TrainOn

    return TrainOn(_logreg(settings), domain="target")


def _logreg_pooled(settings: Settings) -> Any:
    from sleepshift.estimators import TrainOn

    return TrainOn(_logreg(settings), domain="pooled")


def _gbm(settings: Settings) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    from sleepshift.estimators import BandPower

    # Its own early stopping would set windows aside, not people.
    return make_pipeline(
        BandPower(channels=settings.channels), HistGradientBoostingClassifier(early_stopping=False)
    )


METHODS = (
    Method(
        name="majority",
        family="floor",
        summary="the most frequent stage of the source people",
        learns_from="source labels",
        labels=("source",),
        make=_majority,
    ),
    Method(
        name="features-logreg",
        family="floor",
        summary="band powers and logistic regression",
        learns_from="source labels",
        labels=("source",),
        make=_logreg,
        floor=True,
    ),
    Method(
        name="features-logreg-target",
        family="floor",
        summary="band powers and logistic regression on the labelled target people",
        learns_from="target labels",
        labels=("target",),
        make=_logreg_target,
        needs=("target_labeled",),
        floor=True,
    ),
    Method(
        name="features-logreg-pooled",
        family="floor",
        summary="band powers and logistic regression on both domains",
        learns_from="source and target labels",
        labels=("source", "target"),
        make=_logreg_pooled,
        needs=("target_labeled",),
        floor=True,
    ),
    Method(
        name="features-gbm",
        family="floor",
        summary="band powers and gradient-boosted trees",
        learns_from="source labels",
        labels=("source",),
        make=_gbm,
        floor=True,
    ),
)
