"""The training loop: seeds, weights of classes, what is kept, what stays frozen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback
from torch import nn

from sleepshift.estimators.training import (
    balanced_weights,
    on_epoch,
    predict_logits,
    resolve_device,
    seeded,
    train,
)
from sleepshift.models.mlp import MLP
from sleepshift.windows.windows import Windows


def blobs(n: int, seed: int = 0, shift: float = 1.0) -> Windows:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 2, 4)) + shift * y[:, None, None]
    return Windows.from_arrays(X, y)


def net(seed: int = 0, **params: Any) -> MLP:
    with seeded(seed):
        return MLP(n_chans=2, n_times=4, n_outputs=3, n_hidden=8, **params)


def loss_on(module: nn.Module, windows: Windows) -> float:
    logits = torch.from_numpy(predict_logits(module, windows, device="cpu"))
    return nn.functional.cross_entropy(logits, torch.from_numpy(windows.y)).item()


def go(module: nn.Module, data: Windows, valid: Windows | None = None, **params: Any) -> list[dict]:
    budget = {"max_epochs": 3, "batch_size": 16, "lr": 1e-2, "device": "cpu"}
    with seeded(7):
        return train(module, data, valid, **budget | params)


# ---------------------------------------------------------------------- seeds


def test_seeding_gives_torchs_global_state_back() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with seeded(3):
        assert torch.equal(torch.rand(4), first)
    with seeded(4):
        assert not torch.equal(torch.rand(4), first)


def test_the_state_is_given_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(3):
        _ = torch.rand(3).tolist()[0] / 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_random_state_object_moves_on_between_fits() -> None:
    state = np.random.RandomState(0)
    draws = []
    for _ in range(2):
        with seeded(state):
            draws.append(torch.rand(3))
    assert not torch.equal(*draws)


def test_no_seed_uses_torchs_own_state() -> None:
    torch.manual_seed(11)
    with seeded(None):
        first = torch.rand(2)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(2), first)


# ---------------------------------------------------------------------- class weights


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_balanced_weights_are_scikit_learns_and_next_to_nothing_where_absent(
    codes: list[int],
) -> None:
    weights = balanced_weights(np.array(codes), 5).numpy()
    present = np.unique(codes)
    expected = compute_class_weight("balanced", classes=present, y=codes)
    np.testing.assert_allclose(weights[present], expected, rtol=1e-6)
    assert (np.delete(weights, present) < 1e-9).all()


def test_validation_windows_of_a_class_nobody_trained_on_have_a_loss() -> None:
    data, valid = blobs(30), blobs(30, seed=1).with_labels(np.full(30, 2))
    data = data[np.flatnonzero(data.y != 2)]
    history = go(net(), data, valid, class_weight=balanced_weights(data.y, 3))
    assert np.isfinite([row["valid_loss"] for row in history]).all()


class CtrlC(Callback):
    def __init__(self, after: int) -> None:
        self.after = after

    def on_batch_end(self, net: Any, **kwargs: Any) -> None:
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("valid", [None, blobs(9)])
@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_training_is_not_a_finished_one(after: int, valid: Windows | None) -> None:
    with pytest.raises(KeyboardInterrupt):
        go(net(), blobs(48), valid, callbacks=[CtrlC(after)])


@pytest.mark.parametrize("max_epochs", [0, -1])
def test_no_pass_at_all_is_refused(max_epochs: int) -> None:
    with pytest.raises(ValueError, match="max_epochs is at least 1"):
        go(net(), blobs(9), blobs(9), max_epochs=max_epochs)


# ---------------------------------------------------------------------- what is kept


def test_the_best_pass_is_restored() -> None:
    data, valid = blobs(48), blobs(48, seed=1, shift=-1.0)  # what is learned does harm there
    module = net()
    history = go(module, data, valid, max_epochs=8, lr=5e-2, patience=None)
    losses = [row["valid_loss"] for row in history]
    assert len(losses) == 8
    assert np.argmin(losses) < 7
    assert loss_on(module, valid) == pytest.approx(min(losses), rel=1e-5)


def test_small_improvements_count_as_improvements() -> None:
    data, valid = blobs(64), blobs(64, seed=1)
    module = net(drop_prob=0.0)
    history = go(module, data, valid, max_epochs=6, lr=1e-7, batch_size=64, patience=2)
    losses = [row["valid_loss"] for row in history]
    assert loss_on(module, valid) == pytest.approx(min(losses), abs=1e-7)


def test_patience_counts_passes_without_a_lower_loss() -> None:
    history = go(
        net(), blobs(48), blobs(48, seed=1, shift=-1.0), max_epochs=40, lr=5e-2, patience=3
    )
    losses = [row["valid_loss"] for row in history]
    assert len(losses) == np.argmin(losses) + 1 + 3


def test_without_validation_all_passes_are_made_and_the_last_is_kept() -> None:
    history = go(net(), blobs(48), max_epochs=5, patience=1)
    assert len(history) == 5
    assert "valid_loss" not in history[0]


def test_history_holds_plain_numbers() -> None:
    for row in go(net(), blobs(20), blobs(9)):
        assert {type(v) for v in row.values()} <= {int, float, bool, str}
        assert {"epoch", "train_loss", "valid_loss", "dur"} <= set(row)


def test_divergence_is_an_error_and_not_a_model() -> None:
    data = Windows.from_arrays(np.full((8, 2, 4), np.nan), np.arange(8) % 3)
    with pytest.raises(FloatingPointError, match="lower lr"):
        go(net(), data)
    with pytest.raises(FloatingPointError, match="lower lr"):
        go(net(), data, data)


# ---------------------------------------------------------------------- batches


@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 33])
def test_sets_of_any_size_train(n: int) -> None:
    """Smaller than a batch; and a last batch of one, which batch normalisation refuses."""
    module = net()
    before = copy.deepcopy(module.state_dict())
    go(module, blobs(n), max_epochs=1)
    moved = [k for k, v in module.state_dict().items() if not torch.equal(v, before[k])]
    assert "final_layer.weight" in moved
    assert "hidden.0.weight" in moved


def test_every_window_is_seen_in_a_pass() -> None:
    seen: list[int] = []

    class Spy(Windows):
        def __getitems__(self, indices: Any) -> Any:
            seen.extend(indices)
            return super().__getitems__(indices)

    data = blobs(40)
    data.__class__ = Spy
    go(net(), data, max_epochs=1)
    assert sorted(seen) == list(range(40))
    assert seen != list(range(40))  # shuffled


# ---------------------------------------------------------------------- frozen parts


def test_parts_that_are_not_active_keep_weights_and_statistics() -> None:
    module = net()
    go(module, blobs(32), max_epochs=1)
    module.requires_grad_(False)
    module.final_layer.requires_grad_(True)
    before = copy.deepcopy(module.state_dict())
    go(module, blobs(32, seed=2, shift=3.0), active=[module.final_layer])
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("final_layer"), name


def test_the_optimiser_holds_trainable_parameters_only() -> None:
    held: list[int] = []

    class Look(Callback):
        def on_train_begin(self, net: Any, **kwargs: Any) -> None:
            groups = net.optimizer_.param_groups
            held.extend(id(p) for group in groups for p in group["params"])

    module = net()
    module.requires_grad_(False)
    module.final_layer.requires_grad_(True)
    go(module, blobs(32), active=[module.final_layer], callbacks=[Look()])
    assert held == [id(p) for p in module.final_layer.parameters()]


def test_layers_that_are_not_active_do_not_drop_activations() -> None:
    modes: list[tuple[bool, bool]] = []
    module = net()
    module.final_layer.register_forward_pre_hook(
        lambda layer, _: modes.append((module.hidden.training, layer.training))
    )
    go(module, blobs(32), active=[module.final_layer], max_epochs=1)
    assert set(modes) == {(False, True)}


# ---------------------------------------------------------------------- reading out


def test_logits_do_not_depend_on_how_windows_are_batched() -> None:
    module, data = net(), blobs(150)
    logits = predict_logits(module, data, device="cpu")
    assert logits.dtype == np.float32
    assert logits.shape == (150, 3)
    again = np.concatenate(
        [predict_logits(module, data[k : k + 7], device="cpu") for k in range(0, 150, 7)]
    )
    np.testing.assert_allclose(logits, again, atol=1e-5)


def test_reading_out_leaves_no_trace() -> None:
    module = net()
    before = copy.deepcopy(module.state_dict())
    state = torch.get_rng_state()
    predict_logits(module, blobs(20), features=True, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not module.final_layer._forward_pre_hooks


def test_passes_are_reported_to_whoever_listens() -> None:
    heard: list[tuple[int, int]] = []
    token = on_epoch.set(lambda epoch, n, row: heard.append((epoch, n)))
    try:
        go(net(), blobs(20), max_epochs=2)
    finally:
        on_epoch.reset(token)
    assert heard == [(1, 2), (2, 2)]


def test_a_named_device_is_taken_as_it_is() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}
