"""Weights to start from: saved, read, refused, and what they were trained on."""

from __future__ import annotations

import re
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from sleepshift.errors import TaskError
from sleepshift.models import build_model
from sleepshift.models.pretrained import (
    Pretrained,
    fetch_weights,
    keep_weights,
    kept_name,
    load_weights,
    read_pretrained,
    save_weights,
    weights_hash,
)


def network(name="chambon2018", *, seed=0, n_outputs=5, n_chans=2):
    torch.manual_seed(seed)
    return build_model(name, n_chans=n_chans, n_times=3000, sfreq=100.0, n_outputs=n_outputs)


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.fixture
def path(tmp_path):
    save_weights(network(seed=1), tmp_path / "mine.safetensors", trained_on=["shhs", "mass"])
    return tmp_path / "mine.safetensors"


def test_weights_come_back_bit_for_bit(path):
    other = network(seed=2)
    load_weights(other, path)
    expected = state(network(seed=1))
    assert all(torch.equal(value, expected[name]) for name, value in state(other).items())


def test_a_last_layer_of_other_stages_stays_fresh(path):
    other = network(seed=2, n_outputs=3)
    before, source = state(other), state(network(seed=1))
    load_weights(other, path)
    for name, value in state(other).items():
        expected = before if name.startswith("final_layer.") else source
        assert torch.equal(value, expected[name])


def test_an_encoder_without_last_layer_is_enough(tmp_path):
    held = {k: v for k, v in state(network(seed=1)).items() if not k.startswith("final_layer")}
    save_file(held, tmp_path / "encoder.safetensors")
    other = network(seed=2)
    load_weights(other, tmp_path / "encoder.safetensors")
    assert torch.equal(state(other)["spatial_conv.weight"], held["spatial_conv.weight"])


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (lambda: network("attnsleep", n_chans=1), r"feature_extractor.* is missing"),
        (lambda: network(n_chans=3), r"spatial_conv\.weight has shape \(2, 1, 2, 1\)"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(path, module, words):
    other = module()
    before = state(other)
    with pytest.raises(TaskError, match=words) as caught:
        load_weights(other, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in state(other).items())


def test_a_tensor_too_many_is_refused(tmp_path):
    held = state(network()) | {"more.weight": torch.zeros(2)}
    save_file(held, tmp_path / "more.safetensors")
    with pytest.raises(TaskError, match=r"it has no more\.weight"):
        load_weights(network(), tmp_path / "more.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"x" * 200, None])
def test_what_is_no_such_file_is_one_line(tmp_path, content):
    path = tmp_path / "a.safetensors"
    if content is not None:
        path.write_bytes(content)
    for read in (read_pretrained, lambda p: load_weights(network(), p)):
        with pytest.raises(TaskError, match=r"no safetensors file|no such file") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(path):
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TaskError, match="no safetensors file"):
        load_weights(network(), path)


def test_a_file_says_what_it_was_trained_on(path, tmp_path):
    known = read_pretrained(path)
    assert known == Pretrained("mine.safetensors", ("shhs", "mass"))
    save_file(state(network()), tmp_path / "plain.safetensors")
    assert read_pretrained(tmp_path / "plain.safetensors") == Pretrained("plain.safetensors", None)


@pytest.mark.parametrize("words", ["shhs", "[1]", "{", "null"])
def test_what_makes_no_sense_is_not_known(tmp_path, words):
    path = tmp_path / "odd.safetensors"
    save_file(state(network()), path, metadata={"trained_on": words})
    assert read_pretrained(path).trained_on is None


@pytest.mark.parametrize("words", ["[" * 100_000, '{"shhs": 1}', '"shhs"'])
def test_what_is_no_list_of_names_is_not_known(tmp_path, words):
    path = tmp_path / "odd.safetensors"
    save_file(state(network()), path, metadata={"trained_on": words})
    assert read_pretrained(path).trained_on is None


def test_names_are_fit_for_a_table(tmp_path):
    path = tmp_path / "odd.safetensors"
    odd = {"trained_on": '["\\ud800shhs"]', "name": "mi\nne" + 200 * "x"}
    save_file(state(network()), path, metadata=odd)
    known = read_pretrained(path)
    assert known.trained_on == ("shhs",)
    assert len(known.name) == 80
    assert known.name.isprintable()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j])
def test_values_that_are_no_finite_numbers_are_refused(tmp_path, value):
    held = state(network())
    held["spatial_conv.bias"] = torch.full((2,), value)
    save_file(held, tmp_path / "odd.safetensors")
    with pytest.raises(TaskError, match=r"spatial_conv\.bias holds values that are no finite"):
        load_weights(network(), tmp_path / "odd.safetensors")


