"""An objective as a loss: which windows count, what is mapped, what is learned along."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from sleepshift.estimators.criterion import Criterion
from sleepshift.estimators.objectives import (
    AttentionTransfer,
    FeatureMatching,
    HardLabels,
    LabelSmoothing,
    LogitMatching,
    MultiLevel,
    Objective,
    SoftLabels,
)

N = 6
OBJECTIVES = [
    HardLabels(),
    SoftLabels(),
    LabelSmoothing(0.2),
    LogitMatching(),
    FeatureMatching(standardize=False),
    FeatureMatching(),
    AttentionTransfer(),
    MultiLevel(projector="teacher"),
]
WIDTHS = {"features": (4, 7), "window": (5, 3)}
every = pytest.mark.parametrize("objective", OBJECTIVES, ids=str)


def outputs(side: int, n: int = N, seed: int = 0) -> dict[str, torch.Tensor]:
    """Of the student (side 0) or the teacher (side 1)."""
    rng = torch.Generator().manual_seed(10 * seed + side)
    found = {k: torch.randn(n, wide[side], generator=rng) for k, wide in WIDTHS.items()}
    found["logits"] = torch.randn(n, 3, generator=rng)
    found["attention.0.0"] = torch.rand(n, 8, generator=rng)
    return found


def target_of(codes: list[int], teacher: dict, present: list[bool] | None = None) -> dict:
    there = torch.tensor([True] * len(codes) if present is None else present)
    return {"codes": torch.tensor(codes), "present": there, **teacher}


def criterion_of(objective: Objective, weight: torch.Tensor | None = None) -> Criterion:
    torch.manual_seed(0)
    kinds = {k: v for k, v in WIDTHS.items() if k in objective.kinds}
    shown = {k: outputs(1, 50, seed=5)[k].numpy() for k in kinds}
    return Criterion(objective, weight, kinds, shown)


# ---------------------------------------------------------------------- which windows count


@every
def test_the_filling_of_short_sequences_changes_nothing(objective: Objective) -> None:
    codes = [0, 1, 2, -1, 0, 1]
    criterion = criterion_of(objective)
    plain = criterion(outputs(0), target_of(codes, outputs(1)))
    places = [0, 2, 3, 5, 6, 7]  # among ten

    def spread(rows: torch.Tensor) -> torch.Tensor:
        wide = torch.full((10, *rows.shape[1:]), float("nan"))
        wide[places] = rows
        return wide

    filled = [-1] * 10
    for place, code in zip(places, codes, strict=True):
        filled[place] = code
    student, teacher = ({k: spread(v) for k, v in outputs(side).items()} for side in (0, 1))
    got = criterion(student, target_of(filled, teacher, [k in places for k in range(10)]))
    assert torch.equal(got, plain)


def test_windows_without_labels_have_the_teachers_part_alone() -> None:
    weight = torch.tensor([1.0, 2.0, 0.5])
    criterion = criterion_of(SoftLabels(0.3, 2.0), weight)
    student, teacher = outputs(0), outputs(1)
    codes = torch.tensor([0, -1, 2, -1, -1, 1])
    got = criterion(student, target_of(codes.tolist(), teacher))
    known = codes >= 0
    hard = F.cross_entropy(student["logits"][known], codes[known], weight=weight)
    p, log_q = (teacher["logits"] / 2).softmax(1), (student["logits"] / 2).log_softmax(1)
    soft = 4 * F.kl_div(log_q, p, reduction="batchmean")
    torch.testing.assert_close(got, 0.3 * soft + 0.7 * hard)


@every
def test_a_batch_without_any_label_has_a_finite_loss_and_gradient(objective: Objective) -> None:
    criterion = criterion_of(objective, torch.ones(3))
    student = {k: v.requires_grad_() for k, v in outputs(0).items()}
    loss = criterion(student, target_of([-1] * N, outputs(1)))
    loss.backward()
    assert torch.isfinite(loss)
    for rows in student.values():
        assert rows.grad is None or torch.isfinite(rows.grad).all()
    if isinstance(objective, HardLabels | LabelSmoothing):
        assert loss == 0
        assert (student["logits"].grad == 0).all()


@every
def test_a_target_of_labels_alone_is_scored_by_the_labels(objective: Objective) -> None:
    weight = torch.tensor([1.0, 2.0, 0.5])
    codes = torch.tensor([[0, 1, 2], [-1, 0, 1]])  # of two sequences
    got = criterion_of(objective, weight)(outputs(0), codes)
    expected = F.cross_entropy(outputs(0)["logits"], codes.flatten(), weight, ignore_index=-1)
    torch.testing.assert_close(got, expected)


# ---------------------------------------------------------------------- features


def test_the_students_features_are_mapped_onto_the_teachers() -> None:
    criterion = criterion_of(FeatureMatching(standardize=False))
    student, teacher = outputs(0), outputs(1)
    layer = criterion.projectors["features"]
    assert (layer.in_features, layer.out_features) == (4, 7)
    expected = (layer(student["features"]) - teacher["features"]).square().mean()
    got = criterion(student, target_of([-1] * N, teacher))
    torch.testing.assert_close(got, expected)


def test_the_teachers_features_are_standardised_then_mapped_onto_the_students() -> None:
    criterion = criterion_of(MultiLevel(soft=0, projector="teacher"))
    student, teacher = outputs(0), outputs(1)
    assert {k: (m.in_features, m.out_features) for k, m in criterion.projectors.items()} == {
        "features": (7, 4),
        "window": (3, 5),
    }
    terms = []
    for kind, weight in (("window", 0.3), ("features", 0.2)):
        scaler = StandardScaler().fit(outputs(1, 50, seed=5)[kind].numpy())
        scaled = torch.from_numpy(scaler.transform(teacher[kind].numpy())).float()
        mapped = criterion.projectors[kind](scaled)
        terms.append(weight * (student[kind] - mapped).square().mean())
    got = criterion(student, target_of([-1] * N, teacher))
    torch.testing.assert_close(got, sum(terms), rtol=1e-4, atol=1e-6)


def test_features_that_do_not_vary_are_centred_only() -> None:
    rng = np.random.default_rng(0)
    shown = np.full((1000, 3), 0.1, dtype=np.float32)
    shown[:, 1] = rng.normal(100, 0.01, 1000)
    shown[:, 2] = 0
    criterion = Criterion(FeatureMatching(), None, {"features": (3, 3)}, {"features": shown})
    scaled = criterion._standardised("features", torch.from_numpy(shown))
    torch.testing.assert_close(scaled[:, [0, 2]], torch.zeros(1000, 2))
    torch.testing.assert_close(scaled[:, 1].mean(), torch.tensor(0.0), rtol=0, atol=1e-2)
    torch.testing.assert_close(scaled[:, 1].std(), torch.tensor(1.0), rtol=0, atol=1e-2)
    assert {b.dtype for b in criterion.buffers()} == {torch.float32}


def test_features_of_any_shape_are_taken_as_one_row_a_window() -> None:
    student, teacher = torch.randn(N, 4, 1), torch.randn(N, 2, 2)
    objective = FeatureMatching(projector="none")
    shown = {"features": np.random.default_rng(0).normal(size=(9, 2, 2)).astype(np.float32)}
    criterion = Criterion(objective, None, {"features": (4, 4)}, shown)
    logits = torch.zeros(N, 3)
    target = target_of([-1] * N, {"features": teacher})
    got = criterion({"features": student, "logits": logits}, target)
    scaler = StandardScaler().fit(shown["features"].reshape(9, 4))
    scaled = torch.from_numpy(scaler.transform(teacher.reshape(N, 4).numpy())).float()
    torch.testing.assert_close(got, (student.flatten(1) - scaled).square().mean())


def test_features_of_unlike_width_without_a_projector_say_what_to_do() -> None:
    criterion = criterion_of(FeatureMatching(projector="none"))
    with pytest.raises(ValueError, match="must have one shape: put a projector on one of them"):
        criterion(outputs(0), target_of([0] * N, outputs(1)))


# ---------------------------------------------------------------------- what is learned along


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_the_projector_learns_and_what_enters_from_the_teacher_does_not(side: str) -> None:
    criterion = criterion_of(FeatureMatching(projector=side))
    student = {k: v.requires_grad_() for k, v in outputs(0).items()}
    criterion(student, target_of([0] * N, outputs(1))).backward()
    for parameter in criterion.parameters():
        assert parameter.grad.abs().sum() > 0
    assert student["features"].grad.abs().sum() > 0


@every
def test_only_projectors_are_learned(objective: Objective) -> None:
    criterion = criterion_of(objective, torch.ones(3))
    names = {name.split(".")[0] for name, _ in criterion.named_parameters()}
    assert names == ({"projectors"} if objective.projector != "none" else set())
    assert "class_weight" in dict(criterion.named_buffers())
