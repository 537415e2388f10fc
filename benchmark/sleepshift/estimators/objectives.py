"""Objectives: what a student is asked to do with a teacher's outputs.

An objective is a scikit-learn parameter object over the functions of
`sleepshift.estimators.losses`: its parameters can be searched and cloned. The defaults are
the corrected forms; `PUBLISHED` holds the arithmetic of the published systems, quirks
included.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator

from sleepshift.estimators import losses
from sleepshift.models.taps import attention_groups
from sleepshift.models.utime import PUBLISHED_ATTENTION

__all__ = [
    "PUBLISHED",
    "AttentionTransfer",
    "FeatureMatching",
    "HardLabels",
    "LabelSmoothing",
    "LogitMatching",
    "MultiLevel",
    "Objective",
    "SoftLabels",
]

Outputs = Mapping[str, torch.Tensor]
#: The cross-entropy with the labels of a batch, smoothed or not.
Hard = Callable[..., torch.Tensor]


class Objective(BaseEstimator):
    """A loss of a student's outputs, a teacher's outputs and labels.

    A subclass computes the loss of a batch in ``__call__(student, teacher, hard)``: both
    outputs by name with one row a window, and a function that gives the cross-entropy with
    the labels.
    """

    #: What it compares; see `sleepshift.models.taps.KINDS`.
    kinds: ClassVar[tuple[str, ...]] = ()
    #: Whether it learns from labels; one that does not is validated by its own value.
    supervised: ClassVar[bool] = True
    #: Whose features a trained linear map takes to the other's: "student", "teacher", "none".
    projector: str = "none"
    #: Whether the teacher's features are brought to mean 0 and deviation 1 first.
    standardize: bool = False

    def check(self) -> None:
        """Refuse parameters that make no sense.

        Raises
        ------
        ValueError
            Naming the parameter.
        """

    @property
    def needs(self) -> tuple[str, ...]:
        """Outputs of the teacher that it looks at."""
        return self.kinds

    def prepared(self, teacher: Mapping[str, np.ndarray], codes: np.ndarray) -> Objective:
        """Itself, having seen the teacher's outputs and the labels of the training windows."""
        return self

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        raise NotImplementedError


def _check_share(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is the teacher's share of the loss, from 0 to 1, not {alpha}")


def _check_weight(**weights: float) -> None:
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"{name} is a weight, 0 or more, not {weight}")


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature is above 0, not {temperature}")


def _check_choice(**choices: tuple[str, Sequence[str]]) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} is {' or '.join(map(repr, known))}, not {value!r}")


class HardLabels(Objective):
    """Cross-entropy with the labels; the teacher is not listened to."""

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        return hard()


class SoftLabels(Objective):
    """``alpha * KL(T) + (1 - alpha) * CE``; see `losses.softened_kl` (Hinton 2015).

    Parameters
    ----------
    alpha : float
        The teacher's share, 0 to 1. Windows without labels have the teacher's part alone.
    temperature : float
    reduction : {"batchmean", "mean"}
        ``"mean"`` divides by the number of stages once more, as published for EEG to ECG.
    """

    kinds = ("logits",)

    def __init__(
        self, alpha: float = 0.5, temperature: float = 4.0, reduction: str = "batchmean"
    ) -> None:
        self.alpha = alpha
        self.temperature = temperature
        self.reduction = reduction

    def check(self) -> None:
        """Refuse a share outside 0..1 and a temperature of 0 or less."""
        _check_share(self.alpha)
        _check_temperature(self.temperature)
        _check_choice(reduction=(self.reduction, ("batchmean", "mean")))

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        soft = losses.softened_kl(
            student["logits"], teacher["logits"], self.temperature, self.reduction
        )
        return self.alpha * soft + (1 - self.alpha) * hard()


