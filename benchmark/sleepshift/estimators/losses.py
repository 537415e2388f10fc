"""Distillation losses: what a student is told about its teacher.

Windows come first in every tensor; outputs for sequences are flattened to windows before.
A loss is a tensor of shape (). The teacher is a fixed target: no gradient reaches its logits or
energies. Features may come from a trained projector on the teacher's side, which gets its
gradient: detach what enters it. Shapes that do not agree and options that do not exist are
refused with a ValueError.
"""

from __future__ import annotations

import functools
import math
import operator
import types
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import entr, softmax
from torch.nn import functional as F

__all__ = [
    "SLEEPKD_WEIGHTS",
    "attention_transfer",
    "feature_mse",
    "label_smoothing_for",
    "logit_mse",
    "multi_level",
    "raw_feature_kl",
    "soft_cross_entropy",
    "softened_kl",
    "target_entropy",
]

#: Weights of SleepKD's four terms (Liang et al. 2023, IJCAI, doi 10.24963/ijcai.2023/439).
SLEEPKD_WEIGHTS: Mapping[str, float] = types.MappingProxyType(
    {"window": 0.3, "sequence": 0.2, "soft": 0.4, "hard": 0.1}
)

_SMALLEST_NORM = 1e-8
_KERAS_EPSILON = 1e-7
_ROUNDING = 1e-9

_LOGITS = "logits must be (windows, classes), of one shape: flatten sequences to windows"
_FEATURES = "features must have one shape: put a projector on one of them"
_ENERGIES = "energies must be (windows, time), of one shape: see attention_energy"


def softened_kl(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float = 1.0,
    reduction: str = "batchmean",
) -> torch.Tensor:
    """``T^2 * sum_k p_k * log(p_k / q_k)``: divergence of softened probabilities.

    Here ``p = softmax(teacher / T)`` and ``q = softmax(student / T)``; the factor keeps
    gradients of one size whatever T is (Hinton et al. 2015, arXiv 1503.02531).

    Parameters
    ----------
    student, teacher : Tensor of shape (n, k)
        Logits.
    temperature : float
        T, positive.
    reduction : {"batchmean", "mean"}
        Mean over windows; or over windows and classes, 1 / k of it, as in the released code
        from EEG to ECG (Joshi et al. 2021, arXiv 2112.07252).

    Examples
    --------
    >>> student, teacher = torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    >>> round(softened_kl(student, teacher).item(), 4)
    0.1639
    """
    _check(student, teacher, _LOGITS, ndim=2)
    _check_temperature(temperature)
    if reduction not in ("batchmean", "mean"):
        raise ValueError(f"reduction is batchmean or mean, not {reduction!r}")
    log_p = F.log_softmax(teacher.detach() / temperature, dim=1)
    log_q = F.log_softmax(student / temperature, dim=1)
    terms = log_p.exp() * (log_p - log_q)
    return temperature**2 * (terms.mean() if reduction == "mean" else terms.sum(dim=1).mean())


