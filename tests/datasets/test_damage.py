"""Five hundred damaged variants of every format: one line, or the right number of windows."""

from __future__ import annotations

import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

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
