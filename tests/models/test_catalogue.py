"""The networks that can be named, and what they refuse."""

from __future__ import annotations

import copy
from pathlib import Path

import braindecode.models
import pytest
import torch
from safetensors.torch import load_file, save_file

from sleepshift.models import MODELS, build_model, model_spec
from sleepshift.models.parts import HeadOnFeatures, forget_passes
from sleepshift.models.utime import PUBLISHED_ATTENTION

# (name, channels, Hz) -> parameters, counted on Braindecode's networks by themselves.
COUNTS = {
    ("chambon2018", 2, 100): 4_987,
    ("chambon2018", 1, 100): 4_301,
    ("blanco2020", 2, 100): 2_845,
    ("attnsleep", 1, 100): 522_805,
    ("usleep", 2, 100): 2_482_011,
    ("deepsleepnet", 1, 100): 24_744_837,
    ("utime", 1, 200): 4_813_267,
    ("cross-modal-transformer", 3, 200): 2_958_853,
    ("two-scale", 2, 100): 1_032_586,
    ("sequence-teacher", 1, 100): 479_685,
    ("sequence-assistant", 1, 100): 258_789,
    ("sequence-student", 1, 100): 119_373,
}
OURS = (
    "utime",
    "cross-modal-transformer",
    "two-scale",
    "sequence-teacher",
    "sequence-assistant",
    "sequence-student",
)
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
    *[(name, n_chans, sfreq) for name in OURS for n_chans, sfreq in ((1, 100), (2, 128), (3, 200))],
]
N_WINDOWS = 3  # of a sequence


def build(name: str, n_chans: int, sfreq: float, n_outputs: int = 5) -> torch.nn.Module:
    return build_model(
        name,
        n_chans=n_chans,
        n_times=int(30 * sfreq),
        sfreq=float(sfreq),
        n_outputs=n_outputs,
        sequence=name in MODELS and MODELS[name].sequence,
    )


def batch(name: str, n_items: int, n_chans: int, sfreq: float) -> torch.Tensor:
    windows = (N_WINDOWS,) if MODELS[name].sequence else ()
    return torch.randn(n_items, *windows, n_chans, int(30 * sfreq))


def logits(net: torch.nn.Module, name: str, n_chans: int, sfreq: float) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(batch(name, 2, n_chans, sfreq))


def logits_shape(name: str, n_items: int, n_outputs: int) -> tuple[int, ...]:
    return (n_items, n_outputs, N_WINDOWS) if MODELS[name].sequence else (n_items, n_outputs)


@pytest.mark.parametrize(("key", "count"), COUNTS.items())
def test_parameter_counts_are_those_of_the_published_networks(
    key: tuple[str, int, int], count: int
) -> None:
    net = build(*key)
    assert sum(p.numel() for p in net.parameters()) == count
    assert logits(net, *key).shape == logits_shape(key[0], 2, 5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "n_chans", "sfreq"), CHANNELS_AND_RATES)
def test_networks_take_the_channels_and_rates_they_claim(
    name: str, n_chans: int, sfreq: float
) -> None:
    out = logits(build(name, n_chans, sfreq, n_outputs=4), name, n_chans, sfreq)
    assert out.shape == logits_shape(name, 2, 4)
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
    assert logits(net, "blanco2020", 2, 100).shape == (2, 5)


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


