"""The two-branch network: layers as described, and normalised weights."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from sleepshift.models.two_scale import TwoScale, WeightNormLinear


def convolutions(branch: nn.Module) -> list[tuple[int, int, int]]:
    found = [m for m in branch.modules() if isinstance(m, nn.Conv1d)]
    return [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in found]


def test_layers_are_those_of_the_description() -> None:
    net = TwoScale(n_chans=2, n_times=3000, n_outputs=6)
    assert convolutions(net.coarse) == [(64, 401, 50), (128, 7, 2), (256, 5, 1)]
    assert convolutions(net.fine) == [(64, 51, 5), (128, 7, 2), (256, 5, 1)]
    linear = [m for m in net.modules() if isinstance(m, WeightNormLinear)]
    assert [tuple(m.direction.shape) for m in linear] == [(1024, 512), (6, 1024)]
    assert linear[-1] is net.final_layer
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.2}
    assert not [m for m in net.modules() if isinstance(m, nn.ReLU | nn.BatchNorm1d)]


def test_a_normalised_layer_starts_as_torchs_and_has_a_gain_an_output() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(4, 3)
    torch.manual_seed(0)
    layer, x = WeightNormLinear(4, 3), torch.randn(5, 4)
    torch.testing.assert_close(layer(x), plain(x))
    reference = nn.utils.parametrizations.weight_norm(plain)
    with torch.no_grad():
        layer.gain.mul_(3)
        layer.direction.mul_(0.1)
        reference.parametrizations.weight.original0.mul_(3)
    torch.testing.assert_close(layer(x), reference(x))
    again = pickle.loads(pickle.dumps(layer))  # noqa: S301
    assert torch.equal(again(x), layer(x))


def test_the_largest_value_over_time_is_taken_wherever_it_is() -> None:
    net = TwoScale(n_chans=1, n_times=12_000, n_outputs=5).eval()
    x = torch.zeros(1, 1, 12_000)
    early, late = x.clone(), x.clone()
    wave = torch.randn(200)
    # 1200 samples are whole steps of both branches, and far from both ends.
    early[..., 5000:5200], late[..., 6200:6400] = wave, wave
    with torch.no_grad():
        torch.testing.assert_close(net(early), net(late))


def test_the_shortest_window_it_takes() -> None:
    assert TwoScale(1, 51, 5)(torch.zeros(2, 1, 51)).shape == (2, 5)
    with pytest.raises(ValueError, match="windows of 51 samples or more"):
        TwoScale(1, 50, 5)
