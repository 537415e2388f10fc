"""The focal loss and the adversarial shift, against numbers computed otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, rel_entr, softmax

from sleepshift.estimators.vat import Perturbed, adversarial_shift, focal_binary_cross_entropy


def by_hand(logits: list[float], code: int, gamma: float, smoothing: float) -> float:
    terms = []
    for k, z in enumerate(logits):
        p = 1 / (1 + math.exp(-z))
        t = (1 - smoothing) * (k == code) + smoothing / 2
        terms.append(-t * (1 - p) ** gamma * math.log(p) - (1 - t) * p**gamma * math.log(1 - p))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("gamma", "smoothing"), [(2.0, 0.05), (0.0, 0.0), (0.5, 0.0), (2.0, 0.0)])
def test_the_focal_loss_is_that_of_the_formula(gamma: float, smoothing: float) -> None:
    rows, codes = [[2.0, -1.0, 0.3], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]], [0, 2, 2]
    loss = focal_binary_cross_entropy(torch.tensor(rows), torch.tensor(codes), gamma, smoothing)
    hands = [by_hand(row, code, gamma, smoothing) for row, code in zip(rows, codes, strict=True)]
    assert loss.item() == pytest.approx(sum(hands) / 3, rel=1e-5)


def test_a_known_number() -> None:
    """p = 0.9 for the stage and 0.2 for the other: (0.1^2 ln(1/0.9) + 0.2^2 ln(1/0.8)) / 2."""
    logits = torch.logit(torch.tensor([[0.9, 0.2]]))
    loss = focal_binary_cross_entropy(logits, torch.tensor([0]), gamma=2.0, smoothing=0.0)
    assert loss.item() == pytest.approx((0.01 * 0.1053605 + 0.04 * 0.2231436) / 2, rel=1e-4)


def test_without_focus_and_smoothing_it_is_torchs() -> None:
    logits, codes = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    hard = torch.nn.functional.one_hot(codes, 4).float()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, hard)
    torch.testing.assert_close(focal_binary_cross_entropy(logits, codes, 0.0, 0.0), expected)


def test_windows_without_a_label_teach_nothing() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = focal_binary_cross_entropy(logits, torch.tensor([1, -1, 0, -1]))
    alone = focal_binary_cross_entropy(logits[[0, 2]], torch.tensor([1, 0]))
    torch.testing.assert_close(loss, alone)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[[1, 3]].any()
    assert gradient[[0, 2]].any()
    none = focal_binary_cross_entropy(logits, torch.full((4,), -1))
    (gradient,) = torch.autograd.grad(none, logits)
    assert none.item() == 0
    assert not gradient.any()


def test_extreme_logits_give_a_finite_loss() -> None:
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = focal_binary_cross_entropy(logits, torch.tensor([1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


# ---------------------------------------------------------------------- the shift


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return rel_entr(softmax(p, axis=-1), softmax(q, axis=-1)).sum(axis=-1)


def test_the_direction_is_the_worst_that_a_search_finds() -> None:
    """On a plane: all directions can be tried."""
    torch.manual_seed(0)
    weights = torch.tensor([[3.0, -1.0, 0.0], [0.5, 0.5, -1.5]])

    def network(x: torch.Tensor) -> torch.Tensor:
        return x @ weights

    x = torch.tensor([[0.1, -0.2], [0.5, 0.3]])
    eps, logits = 0.05, network(x)
    angles = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
    shifts = eps * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    tried = [
        divergence(logits[k].numpy(), (x[k].numpy() + shifts) @ weights.numpy()) for k in range(2)
    ]
    best = np.zeros(2)
    for _ in range(5):  # one power iteration from a random start comes close, or closer
        shift = adversarial_shift(network, x, logits, xi=0.05, eps=eps).numpy()
        np.testing.assert_allclose(np.linalg.norm(shift, axis=1), eps, rtol=1e-5)
        best = np.maximum(best, divergence(logits.numpy(), (x.numpy() + shift) @ weights.numpy()))
    assert (best > 0.95 * np.max(tried, axis=1)).all()


def test_one_iteration_is_one_product_with_the_curvature() -> None:
    """For softmax(W x) the divergence's curvature is W (diag p - p p') W'."""
    torch.manual_seed(0)
    weights = torch.randn(6, 3, dtype=torch.float64)
    x = torch.randn(1, 6, dtype=torch.float64)
    torch.manual_seed(1)
    d = torch.randn(1, 6, dtype=torch.float64)
    torch.manual_seed(1)
    # The divergence is computed in float32: xi is small, but not so small that it rounds away.
    shift = adversarial_shift(lambda x: x @ weights, x, x @ weights, xi=1e-2, eps=1.0)
    p = (x @ weights).softmax(dim=1)[0]
    curvature = weights @ (torch.diag(p) - torch.outer(p, p)) @ weights.T
    expected = d @ curvature
    cosine = torch.nn.functional.cosine_similarity(shift, expected)
    assert cosine.item() > 0.99


