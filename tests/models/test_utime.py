"""U-Time for single windows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepshift.models.utime import PUBLISHED_ATTENTION, UTime

# Filters and times of each map for one channel of 6000 samples and 3 classes.
MAPS = {
    "pools.0": (16, 2000),
    "pools.1": (32, 1000),
    "pools.2": (64, 500),
    "pools.3": (128, 250),
    "pools.4": (256, 125),
    "bottleneck": (512, 125),
    "decoder.0": (256, 250),
    "decoder.1": (128, 500),
    "decoder.2": (64, 1000),
    "decoder.3": (32, 2000),
    "decoder.4": (16, 6000),
    "dense": (3, 6000),
}


def n_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def outputs_of(net: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    taken: dict[str, torch.Tensor] = {}
    for path, part in net.named_modules():
        part.register_forward_hook(lambda _, __, out, path=path: taken.update({path: out}))
        part.register_forward_pre_hook(
            lambda _, given, path=path: taken.update({f"into {path}": given[0]})
        )
    with torch.no_grad():
        net.eval()(x)
    return taken


@pytest.mark.parametrize(("n_outputs", "count"), [(3, 4_813_215), (4, 4_813_240)])
def test_weights_are_as_many_as_published(n_outputs: int, count: int) -> None:
    net = UTime(n_chans=1, n_times=6000, n_outputs=n_outputs)
    assert n_weights(net) == count
    blocks = [n_weights(block) for block in net.encoder]
    assert blocks == [1456, 7872, 31_104, 123_648, 493_056]
    assert n_weights(net.bottleneck) == 1_969_152
    assert n_weights(net.decoder) == 2_186_864
    assert n_weights(net.dense) == 17 * n_outputs
    assert n_weights(net.final_layer) == n_outputs * (n_outputs + 1)


def test_weights_do_not_depend_on_the_length_of_windows() -> None:
    state = UTime(n_chans=1, n_times=6000, n_outputs=3).state_dict()
    UTime(n_chans=1, n_times=3000, n_outputs=3).load_state_dict(state)


def test_maps_have_the_published_shapes() -> None:
    net = UTime(n_chans=1, n_times=6000, n_outputs=3)
    taken = outputs_of(net, torch.randn(2, 1, 6000))
    assert {path: tuple(taken[path].shape[1:]) for path in MAPS} == MAPS
    assert {path for group in PUBLISHED_ATTENTION for path in group} == set(MAPS)


@pytest.mark.parametrize("n_times", [48, 100, 2999, 3000, 3840, 3841])
def test_windows_that_pooling_does_not_divide_come_back_to_their_length(n_times: int) -> None:
    net = UTime(n_chans=2, n_times=n_times, n_outputs=4)
    taken = outputs_of(net, torch.randn(2, 2, n_times))
    assert taken["decoder.4"].shape == (2, 16, n_times)
    assert taken["dense"].shape == (2, 4, n_times)
    assert taken[""].shape == (2, 4)


def test_stretching_repeats_samples_where_pooling_divides() -> None:
    net = UTime(n_chans=1, n_times=6000, n_outputs=3)
    taken = outputs_of(net, torch.randn(1, 1, 6000))
    below = ["bottleneck", *(f"decoder.{k}" for k in range(4))]
    for k, (path, factor) in enumerate(zip(below, (2, 2, 2, 2, 3), strict=True)):
        repeated = taken[path].repeat_interleave(factor, dim=-1)
        assert torch.equal(taken[f"into decoder.{k}.before"], repeated)


def test_skips_are_what_was_there_before_pooling_and_come_first() -> None:
    net = UTime(n_chans=1, n_times=3000, n_outputs=3)
    taken = outputs_of(net, torch.randn(1, 1, 3000))
    for k, n_filters in enumerate((256, 128, 64, 32, 16)):
        joined = taken[f"into decoder.{k}.after"]
        assert torch.equal(joined[:, :n_filters], taken[f"encoder.{4 - k}"])
        assert torch.equal(joined[:, n_filters:], taken[f"decoder.{k}.before"])


def test_logits_are_a_mixture_of_mean_scores() -> None:
    net = UTime(n_chans=1, n_times=3000, n_outputs=4)
    net.dense[0].weight.data *= 100
    taken = outputs_of(net, torch.randn(2, 1, 3000))
    scores = taken["dense"]
    assert 0.99 < scores.abs().max() <= 1
    assert taken["into final_layer"].shape == (2, 4, 1)
    torch.testing.assert_close(taken["into final_layer"], scores.mean(-1, keepdim=True))
    mixed = net.final_layer.weight[..., 0] @ scores.mean(-1)[..., None]
    torch.testing.assert_close(taken[""], mixed[..., 0] + net.final_layer.bias)


def test_convolutions_start_and_end_as_published() -> None:
    net = UTime(n_chans=1, n_times=3000, n_outputs=4)
    kinds = [type(part) for part in net.encoder[0][0]]
    assert kinds == [nn.Conv1d, nn.ReLU, nn.BatchNorm1d]
    assert {c.dilation for c in net.encoder.modules() if isinstance(c, nn.Conv1d)} == {(2,)}
    below = [*net.bottleneck.modules(), *net.decoder.modules()]
    assert {c.dilation for c in below if isinstance(c, nn.Conv1d)} == {(1,)}
    assert not any(c.bias.any() for c in below if isinstance(c, nn.Conv1d))


def test_other_widths_and_pools_are_taken() -> None:
    net = UTime(1, 1000, 5, filters=(4, 8), pools=(5, 4), kernel_size=3, dilation=1)
    taken = outputs_of(net, torch.randn(2, 1, 1000))
    assert taken["bottleneck"].shape == (2, 16, 50)
    assert taken[""].shape == (2, 5)


def test_windows_too_short_for_the_pooling_are_refused() -> None:
    with pytest.raises(ValueError, match="windows of 48 samples or more, not 47"):
        UTime(n_chans=1, n_times=47, n_outputs=3)
    with pytest.raises(ValueError, match="2 filters do not go with 3 pools"):
        UTime(n_chans=1, n_times=3000, n_outputs=3, filters=(4, 8), pools=(2, 2, 2))
