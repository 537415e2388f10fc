"""Encoder and head of every network of the catalogue."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sleepshift.models import MODELS, build_model
from sleepshift.models.parts import HeadOnFeatures, WithHead, forget_passes
from sleepshift.models.taps import tapped


def net_and_batch(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    if MODELS[name].kind == "features":
        net = build_model(name, n_chans=2, n_times=4, sfreq=None, n_outputs=5)
        return net.eval(), torch.randn(3, 2, 4)
    net = build_model(name, n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5)
    return net.eval(), torch.randn(3, 1, 3000)


def test_a_new_head_keeps_the_encoder_and_maps_its_embedding() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(8, 6))
    net = WithHead(encoder, 6, 4)
    x = torch.randn(3, 2, 4)
    assert net.encoder is encoder
    torch.testing.assert_close(net(x), net.final_layer(encoder(x)))
    with tapped(net, ["features"]) as taken:
        net(x)
    torch.testing.assert_close(taken["features"], encoder(x))


def test_a_head_drops_the_time_axis_that_convolutions_keep() -> None:
    features = torch.randn(3, 6, 1)
    logits = HeadOnFeatures(nn.Conv1d(6, 4, 1))(features)
    assert logits.shape == (3, 4)


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
