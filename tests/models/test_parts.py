"""Encoder and head of every network of the catalogue."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sleepshift.models import MODELS, build_model
from sleepshift.models.parts import HeadOnFeatures, WithHead, forget_passes, tap_features


def net_and_batch(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    if MODELS[name].kind == "features":
        net = build_model(name, n_chans=2, n_times=4, sfreq=None, n_outputs=5)
        return net.eval(), torch.randn(3, 2, 4)
    net = build_model(name, n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5)
    return net.eval(), torch.randn(3, 1, 3000)


@pytest.mark.parametrize("name", MODELS)
def test_head_on_tapped_features_gives_the_networks_own_logits(name: str) -> None:
    net, x = net_and_batch(name)
    with torch.no_grad(), tap_features(net) as taken:
        logits = net(x)
    assert len(taken) == 1
    with torch.no_grad():
        again = HeadOnFeatures(net.get_submodule("final_layer"))(taken[0])
    assert again.shape == (3, 5)
    assert torch.equal(again, logits)


def test_tapping_leaves_no_hook_behind_even_after_an_error() -> None:
    net, x = net_and_batch("mlp")
    with pytest.raises(RuntimeError, match="running_mean"), tap_features(net):
        net(x.repeat(1, 2, 1))
    assert not net.final_layer._forward_pre_hooks


def test_tapping_that_is_not_wanted_takes_nothing() -> None:
    net, x = net_and_batch("mlp")
    with tap_features(net, wanted=False) as taken:
        net(x)
    assert taken == []


def test_tapped_features_carry_no_gradient() -> None:
    net, x = net_and_batch("mlp")
    with tap_features(net) as taken:
        net(x)
    assert not taken[0].requires_grad


def test_a_new_head_keeps_the_encoder_and_maps_its_embedding() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(8, 6))
    net = WithHead(encoder, 6, 4)
    x = torch.randn(3, 2, 4)
    assert net.encoder is encoder
    torch.testing.assert_close(net(x), net.final_layer(encoder(x)))
    with tap_features(net) as taken:
        net(x)
    torch.testing.assert_close(taken[0], encoder(x))


def test_what_a_pass_leaves_behind_is_forgotten() -> None:
    net, x = net_and_batch("attnsleep")
    net(x)
    kept = [t for m in net.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    assert kept  # the network does keep its attention weights
    net, x = net_and_batch("attnsleep")
    with forget_passes(net):
        net(x)
    left = [t for m in net.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    assert sum(t.numel() for t in left) == 0
    copy.deepcopy(net)


def test_tensors_that_were_there_before_a_pass_stay() -> None:
    net, x = net_and_batch("mlp")
    net.scale = torch.ones(2)
    with forget_passes(net):
        net(x)
    assert torch.equal(net.scale, torch.ones(2))