def test_it_moves_a_networks_answers_more_than_chance_does() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(600, 16), torch.nn.SiLU(), torch.nn.Linear(16, 5)
    )
    x = torch.randn(8, 2, 300)
    with torch.no_grad():
        logits = net(x)
    shift = adversarial_shift(net, x, logits)
    assert shift.shape == x.shape
    torch.testing.assert_close(shift.flatten(1).norm(dim=1), torch.ones(8))
    with torch.no_grad():
        worst = divergence(logits.numpy(), net(x + shift).numpy())
        for _ in range(20):
            other = torch.randn_like(x)
            other /= other.flatten(1).norm(dim=1)[:, None, None]
            assert (divergence(logits.numpy(), net(x + other).numpy()) < worst).all()


def test_a_network_that_does_not_care_is_left_alone() -> None:
    shift = adversarial_shift(lambda x: 0 * x[:, :3], torch.randn(4, 6), torch.zeros(4, 3))
    assert not shift.any()


# ---------------------------------------------------------------------- the wrapper


def stochastic() -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3)
    )


def test_the_penalty_is_the_divergence_at_the_shift() -> None:
    torch.manual_seed(0)
    net, x = torch.nn.Linear(6, 3), torch.randn(4, 6)
    torch.manual_seed(1)
    outputs = Perturbed(net, weight=0.5, xi=10.0, eps=2.0)(x)
    torch.manual_seed(1)
    with torch.no_grad():
        shift = adversarial_shift(net, x, net(x), 10.0, 2.0)
        expected = divergence(net(x).numpy(), net(x + shift).numpy()).mean()
    assert torch.equal(outputs["logits"], net(x))
    assert outputs["penalty"].item() == pytest.approx(0.5 * expected, rel=1e-4)


def test_the_penalty_teaches_by_the_shifted_answer_alone() -> None:
    torch.manual_seed(0)
    net, x = torch.nn.Linear(6, 3), torch.randn(4, 6)
    torch.manual_seed(1)
    Perturbed(net, 1.0, 10.0, 1.0)(x)["penalty"].backward()
    torch.manual_seed(1)
    with torch.no_grad():
        shift = adversarial_shift(net, x, net(x), 10.0, 1.0)
        difference = net(x + shift).softmax(1) - net(x).softmax(1)
    torch.testing.assert_close(net.weight.grad, difference.T @ (x + shift) / 4)


def test_its_passes_have_no_chance_in_them_and_move_no_statistic() -> None:
    torch.manual_seed(0)
    net, x = stochastic(), torch.randn(16, 6)
    wrapped = Perturbed(net, 1.0, 10.0, 0.0)  # no shift: only chance could make a difference
    outputs = wrapped(x)
    assert outputs["penalty"].item() == pytest.approx(0, abs=1e-6)
    assert net[1].num_batches_tracked == 1
    assert all(part.training for part in net.modules())


def test_there_is_none_in_evaluation_or_without_weight() -> None:
    net, x = stochastic(), torch.randn(16, 6)
    assert set(Perturbed(net, 1.0, 10.0, 1.0).eval()(x)) == {"logits"}
    assert set(Perturbed(net, 0.0, 10.0, 1.0).train()(x)) == {"logits"}


def test_probabilities_of_one_against_the_rest_are_sigmoids() -> None:
    from scipy.special import log_expit

    z = np.random.default_rng(0).normal(size=(5, 3))
    p = softmax(log_expit(z), axis=1)
    np.testing.assert_allclose(p, expit(z) / expit(z).sum(axis=1, keepdims=True))
