"""Objectives: their arithmetic by hand, what they need, and what they refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import entr, softmax
from sklearn.base import clone
from torch.nn import functional as F

from sleepshift.estimators import losses
from sleepshift.estimators.objectives import (
    PUBLISHED,
    AttentionTransfer,
    FeatureMatching,
    HardLabels,
    LabelSmoothing,
    LogitMatching,
    MultiLevel,
    Objective,
    SoftLabels,
)
from sleepshift.models import MODELS, build_model
from sleepshift.models.taps import attention_groups, tapped
from sleepshift.models.utime import PUBLISHED_ATTENTION

EVERY = [
    HardLabels(),
    SoftLabels(),
    LabelSmoothing(),
    LogitMatching(),
    FeatureMatching(),
    AttentionTransfer(),
    MultiLevel(),
    *PUBLISHED.values(),
]
LABELS = torch.tensor([0, 2, 1, 2])


def outputs(seed: int, *, n: int = 4) -> dict[str, torch.Tensor]:
    """What a network of sequences gives of a few windows."""
    rng = np.random.default_rng(seed)
    shapes = {"logits": 3, "features": 5, "window": 6, "attention.0.0": 7, "attention.1.0": 4}
    drawn = {k: rng.normal(size=(n, width)) for k, width in shapes.items()}
    return {k: torch.from_numpy(v**2 if k.startswith("attention") else v) for k, v in drawn.items()}


def hard_of(student: dict[str, torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda label_smoothing=0.0: F.cross_entropy(
        student["logits"], LABELS, label_smoothing=label_smoothing
    )


def value(objective: Objective, student: dict, teacher: dict) -> float:
    loss = objective(student, teacher, hard_of(student))
    assert loss.shape == ()
    return loss.item()


def ce(student: dict[str, torch.Tensor]) -> float:
    q = softmax(student["logits"].numpy(), axis=1)
    return float(-np.log(q[np.arange(4), LABELS]).mean())


def kl(student: dict, teacher: dict, temperature: float) -> float:
    """Sum over stages, mean over windows, without the factor of the temperature."""
    p, q = (softmax(x["logits"].numpy() / temperature, axis=1) for x in (teacher, student))
    return float((p * np.log(p / q)).sum(axis=1).mean())


# ---------------------------------------------------------------------- arithmetic


def test_hard_labels_are_cross_entropy_whatever_the_teacher_says() -> None:
    student = outputs(0)
    assert value(HardLabels(), student, {}) == pytest.approx(ce(student))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_labels_are_shares_of_divergence_and_cross_entropy(
    alpha: float, temperature: float
) -> None:
    student, teacher = outputs(0), outputs(1)
    soft = temperature**2 * kl(student, teacher, temperature)
    expected = alpha * soft + (1 - alpha) * ce(student)
    assert value(SoftLabels(alpha, temperature), student, teacher) == pytest.approx(expected)
    by_mean = alpha * soft / 3 + (1 - alpha) * ce(student)
    objective = SoftLabels(alpha, temperature, reduction="mean")
    assert value(objective, student, teacher) == pytest.approx(by_mean)


def test_matching_adds_to_cross_entropy() -> None:
    student, teacher = outputs(0), outputs(1)
    for objective, kind in ((LogitMatching(0.7), "logits"), (FeatureMatching(0.7), "features")):
        mse = ((student[kind] - teacher[kind]).numpy() ** 2).mean()
        assert value(objective, student, teacher) == pytest.approx(ce(student) + 0.7 * mse)
        alone = clone(objective).set_params(weight=0)
        assert value(alone, student, teacher) == pytest.approx(ce(student))


@pytest.mark.parametrize("norm", ["time", "batch"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_attention_compares_energies_of_unit_length(norm: str, distance: str) -> None:
    student, teacher = outputs(0), outputs(1)
    axis = {"time": 1, "batch": 0}[norm]
    expected = []
    for name in ("attention.0.0", "attention.1.0"):
        own, other = (x[name].numpy() for x in (student, teacher))
        units = [q / np.linalg.norm(q, axis=axis, keepdims=True) for q in (own, other)]
        gap = units[0] - units[1]
        expected.append((np.abs(gap) if distance == "l1" else gap**2).mean())
    got = value(AttentionTransfer(norm, distance), student, teacher)
    assert got == pytest.approx(np.mean(expected))


def test_several_levels_are_weighted_and_those_without_weight_left_out() -> None:
    student, teacher = outputs(0), outputs(1)
    mse = {k: ((student[k] - teacher[k]).numpy() ** 2).mean() for k in ("window", "features")}
    soft = 4 * kl(student, teacher, 2.0)
    objective = MultiLevel(window=0.5, sequence=2.0, soft=3.0, hard=0.25, temperature=2.0)
    expected = 0.5 * mse["window"] + 2 * mse["features"] + 3 * soft + 0.25 * ce(student)
    assert value(objective, student, teacher) == pytest.approx(expected)
    soft_alone = MultiLevel(window=0, sequence=0, soft=1, hard=0)
    logits = {"logits": teacher["logits"]}
    assert value(soft_alone, {"logits": student["logits"]}, logits) == pytest.approx(
        kl(student, teacher, 1.0)
    )


def test_smoothing_is_that_of_the_cross_entropy() -> None:
    student = outputs(0)
    log_q = np.log(softmax(student["logits"].numpy(), axis=1))
    targets = 0.8 * np.eye(3)[LABELS] + 0.2 / 3
    expected = -(targets * log_q).sum(axis=1).mean()
    assert value(LabelSmoothing(0.2), student, {}) == pytest.approx(expected)


@pytest.mark.parametrize("objective", EVERY, ids=str)
@pytest.mark.filterwarnings("ignore:raw_feature_kl")
def test_the_student_gets_a_gradient_and_the_teachers_logits_and_energies_none(
    objective: Objective,
) -> None:
    student = {k: v.requires_grad_() for k, v in outputs(0).items()}
    teacher = {k: v.requires_grad_() for k, v in outputs(1).items()}
    objective = objective.prepared(
        {k: v.detach().numpy() for k, v in teacher.items()}, LABELS.numpy()
    )
    objective(student, teacher, hard_of(student)).backward()
    learned = {k for k, v in student.items() if v.grad is not None and v.grad.abs().sum() > 0}
    wanted = set(objective.kinds) | ({"logits"} if objective.supervised else set())
    assert {name.split(".")[0] for name in learned} == wanted
    for name in ("logits", "attention.0.0", "attention.1.0"):
        assert teacher[name].grad is None


# ---------------------------------------------------------------------- as published


@pytest.mark.filterwarnings("ignore:raw_feature_kl")
def test_published_systems_by_hand() -> None:
    """Two windows, two stages, numbers small enough to follow."""
    student = {
        "logits": torch.tensor([[0.0, 0.0], [0.0, math.log(3)]]),
        "features": torch.tensor([[0.5, 0.25], [1.0, 0.5]]),
        "window": torch.tensor([[0.5, 0.5], [0.25, 1.0]]),
        "attention.0.0": torch.tensor([[3.0, 1.0], [4.0, 0.0]]),
    }
    teacher = {
        "logits": torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]),
        "features": torch.tensor([[0.5, 0.5], [0.5, 0.5]]),
        "window": torch.tensor([[0.5, 0.25], [0.25, 1.0]]),
        "attention.0.0": torch.tensor([[4.0, 1.0], [3.0, 0.0]]),
    }
    labels = torch.tensor([0, 1])
    hard = 0.5 * (math.log(2) - math.log(3 / 4))  # the stage of each window has 1/2, 3/4

    def ce_of(label_smoothing: float = 0.0) -> torch.Tensor:
        return F.cross_entropy(student["logits"], labels, label_smoothing=label_smoothing)

    def got(name: str) -> float:
        return PUBLISHED[name](student, teacher, ce_of).item()

    assert ce_of().item() == pytest.approx(hard)
    # Teacher 3:1 and 1:1, student 1:1 and 1:3.
    first = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    second = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    divergence = (first + second) / 2
    # EEG to ECG: no softening; the mean also over the two stages.
    assert got("ecg-soft") == pytest.approx(0.5 * divergence / 2 + 0.5 * hard, rel=1e-5)
    # Columns of unit length over the batch: (3, 4) / 5 against (4, 3) / 5; (1, 0) against (1, 0).
    assert got("ecg-attention") == pytest.approx((0.2 + 0 + 0.2 + 0) / 4)
    # Scalp to ear.
    assert got("ear-feature") == pytest.approx(hard + (0 + 0.0625 + 0.25 + 0) / 4)
    assert got("ear-logit") == pytest.approx(hard + (2 * math.log(3) ** 2) / 4, rel=1e-6)
    # SleepKD, the paper: 0.3 window + 0.2 sequence + 0.4 soft + 0.1 hard.
    window, sequence = 0.0625 / 4, (0.0625 + 0.25) / 4
    paper = 0.3 * window + 0.2 * sequence + 0.4 * divergence + 0.1 * hard
    assert got("sleepkd-paper") == pytest.approx(paper, rel=1e-5)
    # SleepKD, its code: sum over features of t log(t / s), mean over windows; cross-entropy.
    window = 0.25 * math.log(0.25 / 0.5) / 2
    sequence = (0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 1.0)) / 2
    soft = -(math.log(0.5) + 0.5 * math.log(0.25) + 0.5 * math.log(0.75)) / 2
    code = 0.3 * window + 0.2 * sequence + 0.4 * soft + 0.1 * hard
    assert got("sleepkd-code") == pytest.approx(code, rel=1e-5)


def test_published_features_are_raw_and_mapped_where_it_was_published() -> None:
    facts = {name: (o.projector, o.standardize) for name, o in PUBLISHED.items()}
    assert facts["ear-feature"] == ("none", False)
    assert facts["sleepkd-paper"] == facts["sleepkd-code"] == ("teacher", False)
    for name in ("sleepkd-paper", "sleepkd-code"):
        levels = PUBLISHED[name].get_params()
        assert {k: levels[k] for k in losses.SLEEPKD_WEIGHTS} == dict(losses.SLEEPKD_WEIGHTS)


def test_published_attention_is_of_thirteen_maps_in_five_groups_one_of_them_twice() -> None:
    with torch.random.fork_rng():
        net = build_model("utime", n_chans=1, n_times=300, sfreq=10.0, n_outputs=3).eval()
    objective = PUBLISHED["ecg-attention"]
    with torch.no_grad(), tapped(net, objective.kinds, objective.groups) as taken:
        net(torch.randn(2, 1, 300))
    groups = attention_groups(taken)
    assert [len(group) for group in groups] == [5, 1, 5, 1, 1]
    assert torch.equal(groups[2][4], groups[3][0])
    assert objective.groups == PUBLISHED_ATTENTION
    own = [path for group in MODELS["utime"].attention for path in group]
    assert sorted({p for g in PUBLISHED_ATTENTION for p in g}) == sorted(own)


# ---------------------------------------------------------------------- what they need


def test_what_is_compared_and_needed_of_the_teacher() -> None:
    assert HardLabels().kinds == HardLabels().needs == ()
    assert SoftLabels().needs == LogitMatching().needs == ("logits",)
    assert FeatureMatching().needs == ("features",)
    assert AttentionTransfer().needs == ("attention",)
    assert MultiLevel().needs == ("window", "features", "logits")
    assert MultiLevel(window=0, soft=0).needs == ("features",)
    assert LabelSmoothing().kinds == LabelSmoothing(0.1).kinds == ()
    assert LabelSmoothing().needs == ("logits",)
    assert LabelSmoothing(0.1).needs == ()
    assert [o.supervised for o in EVERY] == [not isinstance(o, AttentionTransfer) for o in EVERY]


def test_smoothing_is_matched_to_the_entropy_of_soft_labels() -> None:
    rng = np.random.default_rng(0)
    logits, codes = 2 * rng.normal(size=(50, 4)).astype(np.float32), rng.integers(-1, 4, 50)
    objective = LabelSmoothing(alpha=0.6, temperature=3.0)
    matched = objective.prepared({"logits": logits}, codes)
    known = codes >= 0
    soft = 0.6 * softmax(logits[known].astype(float) / 3, axis=1)
    soft[np.arange(known.sum()), codes[known]] += 0.4
    eps = matched.smoothing
    smoothed = (1 - eps) * np.eye(4)[0] + eps / 4
    assert entr(smoothed).sum() == pytest.approx(entr(soft).sum(axis=1).mean(), rel=1e-6)
    assert objective.smoothing is None  # a parameter is not overwritten
    given = LabelSmoothing(0.1)
    assert given.prepared({}, codes).smoothing == 0.1
    hard = LabelSmoothing(alpha=0.0).prepared({"logits": logits}, codes)
    assert hard.smoothing == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------------- parameters


@pytest.mark.parametrize("objective", EVERY, ids=str)
def test_they_are_scikit_learns_parameter_objects(objective: Objective) -> None:
    copied = clone(objective)
    assert copied is not objective
    assert repr(copied.get_params()) == repr(objective.get_params())
    assert vars(copied).keys() == copied.get_params().keys()
    copied.check()


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (SoftLabels(alpha=1.01), "alpha is the teacher's share of the loss, from 0 to 1, not 1.01"),
        (SoftLabels(alpha=-0.1), "alpha is the teacher's share"),
        (SoftLabels(alpha=math.nan), "alpha is the teacher's share"),
        (SoftLabels(temperature=0), "temperature is above 0, not 0"),
        (SoftLabels(temperature=-1), "temperature is above 0, not -1"),
        (SoftLabels(temperature=math.inf), "temperature is above 0, not inf"),
        (SoftLabels(reduction="sum"), "reduction is 'batchmean' or 'mean', not 'sum'"),
        (LabelSmoothing(alpha=2), "alpha is the teacher's share"),
        (LabelSmoothing(temperature=0), "temperature is above 0"),
        (LabelSmoothing(smoothing=1.5), "smoothing is a share from 0 to 1, not 1.5"),
        (LogitMatching(weight=-1), "weight is a weight, 0 or more, not -1"),
        (FeatureMatching(weight=math.nan), "weight is a weight"),
        (FeatureMatching(projector="both"), "projector is 'student' or 'none' or 'teacher', not"),
        (AttentionTransfer(norm="space"), "norm is 'time' or 'batch', not 'space'"),
        (AttentionTransfer(distance="l3"), "distance is 'l1' or 'l2', not 'l3'"),
        (MultiLevel(window=-0.1), "window is a weight"),
        (MultiLevel(hard=math.inf), "hard is a weight"),
        (MultiLevel(temperature=0), "temperature is above 0"),
        (MultiLevel(feature="kl"), "feature is 'mse' or 'raw-kl', not 'kl'"),
        (MultiLevel(soft_loss="mse"), "soft_loss is 'kl' or 'cross-entropy', not 'mse'"),
        (MultiLevel(projector=None), "projector is 'student' or 'none' or 'teacher', not None"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_named_in_one_line(
    objective: Objective, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        objective.check()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("params", [{"alpha": 0}, {"alpha": 1}, {"temperature": 1e-3}])
def test_bounds_are_allowed(params: dict[str, Any]) -> None:
    SoftLabels(**params).check()
    LabelSmoothing(**params).check()
