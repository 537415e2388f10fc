"""Tiny nights: two channels at 10 Hz whose stage can be seen in their frequency."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import nn

from sleepshift.estimators import readout
from sleepshift.windows.windows import Windows

SFREQ, N_TIMES = 10.0, 300


def tones(y: np.ndarray, seed: int = 0) -> np.ndarray:
    """Windows (n, 2, 300) of noise with a rhythm of 1, 2, 3 ... Hz, one for each label."""
    rng = np.random.default_rng(seed)
    t = np.arange(N_TIMES) / SFREQ
    phase = rng.uniform(0, 2 * np.pi, (len(y), 2, 1))
    rhythm = np.sin(2 * np.pi * (1 + y[:, None, None]) * t + phase)
    return (rhythm + 0.5 * rng.normal(size=(len(y), 2, N_TIMES))).astype(np.float32)


def nights(
    n_people: int = 3,
    n_windows: int = 16,
    n_stages: int = 3,
    *,
    n_nights: int = 1,
    seed: int = 0,
    scheme: str | None = None,
    prefix: str = "p",
) -> Windows:
    """Labelled `Windows` of a few people, with onsets and sessions."""
    n = n_people * n_nights * n_windows
    y = np.tile(np.arange(n_windows) % n_stages, n_people * n_nights)
    frame = pd.DataFrame(
        {
            "subject": np.repeat([f"{prefix}{k}" for k in range(n_people)], n_nights * n_windows),
            "session": np.tile(np.repeat([str(k) for k in range(n_nights)], n_windows), n_people),
            "onset": np.tile(30.0 * np.arange(n_windows), n_people * n_nights),
        }
    )
    X = tones(y, seed)
    assert len(X) == n
    return Windows.from_arrays(
        X, y, metadata=frame, ch_names=("Fpz", "Pz"), sfreq=SFREQ, scheme=scheme
    )


@pytest.fixture
def make_nights() -> Callable[..., Windows]:
    """The function `nights`."""
    return nights


@pytest.fixture
def windows() -> Windows:
    """Three people, 48 windows, three labels."""
    return nights()


@pytest.fixture
def target() -> Windows:
    """Two other people."""
    return nights(2, seed=1, prefix="q")


@pytest.fixture
def arrays(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """The same windows as plain arrays."""
    return np.asarray(windows), windows.y


@pytest.fixture
def quick() -> dict[str, Any]:
    """Parameters that make a network train in a blink."""
    return {"max_epochs": 2, "batch_size": 16, "device": "cpu"}


@pytest.fixture
def tiny(quick: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a tiny Chambon network on the fixtures' windows."""
    return {**quick, "sfreq": SFREQ, "model_params": {"n_conv_chs": 2}}


@pytest.fixture
def sequential(quick: dict[str, Any]) -> dict[str, Any]:
    """Parameters of the smallest network that stages sequences, on the fixtures' windows."""
    return {**quick, "sfreq": SFREQ, "model": "sequence-student", "sequence_length": 5}


@pytest.fixture
def read_outs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, tuple[str, ...]]]:
    """Network and kinds of each time that a network is run over windows to be read out."""
    calls: list[tuple[nn.Module, tuple[str, ...]]] = []
    original = readout._run

    def counted(module: nn.Module, windows: Windows, kinds: set[str], *rest: Any) -> Any:
        calls.append((module, tuple(sorted(kinds))))
        return original(module, windows, kinds, *rest)

    monkeypatch.setattr(readout, "_run", counted)
    return calls


@pytest.fixture
def features() -> tuple[np.ndarray, np.ndarray]:
    """Windows of features (n, 2, 4) that tell the label, for the network of features."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 2, 4)) + y[:, None, None]
    return X.astype(np.float32), y
