"""Networks that start from weights of a file: stagers, fine-tuners, probes and teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sleepshift.errors import TaskError
from sleepshift.estimators import (
    Distiller,
    FineTuner,
    LinearProbe,
    RelativePositioning,
    SleepStager,
)
from sleepshift.estimators.objectives import SoftLabels
from sleepshift.estimators.stored import starts_of
from sleepshift.models.pretrained import save_weights
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.windows.windows import Windows

BATCH_NORM = {"n_conv_chs": 2, "apply_batch_norm": True}


@pytest.fixture
def base(make_nights: Any, tiny: dict[str, Any]) -> SleepStager:
    """A network trained on people who are nowhere else here."""
    return SleepStager(**tiny | {"model_params": BATCH_NORM}).fit(make_nights(seed=9, prefix="z"))


@pytest.fixture
def weights(base: SleepStager, tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    save_weights(base.module_, path, trained_on=["elsewhere"])
    return path


def same(one: torch.nn.Module, other: torch.nn.Module, part: str = "") -> bool:
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[k], second[k]) for k in first if k.startswith(part))


def stager(weights: Path | None, tiny: dict[str, Any], **more: Any) -> SleepStager:
    return SleepStager(**tiny | {"model_params": BATCH_NORM, "weights": weights} | more)


def test_without_a_pass_a_network_is_its_weights_statistics_included(base, weights, windows, tiny):
    started = stager(weights, tiny, max_epochs=0).fit(windows)
    assert same(started.module_, base.module_)
    fresh = stager(None, tiny, max_epochs=0).fit(windows)
    assert not same(fresh.module_, base.module_)


def test_training_starts_there_and_not_anew(base, weights, windows, tiny):
    slow = {"max_epochs": 1, "lr": 1e-9}
    started = stager(weights, tiny, **slow).fit(windows).module_.state_dict()
    before = base.module_.state_dict()
    assert all(torch.allclose(started[k], before[k], atol=1e-6) for k in started if "weight" in k)


def test_other_stages_get_a_fresh_last_layer(base, weights, make_nights, tiny):
    four = make_nights(n_stages=4)
    started = stager(weights, tiny, max_epochs=0).fit(four)
    assert started.predict_proba(four).shape[1] == 4
    kept = {k: v for k, v in base.module_.state_dict().items() if not k.startswith("final")}
    assert all(torch.equal(started.module_.state_dict()[k], kept[k]) for k in kept)


def test_fine_tuners_probes_and_teachers_build_on_them(base, weights, windows, target, tiny):
    start = stager(weights, tiny, max_epochs=0)
    tuner = FineTuner(start, trainable="head", max_epochs=1, device="cpu")
    tuner.fit(windows, windows.y, X_target_labeled=target, y_target_labeled=target.y)
    assert same(tuner.module_, base.module_, "feature_extractor")
    probe = LinearProbe(start).fit(windows, windows.y)
    np.testing.assert_array_equal(probe.encoder_.transform(windows), base.transform(windows))
    distiller = Distiller(start, stager(None, tiny), SoftLabels()).fit(windows, windows.y)
    assert same(distiller.teacher_.module_, base.module_)
    student = Distiller(start, stager(weights, tiny, max_epochs=0), SoftLabels())
    assert same(student.fit(windows, windows.y).module_, base.module_)


def test_encoders_start_from_them_but_for_the_embedding(weights, windows, tiny):
    encoder = RelativePositioning(
        model_params=BATCH_NORM, weights=weights, sfreq=10.0, embedding_size=4, n_pairs=16,
        tau_pos=60.0, tau_neg=120.0, max_epochs=1, lr=1e-9, batch_size=16, device="cpu",
    )  # fmt: skip
    other = stager(weights, tiny, max_epochs=0).fit(windows).module_.state_dict()
    found = encoder.fit(windows).encoder_.state_dict()
    assert torch.allclose(found["spatial_conv.weight"], other["spatial_conv.weight"], atol=1e-6)
    assert found["final_layer.1.weight"].shape[0] == 4


def test_what_is_stored_needs_the_file_no_more(base, weights, windows, tiny, tmp_path):
    store = ArtifactStore(tmp_path / "runs")
    started = stager(weights, tiny, max_epochs=0).fit(windows)
    store.save_artifact("k", started, {})
    weights.unlink()
    again = store.load_artifact("k", stager(weights, tiny, max_epochs=0))
    assert same(again.module_, base.module_)


def test_weights_of_another_network_are_refused_in_one_line(weights, windows, tiny):
    with pytest.raises(TaskError, match="of another network"):
        stager(weights, tiny, model_params={"n_conv_chs": 3}).fit(windows)


def test_windows_are_only_read_by_a_network_of_their_kind(weights: Path) -> None:
    features = Windows.from_arrays(np.zeros((8, 2, 5), np.float32), np.arange(8) % 2)
    with pytest.raises(TaskError, match="of another network"):
        SleepStager("mlp", weights=weights, max_epochs=0).fit(features)


def test_a_network_of_braindecode_is_a_start_for_what_is_fine_tuned_and_probed(
    make_nights, tmp_path
):
    tiny = {"model": "EEGNet", "max_epochs": 1, "device": "cpu", "batch_size": 16}
    base = SleepStager(**tiny).fit(make_nights(seed=9, prefix="z"))
    save_weights(base.module_, tmp_path / "eegnet.safetensors", trained_on=["elsewhere"])
    windows, target = make_nights(), make_nights(seed=1, prefix="q")
    start = SleepStager(**tiny | {"max_epochs": 0}, weights=tmp_path / "eegnet.safetensors")
    tuned = FineTuner(start, trainable="head", max_epochs=1, device="cpu")
    tuned.fit(windows, windows.y, X_target_labeled=target, y_target_labeled=target.y)
    assert same(tuned.base_.module_, base.module_)
    moved = {
        name
        for name, value in tuned.module_.state_dict().items()
        if not torch.equal(value, base.module_.state_dict()[name])
    }
    assert moved
    assert all(name.startswith("final_layer") for name in moved)
    probed = LinearProbe(start).fit(windows, windows.y)
    assert probed.predict_proba(target).shape == (len(target), 3)


def test_a_network_with_several_last_layers_can_only_be_trained_whole():
    X, y = np.random.default_rng(0).normal(size=(20, 2, 600)), np.arange(20) % 2
    stager = SleepStager(model="ATCNet", sfreq=100.0, max_epochs=1, device="cpu")
    assert stager.fit(X, y).predict(X).shape == (20,)
    with pytest.raises(ValueError, match="several last layers"):
        LinearProbe(stager).fit(X, y)


def test_the_starts_of_all_parts_are_known(weights, tiny):
    assert starts_of(stager(None, tiny)) == []
    taught = Distiller(stager(weights, tiny), stager(weights, tiny), SoftLabels())
    assert [start.trained_on for start in starts_of(taught)] == [("elsewhere",)]
