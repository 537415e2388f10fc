"""Band powers against MNE, and against signals whose power is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from sleepshift.estimators import BandPower
from sleepshift.estimators.bandpower import BANDS
from sleepshift.windows.windows import Windows

SFREQ = 100.0


def tone(frequency: float, amplitude: float = 1.0) -> np.ndarray:
    t = np.arange(3000) / SFREQ
    return amplitude * np.sin(2 * np.pi * frequency * t)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_powers_are_those_of_mnes_welch() -> None:
    X = noise(3, 2, 3000) + tone(10.0)
    density, frequency = mne.time_frequency.psd_array_welch(
        X.astype(float), SFREQ, n_fft=400, n_per_seg=400, n_overlap=200, window="hann", verbose=0
    )
    got = BandPower(sfreq=SFREQ).fit_transform(X).reshape(3, 2, 10)
    power = np.stack(
        [
            density[..., (frequency >= low) & (frequency < high)].sum(axis=-1) * frequency[1]
            for low, high in BANDS.values()
        ],
        axis=-1,
    )
    np.testing.assert_allclose(got[..., :5], np.log(power), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        got[..., 5:], power / power.sum(axis=-1, keepdims=True), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("position", "band"), enumerate(BANDS))
def test_a_rhythm_in_a_band_is_power_in_that_band(position: int, band: str) -> None:
    low, high = BANDS[band]
    X = tone((low + high) / 2, amplitude=3.0)[None, None]
    got = BandPower(sfreq=SFREQ).fit_transform(X)[0]
    assert got[:5].argmax() == position
    assert got[5 + position] > 0.99
    assert np.exp(got[position]) == pytest.approx(3.0**2 / 2, rel=0.02)  # mean square of a sine


def test_a_bands_upper_edge_belongs_to_the_next() -> None:
    bands = {"low": (4.0, 8.0), "high": (8.0, 12.0)}
    transformer = BandPower(bands=bands, segment_seconds=30, sfreq=SFREQ, relative=False)
    both = transformer.fit_transform(tone(8.0)[None, None])[0]
    assert both[1] > both[0]


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-2, 1e3), st.integers(0, 99))
def test_scaling_a_signal_shifts_logs_and_leaves_shares(gain: float, seed: int) -> None:
    X = noise(2, 1, 3000, seed=seed)
    plain, scaled = (BandPower(sfreq=SFREQ).fit_transform(x) for x in (X, X * gain))
    np.testing.assert_allclose(scaled[:, :5] - plain[:, :5], 2 * np.log(gain), atol=1e-3)
    np.testing.assert_allclose(scaled[:, 5:], plain[:, 5:], atol=1e-4)
    np.testing.assert_allclose(plain[:, 5:].sum(axis=1), 1, atol=1e-5)


def test_windows_and_arrays_give_the_same_features_however_they_are_cut() -> None:
    X = noise(600, 2, 300)
    windows = Windows.from_arrays(X, ch_names=["a", "b"], sfreq=SFREQ)
    whole = BandPower(segment_seconds=1).fit_transform(windows)
    assert whole.shape == (600, 20)
    np.testing.assert_array_equal(whole, BandPower(segment_seconds=1, sfreq=SFREQ).fit_transform(X))
    np.testing.assert_array_equal(
        whole[510:515], BandPower(segment_seconds=1).fit_transform(windows[510:515])
    )


def test_a_window_has_the_same_features_in_whatever_company() -> None:
    X = noise(40, 1, 3000)
    power = BandPower(sfreq=SFREQ)
    whole = power.fit_transform(X)
    for n in (1, 2, 3, 7):
        np.testing.assert_array_equal(power.transform(X[5 : 5 + n]), whole[5 : 5 + n])


# ---------------------------------------------------------------------- the cache


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of windows of each time that band powers were computed."""
    calls: list[int] = []
    original = BandPower._computed

    def counted(self: BandPower, windows: Windows) -> np.ndarray:
        calls.append(len(windows))
        return original(self, windows)

    monkeypatch.setattr(BandPower, "_computed", counted)
    return calls


def people(n: int, name: str | None = "store") -> Windows:
    """Windows of `n` people, 5 each, in turns, as a store has them."""
    frame = pd.DataFrame({"subject": np.tile([str(k) for k in range(n)], 5)})
    X, y = noise(5 * n, 2, 600), np.arange(5 * n) % 3
    return Windows(X, frame, y, ch_names=["a", "b"], sfreq=SFREQ, name=name)


