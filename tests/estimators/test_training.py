"""The training loop: seeds, weights of classes, what is kept, what stays frozen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from skorch.callbacks import Callback
from torch import nn

from sleepshift.estimators.readout import items, predict_logits, read_out
from sleepshift.estimators.training import (
    attnsleep_weights,
    balanced_weights,
    budget,
    class_weights,
    cross_entropy,
    on_epoch,
    seeded,
    settle,
    train,
    watchers,
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


# By stage: the published counts of two releases of Sleep-EDF, and of BEETL's source people.
EDF_20 = (8285, 2804, 17799, 5703, 7717)
EDF_78 = (65951, 21522, 69132, 13039, 25835)
BEETL = (24043, 7941, 35983, 5247, 3057, 14274)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (EDF_20, [0.30, 0.72, 0.30, 0.20, 0.30]),
        (EDF_78, [0.30, 0.52, 0.30, 0.22, 0.30]),
        (BEETL, [0.17, 0.22, 0.17, 0.18, 0.33, 0.17]),
        # Absent stages have a logarithm of 1: mu alone, and nothing is divided by 0.
        ((10, 0, 10, 0, 0), [0.30, 0.40, 0.30, 0.20, 0.30]),
        ((0, 0, 9, 0, 0, 0), [0.17] * 6),
        # ln(.4 * 1000 / 10) = 3.689, times .4 is 1.4756
        ((990, 10, 0, 0, 0), [0.30, 1.48, 0.30, 0.20, 0.30]),
    ],
    ids=["EDF-20", "EDF-78", "BEETL", "absent", "one of six", "rare"],
)
@pytest.mark.filterwarnings("error")
def test_attnsleeps_weights_are_the_published_ones(
    counts: tuple[int, ...], expected: list[float]
) -> None:
    codes = np.repeat(np.arange(len(counts)), counts)
    weights = attnsleep_weights(codes, len(counts))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)
    assert torch.equal(class_weights("attnsleep", codes, len(counts)), weights)


@pytest.mark.parametrize("n_classes", [2, 3, 4, 7])
def test_attnsleeps_weights_are_for_five_or_six_stages(n_classes: int) -> None:
    with pytest.raises(ValueError, match=f"not for {n_classes}"):
        attnsleep_weights(np.arange(n_classes), n_classes)


def test_weights_by_name() -> None:
    codes = np.array([0, 0, 1])
    assert class_weights(None, codes, 2) is None
    assert torch.equal(class_weights("balanced", codes, 2), balanced_weights(codes, 2))
    with pytest.raises(ValueError, match="class_weight is 'balanced', 'attnsleep' or None"):
        class_weights("even", codes, 2)


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
    history = go(net(), data, valid, criterion=cross_entropy(balanced_weights(data.y, 3)))
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
    read_out(module, blobs(20), ("logits", "features"), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not module._forward_hooks
    assert not module.final_layer._forward_pre_hooks
    assert module.training is False


class Echo(nn.Module):
    """A network of sequences whose logits are the first values of each window."""

    def __init__(self) -> None:
        super().__init__()
        self.window_encoder = nn.Flatten()
        self.final_layer = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.window_encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return self.final_layer(z)[..., :3].movedim(-1, 1)


class Plain(nn.Module):
    """A network without batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.final_layer = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.final_layer(x.flatten(1))


@pytest.mark.parametrize("length", [1, 3, 16, 100])
@pytest.mark.parametrize("shuffled", [False, True])
def test_what_is_read_of_sequences_is_in_the_order_of_the_windows(
    length: int, shuffled: bool
) -> None:
    data = blobs(150)
    if shuffled:
        data = data[np.random.default_rng(0).permutation(150)[:70]]
    kinds = ("logits", "features", "window")
    found = read_out(Echo(), data, kinds, sequence_length=length, device="cpu")
    flat = np.asarray(data).reshape(len(data), -1)
    np.testing.assert_array_equal(found["logits"], flat[:, :3])
    np.testing.assert_array_equal(found["features"], flat)
    np.testing.assert_array_equal(found["window"], flat)


def test_what_a_network_keeps_of_a_pass_is_forgotten() -> None:
    module = Plain()
    module.register_forward_hook(lambda net, inputs, _: setattr(net, "kept", inputs[0]))
    module.kept = None
    predict_logits(module, blobs(5), device="cpu")
    assert module.kept is None


def test_only_what_is_asked_for_is_read() -> None:
    assert set(read_out(net(), blobs(5), ("features",), device="cpu")) == {"features"}


# ---------------------------------------------------------------------- without training


