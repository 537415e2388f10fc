"""Estimators: scikit-learn's rules, skorch's training, Braindecode's networks."""

from sleepshift.estimators.bandpower import BandPower
from sleepshift.estimators.distiller import Distiller
from sleepshift.estimators.domains import TrainOn
from sleepshift.estimators.finetuner import FineTuner
from sleepshift.estimators.online import OnlineDistiller
from sleepshift.estimators.probe import LinearProbe
from sleepshift.estimators.selfsupervised import RelativePositioning, TemporalShuffling
from sleepshift.estimators.stager import SleepStager

__all__ = [
    "BandPower",
    "Distiller",
    "FineTuner",
    "LinearProbe",
    "OnlineDistiller",
    "RelativePositioning",
    "SleepStager",
    "TemporalShuffling",
    "TrainOn",
]