def soft_cross_entropy(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """``-sum_k softmax(teacher / T)_k * log softmax(student / T)_k``, mean over windows.

    Parameters are those of `softened_kl`; at T = 1 the gradient is too, and the value is larger
    by the teacher's entropy. There is no factor T^2. The soft term in SleepKD's released code
    (Liang et al. 2023, IJCAI, doi 10.24963/ijcai.2023/439), where the paper has a divergence.

    Examples
    --------
    >>> round(soft_cross_entropy(torch.zeros(2, 4), torch.eye(2, 4)).item(), 4)  # log(4)
    1.3863
    """
    _check(student, teacher, _LOGITS, ndim=2)
    _check_temperature(temperature)
    p = F.softmax(teacher.detach() / temperature, dim=1)
    return -(p * F.log_softmax(student / temperature, dim=1)).sum(dim=1).mean()


def attention_transfer(
    student: Sequence[Sequence[torch.Tensor]],
    teacher: Sequence[Sequence[torch.Tensor]],
    norm: str = "time",
    distance: str = "l1",
) -> torch.Tensor:
    """``mean |Q_student / ||Q_student|| - Q_teacher / ||Q_teacher|||``, over maps in groups.

    Norms are Euclidean, along one axis. A group's loss is the mean over its maps, the result
    the mean over groups. After Zagoruyko and Komodakis 2017 (arXiv 1612.03928), who normalise
    each window; L1 and groups are those of Joshi et al. 2021 (arXiv 2112.07252).

    Parameters
    ----------
    student, teacher : sequence of groups, each a sequence of Tensors of shape (n, t)
        Energies, as `sleepshift.models.taps.attention_energy` gives: a map of the student
        to each of the teacher.
    norm : {"time", "batch"}
        "batch", as in the released code of Joshi et al., is blind to a time course common to
        all windows, shrinks as the batch grows, and is 0 for a batch of one window.
    distance : {"l1", "l2"}
        Mean absolute or mean squared difference.

    Raises
    ------
    ValueError
        If `norm` or `distance` is unknown, groups, maps or shapes do not agree, or a map has
        one sample, whose loss along time would always be 0.

    Examples
    --------
    >>> early, late = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    >>> round(attention_transfer([[early], [late]], [[late], [late]]).item(), 4)
    0.1
    """
    axes = {"time": 1, "batch": 0}
    if norm not in axes:
        raise ValueError(f"norm is time or batch, not {norm!r}")
    if distance not in ("l1", "l2"):
        raise ValueError(f"distance is l1 or l2, not {distance!r}")
    sizes = [len(group) for group in student]
    if not sizes or 0 in sizes or sizes != [len(group) for group in teacher]:
        raise ValueError(
            f"each map of the student needs one of the teacher, but groups hold {sizes} "
            f"and {[len(group) for group in teacher]} maps"
        )
    groups = []
    for of_student, of_teacher in zip(student, teacher, strict=True):
        losses = []
        for ours, theirs in zip(of_student, of_teacher, strict=True):
            _check(ours, theirs, _ENERGIES, ndim=2)
            if norm == "time" and ours.shape[1] == 1:
                raise ValueError("a map of one sample has no time course; leave it out")
            ours = F.normalize(ours, dim=axes[norm], eps=_SMALLEST_NORM)
            theirs = F.normalize(theirs.detach(), dim=axes[norm], eps=_SMALLEST_NORM)
            difference = ours - theirs
            losses.append((difference.abs() if distance == "l1" else difference.square()).mean())
        groups.append(torch.stack(losses).mean())
    return torch.stack(groups).mean()


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``mean (student - teacher)^2`` of features, both (n, ...), over all elements.

    Romero et al. 2015 (FitNets, arXiv 1412.6550); from scalp to ear EEG, with weight 1:
    Anandakumar et al. 2022 (arXiv 2211.02638).

    Examples
    --------
    >>> feature_mse(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 2.0, 4.0]])).item()
    5.0
    """
    _check(student, teacher, _FEATURES, ndim=None)
    return (student - teacher).square().mean()


def logit_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``mean (student - teacher)^2`` of logits, both (n, k), over windows and classes.

    Ba and Caruana 2014 (arXiv 1312.6184).

    Examples
    --------
    >>> logit_mse(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 0.0]])).item()
    2.0
    """
    _check(student, teacher, _LOGITS, ndim=2)
    return (student - teacher.detach()).square().mean()


