"""Estimators: scikit-learn's rules, skorch's training, Braindecode's networks."""

from sleepshift.estimators.adaptation import AdaBN, PseudoLabels
from sleepshift.estimators.adversarial import DomainAdversarial
from sleepshift.estimators.alignment import Coral, EuclideanAlignment
from sleepshift.estimators.bandpower import BandPower
from sleepshift.estimators.distiller import Distiller
from sleepshift.estimators.domains import TrainOn
from sleepshift.estimators.every_pass import EveryPass
from sleepshift.estimators.finetuner import FineTuner
from sleepshift.estimators.mixup_vat import MixupVAT
from sleepshift.estimators.online import OnlineDistiller
from sleepshift.estimators.probe import LinearProbe
from sleepshift.estimators.selfsupervised import RelativePositioning, TemporalShuffling
from sleepshift.estimators.stager import SleepStager

__all__ = [
    "AdaBN",
    "BandPower",
    "Coral",
    "Distiller",
    "DomainAdversarial",
    "EuclideanAlignment",
    "EveryPass",
    "FineTuner",
    "LinearProbe",
    "MixupVAT",
    "OnlineDistiller",
    "PseudoLabels",
    "RelativePositioning",
    "SleepStager",
    "TemporalShuffling",
    "TrainOn",
]
