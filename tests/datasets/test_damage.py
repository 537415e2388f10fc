"""Five hundred damaged variants of every format: one line, or the right number of windows."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

from sleepshift.datasets.beetl import Beetl
from sleepshift.datasets.npz import NpzFolder
from sleepshift.datasets.sleep_edf import SleepEDF
from sleepshift.windows import Recipe


@pytest.fixture
def cassette(tmp_path):
    """Two nights of three minutes in the layout of Sleep-EDF."""
    for night in (1, 2):
        noise = np.random.default_rng(night).normal(0, 30, (2, 180 * 100)).clip(-190, 190)
        signals = [
            EdfSignal(x, 100, label=name, physical_dimension="uV", physical_range=(-192, 192))
            for name, x in zip(("EEG Fpz-Cz", "EOG horizontal"), noise, strict=True)
        ]
        Edf(signals, data_record_duration=30).write(tmp_path / f"SC400{night}E0-PSG.edf")
        stages = [(30 * k, 30, f"Sleep stage {s}") for k, s in enumerate("W12R3")]
        stages.append((150, 86250, "Sleep stage ?"))
        hypnogram = Edf([], annotations=[EdfAnnotation(*stage) for stage in stages])
        hypnogram.write(tmp_path / f"SC400{night}EC-Hypnogram.edf")
    return tmp_path


def test_sleep_edf(cassette, survives):
    channels = ("EOG horizontal", "EEG Fpz-Cz")
    recipe = Recipe(channels=channels, sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(SleepEDF, cassette, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20


def test_npz(tmp_path, survives):
    rng = np.random.default_rng(0)
    for person in "ab":
        x = rng.normal(size=(6, 1, 300)).astype(np.float32)
        np.savez_compressed(tmp_path / f"{person}.npz", x=x, y=np.arange(6) % 5, fs=10.0)
    recipe = Recipe(channels=("EEG",), sfreq=10.0, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(lambda folder: NpzFolder(folder, person_per_file=True), tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 5


def test_beetl(tmp_path, survives):
    rng = np.random.default_rng(0)
    for name in ("training_s10r1", "training_s10r2", "leaderboard_s6r1"):
        signals = rng.normal(size=(3, 2, 3000)) * 2e-5
        (tmp_path / f"{name}X.npy").write_bytes(pickle.dumps(signals))
        if name.startswith("training"):
            stages = np.array([0, 5, 2], dtype=np.int32)
            (tmp_path / f"{name}y.npy").write_bytes(pickle.dumps(stages))
    channels = ("EEG Fpz-Cz", "EEG Pz-Oz")
    recipe = Recipe(channels=channels, sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(Beetl, tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20
