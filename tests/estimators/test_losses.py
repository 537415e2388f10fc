"""Distillation losses against sums written out, SciPy, and what is known of their flaws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax
from scipy.stats import entropy as scipy_entropy
from torch.nn import functional as F

from sleepshift.estimators.losses import (
    SLEEPKD_WEIGHTS,
    attention_transfer,
    feature_mse,
    label_smoothing_for,
    logit_mse,
    multi_level,
    raw_feature_kl,
    soft_cross_entropy,
    softened_kl,
    target_entropy,
)
from sleepshift.models.taps import attention_energy

seeds = st.integers(0, 9999)
classes = st.integers(2, 7)
temperatures = st.floats(0.2, 20)


def random(*shape: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    return torch.from_numpy(scale * np.random.default_rng(seed).normal(size=shape))


def energies(*shape: int, seed: int = 0) -> torch.Tensor:
    return attention_energy(random(shape[0], 3, *shape[1:], seed=seed))


def value(loss: torch.Tensor) -> float:
    assert loss.shape == ()
    return loss.item()


# ------------------------------------------------------------------ logits


@given(seeds, classes, st.integers(1, 9), temperatures)
def test_divergence_is_scipys_times_temperature_squared(
    seed: int, k: int, n: int, temperature: float
) -> None:
    student, teacher = random(n, k, seed=seed), random(n, k, seed=seed + 1)
    p, q = (softmax(z.numpy() / temperature, axis=1) for z in (teacher, student))
    each = temperature**2 * rel_entr(p, q).sum(axis=1)
    got = value(softened_kl(student, teacher, temperature))
    assert got == pytest.approx(each.mean(), rel=1e-8, abs=1e-12)
    by_mean = value(softened_kl(student, teacher, temperature, reduction="mean"))
    assert by_mean == pytest.approx(got / k, rel=1e-12)


def test_divergence_by_hand() -> None:
    # Teacher 3:1, student 1:1, at T = 1; at T = 2 the teacher is sqrt(3):1.
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    assert value(softened_kl(student, teacher)) == pytest.approx(
        0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6
    )
    p = math.sqrt(3) / (1 + math.sqrt(3))
    assert value(softened_kl(student, teacher, 2.0)) == pytest.approx(
        4 * (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p))), rel=1e-5
    )


def test_divergence_is_from_the_teacher_not_from_the_student() -> None:
    sure, unsure = torch.tensor([[10.0, 0.0]]), torch.zeros(1, 2)
    assert value(softened_kl(unsure, sure)) == pytest.approx(math.log(2), rel=1e-2)
    assert value(softened_kl(sure, unsure)) > 4


def test_divergence_agrees_with_torchs() -> None:
    student, teacher = random(8, 5), random(8, 5, seed=1)
    each = 9 * F.kl_div(F.log_softmax(student / 3, 1), F.softmax(teacher / 3, 1), reduction="none")
    torch.testing.assert_close(softened_kl(student, teacher, 3.0), each.sum() / 8)
    torch.testing.assert_close(softened_kl(student, teacher, 3.0, "mean"), each.sum() / 40)


@given(seeds, classes, temperatures, st.floats(-50, 50), st.floats(-50, 50))
def test_divergence_is_positive_null_at_equality_and_blind_to_constants(
    seed: int, k: int, temperature: float, a: float, b: float
) -> None:
    student, teacher = random(4, k, seed=seed), random(4, k, seed=seed + 1)
    plain = value(softened_kl(student, teacher, temperature))
    assert plain > 0
    assert value(softened_kl(teacher, teacher, temperature)) == 0
    assert value(softened_kl(teacher + a, teacher, temperature)) == pytest.approx(0, abs=1e-10)
    shifted = softened_kl(student + a, teacher + b, temperature)
    assert value(shifted) == pytest.approx(plain, rel=1e-6, abs=1e-10)


@given(seeds, st.integers(2, 6))
def test_repeating_windows_changes_no_mean(seed: int, times: int) -> None:
    student, teacher = random(3, 5, seed=seed), random(3, 5, seed=seed + 1)
    for loss in (softened_kl, soft_cross_entropy, logit_mse, feature_mse):
        once, repeated = (
            loss(student, teacher),
            loss(*(x.tile(times, 1) for x in (student, teacher))),
        )
        torch.testing.assert_close(once, repeated)


def test_the_gradient_of_the_divergence_is_the_difference_of_probabilities() -> None:
    student, teacher = random(4, 5).requires_grad_(), random(4, 5, seed=1)
    for temperature in (1.0, 4.0):
        (gradient,) = torch.autograd.grad(softened_kl(student, teacher, temperature), student)
        p, q = (softmax(z.detach().numpy() / temperature, axis=1) for z in (teacher, student))
        np.testing.assert_allclose(gradient, temperature * (q - p) / 4, atol=1e-12)


def test_soft_cross_entropy_is_the_divergence_and_the_teachers_entropy() -> None:
    student, teacher = random(6, 5).requires_grad_(), random(6, 5, seed=1)
    for temperature in (1.0, 3.0):
        p = softmax(teacher.numpy() / temperature, axis=1)
        kl, ce = (f(student, teacher, temperature) for f in (softened_kl, soft_cross_entropy))
        excess = value(ce) - value(kl) / temperature**2
        assert excess == pytest.approx(scipy_entropy(p, axis=1).mean())
        gradients = [torch.autograd.grad(loss, student)[0] for loss in (kl, ce)]
        torch.testing.assert_close(gradients[0], temperature**2 * gradients[1])


def test_soft_cross_entropy_with_a_certain_teacher_is_that_of_labels() -> None:
    student, y = random(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    certain = 1e4 * F.one_hot(y, 5).double()
    torch.testing.assert_close(soft_cross_entropy(student, certain), F.cross_entropy(student, y))


def test_logit_mse_is_the_mean_over_classes_too() -> None:
    assert value(logit_mse(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 0.0]]))) == (
        pytest.approx(13 / 3)
    )


@pytest.mark.parametrize("loss", [softened_kl, soft_cross_entropy])
def test_extreme_logits_stay_finite(loss: Callable[..., torch.Tensor]) -> None:
    sure = torch.tensor([[1e4, 0.0, -1e4]])
    for teacher in (sure, -sure, torch.zeros(1, 3)):
        student = sure.clone().requires_grad_()
        got = loss(student, teacher)
        got.backward()
        assert torch.isfinite(got)
        assert torch.isfinite(student.grad).all()
    assert value(softened_kl(sure, -sure)) == pytest.approx(2e4)


# -------------------------------------------------------------------- maps


def test_energy_sums_squares_over_channels_and_any_axes_between() -> None:
    maps = random(2, 3, 4, 5)
    expected = np.zeros((2, 5))
    for channel in range(3):
        for row in range(4):
            expected += maps[:, channel, row].numpy() ** 2
    np.testing.assert_allclose(attention_energy(maps), expected)
    np.testing.assert_allclose(attention_energy(maps[:, :, 0]), (maps[:, :, 0] ** 2).sum(1))


@pytest.mark.parametrize(("norm", "axis"), [("time", 1), ("batch", 0)])
@pytest.mark.parametrize(("distance", "power"), [("l1", 1), ("l2", 2)])
def test_attention_is_the_mean_over_groups_of_the_mean_over_maps(
    norm: str, axis: int, distance: str, power: int
) -> None:
    student = [[energies(4, 6, seed=1), energies(4, 9, seed=2)], [energies(4, 5, seed=3)]]
    teacher = [[energies(4, 6, seed=4), energies(4, 9, seed=5)], [energies(4, 5, seed=6)]]

    def of_a_map(a: torch.Tensor, b: torch.Tensor) -> float:
        a, b = (x.numpy() / np.sqrt((x.numpy() ** 2).sum(axis, keepdims=True)) for x in (a, b))
        return (np.abs(a - b) ** power).mean()

    one, two, three = (
        of_a_map(student[group][k], teacher[group][k]) for group, k in ((0, 0), (0, 1), (1, 0))
    )
    got = value(attention_transfer(student, teacher, norm, distance))
    assert got == pytest.approx(((one + two) / 2 + three) / 2)


def test_attention_by_hand() -> None:
    student, teacher = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    assert value(attention_transfer([[student]], [[teacher]])) == pytest.approx((0.6 + 0.2) / 2)
    assert value(attention_transfer([[student]], [[teacher]], distance="l2")) == pytest.approx(
        (0.36 + 0.04) / 2
    )
    # One window, normalised along the batch, is all ones; only the sample at 0 differs.
    assert value(attention_transfer([[student]], [[teacher]], norm="batch")) == pytest.approx(0.5)


@given(seeds, st.floats(1e-2, 1e2))
def test_attention_ignores_the_scale_of_each_window(seed: int, gain: float) -> None:
    student, teacher = energies(5, 8, seed=seed), energies(5, 8, seed=seed + 1)
    gains = torch.linspace(1, 3, 5)[:, None] * gain
    plain, scaled = (attention_transfer([[x]], [[teacher]]) for x in (student, gains * student))
    torch.testing.assert_close(plain, scaled)
    assert value(plain) > 0
    assert value(attention_transfer([[teacher]], [[gain * teacher]])) == pytest.approx(0, abs=1e-12)


@given(seeds)
def test_along_the_batch_a_common_time_course_is_not_seen(seed: int) -> None:
    student, teacher = random(6, 3, 20, seed=seed), random(6, 2, 20, seed=seed + 1)
    course = torch.from_numpy(np.random.default_rng(seed + 2).uniform(0.1, 10, 20))
    plain, shaped, shaped_student = (
        {
            norm: value(attention_transfer([[a]], [[b]], norm=norm))
            for norm in ("time", "batch")
            for a, b in [(attention_energy(of_student), attention_energy(of_teacher))]
        }
        for of_student, of_teacher in (
            (student, teacher),
            (student * course, teacher * course),
            (student * course, teacher),
        )
    )
    assert shaped["batch"] == pytest.approx(plain["batch"], rel=1e-9)
    assert shaped_student["batch"] == pytest.approx(plain["batch"], rel=1e-9)
    assert abs(shaped["time"] - plain["time"]) > 1e-4


@given(seeds, st.integers(2, 16))
def test_along_time_the_batch_size_does_not_matter(seed: int, times: int) -> None:
    student, teacher = energies(3, 10, seed=seed), energies(3, 10, seed=seed + 1)
    tiled = [[student.tile(times, 1)]], [[teacher.tile(times, 1)]]
    along_time, along_batch = (
        [
            value(attention_transfer(*pair, norm=norm))
            for pair in (([[student]], [[teacher]]), tiled)
        ]
        for norm in ("time", "batch")
    )
    assert along_time[1] == pytest.approx(along_time[0])
    assert along_batch[1] == pytest.approx(along_batch[0] / math.sqrt(times))


def test_along_the_batch_random_maps_seem_closer_in_a_larger_batch() -> None:
    along = {
        (norm, n): value(
            attention_transfer([[energies(n, 500)]], [[energies(n, 500, seed=1)]], norm=norm)
        )
        for norm in ("time", "batch")
        for n in (32, 512)
    }
    assert along["batch", 32] / along["batch", 512] == pytest.approx(4, rel=0.05)
    assert along["time", 32] == pytest.approx(along["time", 512], rel=0.05)


def test_one_window_along_the_batch_has_no_loss() -> None:
    pair = [[energies(1, 10)]], [[energies(1, 10, seed=1)]]
    assert value(attention_transfer(*pair, norm="batch")) == pytest.approx(0, abs=1e-12)
    assert value(attention_transfer(*pair)) > 0.01


@pytest.mark.parametrize("norm", ["time", "batch"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("level", [0.0, 1e-30, 1e-12, 1e-6, 1e-3])
def test_silent_maps_have_finite_gradients(norm: str, distance: str, level: float) -> None:
    silent = torch.full((4, 3, 10), level)
    silent[0] = 1.0
    for student, teacher in (
        (silent, torch.ones(4, 3, 10)),
        (silent, silent),
        (torch.ones(4, 3, 10), torch.zeros(4, 3, 10)),
    ):
        maps = student.clone().requires_grad_()
        energy = attention_energy(maps)
        loss = attention_transfer([[energy]], [[attention_energy(teacher)]], norm, distance)
        of_energy, of_maps = torch.autograd.grad(loss, (energy, maps))
        assert torch.isfinite(loss)
        assert torch.isfinite(of_energy).all()
        assert torch.isfinite(of_maps).all()
        assert of_maps.abs().max() < 1e4


# ---------------------------------------------------------------- features


def test_features_of_any_shape_are_averaged_over_all_elements() -> None:
    student, teacher = random(3, 4, 5), random(3, 4, 5, seed=1)
    expected = ((student.numpy() - teacher.numpy()) ** 2).sum() / 60
    assert value(feature_mse(student, teacher)) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:raw_feature_kl")
def test_raw_divergence_is_that_of_keras() -> None:
    # The example in the docstring of Keras 2's KLD: truth, prediction, loss.
    truth, prediction = torch.tensor([[0.4, 0.9, 0.2]]), torch.tensor([[0.5, 0.8, 0.12]])
    assert value(raw_feature_kl(prediction, truth)) == pytest.approx(0.11891246, rel=1e-6)
    student, teacher = random(3, 4, 5), random(3, 4, 5, seed=1)
    s, t = (np.clip(x.numpy(), 1e-7, 1) for x in (student, teacher))
    expected = sum((t[i, j] * np.log(t[i, j] / s[i, j])).sum() for i in range(3) for j in range(4))
    assert value(raw_feature_kl(student, teacher)) == pytest.approx(expected / 12)


@pytest.mark.filterwarnings("ignore:raw_feature_kl")
@given(seeds)
def test_raw_divergence_is_lowest_for_a_student_of_ones(seed: int) -> None:
    teacher = random(3, 8, seed=seed)
    student = random(3, 8, seed=seed + 1)
    lowest = value(raw_feature_kl(torch.ones_like(teacher), teacher))
    assert value(raw_feature_kl(teacher, teacher)) == 0
    assert lowest < 0
    assert value(raw_feature_kl(student, teacher)) >= lowest


@pytest.mark.filterwarnings("ignore:raw_feature_kl")
def test_raw_divergence_has_no_gradient_outside_its_range() -> None:
    student = torch.tensor([[-1.0, 2.0, 0.5, 0.0]], requires_grad=True)
    raw_feature_kl(student, torch.full((1, 4), 0.5)).backward()
    assert student.grad.tolist() == [[0.0, 0.0, -1.0, 0.0]]


def test_raw_divergence_warns_where_it_is_called() -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="does not match features.*use feature_mse") as caught:
            raw_feature_kl(torch.ones(1, 2), torch.ones(1, 2))
        assert [warning.filename for warning in caught] == [__file__]


# ----------------------------------------------------------- all of a pair

of_pairs: list[Any] = [
    softened_kl,
    soft_cross_entropy,
    feature_mse,
    logit_mse,
    pytest.param(raw_feature_kl, marks=pytest.mark.filterwarnings("ignore:raw_feature_kl")),
    pytest.param(lambda s, t: attention_transfer([[s]], [[t]]), id="attention_transfer"),
    pytest.param(lambda s, t: attention_transfer([[s]], [[t]], "batch"), id="along_batch"),
]


of_features = [of_pairs[2], of_pairs[4]]


@pytest.mark.parametrize("loss", [loss for loss in of_pairs if loss not in of_features])
def test_no_gradient_reaches_the_teacher(loss: Callable[..., torch.Tensor]) -> None:
    student, teacher = (random(4, 5, seed=seed).abs().requires_grad_() for seed in range(2))
    loss(student, teacher).backward()
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("loss", of_features)
def test_a_projector_of_the_teachers_features_learns(loss: Callable[..., torch.Tensor]) -> None:
    torch.manual_seed(0)
    projector = torch.nn.Linear(7, 5)
    with torch.no_grad():
        features = torch.rand(4, 7)
    loss(torch.rand(4, 5), projector(features)).backward()
    assert projector.weight.grad.abs().max() > 0
    assert features.grad is None


@pytest.mark.parametrize("loss", of_pairs)
def test_the_student_learns_from_a_teacher_without_a_graph(
    loss: Callable[..., torch.Tensor],
) -> None:
    student, teacher = random(4, 5).abs() / 9, random(4, 5, seed=1).abs() / 9
    before = student.clone(), teacher.clone()
    student.requires_grad_()
    loss(student, teacher).backward()
    assert student.grad.abs().max() > 0
    assert torch.isfinite(student.grad).all()
    torch.testing.assert_close((student.detach(), teacher.detach()), before, rtol=0, atol=0)
    assert torch.autograd.gradcheck(lambda x: loss(x, teacher), student.detach().requires_grad_())


@pytest.mark.parametrize("loss", of_pairs)
def test_a_teacher_stored_in_double_precision_can_teach(loss: Callable[..., torch.Tensor]) -> None:
    student = random(4, 5).abs().float().requires_grad_()
    loss(student, random(4, 5, seed=1).abs()).backward()
    assert student.grad.dtype == torch.float32
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("loss", of_pairs)
@pytest.mark.parametrize("other", [(4, 1), (1, 5), (5,), (4, 5, 1), (5, 4)])
def test_shapes_are_not_broadcast(loss: Callable[..., torch.Tensor], other: tuple[int]) -> None:
    for pair in ((torch.ones(4, 5), torch.ones(other)), (torch.ones(other), torch.ones(4, 5))):
        with pytest.raises(ValueError, match=r"student.*teacher") as refused:
            loss(*pair)
        assert str((4, 5)) in str(refused.value)
        assert str(other) in str(refused.value)
        assert "\n" not in str(refused.value)


# --------------------------------------------------------------- together


def test_the_published_weights_sum_to_one() -> None:
    assert SLEEPKD_WEIGHTS == {"window": 0.3, "sequence": 0.2, "soft": 0.4, "hard": 0.1}
    with pytest.raises(TypeError):
        SLEEPKD_WEIGHTS["hard"] = 1.0  # type: ignore[index]


def test_levels_are_weighted_each_by_its_own() -> None:
    terms = {
        name: torch.tensor(number)
        for name, number in (("window", 1.0), ("sequence", 10.0), ("soft", 100.0), ("hard", 1e3))
    }
    assert value(multi_level(**terms)) == pytest.approx(0.3 + 2 + 40 + 100)
    weights = {"hard": 0.0, "soft": 3.0, "sequence": 2.0, "window": 1.0}
    assert value(multi_level(**terms, weights=weights)) == pytest.approx(1 + 20 + 300)


@pytest.mark.parametrize("unused", [None, torch.tensor(math.nan), torch.tensor(math.inf)])
def test_a_level_without_weight_does_not_count(unused: torch.Tensor | None) -> None:
    soft, hard = torch.tensor(2.0, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    weights = {"window": 0, "sequence": 0, "soft": 0.5, "hard": 0.5}
    loss = multi_level(window=unused, sequence=unused, soft=soft, hard=hard, weights=weights)
    loss.backward()
    assert value(loss) == 2.5
    assert (soft.grad, hard.grad) == (0.5, 0.5)


# -------------------------------------------------------------- smoothing


@given(st.floats(0, 1), st.integers(2, 8))
def test_smoothed_targets_have_the_entropy_asked_for(share: float, k: int) -> None:
    entropy = share * math.log(k)
    eps = label_smoothing_for(entropy, k)
    assert 0 <= eps <= 1
    targets = np.full(k, eps / k) + (1 - eps) * np.eye(k)[0]
    assert scipy_entropy(targets) == pytest.approx(entropy, abs=1e-9)


@given(st.floats(0.001, 0.999), st.integers(2, 8))
def test_the_smoothing_of_an_entropy_is_found_again(eps: float, k: int) -> None:
    targets = np.full(k, eps / k) + (1 - eps) * np.eye(k)[0]
    assert label_smoothing_for(scipy_entropy(targets), k) == pytest.approx(eps, abs=1e-6)


@pytest.mark.parametrize("k", range(2, 9))
def test_the_ends_of_smoothing(k: int) -> None:
    assert label_smoothing_for(0.0, k) == 0.0
    for entropy in (math.log(k), math.nextafter(math.log(k), 9), math.nextafter(math.log(k), 0)):
        assert label_smoothing_for(entropy, k) == pytest.approx(1, abs=1e-6)
        assert label_smoothing_for(entropy, k) <= 1


def test_smoothing_means_what_it_means_to_torch() -> None:
    student, y = random(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    eps = label_smoothing_for(0.8, 5)
    targets = (1 - eps) * F.one_hot(y, 5).double() + eps / 5
    assert scipy_entropy(targets.numpy(), axis=1) == pytest.approx(0.8)
    torch.testing.assert_close(
        F.cross_entropy(student, y, label_smoothing=eps),
        -(targets * student.log_softmax(1)).sum(1).mean(),
    )


def test_entropy_of_targets_by_hand() -> None:
    # Half a label, half a teacher of 3:1, once right and once wrong.
    logits = np.log([[3.0, 1.0], [3.0, 1.0]])
    one = scipy_entropy([0.5 + 0.375, 0.125])
    two = scipy_entropy([0.375, 0.5 + 0.125])
    assert target_entropy(logits, np.array([0, 1]), 0.5, 1.0) == pytest.approx((one + two) / 2)
    assert target_entropy(logits, np.array([0, -1]), 0.5, 1.0) == pytest.approx(one)
    assert target_entropy(2 * logits, np.array([0, -1]), 0.5, 2.0) == pytest.approx(one)


@given(seeds, classes, st.floats(0, 1), temperatures)
def test_every_target_can_be_matched_by_smoothing(
    seed: int, k: int, alpha: float, temperature: float
) -> None:
    logits, y = random(5, k, seed=seed), torch.arange(5) % k
    entropy = target_entropy(logits, y, alpha, temperature)
    assert entropy == target_entropy(logits.numpy(), y.numpy(), alpha, temperature)
    assert 0 <= label_smoothing_for(entropy, k) <= 1
    assert target_entropy(logits, y, 0.0, temperature) == 0
    p = softmax(logits.numpy() / temperature, axis=1)
    assert target_entropy(logits, y, 1.0, temperature) == pytest.approx(
        scipy_entropy(p, axis=1).mean()
    )


@pytest.mark.parametrize("k", range(2, 9))
def test_a_teacher_that_knows_nothing_is_full_smoothing(k: int) -> None:
    entropy = target_entropy(np.zeros((7, k)), np.zeros(7, int), 1.0, 1.0)
    assert label_smoothing_for(entropy, k) == pytest.approx(1, abs=1e-6)


def test_the_targets_are_those_of_the_loss_they_stand_for() -> None:
    student, teacher = random(6, 5).requires_grad_(), random(6, 5, seed=1)
    y, alpha = torch.tensor([0, 1, 2, 3, 4, 0]), 0.3
    mixed = (1 - alpha) * F.cross_entropy(student, y) + alpha * softened_kl(student, teacher)
    targets = (1 - alpha) * F.one_hot(y, 5) + alpha * teacher.softmax(1)
    direct = F.cross_entropy(student, targets)
    gradients = [torch.autograd.grad(loss, student)[0] for loss in (mixed, direct)]
    torch.testing.assert_close(*gradients)
    expected = scipy_entropy(targets.numpy(), axis=1).mean()
    assert target_entropy(teacher, y, alpha, 1.0) == pytest.approx(expected)


def test_logits_of_low_precision_or_with_a_graph_have_an_entropy() -> None:
    logits = torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True)
    assert target_entropy(logits, torch.tensor([0, 1]), 1.0, 2.0) == pytest.approx(math.log(4))


# ---------------------------------------------------------------- refused

Z, E = torch.zeros(2, 5), torch.ones(2, 6)
Y = np.zeros(2, int)
ONE = torch.tensor(1.0)
LEVELS = {"window": ONE, "sequence": ONE, "soft": ONE, "hard": ONE}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        *(
            (call, f"temperature must be positive and finite, not {temperature}")
            for temperature in (0, -1.0, math.nan, math.inf)
            for call in (
                lambda t=temperature: softened_kl(Z, Z, t),
                lambda t=temperature: soft_cross_entropy(Z, Z, t),
                lambda t=temperature: target_entropy(Z, Y, 0.5, t),
            )
        ),
        (lambda: softened_kl(Z, Z, 1.0, "sum"), "reduction is batchmean or mean, not 'sum'"),
        (lambda: softened_kl(torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)), "flatten sequences"),
        (lambda: logit_mse(torch.zeros(5), torch.zeros(5)), "logits must be"),
        (lambda: feature_mse(Z, E), r"projector.*\(2, 5\).*\(2, 6\)"),
        (lambda: raw_feature_kl(Z, E), r"projector.*\(2, 5\).*\(2, 6\)"),
        (lambda: attention_energy(Z), r"maps are .*, not of shape \(2, 5\)"),
        (lambda: attention_transfer([[E]], [[E]], "channel"), "norm is time or batch"),
        (lambda: attention_transfer([[E]], [[E]], "time", "cosine"), "distance is l1 or l2"),
        (lambda: attention_transfer([[E]], [[E], [E]]), r"hold \[1\] and \[1, 1\] maps"),
        (lambda: attention_transfer([[E, E]], [[E]]), r"hold \[2\] and \[1\] maps"),
        (lambda: attention_transfer([], []), r"hold \[\] and \[\] maps"),
        (lambda: attention_transfer([[E], []], [[E], []]), r"hold \[1, 0\] and \[1, 0\] maps"),
        (lambda: attention_transfer([[E]], [[Z]]), r"\(2, 6\).*\(2, 5\)"),
        (lambda: attention_transfer([E], [E]), r"energies must be .*\(6,\)"),
        (
            lambda: attention_transfer([[torch.ones(2, 3, 6)]], [[torch.ones(2, 3, 6)]]),
            "see attention_energy",
        ),
        (lambda: attention_transfer([[E[:, :1]]], [[E[:, :1]]]), "no time course; leave it out"),
        (lambda: multi_level(**{**LEVELS, "window": None}), "window is None but has weight 0.3"),
        (lambda: multi_level(**{**LEVELS, "hard": None}), "hard is None but has weight 0.1"),
        *(
            (
                lambda w=weight: multi_level(**LEVELS, weights={**SLEEPKD_WEIGHTS, "soft": w}),
                "weights must not be negative",
            )
            for weight in (-0.1, math.nan, math.inf)
        ),
        (lambda: multi_level(**LEVELS, weights=dict.fromkeys(LEVELS, 0.0)), "nor all 0"),
        (lambda: multi_level(**LEVELS, weights={"soft": 1.0}), "weights must be of window"),
        (
            lambda: multi_level(**LEVELS, weights={**SLEEPKD_WEIGHTS, "epoch": 1.0}),
            "weights must be of window, sequence, soft, hard, not of .*epoch",
        ),
        (lambda: label_smoothing_for(-0.01, 5), r"from 0 to log\(5\) = 1.6094, not -0.01"),
        (lambda: label_smoothing_for(1.62, 5), "not 1.62"),
        (lambda: label_smoothing_for(math.nan, 5), "not nan"),
        (lambda: label_smoothing_for(0.0, 1), "n_classes must be 2 or more, not 1"),
        (lambda: target_entropy(Z, Y, 1.5, 1.0), "alpha must be from 0 to 1, not 1.5"),
        (lambda: target_entropy(Z, Y, math.nan, 1.0), "alpha must be"),
        (lambda: target_entropy(Z, Y - 1, 0.5, 1.0), "no window has a label"),
        (lambda: target_entropy(Z, Y + 5, 0.5, 1.0), "y must be below 5"),
        (lambda: target_entropy(Z, Y[:, None], 0.5, 1.0), r"\(2, 5\) and \(2, 1\)"),
        (lambda: target_entropy(Z, np.zeros(3, int), 0.5, 1.0), r"\(2, 5\) and \(3,\)"),
        (lambda: target_entropy(Z[0], Y, 0.5, 1.0), r"logits must be \(n, k\)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(call: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        call()
    assert "\n" not in str(refused.value)