@pytest.mark.parametrize("n", [2, 16, 17, 33, 40])
def test_statistics_settle_on_the_data_and_nothing_else_moves(n: int) -> None:
    """People come one after the other: each batch must see all of them."""
    module, data = net(), blobs(n)
    shifts = np.repeat(10.0 * np.arange(n // 2 + 1), 2)[:n, None, None]
    data = Windows.from_arrays(np.asarray(data) + shifts, data.y)
    go(module, blobs(32), max_epochs=1)
    before = copy.deepcopy(module.state_dict())
    momenta = [m.momentum for m in module.modules() if isinstance(m, nn.BatchNorm1d)]
    state = torch.get_rng_state()
    settle(module, data, 16)
    moved = {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved <= {k for k in before if k.endswith(("running_mean", "running_var", "tracked"))}
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.momentum for m in module.modules() if isinstance(m, nn.BatchNorm1d)] == momenta
    assert not any(m.training for m in module.modules())
    first = next(m for m in module.modules() if isinstance(m, nn.BatchNorm1d))
    flat = np.asarray(data).reshape(n, -1)
    np.testing.assert_allclose(first.running_mean, flat.mean(axis=0), rtol=1e-4, atol=0.3)
    np.testing.assert_allclose(first.running_var, flat.var(axis=0, ddof=1), rtol=0.1)


def test_a_network_without_statistics_has_nothing_to_settle() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(8, 3))
    before = copy.deepcopy(module.state_dict())
    settle(module, blobs(5), 2)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


# ---------------------------------------------------------------------- what is better


@pytest.mark.parametrize("sequences", [False, True])
def test_macro_f1_is_scikit_learns_on_all_validation_windows(sequences: bool) -> None:
    length = 7 if sequences else None
    module = Echo() if sequences else net()
    if sequences:
        module.final_layer = nn.Linear(8, 8)
    valid = blobs(28, seed=1)[np.arange(28) % 3 != 2]  # a stage is missing
    parts = [items(part, length) for part in (blobs(40), valid)]
    keep = {"max_epochs": 4, "batch_size": 5, "lr": 1e-9}
    history = go(module, *parts, monitor="macro_f1", **keep)
    predicted = predict_logits(module, valid, sequence_length=length, device="cpu").argmax(1)
    expected = f1_score(valid.y, predicted, labels=[0, 1], average="macro")
    assert [row["valid_macro_f1"] for row in history] == pytest.approx([expected] * len(history))


def test_the_pass_of_highest_macro_f1_is_kept() -> None:
    data, valid = blobs(48), blobs(48, seed=1, shift=-1.0)  # what is learned does harm there
    module = net()
    budget = {"max_epochs": 8, "lr": 5e-2, "patience": None}
    history = go(module, data, valid, monitor="macro_f1", **budget)
    scores = [row["valid_macro_f1"] for row in history]
    predicted = predict_logits(module, valid, device="cpu").argmax(axis=1)
    assert len(scores) == 8
    assert len(set(scores)) > 1
    assert f1_score(valid.y, predicted, average="macro") == pytest.approx(max(scores))
    short = go(net(), data, valid, monitor="macro_f1", max_epochs=40, lr=5e-2, patience=3)
    scores = [row["valid_macro_f1"] for row in short]
    assert len(scores) == np.argmax(scores) + 1 + 3


def test_what_is_watched_changes_no_update() -> None:
    data, valid = blobs(48), blobs(24, seed=1)
    histories = [go(net(), data, valid, monitor=m, max_epochs=5) for m in ("loss", "macro_f1")]
    losses = [[row["train_loss"] for row in history] for history in histories]
    assert losses[0] == losses[1]
    with pytest.raises(ValueError, match="monitor is 'loss' or 'macro_f1', not 'accuracy'"):
        go(net(), data, valid, monitor="accuracy")


@pytest.mark.parametrize("n_drawn", [1, 16, 17, 32, 48])
def test_a_pass_can_be_of_fewer_items_drawn_anew_each_time(n_drawn: int) -> None:
    seen: list[int] = []

    class Spy(Windows):
        def __getitems__(self, indices: Any) -> Any:
            seen.extend(indices)
            return super().__getitems__(indices)

    data = blobs(48)
    data.__class__ = Spy
    go(net(drop_prob=0.0) if n_drawn > 1 else Plain(), data, n_drawn=n_drawn, max_epochs=2)
    n = n_drawn - (n_drawn == 17)  # a last batch of one is left out
    passes = seen[:n], seen[n:]
    assert [len(set(part)) for part in passes] == [n, n]
    assert set(passes[0]) != set(passes[1]) or n == 48


# ---------------------------------------------------------------------- losses, batches


def test_the_loss_counts_windows_with_a_label_and_no_others() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0])
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=rng)
    target = torch.randint(-1, 3, (4, 5), generator=rng)
    rows, labels = logits.movedim(1, -1).reshape(-1, 3), target.flatten()
    known = labels >= 0
    expected = nn.functional.cross_entropy(rows[known], labels[known], weight=weight)
    assert known.sum() < 20
    torch.testing.assert_close(cross_entropy(weight)(logits, target), expected)
    torch.testing.assert_close(cross_entropy(weight)(rows, labels), expected)


