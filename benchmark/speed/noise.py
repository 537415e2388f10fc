"""Windows of noise, where only their number and size matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.datasets import Dataset, DatasetInfo, Recording
from sleepshift.datasets.base import LabelledWindows
from sleepshift.windows import Recipe, Windows, prepare

__all__ = ["SFREQ", "noise_store", "noise_windows"]

SFREQ, CHANNELS, N_TIMES = 100.0, ("EEG Fpz-Cz", "EEG Pz-Oz"), 3000


class Noise(Dataset):
    """People whose nights are noise and whose stages are drawn at random."""

    info = DatasetInfo(
        name="noise",
        title="Noise",
        licence="BSD-3-Clause",
        login=False,
        download="nothing",
        url="",
        citation="none",
    )
    needs_folder = False
    scheme = "aasm5"

    def __init__(self, n_people: int, n_windows: int) -> None:
        super().__init__()
        self.n_people, self.n_windows = n_people, n_windows

    def params(self) -> dict[str, Any]:
        return {"n_people": self.n_people, "n_windows": self.n_windows}

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        return [Recording(subject=str(k), session="1") for k in range(self.n_people)]

    def read(self, recording: Recording, channels: Sequence[str] | None = None) -> LabelledWindows:
        rng = np.random.default_rng(int(recording.subject))
        shape = (self.n_windows, len(CHANNELS), N_TIMES)
        return LabelledWindows(
            x=rng.standard_normal(shape, dtype=np.float32),
            y=rng.integers(0, 5, self.n_windows),
            onset=30.0 * np.arange(self.n_windows),
            ch_names=CHANNELS,
            sfreq=SFREQ,
        )


def noise_store(folder: Path, n_people: int, n_windows: int) -> Path:
    """A store on disk, of so many windows a person."""
    recipe = Recipe(channels=CHANNELS, sfreq=SFREQ, trim_wake_minutes=None, scaling="none")
    return prepare(Noise(n_people, n_windows), recipe, folder)


def noise_windows(n_people: int, n_windows: int) -> Windows:
    """Windows in memory, named as those of a store are, whose content is not hashed again."""
    dataset = Noise(n_people, n_windows)
    nights = [dataset.read(recording) for recording in dataset.recordings()]
    people = pd.DataFrame({"subject": np.repeat(np.arange(n_people).astype(str), n_windows)})
    return Windows(
        np.concatenate([night.x for night in nights]),
        people,
        np.concatenate([night.y for night in nights]),
        ch_names=CHANNELS,
        sfreq=SFREQ,
        scheme=dataset.scheme,
        name="noise",
    )
