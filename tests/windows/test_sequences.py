"""Sequences: windows that follow one another, whatever order they are given in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepshift.windows.sequences import Sequences, timeline
from sleepshift.windows.windows import Windows


def night(onsets: list[float], subject: str = "a", session: str | None = "0") -> Windows:
    frame = pd.DataFrame({"subject": subject, "session": session, "onset": onsets})
    X = np.arange(len(onsets), dtype=np.float32)[:, None, None] * np.ones((1, 1, 4))
    return Windows.from_arrays(X, metadata=frame, ch_names=["c"], sfreq=1.0)


def numbered(frame: pd.DataFrame) -> Windows:
    """Windows whose signal and label are their number."""
    n = np.arange(len(frame))
    X = np.ones((len(frame), 2, 3)) * n[:, None, None]
    return Windows.from_arrays(X, n, metadata=frame, ch_names=["c", "d"], sfreq=1.0)


@st.composite
def crowds(draw: st.DrawFn) -> Windows:
    """A few recordings with gaps and a little jitter, shuffled."""
    steps = st.sampled_from([30.0, 30.0, 30.0, 30.0, 31.5, 28.5, 60.0, 35.0, 1000.0])
    parts = []
    for subject in "ab":
        for session in draw(st.sampled_from([["0"], ["0", "1"], ["0", None]])):
            gaps = draw(st.lists(steps, max_size=12))
            onset = draw(st.sampled_from([0.0, 15.0, 600.0])) + np.cumsum([0.0, *gaps])
            parts.append(pd.DataFrame({"subject": subject, "session": session, "onset": onset}))
    frame = pd.concat(parts, ignore_index=True)
    order = draw(st.permutations(range(len(frame))))
    return numbered(frame.iloc[list(order)].reset_index(drop=True))


def runs_of(windows: Windows) -> list[int]:
    """Lengths of the pieces without a gap, by going through the windows in order of time."""
    frame = windows.metadata.assign(session=windows.metadata["session"].fillna("none"))
    frame = frame.sort_values(["subject", "session", "onset"])
    lengths: list[int] = []
    before: tuple | None = None
    for subject, session, onset in frame[["subject", "session", "onset"]].itertuples(index=False):
        follows = before and before[:2] == (subject, session) and abs(onset - before[2] - 30) <= 3
        if follows:
            lengths[-1] += 1
        else:
            lengths.append(1)
        before = (subject, session, onset)
    return lengths


# ---------------------------------------------------------------------- what a sequence is


@settings(max_examples=80, deadline=None)
@given(crowds(), st.integers(1, 7))
def test_sequences_cover_every_window_and_cross_neither_recordings_nor_gaps(
    windows: Windows, length: int
) -> None:
    sequences = Sequences(windows, length)
    assert sequences.positions.shape == (len(sequences), length)
    frame = windows.metadata.assign(session=windows.metadata["session"].fillna("none"))
    for row in sequences.positions:
        there = row[row >= 0]
        assert len(there)
        assert (row[len(there) :] == -1).all()  # filling comes last
        assert len(set(there)) == len(there)
        part = frame.iloc[there]
        assert part["subject"].nunique() == part["session"].nunique() == 1
        assert (np.abs(np.diff(part["onset"]) - 30) <= 3).all()
    seen = sequences.positions[sequences.positions >= 0]
    assert set(seen) == set(range(len(windows)))
    assert len(sequences) == sum(-(-n // length) for n in runs_of(windows))
    filled = sum(length - n for n in runs_of(windows) if n < length)
    assert (sequences.positions < 0).sum() == filled


@settings(max_examples=40, deadline=None)
@given(crowds(), st.integers(1, 7), st.integers(0, 999))
def test_the_order_in_which_windows_come_does_not_matter(
    windows: Windows, length: int, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(windows))
    one, other = Sequences(windows, length).positions, Sequences(windows[order], length).positions
    np.testing.assert_array_equal(np.where(other < 0, -1, order[other]), one)


def test_the_last_sequence_of_a_run_ends_with_it() -> None:
    assert Sequences(night([30.0 * k for k in range(7)]), 3).positions.tolist() == [
        [0, 1, 2],
        [3, 4, 5],
        [4, 5, 6],
    ]


def test_a_missing_window_and_a_jump_in_time_end_a_sequence() -> None:
    windows = night([0, 30, 90, 120, 124, 154, 187, 221])
    assert Sequences(windows, 3).positions.tolist() == [
        [0, 1, -1],
        [2, 3, -1],
        [4, 5, 6],
        [7, -1, -1],
    ]


def test_windows_left_out_of_a_view_leave_a_gap() -> None:
    frame = pd.DataFrame({"subject": "a", "session": "0", "onset": 30.0 * np.arange(6)})
    view = numbered(frame)[[5, 4, 0, 1]]
    assert Sequences(view, 2).positions.tolist() == [[2, 3], [1, 0]]


def test_windows_that_came_twice_are_in_no_sequence_together() -> None:
    windows = night([0, 30, 60])[[0, 0, 1, 2, 2]]
    for row in Sequences(windows, 3).positions:
        rows = windows.rows[row[row >= 0]]
        assert len(set(rows)) == len(rows)


def test_windows_of_one_session_without_a_name_are_not_lost() -> None:
    windows = Windows.concat([night([0, 30, 60]), night([0, 30, 60], "b", None)])
    assert sorted(Sequences(windows, 3).positions.ravel()) == list(range(6))


# ---------------------------------------------------------------------- batches


@settings(max_examples=40, deadline=None)
@given(crowds(), st.integers(1, 7))
def test_a_batch_holds_the_signals_and_labels_of_its_windows(windows: Windows, length: int) -> None:
    sequences = Sequences(windows, length)
    wanted = np.random.default_rng(0).permutation(len(sequences))[:3]
    x, y, positions = sequences.__getitems__(wanted.tolist())
    assert x.shape == (len(wanted), length, 2, 3)
    assert y.dtype == positions.dtype == torch.int64
    np.testing.assert_array_equal(positions, sequences.positions[wanted])
    for row, signals, labels in zip(positions.numpy(), x.numpy(), y.numpy(), strict=True):
        last = row[row >= 0][-1]
        np.testing.assert_array_equal(labels, row)  # -1 where there is none
        expected = np.where(row < 0, last, row)[:, None, None] * np.ones((1, 2, 3))
        np.testing.assert_array_equal(signals, expected)
    one = sequences[int(wanted[0])]
    assert all(torch.equal(a, b[0]) for a, b in zip(one, (x, y, positions), strict=True))


def test_withheld_labels_stay_withheld() -> None:
    frame = pd.DataFrame({"subject": "a", "session": "0", "onset": 30.0 * np.arange(4)})
    _, y, _ = Sequences(numbered(frame).without_labels(), 3).__getitems__([0, 1])
    assert (y == -1).all()


def test_filling_changes_no_label_of_the_windows_themselves() -> None:
    windows = numbered(pd.DataFrame({"subject": "a", "session": "0", "onset": [0.0, 30.0]}))
    Sequences(windows, 5).__getitems__([0])
    assert windows.y.tolist() == [0, 1]


# ---------------------------------------------------------------------- time


def test_a_timeline_is_in_order_of_time_and_one_a_recording() -> None:
    both = Windows.concat([night([60, 0, 30]), night([0, 30], session="1"), night([5], "b")])
    lines = [(rows.tolist(), onset.tolist()) for rows, onset in timeline(both)]
    assert lines == [([1, 2, 0], [0, 30, 60]), ([3, 4], [0, 30]), ([5], [5])]


def test_windows_of_nobody_are_one_recording_and_keep_their_gaps() -> None:
    windows = Windows.from_arrays(np.zeros((10, 1, 4)), sfreq=1.0)
    rows, onset = timeline(windows)[0]
    assert rows.tolist() == list(range(10))
    assert onset.tolist() == [30.0 * k for k in range(10)]
    rows, onset = timeline(windows[[7, 0, 2]])[0]
    assert rows.tolist() == [1, 2, 0]
    assert onset.tolist() == [0, 60, 210]
    assert Sequences(windows[[7, 0, 2, 1]], 2).positions.tolist() == [[1, 3], [3, 2], [0, -1]]


def test_people_without_sessions_have_one_recording_each() -> None:
    frame = pd.DataFrame({"subject": ["a", "b", "a"], "onset": [30.0, 0.0, 0.0]})
    assert [rows.tolist() for rows, _ in timeline(numbered(frame))] == [[2, 0], [1]]


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("length", [0, -3])
def test_a_sequence_of_nothing_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"at least 1 window, not {length}"):
        Sequences(night([0]), length)


def test_windows_that_lost_their_order_are_refused() -> None:
    for windows in (night([0, np.nan, 60]), numbered(pd.DataFrame({"subject": ["a"]}))):
        for ask in (timeline, lambda w: Sequences(w, 2)):
            with pytest.raises(ValueError, match="do not say when in the night they are"):
                ask(windows)


def test_epochs_of_20_s_follow_each_other_though_windows_overlap():
    frame = pd.DataFrame({"subject": "a", "session": "1", "onset": 15 + 20.0 * np.arange(10)})
    frame.loc[6:, "onset"] += 60  # a pause
    windows = Windows.from_arrays(
        np.zeros((10, 1, 300), np.float32), np.arange(10), metadata=frame, sfreq=10.0
    )
    assert Sequences(windows, 4).positions.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [6, 7, 8, 9]]