@pytest.mark.parametrize(
    ("name", "sequence", "message"),
    [
        ("sequence-student", False, "stages sequences; set sequence_length"),
        ("utime", True, "stages single windows; leave out sequence_length"),
    ],
)
def test_sequences_and_single_windows_are_not_mixed_up(
    name: str, sequence: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(name, n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5, sequence=sequence)


# ---------------------------------------------------------------------- networks of our own


@pytest.mark.parametrize("name", OURS)
def test_weights_of_our_networks_come_from_torchs_random_state(name: str) -> None:
    nets = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        nets.append(torch.cat([p.flatten() for p in build(name, 2, 100).parameters()]))
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


@pytest.mark.parametrize("name", OURS)
def test_evaluation_depends_on_nothing_but_the_item(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 2, 100).double()
    x = batch(name, 4, 2, 100).double()
    net.train()(x)  # moves the statistics that evaluation uses
    net.eval()
    with torch.no_grad():
        whole, others = net(x), net(torch.cat([x[:1], 50 * x[1:]]))
        torch.testing.assert_close(net(x[:1]), whole[:1])
        torch.testing.assert_close(others[:1], whole[:1])
        assert torch.equal(net(x), whole)
    assert (whole[0] - whole[1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", OURS)
def test_logits_depend_on_every_channel(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 3, 100).double().eval()
    x = batch(name, 1, 3, 100).double()
    with torch.no_grad():
        before = net(x)
        for channel in range(3):
            changed = x.clone()
            changed[..., channel, :] = torch.randn(3000)
            assert (net(changed) - before).abs().max() > 1e-7, channel


@pytest.mark.parametrize("name", OURS)
def test_gradients_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 2, 100)
    net(batch(name, 2, 2, 100)).square().sum().backward()
    for path, weight in net.named_parameters():
        assert weight.grad is not None, path
        assert weight.grad.any(), path


@pytest.mark.parametrize("name", OURS)
def test_a_batch_of_one_trains(name: str) -> None:
    net = build(name, 1, 100).train()
    out = net(batch(name, 1, 1, 100)[:, :1] if MODELS[name].sequence else batch(name, 1, 1, 100))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", OURS)
def test_passes_leave_nothing_behind(name: str) -> None:
    net = build(name, 1, 100).eval()
    x = batch(name, 1, 1, 100)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    plain = [dict(vars(part)) for part in net.modules()]
    with forget_passes(net):
        net(x)
    assert [dict(vars(part)) for part in net.modules()] == plain
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    net(x)
    kept = [t for m in net.modules() for t in vars(m).values() if isinstance(t, torch.Tensor)]
    assert not kept


@pytest.mark.parametrize("name", OURS)
def test_copies_and_stored_weights_give_the_same_logits(name: str, tmp_path: Path) -> None:
    net = build(name, 2, 100)
    x = batch(name, 2, 2, 100)
    net.train()(x)
    net.eval()
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    again = build(name, 2, 100)
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    with torch.no_grad():
        expected = net(x)
        assert torch.equal(copy.deepcopy(net)(x), expected)
        assert torch.equal(again.eval()(x), expected)


@pytest.mark.parametrize("name", [name for name in OURS if not MODELS[name].sequence])
def test_a_head_on_tapped_features_gives_our_networks_own_logits(name: str) -> None:
    net = build(name, 2, 100).eval()
    taken: list[torch.Tensor] = []
    net.final_layer.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    with torch.no_grad():
        expected = net(batch(name, 3, 2, 100))
        assert torch.equal(HeadOnFeatures(net.final_layer)(taken[0]), expected)


@pytest.mark.parametrize("name", OURS)
def test_training_finds_which_rhythm_a_window_has(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 1, 100, n_outputs=2)
    n_items = 4 if MODELS[name].sequence else 8
    x = 0.1 * batch(name, n_items, 1, 100)
    y = torch.arange(x[..., 0, 0].numel()).reshape(x.shape[:-2]) % 2
    hertz = torch.tensor([2.0, 12.0])[y][..., None, None]
    x += torch.sin(2 * torch.pi * hertz * torch.arange(3000) / 100)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    losses = []
    for _ in range(40 if MODELS[name].sequence else 12):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


# ---------------------------------------------------------------------- maps over time

MAPS = [
    (name, n_chans, sfreq)
    for name, spec in MODELS.items()
    if spec.attention and name != "deepsleepnet"
    for n_chans, sfreq in ((1, 64), (1, 100), (2, 128))
    if n_chans <= (spec.max_channels or n_chans)
]


def maps_of(net: torch.nn.Module, name: str, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs of the submodules that attention transfer compares, each made once a pass."""
    taken: dict[str, torch.Tensor] = {}

    def keep(path: str, output: torch.Tensor) -> None:
        assert path not in taken
        taken[path] = output

    handles = [
        net.get_submodule(path).register_forward_hook(lambda _, __, out, path=path: keep(path, out))
        for group in MODELS[name].attention
        for path in group
    ]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    return taken


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "n_chans", "sfreq"), [*MAPS, ("deepsleepnet", 1, 100)])
def test_maps_of_attention_transfer_have_time_on_their_last_axis(
    name: str, n_chans: int, sfreq: int
) -> None:
    torch.manual_seed(0)
    net = build(name, n_chans, sfreq).eval()
    quiet = batch(name, 1, n_chans, sfreq)
    places = {}
    for when in (0.05, 0.95):
        burst = quiet.clone()
        start = int(when * 30 * sfreq)
        burst[..., start - sfreq // 2 : start + sfreq // 2] *= 100
        before, after = maps_of(net, name, quiet), maps_of(net, name, burst)
        for path, value in after.items():
            assert value.ndim >= 3
            assert value.shape[-1] > 1
            change = (value - before[path]).square().flatten(0, -2).sum(0)
            place = (change * torch.arange(len(change))).sum() / change.sum()
            places[path, when] = place.item() / (len(change) - 1)
    for path in after:
        assert places[path, 0.05] + 0.05 < places[path, 0.95], path


@pytest.mark.parametrize("name", [n for n, spec in MODELS.items() if spec.attention])
def test_each_map_is_compared_once(name: str) -> None:
    paths = [path for group in MODELS[name].attention for path in group]
    assert len(set(paths)) == len(paths)


def test_the_published_groups_of_utime_weigh_one_map_twice() -> None:
    published = [path for group in PUBLISHED_ATTENTION for path in group]
    ours = [path for group in MODELS["utime"].attention for path in group]
    assert len(PUBLISHED_ATTENTION) == 5
    assert sorted(published) == sorted([*ours, "decoder.4"])


@pytest.mark.parametrize("name", MODELS)
def test_networks_with_batch_normalisation_say_so(name: str) -> None:
    spec = MODELS[name]
    shape: dict = {"n_chans": 1, "n_times": 3000, "sfreq": 100.0}
    if spec.kind == "features":
        shape = {"n_chans": 2, "n_times": 10, "sfreq": None}
    module = build_model(name, n_outputs=5, sequence=spec.sequence, **shape)
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert bool(norms) == spec.batch_norm


def test_any_class_of_braindecode_can_be_named() -> None:
    spec = model_spec("EEGNet")
    assert (spec.kind, spec.max_channels, spec.sequence) == ("signal", None, False)
    net = build_model("EEGNet", n_chans=2, n_times=3000, sfreq=100.0, n_outputs=5, F1=3)
    assert isinstance(net, braindecode.models.EEGNet)
    assert net.F1 == 3
    assert net.eval()(torch.zeros(4, 2, 3000)).shape == (4, 5)
    with pytest.raises(ValueError, match="takes signal windows, not features"):
        build_model("EEGNet", n_chans=1, n_times=10, sfreq=None, n_outputs=5)


@pytest.mark.parametrize(
    "name", ["Nothing", "Path", "__class__", "EEGNet.__init__", "", "EEG", "EEGModuleMixin"]
)
def test_nothing_else_of_braindecode_can_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        model_spec(name)


def test_why_braindecode_does_not_make_a_network_is_one_line() -> None:
    words = "model 'EEGNet' is not made for such windows .*; set what it needs by model_params"
    with pytest.raises(ValueError, match=words) as caught:
        build_model("EEGNet", n_chans=2, n_times=3000, sfreq=100.0, n_outputs=5, nonsense=1)
    assert "\n" not in str(caught.value)