def test_a_criterion_of_ones_own_is_trained_along() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.modes: set[bool] = set()

        def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            self.modes.add(self.training)
            return nn.functional.cross_entropy(self.scale * logits, target)

    criterion = Scaled()
    go(net(), blobs(32), blobs(9), criterion=criterion)
    assert criterion.scale != 1
    assert criterion.modes == {True, False}


def test_the_plain_loss_is_cross_entropy() -> None:
    one, other = net(), net()
    go(one, blobs(32))
    go(other, blobs(32), criterion=nn.CrossEntropyLoss())
    assert torch.equal(one.final_layer.weight, other.final_layer.weight)


@pytest.mark.parametrize(("length", "expected"), [(None, 64), (1, 64), (5, 12), (64, 1), (99, 1)])
def test_a_batch_counts_windows_also_in_sequences(length: int | None, expected: int) -> None:
    from sleepshift.estimators import SleepStager

    assert budget(SleepStager(), length)["batch_size"] == expected


def test_items_are_windows_or_sequences_of_them() -> None:
    data = blobs(10)
    assert items(data, None) is data
    assert [len(items(data, k)) for k in (1, 3, 10, 11)] == [10, 4, 1, 1]


# ---------------------------------------------------------------------- who listens


def test_passes_are_reported_to_whoever_listens() -> None:
    heard: list[tuple[int, int]] = []
    token = on_epoch.set(lambda epoch, n, row: heard.append((epoch, n)))
    try:
        go(net(), blobs(20), max_epochs=2)
    finally:
        on_epoch.reset(token)
    assert heard == [(1, 2), (2, 2)]


class Rows(Callback):
    """Keeps what a pass was worth, as a tracker would."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.rows.append({k: v for k, v in net.history[-1].items() if k != "batches"})


@pytest.mark.parametrize("monitor", ["loss", "macro_f1"])
def test_watchers_see_every_pass_of_every_training_the_last_included(monitor: str) -> None:
    one, other = Rows(), Rows()
    token = watchers.set((one, other))
    try:
        data, valid = blobs(48), blobs(48, seed=1, shift=-1.0)
        first = go(net(), data, valid, max_epochs=20, patience=2, lr=5e-2, monitor=monitor)
        second = go(net(), blobs(20), max_epochs=2)
    finally:
        watchers.reset(token)
    assert len(first) < 20  # stopped early
    assert len(one.rows) == len(first) + 2
    for seen, row in zip(one.rows, first + second, strict=True):
        names = {"train_loss", "epoch"} | ({f"valid_{monitor}"} & set(row))
        assert {k: seen[k] for k in names} == {k: row[k] for k in names}
    assert [row["epoch"] for row in other.rows] == [row["epoch"] for row in one.rows]
    go(net(), blobs(20), max_epochs=1)
    assert len(one.rows) == len(first) + 2


# ---------------------------------------------------------------------- the optimiser


class _Rates(Callback):
    """The optimiser's learning rate and arguments in every training pass."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def on_batch_end(self, net: Any, training: bool = True, **step: Any) -> None:
        if training and len(self.seen) < len(net.history):
            (group,) = net.optimizer_.param_groups
            self.seen.append({k: v for k, v in group.items() if k != "params"})


def rates(**params: Any) -> list[dict[str, Any]]:
    watcher = _Rates()
    go(net(), blobs(32), blobs(9, 1), callbacks=[watcher], max_epochs=5, **params)
    return watcher.seen


def test_the_rate_drops_after_its_pass_and_stays_there() -> None:
    found = [one["lr"] for one in rates(lr=1e-3, lr_drop=(2, 1e-4))]
    assert found == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-4])
    assert [one["lr"] for one in rates(lr=1e-3)] == [1e-3] * 5
    assert [one["lr"] for one in rates(lr=1e-3, lr_drop=(5, 1e-4))] == [1e-3] * 5


def test_the_optimiser_takes_further_arguments() -> None:
    published = {"optimizer_params": {"amsgrad": True, "betas": (0.8, 0.99)}, "weight_decay": 1e-3}
    for one in rates(**published):
        assert (one["amsgrad"], one["betas"], one["weight_decay"]) == (True, (0.8, 0.99), 1e-3)
    assert not rates()[0]["amsgrad"]


def test_a_budget_without_a_schedule_is_a_budget() -> None:
    class Old:
        max_epochs, batch_size, lr, weight_decay = 3, 16, 1e-3, 0.0
        patience, device, verbose = 5, "cpu", 0

    found = budget(Old())
    assert found["optimizer_params"] is None
    assert found["lr_drop"] is None
    with seeded(0):
        assert len(train(net(), blobs(32), None, **found)) == 3