class LabelSmoothing(Objective):
    """Cross-entropy with smoothed labels: a control without a teacher's knowledge.

    Parameters
    ----------
    smoothing : float or None
        Share of the label that is spread over all stages, 0 to 1. None takes from the
        teacher one number, the mean entropy of ``(1 - alpha) * label + alpha *
        softmax(teacher / temperature)``, and smooths to the same entropy.
    alpha, temperature : float
    """

    def __init__(
        self, smoothing: float | None = None, alpha: float = 0.5, temperature: float = 4.0
    ) -> None:
        self.smoothing = smoothing
        self.alpha = alpha
        self.temperature = temperature

    def check(self) -> None:
        """Refuse shares outside 0..1 and a temperature of 0 or less."""
        _check_share(self.alpha)
        _check_temperature(self.temperature)
        if self.smoothing is not None and not 0 <= self.smoothing <= 1:
            raise ValueError(f"smoothing is a share from 0 to 1, not {self.smoothing}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The teacher's logits, unless the smoothing is given."""
        return ("logits",) if self.smoothing is None else ()

    def prepared(self, teacher: Mapping[str, np.ndarray], codes: np.ndarray) -> LabelSmoothing:
        """The smoothing that has the entropy of the soft labels."""
        if self.smoothing is not None:
            return self
        logits = np.asarray(teacher["logits"])
        entropy = losses.target_entropy(logits, codes, self.alpha, self.temperature)
        return LabelSmoothing(losses.label_smoothing_for(entropy, logits.shape[1]))

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        return hard(label_smoothing=self.smoothing)


class LogitMatching(Objective):
    """``CE + weight * MSE(logits)``; see `losses.logit_mse`.

    Parameters
    ----------
    weight : float
    """

    kinds = ("logits",)

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def check(self) -> None:
        """Refuse a negative weight."""
        _check_weight(weight=self.weight)

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        return hard() + self.weight * losses.logit_mse(student["logits"], teacher["logits"])


class FeatureMatching(Objective):
    """``CE + weight * MSE(features)`` of what enters the last layer; see `losses.feature_mse`.

    Parameters
    ----------
    weight : float
    projector : {"student", "none", "teacher"}
        A linear map that is trained along and dropped afterwards: of the student's
        features onto the teacher's, none (they must agree in number), or of the teacher's
        onto the student's, which may end with both mapped to nothing.
    standardize : bool
        Compare with the teacher's features at mean 0 and deviation 1 over the training
        windows, so that the weight means the same for every teacher.
    """

    kinds = ("features",)

    def __init__(
        self, weight: float = 1.0, projector: str = "student", standardize: bool = True
    ) -> None:
        self.weight = weight
        self.projector = projector
        self.standardize = standardize

    def check(self) -> None:
        """Refuse a negative weight and an unknown projector."""
        _check_weight(weight=self.weight)
        _check_choice(projector=(self.projector, ("student", "none", "teacher")))

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        match = losses.feature_mse(student["features"], teacher["features"])
        return hard() + self.weight * match


class AttentionTransfer(Objective):
    """Match the energy over time of layer maps, without labels; see `losses.attention_transfer`.

    Parameters
    ----------
    norm : {"time", "batch"}
        ``"batch"`` is as published for EEG to ECG; it cannot see what all windows of a
        batch have in common over time.
    distance : {"l1", "l2"}
    groups : sequence of sequences of str, or None
        Submodules whose maps are compared; None takes those of the network's catalogue
        entry.
    """

    kinds = ("attention",)
    supervised = False

    def __init__(
        self,
        norm: str = "time",
        distance: str = "l1",
        groups: Sequence[Sequence[str]] | None = None,
    ) -> None:
        self.norm = norm
        self.distance = distance
        self.groups = groups

    def check(self) -> None:
        """Refuse an unknown norm or distance."""
        _check_choice(norm=(self.norm, ("time", "batch")), distance=(self.distance, ("l1", "l2")))

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        own, other = attention_groups(student), attention_groups(teacher)
        return losses.attention_transfer(own, other, self.norm, self.distance)


class MultiLevel(Objective):
    """Features of windows and of sequences, soft and hard labels together (SleepKD).

    Parameters
    ----------
    window, sequence, soft, hard : float
        Weights of what leaves the window encoder, of what enters the last layer, of the
        teacher's probabilities, and of the labels.
    feature : {"mse", "raw-kl"}
        ``"raw-kl"`` is what the released code computes: `losses.raw_feature_kl`, whose
        minimum is not where features agree.
    soft_loss : {"kl", "cross-entropy"}
        The paper's, and the released code's with the same gradient.
    temperature : float
    projector, standardize
        As in `FeatureMatching`.
    """

    def __init__(
        self,
        window: float = losses.SLEEPKD_WEIGHTS["window"],
        sequence: float = losses.SLEEPKD_WEIGHTS["sequence"],
        soft: float = losses.SLEEPKD_WEIGHTS["soft"],
        hard: float = losses.SLEEPKD_WEIGHTS["hard"],
        feature: str = "mse",
        soft_loss: str = "kl",
        temperature: float = 1.0,
        projector: str = "student",
        standardize: bool = True,
    ) -> None:
        self.window = window
        self.sequence = sequence
        self.soft = soft
        self.hard = hard
        self.feature = feature
        self.soft_loss = soft_loss
        self.temperature = temperature
        self.projector = projector
        self.standardize = standardize

    @property
    def kinds(self) -> tuple[str, ...]:  # type: ignore[override]
        """The levels that have a weight."""
        weights = {"window": self.window, "features": self.sequence, "logits": self.soft}
        return tuple(kind for kind, weight in weights.items() if weight > 0)

    def check(self) -> None:
        """Refuse negative weights, unknown names and a temperature of 0 or less."""
        _check_weight(window=self.window, sequence=self.sequence, soft=self.soft, hard=self.hard)
        _check_temperature(self.temperature)
        _check_choice(
            feature=(self.feature, ("mse", "raw-kl")),
            soft_loss=(self.soft_loss, ("kl", "cross-entropy")),
            projector=(self.projector, ("student", "none", "teacher")),
        )

    def __call__(self, student: Outputs, teacher: Outputs, hard: Hard) -> torch.Tensor:
        """Loss of a batch."""
        match = losses.feature_mse if self.feature == "mse" else losses.raw_feature_kl
        softly = losses.softened_kl if self.soft_loss == "kl" else losses.soft_cross_entropy
        kinds = self.kinds
        own, other = student, teacher
        return losses.multi_level(
            window=match(own["window"], other["window"]) if "window" in kinds else None,
            sequence=match(own["features"], other["features"]) if "features" in kinds else None,
            soft=softly(own["logits"], other["logits"], self.temperature)
            if "logits" in kinds
            else None,
            hard=hard(),
            weights={
                "window": self.window,
                "sequence": self.sequence,
                "soft": self.soft,
                "hard": self.hard,
            },
        )


def _plain_features(**changes: Any) -> dict[str, Any]:
    return {"projector": "none", "standardize": False, **changes}


#: The arithmetic of the published systems: EEG to ECG (arXiv 2112.07252, 2211.13125), scalp to
#: ear (arXiv 2211.02638), SleepKD (IJCAI 2023, the paper and its released code).
PUBLISHED: dict[str, Objective] = {
    "ecg-soft": SoftLabels(alpha=0.5, temperature=1.0, reduction="mean"),
    "ecg-attention": AttentionTransfer(norm="batch", distance="l1", groups=PUBLISHED_ATTENTION),
    "ear-feature": FeatureMatching(**_plain_features(weight=1.0)),
    "ear-logit": LogitMatching(weight=1.0),
    "sleepkd-paper": MultiLevel(**_plain_features(projector="teacher")),
    "sleepkd-code": MultiLevel(
        **_plain_features(projector="teacher", feature="raw-kl", soft_loss="cross-entropy")
    ),
}
