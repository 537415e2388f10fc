"""Taps: what is taken from a forward pass, and that nothing is left behind."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from sleepshift.models import MODELS, build_model
from sleepshift.models.parts import HeadOnFeatures
from sleepshift.models.taps import (
    KINDS,
    Tapped,
    attention_energy,
    attention_groups,
    by_window,
    tapped,
)


def net_and_batch(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    if MODELS[name].kind == "features":
        net = build_model(name, n_chans=2, n_times=4, sfreq=None, n_outputs=5)
        return net.eval(), torch.randn(3, 2, 4)
    sequence = MODELS[name].sequence
    net = build_model(name, n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5, sequence=sequence)
    return net.eval(), torch.randn(3, 2, 1, 3000) if sequence else torch.randn(3, 1, 3000)


def hooks_of(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules())


# ---------------------------------------------------------------------- what is taken


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MODELS)
def test_head_on_tapped_features_gives_the_networks_own_logits(name: str) -> None:
    net, x = net_and_batch(name)
    with torch.no_grad(), tapped(net, ["features"]) as taken:
        logits = net(x)
    assert set(taken) == {"logits", "features"}
    with torch.no_grad():
        again = HeadOnFeatures(net.get_submodule("final_layer"))(taken["features"])
    n = 6 if MODELS[name].sequence else 3
    assert again.shape == taken["logits"].shape == (n, 5)
    torch.testing.assert_close(again, taken["logits"], rtol=0, atol=1e-6)
    rows = logits.movedim(1, 2).reshape(6, 5) if MODELS[name].sequence else logits
    assert torch.equal(rows, taken["logits"])


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.attention])
def test_the_catalogues_maps_can_be_compared_over_time(name: str) -> None:
    net, x = net_and_batch(name)
    groups = MODELS[name].attention
    with torch.no_grad(), tapped(net, ["attention"], groups) as taken:
        net(x)
    found = attention_groups(taken)
    assert [len(group) for group in found] == [len(group) for group in groups]
    for rows in (rows for group in found for rows in group):
        assert rows.ndim == 2
        assert len(rows) == (6 if MODELS[name].sequence else 3)
        assert rows.shape[1] > 1
        assert (rows >= 0).all()
        assert rows.std() > 0


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.attention])
def test_every_map_can_be_learned_through(name: str) -> None:
    """No layer changes in place what was tapped before it."""
    net, x = net_and_batch(name)
    loss = sum(
        v.sum() for v in Tapped(net.train(), ["attention"], MODELS[name].attention)(x).values()
    )
    loss.backward()
    first = next(net.parameters())
    assert torch.isfinite(first.grad).all()
    assert first.grad.abs().sum() > 0


def test_windows_of_a_sequence_come_one_after_the_other() -> None:
    net, x = net_and_batch("sequence-student")
    kinds = ("window", "features", "attention")
    groups = (("window_encoder.0",), ("window_encoder.1",))
    with torch.no_grad(), tapped(net, kinds, groups) as taken:
        logits = net(x)
    with torch.no_grad():
        alone = net.window_encoder(x[1, :1])
        maps = net.window_encoder[0](x[2, 1:])
    torch.testing.assert_close(taken["window"][2:3], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        taken["attention.0.0"][5:], attention_energy(maps), rtol=1e-4, atol=1e-4
    )
    assert torch.equal(taken["logits"][3], logits[1, :, 1])
    assert taken["features"].shape == (6, net.n_sequence_features)
    assert {len(rows) for rows in taken.values()} == {6}


def test_each_pass_takes_the_place_of_the_one_before() -> None:
    net, x = net_and_batch("mlp")
    with tapped(net, ["features"]) as taken:
        net(x)
        first = dict(taken)
        net(2 * x[:2])
    assert len(first["logits"]) == 3
    assert len(taken["logits"]) == len(taken["features"]) == 2


def test_logits_are_there_whatever_is_asked_for() -> None:
    net, x = net_and_batch("mlp")
    for kinds in ((), ("logits",), ("features",)):
        with tapped(net, kinds) as taken:
            net(x)
        assert set(taken) == {"logits", *kinds}


def test_a_part_may_be_in_two_groups() -> None:
    net, x = net_and_batch("sequence-student")
    with tapped(net, ["attention"], [["window_encoder.0"], ["window_encoder.0"]]) as taken:
        net(x)
    assert torch.equal(taken["attention.0.0"], taken["attention.1.0"])


def test_gradients_flow_through_what_is_tapped() -> None:
    net, x = net_and_batch("sequence-student")
    with tapped(net, ["window", "features", "attention"], [["window_encoder.0"]]) as taken:
        net(x)
    first = next(net.window_encoder.parameters())
    for name in ("window", "features", "logits", "attention.0.0"):
        (gradient,) = torch.autograd.grad(taken[name].sum(), first, retain_graph=True)
        assert gradient.abs().sum() > 0, name


# ---------------------------------------------------------------------- nothing is left behind


def test_no_hook_is_left_behind() -> None:
    net, x = net_and_batch("sequence-student")
    with tapped(net, KINDS, [["window_encoder.0"]]):
        net(x)
        assert hooks_of(net) == 4
    assert hooks_of(net) == 0


def test_no_hook_is_left_behind_by_a_pass_that_fails() -> None:
    net, x = net_and_batch("mlp")
    with pytest.raises(RuntimeError, match="running_mean"), tapped(net, ["features"]):
        net(x.repeat(1, 2, 1))
    assert hooks_of(net) == 0


@pytest.mark.parametrize(
    ("kinds", "groups"),
    [
        (("logits", "features", "attention"), [["hidden.0"], ["conv"]]),
        (("logits", "window"), ()),
        (("logits", "attention"), ()),
        (("logits", "nonsense"), ()),
    ],
)
def test_no_hook_is_left_behind_by_parts_that_are_not_there(kinds: tuple, groups: list) -> None:
    """Hooks are functions inside functions: a network with one cannot be pickled."""
    net, _ = net_and_batch("mlp")
    with pytest.raises(ValueError, match=r"MLP|nonsense"), tapped(net, kinds, groups):
        pass
    assert hooks_of(net) == 0
    pickle.dumps(net)


def test_a_network_that_returns_its_taps_is_the_same_network() -> None:
    net, x = net_and_batch("sequence-student")
    whole = Tapped(net, ["window"])
    taken = whole(x)
    assert set(taken) == {"logits", "window"}
    assert torch.equal(taken["logits"], by_window(net(x)))
    assert [id(p) for p in whole.parameters()] == [id(p) for p in net.parameters()]
    assert hooks_of(net) == 0
    pickle.dumps(whole)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("kind", "groups", "reason"),
    [
        ("sound", (), "no tap 'sound'; there are logits, features, window, attention"),
        ("window", (), "MLP stages single windows, so it has no window level of its own"),
        ("attention", (), "MLP has no maps over time to compare"),
        ("attention", [["pools.0"]], r"MLP has no part 'pools.0'; attention is compared between"),
    ],
)
def test_what_cannot_be_tapped_is_named_in_one_line(kind: str, groups: list, reason: str) -> None:
    net, _ = net_and_batch("mlp")
    with pytest.raises(ValueError, match=reason) as error, tapped(net, [kind], groups):
        pass
    assert "\n" not in str(error.value)


def test_maps_without_channels_have_no_energy() -> None:
    with pytest.raises(ValueError, match=r"maps are \(n, channels, ..., times\)"):
        attention_energy(torch.zeros(3, 4))


# ---------------------------------------------------------------------- names


def test_groups_and_layers_keep_their_order_beyond_ten() -> None:
    names = [f"attention.{g}.{k}" for g in range(12) for k in range(11)]
    outputs = {name: name for name in [*sorted(names), "logits", "features"]}
    expected = [[f"attention.{g}.{k}" for k in range(11)] for g in range(12)]
    assert attention_groups(outputs) == expected
    assert attention_groups({"logits": 1}) == []


def test_logits_by_window_keep_every_value() -> None:
    logits = torch.arange(24).reshape(2, 3, 4)  # (batch, n_outputs, n_windows)
    rows = by_window(logits)
    assert rows.shape == (8, 3)
    assert rows[5].tolist() == logits[1, :, 1].tolist()
    assert by_window(rows) is rows
