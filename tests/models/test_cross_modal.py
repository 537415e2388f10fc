"""The transformer within and across channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepshift.models.cross_modal import CrossModalTransformer


def n_weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(n_chans: int, n_times: int = 500, **params: float) -> CrossModalTransformer:
    torch.manual_seed(0)
    return CrossModalTransformer(
        n_chans, n_times, 5, width=16, n_heads=2, n_hidden=32, **params
    ).eval()


def test_weights_are_as_many_as_published() -> None:
    net = CrossModalTransformer(n_chans=3, n_times=6000, n_outputs=5)
    assert n_weights(net) == 2_958_853
    assert [n_weights(channel) for channel in net.channels] == [370_944] * 3
    assert net.cls.numel() + n_weights(net.across) == 263_936
    assert [n_weights(layer) for layer in net.feed_forward] == [526_080] * 3
    assert n_weights(net.final_layer) == 3_845


@pytest.mark.parametrize(("n_times", "n_tokens"), [(6000, 120), (3000, 60), (3840, 76), (50, 1)])
def test_tokens_are_whole_stretches_of_50_samples(n_times: int, n_tokens: int) -> None:
    net = small(1, n_times)
    patches = net.channels[0].patches
    x = torch.randn(2, 1, n_times)
    for scale in (patches.whole, patches.fifths, patches.halves):
        assert scale(x).shape[-1] == n_tokens
    assert patches(x).shape == (2, 16, n_tokens)
    assert net(x).shape == (2, 5)


@pytest.mark.parametrize("n_times", [51, 74, 99, 149, 3049])
def test_samples_after_the_last_whole_token_change_nothing(n_times: int) -> None:
    net = small(1, n_times)
    x = torch.randn(1, 1, n_times)
    whole = n_times // 50 * 50
    padded, last = x.clone(), x.clone()
    padded[..., whole:] = 9
    last[..., whole - 1] += 9
    with torch.no_grad():
        torch.testing.assert_close(net(padded), net(x))
        assert (net(last) - net(x)).abs().max() > 1e-5


@pytest.mark.parametrize("n_chans", [1, 2, 3, 5])
def test_every_summary_depends_on_every_channel(n_chans: int) -> None:
    net = small(n_chans)
    taken: list[torch.Tensor] = []
    net.final_layer.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    x = torch.randn(1, n_chans, 500)
    with torch.no_grad():
        net(x)
        for channel in range(n_chans):
            changed = x.clone()
            changed[:, channel] = torch.randn(500)
            net(changed)
            change = (taken[-1] - taken[0]).abs().reshape(n_chans, 16).amax(1)
            assert (change > 1e-5).all()
    assert taken[0].shape == (1, 16 * n_chans)


def test_swapping_two_channels_changes_the_logits() -> None:
    net = small(3)
    x = torch.randn(2, 3, 500)
    with torch.no_grad():
        assert not torch.allclose(net(x[:, [0, 2, 1]]), net(x), atol=1e-4)


def test_the_order_of_tokens_matters() -> None:
    net = small(1)
    x = torch.randn(2, 1, 500)
    swapped = torch.cat([x[..., 250:], x[..., :250]], dim=-1)
    with torch.no_grad():
        assert not torch.allclose(net(swapped), net(x), atol=1e-5)


def test_positions_are_sines_and_cosines_that_are_not_stored() -> None:
    net = small(1)
    positions = net.channels[0].positions
    assert positions.shape == (11, 16)
    assert torch.equal(positions[0], torch.tensor([0.0, 1.0] * 8))
    torch.testing.assert_close(positions[3, 2], torch.tensor(3 * 10_000 ** (-2 / 16)).sin())
    torch.testing.assert_close(positions[3, 3], torch.tensor(3 * 10_000 ** (-2 / 16)).cos())
    assert not any("positions" in name for name in net.state_dict())


def test_dropout_acts_in_training_only() -> None:
    net = small(2)
    x = torch.randn(4, 2, 500)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
        net.train()
        assert not torch.equal(net(x), net(x))


@pytest.mark.parametrize("shape", [(2, 2, 500), (2, 4, 500), (2, 3, 550), (2, 500), (3, 500)])
def test_batches_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"windows are \(3, 500\), not"):
        small(3)(torch.randn(shape))


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ValueError, match="windows of 50 samples or more, not 49"):
        CrossModalTransformer(n_chans=1, n_times=49, n_outputs=5)
    with pytest.raises(ValueError, match="a multiple of 8 and of n_heads=3, not 16"):
        CrossModalTransformer(n_chans=1, n_times=500, n_outputs=5, width=16, n_heads=3)
