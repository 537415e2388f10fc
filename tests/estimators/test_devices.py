"""Devices: what is refused, which precision, and signals that stay where they are used."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sleepshift.errors import TaskError
from sleepshift.estimators import (
    Distiller,
    OnlineDistiller,
    RelativePositioning,
    SleepStager,
    classifier,
    devices,
    training,
)
from sleepshift.estimators.devices import (
    OnDevice,
    check_device,
    inference_batch,
    mixed_precision,
    on_device,
    resolve_device,
    single_precision,
)
from sleepshift.estimators.training import train
from sleepshift.models import build_model
from sleepshift.models.taps import Tapped
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows, identity_collate

Nights = Callable[..., Windows]
MUCH = 2**30


def test_a_named_device_is_taken_as_it_is() -> None:
    assert resolve_device("cpu") == "cpu"
    assert resolve_device("auto") in {"cpu", "cuda", "mps"}


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "cuda:4096"])
def test_devices_that_are_not_there_are_refused(device: str) -> None:
    with pytest.raises(TaskError, match="--device"):
        check_device(device)


# ---------------------------------------------------------------------- precision


def test_the_cpu_computes_as_it_always_did() -> None:
    assert inference_batch("cpu") == 64 < inference_batch("cuda:0")
    with mixed_precision("cpu"):
        assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == torch.float32
    output = torch.ones(3)
    assert single_precision(output) is output


@pytest.fixture
def half(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CPU computes in the precision that CUDA would; devices asked for, a pass each."""
    asked: list[str] = []

    def autocast(device: str) -> contextlib.AbstractContextManager:
        assert torch.is_grad_enabled()
        asked.append(device)
        return torch.autocast("cpu", torch.bfloat16)

    monkeypatch.setattr(classifier, "mixed_precision", autocast)
    return asked


@pytest.mark.parametrize("kind", ["stager", "sequences", "distiller", "online"])
def test_networks_learn_in_half_precision_and_answer_in_single(
    half: list[str], windows: Windows, tiny: dict[str, Any], sequential: dict[str, Any], kind: str
) -> None:
    stager = SleepStager(**tiny | {"max_epochs": 25, "lr": 1e-2, "model_params": None})
    fast = SleepStager(**sequential | {"max_epochs": 3})
    estimator = {
        "stager": stager,
        "sequences": fast,
        "distiller": Distiller(stager, SleepStager(**tiny, channels=["Pz"])),
        "online": OnlineDistiller(stager, SleepStager(**tiny)),
    }[kind].fit(windows)
    assert np.isfinite([row["train_loss"] for row in estimator.history_]).all()
    assert all(p.dtype == torch.float32 for p in estimator.module_.parameters())
    taken = estimator.read_out(windows, ("logits", "features"))
    assert {rows.dtype for rows in taken.values()} == {np.dtype(np.float32)}
    # More than bfloat16 can tell apart: what is answered was not rounded.
    features = torch.from_numpy(taken["features"])
    assert not torch.equal(features, features.bfloat16().float())
    assert half
    if kind == "stager":
        assert estimator.score(windows, windows.y) > 0.9


@pytest.mark.usefixtures("half")
def test_losses_are_computed_in_single_precision(windows: Windows) -> None:
    seen: list[torch.dtype] = []

    class Loss(nn.CrossEntropyLoss):
        def forward(self, outputs: Any, target: torch.Tensor) -> torch.Tensor:
            seen.extend(rows.dtype for rows in outputs.values())
            return super().forward(outputs["logits"], target)

    network = build_model("chambon2018", n_chans=2, n_times=300, sfreq=10.0, n_outputs=3)
    budget = {"max_epochs": 1, "batch_size": 16, "lr": 1e-3, "device": "cpu"}
    train(Tapped(network, ["features"]), windows[:32], windows[32:], criterion=Loss(), **budget)
    assert len(seen) == 2 * 3  # two kinds of output, two batches and one to validate
    assert set(seen) == {torch.float32}


# ---------------------------------------------------------------------- signals on the device


def same_batches(one: Any, other: Any) -> None:
    rows = np.random.default_rng(0).permutation(len(one))
    assert len(one) == len(other)
    for got, expected in zip(one.__getitems__(rows), other.__getitems__(rows), strict=True):
        if isinstance(expected, dict):
            assert all(torch.equal(got[name], expected[name]) for name in expected)
        else:
            assert torch.equal(got, expected)
            assert got.dtype == expected.dtype


def test_batches_are_those_of_the_windows(windows: Windows) -> None:
    rows = np.random.default_rng(1).integers(0, 48, 300)
    for view in (windows, windows[rows].pick(["Pz"]), windows[::-1].without_labels()):
        held = on_device(view, "cpu", MUCH)
        assert isinstance(held, OnDevice)
        same_batches(held, view)
        for got, expected in zip(held[3], view[3], strict=True):
            assert torch.equal(got, expected)


def test_sequences_are_made_of_windows_that_are_held(windows: Windows) -> None:
    sequences = Sequences(windows, 5)
    held = on_device(sequences, "cpu", MUCH)
    assert isinstance(held.windows, OnDevice)
    assert sequences.windows is windows
    same_batches(held, sequences)
    batch = next(iter(DataLoader(held, 4, collate_fn=identity_collate)))
    assert batch[0].shape == (4, 5, 2, 300)


def test_what_does_not_fit_is_read_as_before(windows: Windows) -> None:
    needed = np.asarray(windows).nbytes
    assert on_device(windows, "cpu", needed - 1) is windows
    assert isinstance(on_device(windows, "cpu", needed), OnDevice)
    assert on_device(Sequences(windows, 5), "cpu", needed - 1).windows is windows
    plain = TensorDataset(torch.zeros(3))
    assert on_device(plain, "cpu", MUCH) is plain
    assert on_device(None, "cpu", MUCH) is None
    assert on_device(windows, "cpu") is windows  # memory is where the windows are already


def test_a_share_of_what_is_free_may_be_taken(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 20_000))
    asked: list[Any] = []
    monkeypatch.setattr(devices, "OnDevice", lambda data, device: asked.append((data, device)))
    assert on_device(windows, "cuda:0") is windows  # of 115,200 bytes
    few = windows[:2]
    on_device(few, "cuda:0")  # of 4,800
    assert asked == [(few, "cuda:0")]


@pytest.mark.parametrize("kind", ["stager", "sequences", "pretext", "distiller"])
def test_training_is_the_same_wherever_signals_are(
    make_nights: Nights,
    tiny: dict[str, Any],
    sequential: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    windows = make_nights(3, 40)
    student = SleepStager(**tiny, channels=["Pz"])
    pretext = {"embedding_size": 4, "tau_neg": 300, "n_pairs": 64}
    make = {
        "stager": lambda: SleepStager(**tiny),
        "sequences": lambda: SleepStager(**sequential),
        "pretext": lambda: RelativePositioning(**tiny, **pretext),
        "distiller": lambda: Distiller(SleepStager(**tiny), student),
    }[kind]
    expected = make().fit(windows).transform(windows)
    held: list[int] = []

    def always(data: Any, device: str) -> Any:
        return on_device(data, device, MUCH)

    class Counted(OnDevice):
        def __init__(self, windows: Windows, device: str) -> None:
            held.append(len(windows))
            super().__init__(windows, device)

    monkeypatch.setattr(training, "on_device", always)
    monkeypatch.setattr(devices, "OnDevice", Counted)
    np.testing.assert_array_equal(make().fit(windows).transform(windows), expected)
    assert held[:2] == [80, 40]  # people to train on, people who validate
