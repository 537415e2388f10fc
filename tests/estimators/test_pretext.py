"""Tuples of windows obey their rules of time, whatever the recording looks like."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sleepshift.estimators.pretext import (
    FreshTuples,
    PretextNet,
    TupleDataset,
    draw_pairs,
    draw_triplets,
)
from sleepshift.windows.windows import Windows


@st.composite
def recordings(draw: st.DrawFn) -> np.ndarray:
    """Onsets of 1-60 windows with gaps, in seconds."""
    gaps = draw(st.lists(st.sampled_from([30, 30, 30, 60, 300, 1000]), max_size=59))
    return draw(st.floats(0, 1e5)) + np.concatenate([[0], np.cumsum(gaps)]).astype(float)


taus = st.tuples(st.integers(1, 50), st.integers(0, 50)).map(
    lambda t: {"tau_pos": 30.0 * t[0], "tau_neg": 30.0 * (t[0] + t[1])}
)
EPS = 1e-6


def can_pair(onset: np.ndarray, tau_pos: float, tau_neg: float) -> bool:
    apart = np.abs(onset[:, None] - onset)
    near = (apart <= tau_pos) & ~np.eye(len(onset), dtype=bool)
    return bool(near.any() and (apart >= tau_neg).any())


def all_triplets(onset: np.ndarray, tau_pos: float, tau_neg: float) -> dict[int, set]:
    """Every triplet there is, by brute force."""
    n, found = len(onset), {0: set(), 1: set()}
    for first in range(n):
        for last in range(first + 2, n):
            if onset[last] - onset[first] > tau_pos:
                break
            for middle in range(n):
                if first < middle < last:
                    found[1].add((first, middle, last))
                elif min(abs(onset[middle] - onset[[first, last]])) >= tau_neg:
                    found[0].add((first, middle, last))
    return found


@settings(max_examples=150, deadline=None)
@given(recordings(), taus, st.integers(0, 99))
def test_pairs_are_close_or_far_and_never_of_a_window_with_itself(
    onset: np.ndarray, tau: dict[str, float], seed: int
) -> None:
    onset = np.round(onset)
    pairs, labels = draw_pairs(onset, 200, np.random.default_rng(seed), **tau)
    assert len(pairs) == len(labels) == (200 if can_pair(onset, **tau) else 0)
    apart = np.abs(onset[pairs[:, 0]] - onset[pairs[:, 1]])
    assert (apart[labels == 1] <= tau["tau_pos"]).all()
    assert (apart[labels == 0] >= tau["tau_neg"]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    if len(labels):
        assert 60 <= labels.sum() <= 140  # a fair coin, 200 throws


@settings(max_examples=100, deadline=None)
@given(recordings().filter(lambda o: len(o) <= 40), taus, st.integers(0, 99))
def test_triplets_are_exactly_those_the_rules_allow(
    onset: np.ndarray, tau: dict[str, float], seed: int
) -> None:
    onset = np.round(onset)
    allowed = all_triplets(onset, **tau)
    triplets, labels = draw_triplets(onset, 300, np.random.default_rng(seed), **tau)
    assert len(triplets) == (300 if allowed[0] and allowed[1] else 0)
    for label in (0, 1):
        assert set(map(tuple, triplets[labels == label].tolist())) <= allowed[label]
    if len(labels):
        assert 100 <= labels.sum() <= 200


@pytest.mark.parametrize("draw", [draw_pairs, draw_triplets])
def test_every_tuple_that_is_allowed_is_drawn_some_time(draw: Callable) -> None:
    onset = 30.0 * np.array([0, 1, 2, 3, 4, 12, 13, 20])
    tau = {"tau_pos": 90.0, "tau_neg": 240.0}
    tuples, labels = draw(onset, 20_000, np.random.default_rng(0), **tau)
    if draw is draw_triplets:
        expected = all_triplets(onset, **tau)
    else:
        apart = np.abs(onset[:, None] - onset)
        expected = {
            1: {(i, j) for i, j in np.argwhere(apart <= 90) if i != j},
            0: set(map(tuple, np.argwhere(apart >= 240))),
        }
    for label in (0, 1):
        assert set(map(tuple, tuples[labels == label].tolist())) == expected[label]


def test_labels_are_balanced_even_where_few_windows_have_a_far_partner() -> None:
    onset = 30.0 * np.arange(33)  # 16 minutes: only the ends are 15 minutes apart
    for draw, tau_pos in ((draw_pairs, 60.0), (draw_triplets, 60.0)):
        _, labels = draw(onset, 4000, np.random.default_rng(0), tau_pos=tau_pos, tau_neg=870.0)
        assert labels.mean() == pytest.approx(0.5, abs=0.03)


# ---------------------------------------------------------------------- recordings


def night(onsets: list[float], subject: str = "a", session: str = "0") -> Windows:
    frame = pd.DataFrame({"subject": subject, "session": session, "onset": onsets})
    X = np.arange(len(onsets), dtype=np.float32)[:, None, None] * np.ones((1, 1, 4))
    return Windows.from_arrays(X, metadata=frame, ch_names=["c"], sfreq=1.0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([draw_pairs, draw_triplets]))
def test_tuples_never_cross_recordings(seed: int, draw: Callable) -> None:
    onsets = [30.0 * k for k in range(20)]
    parts = [night(onsets), night(onsets, session="1"), night(onsets, "b")]
    windows = Windows.concat(parts)[np.random.default_rng(seed).permutation(60)]
    tuples = TupleDataset(
        windows, partial(draw, tau_pos=90, tau_neg=300), 100, np.random.default_rng(seed)
    )
    frame = windows.metadata
    names = (frame["subject"] + frame["session"]).to_numpy()[tuples.tuples]
    assert (names == names[:, :1]).all()
    assert len(set(names[:, 0])) == 3
    onset = frame["onset"].to_numpy()[tuples.tuples]
    if draw is draw_pairs:
        apart = np.abs(np.diff(onset, axis=1))[:, 0]
        assert ((apart <= 90) == (tuples.labels == 1)).all()


def test_recordings_are_drawn_evenly_however_long_they_are() -> None:
    windows = Windows.concat(
        [night([30.0 * k for k in range(n)], name) for n, name in ((400, "long"), (20, "short"))]
    )
    data = TupleDataset(
        windows, partial(draw_pairs, tau_pos=60, tau_neg=300), 4000, np.random.default_rng(0)
    )
    assert np.mean(data.tuples[:, 0] >= 400) == pytest.approx(0.5, abs=0.03)


def test_a_recording_too_short_for_far_pairs_gives_none_at_all() -> None:
    windows = Windows.concat(
        [night([30.0 * k for k in range(n)], name) for n, name in ((40, "long"), (10, "short"))]
    )
    data = TupleDataset(
        windows, partial(draw_pairs, tau_pos=60, tau_neg=600), 500, np.random.default_rng(0)
    )
    assert len(data) == 500
    assert (data.tuples < 40).all()
    assert data.labels.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("draw", [draw_pairs, draw_triplets])
@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_recordings_that_are_all_too_short_are_an_error(draw: Callable, n: int) -> None:
    windows = night([30.0 * k for k in range(n)])
    with pytest.raises(ValueError, match="too short for tau_neg; choose a smaller one"):
        TupleDataset(windows, partial(draw, tau_pos=60, tau_neg=900), 50, np.random.default_rng(0))


# ---------------------------------------------------------------------- batches, passes


def tuples_of(n: int = 40, *, size: int = 64) -> TupleDataset:
    windows = night([30.0 * k for k in range(n)])
    draw = partial(draw_pairs, tau_pos=60, tau_neg=300)
    return TupleDataset(windows, draw, size, np.random.default_rng(0))


def test_a_batch_holds_the_signals_of_its_tuples() -> None:
    data = tuples_of()
    x, y = data.__getitems__([3, 0])
    assert x.shape == (2, 2, 1, 4)
    np.testing.assert_array_equal(x[:, :, 0, 0], data.tuples[[3, 0]])
    np.testing.assert_array_equal(y, data.labels[[3, 0]])
    one_x, one_y = data[3]
    assert torch.equal(one_x, x[0])
    assert one_y == y[0]


def test_tuples_are_drawn_anew_by_a_resample_and_the_same_from_the_same_seed() -> None:
    data, same = tuples_of(), tuples_of()
    np.testing.assert_array_equal(data.tuples, same.tuples)
    first = data.tuples.copy()
    data.resample()
    assert not np.array_equal(data.tuples, first)
    assert len(data) == 64


def test_the_first_pass_takes_the_tuples_that_are_there() -> None:
    data = tuples_of()
    first = data.tuples.copy()

    class Net:
        history = [1]

    FreshTuples().on_epoch_begin(Net(), data)
    np.testing.assert_array_equal(data.tuples, first)
    Net.history = [1, 2]
    FreshTuples().on_epoch_begin(Net(), data)
    assert not np.array_equal(data.tuples, first)


def test_the_network_compares_neighbours_by_absolute_difference() -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    for k in (2, 3):
        net = PretextNet(encoder, 3, k).eval()
        x = torch.randn(5, k, 1, 4)
        z = torch.stack([encoder(x[:, i]) for i in range(k)], dim=1)
        gaps = torch.cat([(z[:, i + 1] - z[:, i]).abs() for i in range(k - 1)], dim=1)
        torch.testing.assert_close(net(x), net.contrast(gaps))
        torch.testing.assert_close(net(x), net(x.flip(1)) if k == 2 else net(x))