# ---------------------------------------------------------------------- the hub


@pytest.fixture
def hub(monkeypatch, path):
    """A hub that has one repository, and says what it was asked for."""
    asked = []

    def download(name, file):
        asked.append((name, file))
        if name != "owner/net":
            raise OSError("404\nnot found")
        return str(path)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    return asked


def test_what_is_not_what_the_hub_gave_is_not_taken_for_it(hub, path, tmp_path):
    folder = tmp_path / "weights"
    save_weights(network(seed=7), tmp_path / "owner@net.safetensors", trained_on=None)
    keep_weights(tmp_path / "owner@net.safetensors", folder)  # a local file of that name
    (folder / "hub@owner@net@12345678.safetensors").write_bytes(b"junk")
    assert fetch_weights("hub:owner/net", folder).read_bytes() == path.read_bytes()


def test_weights_of_the_hub_become_a_file_that_is_fetched_once(hub, path, tmp_path):
    for _ in range(2):
        fetched = fetch_weights("hub:owner/net", tmp_path / "weights")
    assert hub == [
        ("owner/net", "model.safetensors")
    ]  # and no configuration, which could name code
    assert fetched.read_bytes() == path.read_bytes()
    assert fetched.parent == tmp_path / "weights"


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("hub:owner/other", "cannot be had .*or name a safetensors file"),
        ("hub:other", "write it as hub:owner/name"),
        ("hub:../../etc", "write it as hub:owner/name"),
    ],
)
def test_a_hub_that_does_not_have_it_is_one_line(hub, tmp_path, place, words):
    with pytest.raises(TaskError, match=words) as caught:
        fetch_weights(place, tmp_path / "weights")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "weights").exists()


def test_without_what_reaches_the_hub_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(TaskError, match="pip install huggingface_hub, or name a safetensors file"):
        fetch_weights("hub:owner/net", tmp_path)


def test_more_datasets_than_anybody_reads_are_none(path):
    save_weights(network(), path, trained_on=[f"d{k}" for k in range(100)] + ["simulated"])
    assert read_pretrained(path).trained_on is None
    save_weights(network(), path, trained_on=[f"d{k}" for k in range(100)])
    assert len(read_pretrained(path).trained_on) == 100
    save_weights(network(), path, trained_on=["shhs", 80 * "x" + "sleep-edf"])
    assert read_pretrained(path).trained_on is None


def test_what_a_file_says_of_itself_can_stand_in_any_table(path):
    nasty = "[red]evil[/red] | <img src=x onerror=alert(1)> ![p](http://x)\n`*_"
    save_weights(network(), path, trained_on=[nasty, "睡眠"], name=nasty)
    said = str(read_pretrained(path))
    assert not set(said) & set("[]<>|!`*\n\\\"'")
    assert len(read_pretrained(path).name) <= 80
    assert read_pretrained(path).trained_on[1] == "?"


def test_a_kept_copy_that_somebody_changed_is_made_anew(path, tmp_path):
    kept = keep_weights(path, tmp_path / "kept")
    save_weights(network(seed=3), kept, trained_on=["shhs"])
    assert keep_weights(path, tmp_path / "kept").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "a|b\nc.safetensors", "l" * 240 + ".safetensors", "my  net", "réseau é v2", "a,b(1)+ c",
        "..", ".damaged-x.safetensors", "_.safetensors", "." * 90 + "x", "x" * 79 + "._y",
    ],
)  # fmt: skip
def test_any_name_of_a_file_makes_a_plain_one(path, tmp_path, name):
    kept = keep_weights(path, tmp_path / "kept", name)
    assert kept.parent == tmp_path / "kept"
    assert re.fullmatch(r"[A-Za-z0-9][\w.@-]{1,110}", kept.name)
    assert kept_name(kept) == kept.name
    assert keep_weights(kept, tmp_path / "kept") == kept
    load_weights(network(seed=5), kept)


def test_a_kept_copy_is_named_by_what_is_in_it(path, tmp_path):
    folder = tmp_path / "kept"
    kept = keep_weights(path, folder)
    assert kept.read_bytes() == path.read_bytes()
    assert kept.name == f"mine@{weights_hash(path)[:8]}.safetensors"
    assert keep_weights(kept, folder) == kept  # a copy of a copy is itself
    save_weights(network(seed=3), path, trained_on=["shhs"])
    assert keep_weights(path, folder) != kept
    assert len(list(folder.iterdir())) == 2