def raw_feature_kl(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """``sum t * log(t / s)`` of raw features, both (n, ..., d): Keras' divergence, for the record.

    The sum is over the last axis, the mean over the others; s and t are clipped to [1e-7, 1]
    and not normalised. Whatever the teacher, a student of ones has the lowest loss, 0 or less,
    and features below 1e-7 or above 1 get no gradient: warns (UserWarning) on every call.
    SleepKD's released code has this (Liang et al. 2023, IJCAI, doi 10.24963/ijcai.2023/439),
    where the paper has a mean squared error; `feature_mse` is that.

    Examples
    --------
    >>> with warnings.catch_warnings(action="ignore"):
    ...     round(raw_feature_kl(torch.ones(1, 2), torch.full((1, 2), 0.5)).item(), 4)  # -log(2)
    -0.6931
    """
    _check(student, teacher, _FEATURES, ndim=None)
    warnings.warn(
        "raw_feature_kl does not match features, it drives them to 1; use feature_mse",
        UserWarning,
        stacklevel=2,
    )
    s, t = (x.clamp(_KERAS_EPSILON, 1) for x in (student, teacher))
    return (t * (t / s).log()).sum(dim=-1).mean()


def multi_level(
    *,
    window: torch.Tensor | None,
    sequence: torch.Tensor | None,
    soft: torch.Tensor | None,
    hard: torch.Tensor | None,
    weights: Mapping[str, float] = SLEEPKD_WEIGHTS,
) -> torch.Tensor:
    """Weighted sum of four losses (Liang et al. 2023, IJCAI, doi 10.24963/ijcai.2023/439).

    Parameters
    ----------
    window, sequence, soft, hard : Tensor of shape (), or None
        On features of windows, features of sequences, the teacher's probabilities, and labels;
        one of weight 0 is left out and may be None.
    weights : mapping of str to float
        One for each name, not negative.

    Examples
    --------
    >>> one = torch.tensor(1.0)
    >>> round(multi_level(window=one, sequence=2 * one, soft=one, hard=one).item(), 4)
    1.2
    """
    losses = {"window": window, "sequence": sequence, "soft": soft, "hard": hard}
    if set(weights) != set(losses):
        raise ValueError(f"weights must be of {', '.join(losses)}, not of {', '.join(weights)}")
    if not all(0 <= weight < math.inf for weight in weights.values()) or not any(weights.values()):
        raise ValueError(f"weights must not be negative, nor all 0: {dict(weights)}")
    terms = []
    for name, loss in losses.items():
        if weights[name] == 0:
            continue
        if loss is None:
            raise ValueError(f"{name} is None but has weight {weights[name]:g}; give it weight 0")
        terms.append(weights[name] * loss)
    return functools.reduce(operator.add, terms)


def label_smoothing_for(entropy: float, n_classes: int) -> float:
    """The eps for which ``(1 - eps) * onehot + eps / n_classes`` has an entropy, in nats.

    A control for distillation: targets as soft as the teacher's, without its knowledge. From 0
    to 1, as ``label_smoothing`` of `torch.nn.CrossEntropyLoss` (Szegedy et al. 2016, arXiv
    1512.00567). An `entropy` below 0 or above ``log(n_classes)`` is refused; `target_entropy` gives
    the one to match.

    Examples
    --------
    >>> label_smoothing_for(0.0, 5), round(label_smoothing_for(0.5, 5), 4)
    (0.0, 0.1379)
    """
    if n_classes < 2:
        raise ValueError(f"n_classes must be 2 or more, not {n_classes}")
    top = math.log(n_classes)
    if not -_ROUNDING <= entropy <= top + _ROUNDING:
        raise ValueError(f"entropy must be from 0 to log({n_classes}) = {top:.4f}, not {entropy:g}")

    def excess(eps: float) -> float:
        others = eps / n_classes
        return float(entr(1 - eps + others) + (n_classes - 1) * entr(others)) - entropy

    if excess(0.0) >= 0:
        return 0.0
    if excess(1.0) <= 0:
        return 1.0
    return float(brentq(excess, 0.0, 1.0, xtol=1e-15))


def target_entropy(
    teacher_logits: np.ndarray | torch.Tensor,
    y: np.ndarray | torch.Tensor,
    alpha: float,
    temperature: float,
) -> float:
    """Mean entropy, in nats, of ``(1 - alpha) * onehot(y) + alpha * softmax(teacher / T)``.

    At T = 1 these are the targets of ``(1 - alpha) * CE + alpha * softened_kl`` (Hinton et al.
    2015, arXiv 1503.02531).

    Parameters
    ----------
    teacher_logits : array or Tensor of shape (n, k)
    y : array or Tensor of shape (n,)
        Labels below k; windows with a negative one are left out.
    alpha : float
        The teacher's share, from 0 to 1.
    temperature : float
        T, positive.

    Raises
    ------
    ValueError
        If shapes, labels, `alpha` or `temperature` cannot be, or no window has a label.

    Examples
    --------
    >>> round(target_entropy(np.zeros((3, 2)), np.array([0, 1, -1]), 1.0, 1.0), 4)  # log(2)
    0.6931
    """
    logits, labels = _as_numpy(teacher_logits), _as_numpy(y)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be (n, k), y (n,), not {logits.shape} and {labels.shape}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}")
    _check_temperature(temperature)
    known = labels >= 0
    logits, labels = logits[known], labels[known].astype(int)
    if not len(labels):
        raise ValueError("no window has a label; y must hold some that are not negative")
    if labels.max() >= logits.shape[1]:
        raise ValueError(f"y must be below {logits.shape[1]}, the teacher's number of classes")
    targets = alpha * softmax(logits / temperature, axis=1)
    targets[np.arange(len(labels)), labels] += 1 - alpha
    return float(entr(targets).sum(axis=1).mean())


def _as_numpy(values: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=float)


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, not {temperature}")


def _check(student: torch.Tensor, teacher: torch.Tensor, what: str, ndim: int | None) -> None:
    if student.shape != teacher.shape or ndim not in (None, student.ndim):
        shapes = f"student {tuple(student.shape)}, teacher {tuple(teacher.shape)}"
        raise ValueError(f"{what}; got {shapes}")
