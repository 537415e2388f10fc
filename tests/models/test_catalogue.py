"""The networks that can be named, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from sleepshift.models import MODELS, build_model, model_spec

# (name, channels, Hz) -> parameters, counted on Braindecode's networks by themselves.
COUNTS = {
    ("chambon2018", 2, 100): 4_987,
    ("chambon2018", 1, 100): 4_301,
    ("blanco2020", 2, 100): 2_845,
    ("attnsleep", 1, 100): 522_805,
    ("usleep", 2, 100): 2_482_011,
    ("deepsleepnet", 1, 100): 24_744_837,
}
CHANNELS_AND_RATES = [
    ("chambon2018", 2, 128),
    ("chambon2018", 1, 64),
    ("blanco2020", 1, 100),
    ("blanco2020", 3, 128),
    ("attnsleep", 1, 64),
    ("attnsleep", 1, 125),
    ("attnsleep", 1, 128),
    ("usleep", 1, 128),
    ("usleep", 1, 200),
    ("usleep", 1, 256),
]


def build(name: str, n_chans: int, sfreq: float, n_outputs: int = 5) -> torch.nn.Module:
    n_times = int(30 * sfreq)
    return build_model(
        name, n_chans=n_chans, n_times=n_times, sfreq=float(sfreq), n_outputs=n_outputs
    )


def logits(net: torch.nn.Module, n_chans: int, sfreq: float) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(torch.randn(2, n_chans, int(30 * sfreq)))


@pytest.mark.parametrize(("key", "count"), COUNTS.items())
def test_parameter_counts_are_those_of_the_published_networks(
    key: tuple[str, int, int], count: int
) -> None:
    net = build(*key)
    assert sum(p.numel() for p in net.parameters()) == count
    assert logits(net, *key[1:]).shape == (2, 5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "n_chans", "sfreq"), CHANNELS_AND_RATES)
def test_networks_take_the_channels_and_rates_they_claim(
    name: str, n_chans: int, sfreq: float
) -> None:
    out = logits(build(name, n_chans, sfreq, n_outputs=4), n_chans, sfreq)
    assert out.shape == (2, 4)
    assert torch.isfinite(out).all()


def test_every_network_ends_in_a_final_layer() -> None:
    for name, spec in MODELS.items():
        if name == "deepsleepnet":  # counted above, and heavy
            continue
        if spec.kind == "features":
            net = build_model(name, n_chans=2, n_times=4, sfreq=None, n_outputs=3)
        else:
            net = build(name, 1, 100.0)
        assert "final_layer" in dict(net.named_children())


def test_weights_come_from_torchs_random_state() -> None:
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(torch.cat([p.flatten() for p in build("chambon2018", 1, 100).parameters()]))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


def test_model_params_win_over_what_the_catalogue_adapts() -> None:
    net = build_model("blanco2020", n_chans=2, n_times=3000, sfreq=100.0, n_outputs=5, n_groups=1)
    groups = {m.groups for m in net.modules() if isinstance(m, torch.nn.Conv2d)}
    assert 2 not in groups
    assert logits(net, 2, 100).shape == (2, 5)


def test_an_unknown_network_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"unknown model 'chambon'; use one of chambon2018"):
        model_spec("chambon")
    with pytest.raises(ValueError, match="unknown model"):
        build("nothing", 1, 100)


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.kind == "signal"])
def test_networks_of_signals_refuse_features(name: str) -> None:
    with pytest.raises(ValueError, match="takes signal windows, not features; use mlp"):
        build_model(name, n_chans=1, n_times=10, sfreq=None, n_outputs=5)


def test_networks_of_features_refuse_signals() -> None:
    with pytest.raises(ValueError, match="takes features windows, not signal; use chambon2018"):
        build("mlp", 1, 100)


def test_attnsleep_refuses_a_second_channel_when_built() -> None:
    with pytest.raises(ValueError, match="takes 1 channel, not 2; set channels"):
        build("attnsleep", 2, 100)


@pytest.mark.parametrize("sfreq", [50.0, 99.0, 512.0])
def test_attnsleep_refuses_rates_its_attention_does_not_fit(sfreq: float) -> None:
    with pytest.raises(ValueError, match=f"attnsleep works at 64, 100, .* not at {sfreq:g} Hz"):
        build("attnsleep", 1, sfreq)
