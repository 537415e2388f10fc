"""Two views of the same nights, joined window by window or refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.errors import DataError
from sleepshift.windows.windows import Windows

N = 9


def view(*names: str, seed: int = 0, scheme: str | None = "aasm5", sfreq: float = 1.0) -> Windows:
    """Three recordings of three windows; random signals and labels."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(["a", "a", "b"], 3),
            "session": np.repeat(["1", "2", "1"], 3),
            "onset": np.tile(30.0 * np.arange(3), 3),
            "digest": [f"{seed}-{k}" for k in range(N)],
        }
    )
    X = rng.normal(size=(N, len(names), 5))
    y = rng.integers(0, 5, N)
    return Windows.from_arrays(X, y, metadata=frame, ch_names=names, sfreq=sfreq, scheme=scheme)


def with_frame(windows: Windows, frame: pd.DataFrame) -> Windows:
    return Windows.from_arrays(
        np.asarray(windows), metadata=frame, ch_names=windows.ch_names, sfreq=windows.sfreq
    )


@given(st.permutations(range(N)), st.permutations(range(N)))
def test_windows_meet_their_partners_whatever_order_they_come_in(
    one: list[int], other: list[int]
) -> None:
    scalp, ear = view("C3", "C4"), view("ELA", seed=1)
    pair = Windows.paired(scalp[one], ear[other])
    assert pair.ch_names == ("C3", "C4", "ELA")
    expected = np.concatenate([np.asarray(scalp), np.asarray(ear)], axis=1)[one]
    np.testing.assert_array_equal(np.asarray(pair), expected)
    np.testing.assert_array_equal(pair.y, scalp.y[one])  # not those of the second
    pd.testing.assert_frame_equal(pair.metadata, scalp[one].metadata)
    assert (pair.sfreq, pair.scheme) == (1.0, "aasm5")


def test_each_view_can_be_had_back() -> None:
    scalp, ear = view("C3", "C4"), view("ELA", seed=1)
    pair = Windows.paired(scalp, ear[::-1])
    np.testing.assert_array_equal(np.asarray(pair.pick(["ELA"])), np.asarray(ear))
    np.testing.assert_array_equal(np.asarray(pair.pick(["C4", "C3"])), np.asarray(scalp)[:, ::-1])


def test_labels_of_the_first_are_withheld_where_it_withholds_them() -> None:
    scalp, ear = view("C3"), view("ELA", seed=1)
    assert not Windows.paired(scalp.without_labels(), ear).has_labels
    np.testing.assert_array_equal(Windows.paired(scalp, ear.without_labels()).y, scalp.y)


def test_views_with_picked_channels_and_rows_can_be_joined() -> None:
    scalp, ear = view("C3", "C4")[4:].pick(["C4"]), view("ELA", "ERA", seed=1)[4:].pick(["ERA"])
    pair = Windows.paired(scalp, ear)
    assert pair.ch_names == ("C4", "ERA")
    assert len(pair) == N - 4


def test_joining_changes_neither_view() -> None:
    scalp, ear = view("C3"), view("ELA", seed=1)[::-1]
    prints = scalp.fingerprint, ear.fingerprint
    pair = Windows.paired(scalp, ear)
    np.asarray(pair)[:] = 0
    assert (scalp.fingerprint, ear.fingerprint) == prints


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (
            lambda w: w,
            lambda w: w[[0, 1, 2, 3, 5, 6, 7]],
            "2 have no partner in the second view; the first is of person a, session 2, at 30 s",
        ),
        (
            lambda w: w[1:],
            lambda w: w,
            "1 have no partner in the first view; the first is of person a, session 1, at 0 s",
        ),
        (
            lambda w: w,
            lambda w: with_frame(w, w.metadata.assign(onset=w.metadata["onset"] + 0.5)),
            "9 have no partner in the second view",
        ),
        (
            lambda w: w,
            lambda w: with_frame(w, w.metadata.assign(session="1")),
            "two windows have the same person, session and onset",
        ),
        (
            lambda w: w[[0, 0, *range(1, N)]],
            lambda w: w,
            "two windows have the same person, session and onset",
        ),
        (
            lambda w: w,
            lambda w: with_frame(w, w.metadata.drop(columns="session")),
            "they do not say their session",
        ),
        (
            lambda w: with_frame(w, w.metadata[[]]),
            lambda w: w,
            "they do not say their subject",
        ),
        (
            lambda w: Windows.from_arrays(
                np.asarray(w)[:, :, :4], metadata=w.metadata, ch_names=w.ch_names, sfreq=1.0
            ),
            lambda w: w,
            "4 values at 1.0 Hz in the first view, 5 at 1.0 Hz in the second",
        ),
        (
            lambda w: w,
            lambda w: Windows.from_arrays(
                np.asarray(w), metadata=w.metadata, ch_names=w.ch_names, sfreq=2.0
            ),
            "5 values at 1.0 Hz in the first view, 5 at 2.0 Hz in the second",
        ),
    ],
)
def test_views_that_do_not_fit_are_refused_in_one_line(
    first: Callable, second: Callable, reason: str
) -> None:
    with pytest.raises(DataError, match="unpaired windows: ") as error:
        Windows.paired(first(view("C3")), second(view("ELA", seed=1)))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_channel_that_is_in_both_is_named() -> None:
    with pytest.raises(DataError, match="unpaired windows: channel 'C4' is in both views"):
        Windows.paired(view("C3", "C4"), view("C4", "ELA"))
