"""The original AttnSleep, held against its arithmetic written out from the description."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from braindecode.models import AttnSleep
from torch.nn import functional as F

from sleepshift.models.attnsleep import OriginalAttnSleep

SHAPE = {"n_outputs": 5, "n_chans": 1, "n_times": 3000, "sfreq": 100}


def conv(x, w, name, stride=1, padding=0):
    return F.conv1d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride, padding)


def batch_norm(x, w, name):
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])


def linear(x, w, name):
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def layer_norm(x, w, name):
    """By the unbiased deviation, eps outside of the root."""
    mean, deviation = x.mean(-1, keepdim=True), x.std(-1, unbiased=True, keepdim=True)
    return w[f"{name}.weight"] * (x - mean) / (deviation + 1e-6) + w[f"{name}.bias"]


def causal(x, w, name):
    return conv(F.pad(x, (6, 0)), w, name)


def branch(x, w, name, first, pool, kernel, last):
    x = conv(x, w, f"{name}.0", *first)
    x = F.max_pool1d(F.gelu(batch_norm(x, w, f"{name}.1")), *pool)
    for layer in (5, 8):
        x = conv(x, w, f"{name}.{layer}", 1, kernel)
        x = F.gelu(batch_norm(x, w, f"{name}.{layer + 1}"))
    return F.max_pool1d(x, *last)


def squeeze_and_excite(x, w, name):
    y = conv(x, w, f"{name}.conv1")
    y = F.relu(batch_norm(y, w, f"{name}.bn1"))
    y = batch_norm(conv(y, w, f"{name}.conv2"), w, f"{name}.bn2")
    mean = F.adaptive_avg_pool1d(y, 1)[..., 0]
    gate = linear(F.relu(linear(mean, w, f"{name}.se.fc.0")), w, f"{name}.se.fc.2")
    y = y * torch.sigmoid(gate)[..., None]
    shortcut = batch_norm(conv(x, w, f"{name}.downsample.0"), w, f"{name}.downsample.1")
    return F.relu(y + shortcut)


def attention(q, x, w, name):
    """Thirty channels are the tokens; five heads of sixteen time steps."""
    heads = [
        y.reshape(len(y), 30, 5, 16).transpose(1, 2)
        for y in (q, causal(x, w, f"{name}.convs.1"), causal(x, w, f"{name}.convs.2"))
    ]
    q, k, v = heads
    weights = F.softmax(q @ k.transpose(-2, -1) / math.sqrt(16), dim=-1)
    mixed = (weights @ v).transpose(1, 2).reshape(len(q), 30, 80)
    return linear(mixed, w, f"{name}.linear")


def by_hand(x, w):
    cnn, encoder = "feature_extractor.0", "feature_extractor.1"
    small = branch(x, w, f"{cnn}.features1", (6, 24), (8, 2, 4), 4, (4, 4, 2))
    wide = branch(x, w, f"{cnn}.features2", (50, 200), (4, 2, 2), 3, (2, 2, 1))
    x = squeeze_and_excite(torch.cat([small, wide], dim=2), w, f"{cnn}.AFR.0")
    assert x.shape[1:] == (30, 80)
    for k in range(2):
        layer = f"{encoder}.layers.{k}"
        q = causal(x, w, f"{layer}.conv")
        y = q + attention(q, x, w, f"{layer}.self_attn")
        z = layer_norm(y, w, f"{layer}.residual_ff.norm")
        hidden = F.relu(linear(z, w, f"{layer}.residual_ff.fn_ff.w_1"))
        x = y + linear(hidden, w, f"{layer}.residual_ff.fn_ff.w_2")
    return linear(layer_norm(x, w, f"{encoder}.norm").flatten(1), w, "final_layer")


@pytest.fixture
def x():
    return 20 * torch.randn(8, 1, 3000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def original():
    torch.manual_seed(0)
    network = OriginalAttnSleep(**SHAPE)
    with torch.no_grad():  # statistics that are not those of a network that has seen nothing
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
            if hasattr(module, "eps") and not isinstance(module, torch.nn.BatchNorm1d):
                module.weight.normal_(1, 0.3)
                module.bias.normal_()
    return network.eval()


def test_it_has_the_published_number_of_parameters():
    network = OriginalAttnSleep(**SHAPE)
    assert sum(p.numel() for p in network.parameters()) == 522_805


def test_it_computes_what_the_description_says_to_the_last_bit(original, x):
    with torch.no_grad():
        assert (original(x) - by_hand(x, original.state_dict())).abs().max() == 0


def test_weights_copy_both_ways_and_braindecodes_answer_differs(original, x):
    braindecode = AttnSleep(**SHAPE).eval()
    braindecode.load_state_dict(original.state_dict())
    back = OriginalAttnSleep(**SHAPE).eval()
    back.load_state_dict(braindecode.state_dict())
    with torch.no_grad():
        assert (back(x) - original(x)).abs().max() == 0
        assert (braindecode(x) - original(x)).abs().max() > 1e-3


def test_braindecodes_answer_is_the_same_once_both_differences_are_taken_away(original, x):
    """Each alone is not enough."""
    ours = original.feature_extractor[1]
    for norms, queries in ((True, True), (True, False), (False, True)):
        network = AttnSleep(**SHAPE).eval()
        network.load_state_dict(original.state_dict())
        theirs = network.feature_extractor[1]
        for layer, mine in zip(theirs.layers, ours.layers, strict=True):
            if queries:
                layer.residual_self_attn = copy.deepcopy(mine.residual_self_attn)
            if norms:
                layer.residual_ff.norm = copy.deepcopy(mine.residual_ff.norm)
        if norms:
            theirs.norm = copy.deepcopy(ours.norm)
        with torch.no_grad():
            difference = (network(x) - original(x)).abs().max()
        assert (difference == 0) == (norms and queries)


def test_eight_tensors_never_learn(x):
    network = OriginalAttnSleep(**SHAPE)
    network(x).sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None}
    layers = ["feature_extractor.1.layers.0", "feature_extractor.1.layers.1"]
    assert idle == {
        f"{layer}.{part}.{kind}"
        for layer in layers
        for part in ("residual_self_attn.norm", "self_attn.convs.0")
        for kind in ("weight", "bias")
    }


def test_weights_begin_as_the_authors_drew_them():
    torch.manual_seed(1)
    modules = dict(OriginalAttnSleep(**SHAPE).named_modules())
    plain = [m for m in modules.values() if type(m) is torch.nn.Conv1d]
    norms = [m for m in modules.values() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(plain) == 9
    assert all(abs(m.weight.std() - 0.02) < 0.004 for m in plain)
    assert all(abs(m.weight.mean() - 1) < 0.02 and not m.bias.any() for m in norms)
    causal_conv = modules["feature_extractor.1.layers.0.conv"]
    limit = 1 / math.sqrt(30 * 7)
    assert causal_conv.weight.abs().max() <= limit
    assert causal_conv.weight.std() > 0.03


def test_other_rates_work_as_braindecodes_do():
    network = OriginalAttnSleep(n_outputs=5, n_chans=1, n_times=3750, sfreq=125, d_model=100)
    assert network(torch.zeros(2, 1, 3750)).shape == (2, 5)
