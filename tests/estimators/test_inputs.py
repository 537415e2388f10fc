"""What estimators accept, and who is set aside."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import mne
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepshift.errors import DataError
from sleepshift.estimators.inputs import (
    as_fitted,
    as_labelled,
    as_windows,
    encode,
    split_people,
    split_positions,
)
from sleepshift.windows.windows import Windows


def epochs(names: list[str], kinds: list[str], sfreq: float = 10.0) -> mne.EpochsArray:
    """Four windows in volts; channel k holds k + 1 microvolts."""
    data = np.ones((4, len(names), 300)) * 1e-6 * np.arange(1, len(names) + 1)[:, None]
    return mne.EpochsArray(data, mne.create_info(names, sfreq, kinds), verbose="error")


def fitted(**facts: object) -> SimpleNamespace:
    """What `as_fitted` reads of an estimator."""
    plain = {"ch_names_": ("0", "1"), "sfreq_": 10.0, "n_times_": 300, "channels": None}
    return SimpleNamespace(**{**plain, **facts})


# ---------------------------------------------------------------------- reading


def test_windows_are_taken_as_they_are(windows: Windows) -> None:
    assert as_windows(windows) is windows


def test_epochs_are_read_in_microvolts_whatever_their_channel_types() -> None:
    read = as_windows(epochs(["Fpz", "EOG", "EMG"], ["eeg", "eog", "emg"]))
    np.testing.assert_allclose(np.asarray(read)[:, :, 0], [[1.0, 2.0, 3.0]] * 4, rtol=1e-6)
    assert read.ch_names == ("Fpz", "EOG", "EMG")
    assert read.sfreq == 10.0


def test_braindecode_windows_bring_labels_and_people(windows: Windows) -> None:
    read = as_windows(windows.to_braindecode())
    np.testing.assert_array_equal(np.asarray(read), np.asarray(windows))
    np.testing.assert_array_equal(read.y, windows.y)
    np.testing.assert_array_equal(read.subjects, windows.subjects)
    np.testing.assert_array_equal(read.metadata["onset"], windows.metadata["onset"])


@pytest.mark.parametrize(
    "strange",
    [np.zeros((3, 4)), np.array([[["a"]]]), "night.edf", None, [[1, 2], [3]], 3.0],
    ids=["2-D", "text", "path", "none", "ragged", "number"],
)
def test_anything_else_is_refused_by_a_value_error(strange: object) -> None:
    with pytest.raises(ValueError, match=r"X must be Windows|inhomogeneous"):
        as_windows(strange)


def test_no_windows_at_all_are_refused(windows: Windows) -> None:
    for nothing in (windows[:0], np.zeros((0, 2, 300))):
        with pytest.raises(ValueError, match="X holds no windows"):
            as_windows(nothing)


def test_labels_are_taken_from_windows_where_y_is_left_out(windows: Windows) -> None:
    _, y, classes = as_labelled(windows, None)
    np.testing.assert_array_equal(y, windows.y)
    assert classes.tolist() == [0, 1, 2]


def test_withheld_labels_are_missing_labels(windows: Windows) -> None:
    with pytest.raises(ValueError, match="y is missing"):
        as_labelled(windows.without_labels(), None)
    with pytest.raises(ValueError, match="y is missing"):
        as_labelled(np.zeros((3, 2, 300)), None)


@pytest.mark.parametrize("y", [[0, 1], [[0], [1], [0]], 0])
def test_labels_must_be_one_a_window(y: object) -> None:
    with pytest.raises(ValueError, match="for 3 windows"):
        as_labelled(np.zeros((3, 2, 300)), y)


def test_classes_are_the_schemes_where_there_is_one(make_nights: Callable[..., Windows]) -> None:
    assert as_labelled(make_nights(scheme="aasm5"), None)[2].tolist() == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------------- the fitted view


def test_named_channels_are_picked_by_name_in_whatever_order_they_come() -> None:
    stager = fitted(ch_names_=("EOG", "Fpz"))
    for names in (["Fpz", "EOG"], ["EOG", "Fpz"], ["Pz", "Fpz", "EOG"]):
        read = as_fitted(epochs(names, ["eeg"] * len(names)), stager)
        assert read.ch_names == ("EOG", "Fpz")
        expected = [names.index("EOG") + 1, names.index("Fpz") + 1]
        np.testing.assert_allclose(np.asarray(read)[0, :, 0], expected, rtol=1e-6)


def test_a_missing_channel_is_named() -> None:
    with pytest.raises(DataError, match="no channel 'EOG'; there are Fpz"):
        as_fitted(epochs(["Fpz", "Pz"], ["eeg"] * 2), fitted(ch_names_=("EOG", "Fpz")))


def test_plain_arrays_go_by_position() -> None:
    X = np.arange(1200.0).reshape(2, 2, 300)
    for names in (("0", "1"), ("Fpz", "Pz")):
        np.testing.assert_array_equal(as_fitted(X, fitted(ch_names_=names)), X)


def test_channels_of_plain_arrays_can_be_chosen_by_number() -> None:
    X = np.arange(1800.0).reshape(2, 3, 300)
    stager = fitted(ch_names_=("2", "0"), channels=("2", "0"))
    np.testing.assert_array_equal(as_fitted(X, stager), X[:, [2, 0]])


@pytest.mark.parametrize(
    ("X", "reason"),
    [
        (np.zeros((2, 3, 300)), "X has 3 channels; fitted on 2: 0, 1"),
        (np.zeros((2, 2, 299)), "windows of X hold 299 values; fitted on 300"),
        (Windows.from_arrays(np.zeros((2, 2, 300)), sfreq=20.0), "X is at 20.0 Hz; fitted at 10.0"),
        (Windows.from_arrays(np.zeros((2, 2, 300))), "X is at None Hz; fitted at 10.0"),
    ],
)
def test_another_shape_or_rate_is_refused_in_one_line(X: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        as_fitted(X, fitted())


# ---------------------------------------------------------------------- codes


@given(st.lists(st.sampled_from(["W", "N1", "N2", "R"]), min_size=1, max_size=30))
def test_codes_lead_back_to_the_labels(labels: list[str]) -> None:
    classes = np.unique(labels)
    coded = encode(Windows.from_arrays(np.zeros((len(labels), 1, 2))), np.array(labels), classes)
    assert coded.y.dtype == np.int64
    np.testing.assert_array_equal(classes[coded.y], labels)


@pytest.mark.parametrize("strange", [[0, 7], [-1, 1], [0.5, 1.0], ["W", "R"]])
def test_labels_outside_the_classes_are_named(strange: list) -> None:
    windows = Windows.from_arrays(np.zeros((2, 1, 2)))
    with pytest.raises(ValueError, match="are not among the classes"):
        encode(windows, np.array(strange), np.arange(3))


# ---------------------------------------------------------------------- validation people


def crowd(sizes: list[int]) -> Windows:
    subjects = np.repeat([f"s{k}" for k in range(len(sizes))], sizes)
    frame = pd.DataFrame({"subject": subjects})
    return Windows.from_arrays(np.zeros((len(frame), 1, 1)), metadata=frame)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=12),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 50),
)
def test_people_are_set_aside_whole_and_nobody_is_on_both_sides(
    sizes: list[int], share: float, seed: int
) -> None:
    windows = crowd(sizes)
    train, valid = split_people(windows, share, seed)
    assert valid is not None
    ours, theirs = set(train.subjects), set(valid.subjects)
    assert ours
    assert theirs
    assert not ours & theirs
    assert sorted([*train.rows, *valid.rows]) == list(range(len(windows)))
    n = len(sizes)
    assert len(theirs) == min(max(1, round(share * n)), n - 1)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 20))
def test_who_is_set_aside_depends_on_the_people_and_the_seed_alone(
    order: list[int], seed: int
) -> None:
    windows = crowd([3, 3, 3, 3])
    _, valid = split_people(windows, 0.5, seed)
    _, other = split_people(windows[np.array(order)], 0.5, seed)
    _, fewer = split_people(windows[::3], 0.5, seed)
    assert set(valid.subjects) == set(other.subjects) == set(fewer.subjects)


def test_another_data_seed_sets_others_aside() -> None:
    held = {tuple(np.unique(split_people(crowd([2] * 8), 0.25, s)[1].subjects)) for s in range(20)}
    assert len(held) > 5


@pytest.mark.parametrize("share", [0, 0.2, 0.6])
def test_positions_and_windows_are_split_alike(
    windows: Windows, arrays: tuple, share: float
) -> None:
    order = np.random.default_rng(0).permutation(48)
    for view in (windows, windows[order], Windows.from_arrays(*arrays, sfreq=10.0)[order]):
        positions, parts = split_positions(view, share, 3), split_people(view, share, 3)
        found = [np.zeros(0, int) if p is None else p for p in positions]
        assert sorted(np.concatenate(found)) == list(range(48))
        for part, rows in zip(parts, positions, strict=True):
            assert (part is None) == (rows is None)
            if rows is not None:
                assert part is not None
                np.testing.assert_array_equal(part.rows, view.rows[rows])
                assert (np.diff(rows) > 0).all()  # they keep their order


def test_one_person_or_no_share_sets_nobody_aside() -> None:
    assert split_people(crowd([5]), 0.5, 0)[1] is None
    assert split_people(crowd([5, 5]), 0, 0)[1] is None


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="valid_size is a share"):
        split_people(crowd([5, 5]), share, 0)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(2, 12), min_size=1, max_size=4),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 9),
)
def test_windows_without_people_are_split_by_label(
    counts: list[int], share: float, seed: int
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    windows = Windows.from_arrays(np.zeros((len(y), 1, 1)), y)
    train, valid = split_people(windows, share, seed)
    if valid is None:
        assert len(train) == len(windows)
        return
    assert sorted([*train.rows, *valid.rows]) == list(range(len(windows)))
    assert set(train.y) == set(y)  # no label is lost to training


def test_a_label_seen_once_leaves_windows_without_people_unsplit() -> None:
    windows = Windows.from_arrays(np.zeros((9, 1, 1)), [0] * 8 + [1])
    train, valid = split_people(windows, 0.2, 0)
    assert len(train) == 9
    assert valid is None
