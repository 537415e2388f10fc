"""What is kept of networks: by what decides it, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sleepshift.estimators import cache, readout
from sleepshift.estimators.cache import computed_once, network_digest
from sleepshift.estimators.readout import read_out
from sleepshift.models import build_model
from sleepshift.models.parts import WithHead
from sleepshift.windows.windows import Windows


def network(seed: int = 0, *, dilation: int = 1) -> WithHead:
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv1d(2, 3, 3, dilation=dilation), nn.BatchNorm1d(3), nn.Flatten())
    return WithHead(body, 3 * (300 - 2 * dilation), 4)


class Computing:
    """Gives arrays by kind, and remembers what it was asked for."""

    def __init__(self, **arrays: np.ndarray) -> None:
        self.arrays = arrays
        self.asked: list[list[str]] = []

    def __call__(self, kinds: Any) -> dict[str, np.ndarray]:
        self.asked.append(list(kinds))
        return self.arrays


# ---------------------------------------------------------------------- keys


def test_each_kind_is_kept_by_its_own_key(tmp_path: Path) -> None:
    one = Computing(a=np.arange(3.0), **{"b.0": np.ones(2), "b.1": np.zeros(2)})
    found = computed_once(tmp_path, {"a": 1, "b": [1, "x"]}, one)
    assert {name: rows.tolist() for name, rows in found.items()} == {
        name: rows.tolist() for name, rows in one.arrays.items()
    }
    two = Computing(b=np.full(4, 7.0))
    found = computed_once(tmp_path, {"a": 1, "b": [1, "y"]}, two)
    assert two.asked == [["b"]]  # only what is missing
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"].tolist() == [7] * 4
    same_key = Computing(b=np.full(1, 8.0))
    assert computed_once(tmp_path, {"b": 1}, same_key)["b"].tolist() == [8]  # another kind


def test_other_versions_compute_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Computing(a=np.zeros(1)), Computing(a=np.ones(1))
    computed_once(tmp_path, {"a": 1}, first)
    monkeypatch.setattr(cache, "_made_by", lambda: {"torch": "of tomorrow"})
    assert computed_once(tmp_path, {"a": 1}, second)["a"].tolist() == [1]


def test_nothing_is_loaded_that_could_run_code(tmp_path: Path) -> None:
    harmful = Computing(a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Object arrays"):
        computed_once(tmp_path, {"a": 1}, harmful)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(kinds: Any) -> dict[str, np.ndarray]:
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        computed_once(tmp_path, {"a": 1}, fail)
    whole = Computing(a=np.ones(1))
    computed_once(tmp_path, {"a": 1}, whole)
    assert whole.asked == [["a"]]


# ---------------------------------------------------------------------- networks


def test_a_network_is_known_by_weights_statistics_and_structure() -> None:
    moved = network()
    moved.encoder[1].running_mean += 1
    different = [network(), network(1), network(dilation=2), moved]
    assert len({network_digest(net) for net in different}) == len(different)
    assert network_digest(network()) == network_digest(
        network().to(memory_format=torch.channels_last).requires_grad_(False).eval()
    )


def test_what_no_weight_and_no_line_of_a_network_tells_makes_it_another() -> None:
    """Heads of attention share their weights, and are not written out."""
    networks = []
    for n_attn_heads in (5, 2):
        torch.manual_seed(0)
        shape = {"n_chans": 1, "n_times": 3000, "sfreq": 100.0, "n_outputs": 5}
        networks.append(build_model("attnsleep", **shape, n_attn_heads=n_attn_heads).eval())
    x = torch.randn(2, 1, 3000)
    assert not torch.equal(*(net(x) for net in networks))
    assert len({network_digest(net) for net in networks}) == 2


def test_what_enters_the_last_layer_does_not_depend_on_it(
    windows: Windows, tmp_path: Path, read_outs: list
) -> None:
    net = network()
    kinds = ("features", "logits")
    first = read_out(net, windows, kinds, device="cpu", cache=tmp_path)
    nn.init.normal_(net.final_layer.weight)
    plain = read_out(net, windows, kinds, device="cpu")
    read_outs.clear()
    second = read_out(net, windows, kinds, device="cpu", cache=tmp_path)
    assert [kinds for _, kinds in read_outs] == [("logits",)]
    np.testing.assert_array_equal(second["features"], first["features"])
    for kind in kinds:
        np.testing.assert_array_equal(second[kind], plain[kind])


def test_without_a_cache_nothing_is_hashed(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readout, "network_digest", None)
    monkeypatch.setattr(Windows, "fingerprint", property(lambda self: pytest.fail("hashed")))
    assert len(read_out(network(), windows, device="cpu")["logits"]) == len(windows)