def test_people_of_a_store_are_computed_once_for_all_splits(
    tmp_path: Path, computed: list[int]
) -> None:
    store, kept = people(4), BandPower(channels=["b"], cache=tmp_path)
    expected = BandPower(channels=["b"]).fit_transform(store)
    first = np.isin(store.subjects, ["0", "1", "2"])
    for rows, times in ((first, 3), (~first, 1), (np.arange(20), 0), (np.arange(10), 4)):
        computed.clear()
        found = clone(kept).fit_transform(store[rows].without_labels())
        np.testing.assert_array_equal(found, expected[rows])
        assert len(computed) == times
    computed.clear()
    pooled = Windows.concat([store[~first], store[first]])
    other_labels = pooled.with_labels(np.zeros(20))
    np.testing.assert_array_equal(
        kept.transform(other_labels), np.concatenate([expected[~first], expected[first]])
    )
    assert computed == []
    found[0] = 0  # what it gives is one's own
    assert kept.transform(store)[0].any()


@pytest.mark.parametrize(
    "change",
    [
        {"channels": ["a"]},
        {"relative": False},
        {"segment_seconds": 2.0},
        {"bands": {"high": (5.0, 9.0), "low": (1.0, 5.0)}},
    ],
)
def test_other_parameters_are_other_band_powers(tmp_path: Path, change: dict[str, Any]) -> None:
    """Also bands of the same edges in another order."""
    store = people(1)
    params = {"channels": ["b"], "bands": {"low": (1.0, 5.0), "high": (5.0, 9.0)}}
    BandPower(**params, cache=tmp_path).fit_transform(store)
    params |= change
    np.testing.assert_array_equal(
        BandPower(**params, cache=tmp_path).fit_transform(store),
        BandPower(**params).fit_transform(store),
    )


def test_windows_in_memory_are_known_by_their_content(tmp_path: Path, computed: list[int]) -> None:
    windows, kept = people(3, name=None), BandPower(cache=tmp_path)
    expected = BandPower().fit_transform(windows)
    computed.clear()
    for _ in range(2):
        np.testing.assert_array_equal(kept.fit_transform(windows), expected)
    assert computed == [15]
    windows._signals[0] += 1
    np.testing.assert_array_equal(kept.transform(windows), BandPower().transform(windows))


def test_nothing_is_hashed_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Windows, "fingerprint", property(lambda self: pytest.fail("hashed")))
    BandPower().fit_transform(people(2))


def test_features_pass_through_flattened() -> None:
    X = noise(4, 3, 10)
    np.testing.assert_array_equal(BandPower().fit_transform(X), X.reshape(4, 30))
    np.testing.assert_array_equal(
        BandPower().fit_transform(Windows.from_arrays(X)), X.reshape(4, 30)
    )


def test_the_number_of_features_is_known_after_fitting() -> None:
    X = noise(2, 3, 3000)
    for relative, n in ((True, 30), (False, 15)):
        transformer = BandPower(relative=relative, sfreq=SFREQ).fit(X)
        assert transformer.n_features_out_ == transformer.transform(X).shape[1] == n


def test_flat_windows_give_finite_features() -> None:
    assert np.isfinite(BandPower(sfreq=SFREQ).fit_transform(np.zeros((2, 1, 3000)))).all()


def test_nothing_is_learned_from_other_windows() -> None:
    X, other = noise(3, 1, 3000), 100 * noise(3, 1, 3000, seed=1)
    fitted = BandPower(sfreq=SFREQ).fit(other)
    np.testing.assert_array_equal(fitted.transform(X), BandPower(sfreq=SFREQ).fit_transform(X))


def test_signals_are_left_as_they_were() -> None:
    X = noise(2, 1, 3000)
    before = X.copy()
    X.setflags(write=False)
    BandPower(sfreq=SFREQ).fit_transform(X)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("params", "X", "reason"),
    [
        ({"sfreq": 20.0}, noise(2, 1, 600), r"band 'sigma' \(12-16 Hz\) is empty at 20 Hz"),
        ({"sfreq": 100.0, "bands": {"slow": (0.01, 0.02)}}, noise(2, 1, 3000), "band 'slow'"),
        ({"sfreq": 100.0}, noise(2, 3000), "X must be Windows"),
    ],
)
def test_what_cannot_be_is_refused(params: dict[str, Any], X: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BandPower(**params).fit(X)


def test_bands_of_ones_own_are_kept_by_a_clone() -> None:
    bands = {"slow": (0.5, 2.0)}
    transformer = clone(BandPower(bands=bands, sfreq=SFREQ))
    assert transformer.get_params()["bands"] == bands
    assert transformer.fit_transform(noise(2, 1, 3000)).shape == (2, 2)
