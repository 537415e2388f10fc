"""`Windows`: indexing, views, labels that stay withheld, batches, round trips."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.utils import _safe_indexing
from torch.utils.data import DataLoader

from sleepshift.errors import DataError, TaskError
from sleepshift.windows import Windows, identity_collate

N, CHANNELS, TIMES = 12, ("C", "A", "B"), 40


def make_frame(n=N):
    people, sessions = np.repeat(["7", "8"], [n // 2, n - n // 2]), np.repeat(["1", "2"], n)
    onset = 30.0 * np.arange(n)
    return pd.DataFrame({"subject": people, "session": sessions[:n], "onset": onset})


def make_arrays(n=N, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(CHANNELS), TIMES)).astype(np.float32)
    return x, rng.integers(0, 6, n)


def make_windows(n=N, seed=0, **kwargs):
    x, y = make_arrays(n, seed)
    settings = {"ch_names": CHANNELS, "sfreq": 10.0, "scheme": "rk6", "metadata": make_frame(n)}
    return Windows.from_arrays(x, y, **(settings | kwargs))


def sent_elsewhere(windows):
    """The windows as another process gets them."""
    return pickle.loads(pickle.dumps(windows))  # noqa: S301


@pytest.fixture
def arrays():
    return make_arrays()


@pytest.fixture
def windows():
    return make_windows()


@pytest.fixture
def stored(tmp_path):
    """The same windows, memory-mapped from a file, as a store has them."""
    x, y = make_arrays()
    np.save(tmp_path / "signals.npy", x)
    signals = np.load(tmp_path / "signals.npy", mmap_mode="r")
    return Windows(signals, make_frame(), y, ch_names=CHANNELS, sfreq=10.0, scheme="rk6", name="s1")


# ---------------------------------------------------------------------- what they are


def test_the_fingerprint_of_arrays_tells_which_channel_a_name_stands_for() -> None:
    X = np.random.default_rng(0).normal(size=(3, 2, 8))
    views = [
        Windows.from_arrays(X, ch_names=names).pick(["C3"]) for names in (["C3", "A"], ["A", "C3"])
    ]
    assert not np.array_equal(*map(np.asarray, views))
    assert views[0].fingerprint != views[1].fingerprint


def test_array_facts(windows, arrays):
    assert len(windows) == N
    assert windows.shape == (N, 3, TIMES) == np.shape(windows)
    assert windows.ndim == np.ndim(windows) == 3
    assert windows.dtype == np.float32 == np.asarray(windows).dtype
    np.testing.assert_array_equal(np.asarray(windows), arrays[0])
    np.testing.assert_array_equal(np.asarray(windows, dtype=np.float64), arrays[0].astype(float))
    assert windows.y.tolist() == arrays[1].tolist()
    assert windows.kind == "signal"
    assert windows.ordered
    assert windows.subjects.tolist() == ["7"] * 6 + ["8"] * 6
    assert "labelled" in repr(windows)
    assert "withheld" in repr(windows.without_labels())


def test_an_array_is_a_copy_and_no_copy_is_refused(windows, arrays):
    got = np.asarray(windows)
    got[:] = 0
    np.testing.assert_array_equal(np.asarray(windows), arrays[0])
    with pytest.raises(ValueError, match="always copies"):
        np.array(windows, copy=False)


def test_labels_read_are_a_copy(windows, arrays):
    windows.y[:] = 5
    np.testing.assert_array_equal(windows.y, arrays[1])


def test_unknown_facts_are_none_or_false():
    windows = Windows.from_arrays(np.zeros((3, 1, 4)))
    assert windows.subjects is None
    assert not windows.ordered
    assert not windows.has_labels
    assert windows.kind == "features"
    assert windows.metadata.shape == (3, 0)
    assert windows.ch_names == ("0",)
    frame = pd.DataFrame({"onset": [0.0, np.nan, 60.0]})
    assert not Windows.from_arrays(np.zeros((3, 1, 4)), metadata=frame).ordered
    assert Windows.from_arrays(np.zeros((3, 1, 4)), metadata=frame)[[0, 2]].ordered


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"X": np.zeros((3, 4))}, "got shape"),
        ({"ch_names": ["a"]}, "1 names for 2 channels"),
        ({"ch_names": ["a", "a"]}, "same name"),
        ({"y": [0, 1]}, "2 labels for 3 windows"),
        ({"metadata": pd.DataFrame({"subject": ["a"]})}, "1 rows of metadata for 3 windows"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, reason):
    good = {"X": np.zeros((3, 2, 4)), "y": [0, 1, 0], "ch_names": ["a", "b"]}
    Windows.from_arrays(**good)
    with pytest.raises(ValueError, match=reason):
        Windows.from_arrays(**(good | change))


# ---------------------------------------------------------------------- indexing

INDICES = {
    "slice": slice(2, 9, 3),
    "backwards": slice(None, None, -1),
    "all": slice(None),
    "empty": slice(0, 0),
    "list": [3, 3, 0],
    "no rows": [],
    "negative": [-1, -12],
    "array": np.array([5, 1]),
    "int32": np.array([5, 1], dtype=np.int32),
    "mask": np.arange(N) % 2 == 0,
    "list mask": [True] * 2 + [False] * 10,
    "series": pd.Series(np.arange(N) > 8, index=range(100, 100 + N)),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("with_ellipsis", [False, True])
def test_indexing_gives_windows_of_those_rows(stored, arrays, index, with_ellipsis):
    x, y = arrays
    part = stored[index, ...] if with_ellipsis else stored[index]
    rows = np.arange(N)[index]
    assert isinstance(part, Windows)
    assert part.shape == (len(rows), 3, TIMES)
    np.testing.assert_array_equal(np.asarray(part), x[rows])
    np.testing.assert_array_equal(part.y, y[rows])
    assert part.metadata["onset"].tolist() == (30.0 * rows).tolist()
    assert part.metadata.index.tolist() == list(range(len(rows)))
    assert part.subjects.tolist() == np.array(make_frame()["subject"])[rows].tolist()


@pytest.mark.parametrize("index", [0, 4, -1, np.int64(2), N - 1])
def test_an_integer_gives_one_torch_item(stored, arrays, index):
    for got in (stored[index], stored[index, ...]):
        x, y, i = got
        assert x.dtype == torch.float32
        np.testing.assert_array_equal(x.numpy(), arrays[0][index])
        assert int(y) == arrays[1][index]
        assert int(i) == range(N)[index]


@pytest.mark.parametrize("index", [N, -N - 1, [N], np.ones(N - 1, dtype=bool)])
def test_indices_that_are_not_there_are_refused(windows, index):
    with pytest.raises(IndexError):
        windows[index]


@pytest.mark.parametrize("index", [(0, 1), (slice(2), slice(2)), (..., 0), None, [[0, 1]], "C"])
def test_only_the_first_axis_is_indexed(windows, index):
    with pytest.raises(IndexError):
        windows[index]


def test_iteration_ends(windows):
    assert [int(i) for _, _, i in windows] == list(range(N))


def test_scikit_learn_indexes_windows(stored, arrays):
    for index in ([3, 1], np.array([0, 11]), np.arange(N) > 7, slice(1, 4)):
        part = _safe_indexing(stored, index)
        assert isinstance(part, Windows)
        np.testing.assert_array_equal(np.asarray(part), arrays[0][index])


def test_scikit_learn_cross_validates_windows_by_person(stored):
    from sklearn.dummy import DummyClassifier

    predicted = cross_val_predict(
        DummyClassifier(), stored, stored.y, groups=stored.subjects, cv=GroupKFold(2)
    )
    for person in ("7", "8"):
        mine = stored.subjects == person
        counts = np.bincount(stored.y[~mine])
        assert set(predicted[mine]) == {counts.argmax()}


rows_of_rows = st.lists(st.integers(-N, N - 1), max_size=15)


@given(first=rows_of_rows, data=st.data())
def test_views_of_views_equal_views_of_arrays(first, data):
    x, y = make_arrays()
    windows = make_windows()
    names = data.draw(st.permutations(CHANNELS))[: data.draw(st.integers(1, 3))]
    again = data.draw(st.permutations(names))[: data.draw(st.integers(1, len(names)))]
    inside = st.lists(st.integers(-len(first), len(first) - 1), max_size=8)
    second = data.draw(inside) if first else []
    view = windows[first].pick(names)[second].pick(again)
    columns = [CHANNELS.index(name) for name in again]
    rows = np.arange(N)[first][second]
    np.testing.assert_array_equal(np.asarray(view), x[rows][:, columns])
    np.testing.assert_array_equal(view.y, y[rows])
    assert view.ch_names == tuple(again)
    assert view.shape == (len(rows), len(again), TIMES)


# ---------------------------------------------------------------------- channels


def test_pick_is_by_name_and_in_the_order_asked(windows, arrays):
    picked = windows.pick(["B", "C"])
    np.testing.assert_array_equal(np.asarray(picked), arrays[0][:, [2, 0]])
    np.testing.assert_array_equal(np.asarray(picked.pick(["C"])), arrays[0][:, [0]])
    assert windows.pick(None) is windows
    assert windows.ch_names == CHANNELS  # the view it came from is as it was


def test_a_channel_that_was_left_out_cannot_be_had_back(windows):
    with pytest.raises(DataError, match="no channel 'C'; there are B"):
        windows.pick(["B"]).pick(["C"])
    with pytest.raises(DataError, match="no channel 'D'; there are C, A, B"):
        windows.pick(["A", "D"])


# ---------------------------------------------------------------------- labels


def everything_in(value, seen=None):
    """Every object that can be reached from `value` through attributes and containers."""
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, (str, int, float, type(None))):
        return seen
    seen[id(value)] = value
    if isinstance(value, pd.DataFrame):
        for name in value:
            everything_in(value[name].to_numpy(), seen)
    elif isinstance(value, Mapping):
        for item in value.values():
            everything_in(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            everything_in(item, seen)
    elif isinstance(value, Windows):
        everything_in(value.__dict__, seen)
    return seen


def holds(windows, labels):
    """Whether some array in `windows`, or what it pickles to, has these values."""
    return any(
        isinstance(value, np.ndarray)
        and value.dtype.kind in "iuf"
        and value.size == labels.size
        and np.array_equal(value.ravel(), labels)
        for value in everything_in(windows).values()
    )


def test_withheld_labels_cannot_be_reached():
    labels = np.array([5, 0, 4, 1, 3, 2, 2, 5, 1, 0, 4, 4])
    windows = make_windows().with_labels(labels)
    assert holds(windows, labels)  # the search does find labels that are there
    withheld = [
        windows.without_labels(),
        windows[::-1][::-1].without_labels().pick(["A"]),
        sent_elsewhere(windows.without_labels()),
        windows.without_labels()[np.arange(N)],
    ]
    for view in withheld:
        assert not view.has_labels
        assert not holds(view, labels)
        with pytest.raises(DataError, match="withheld"):
            _ = view.y
        with pytest.raises(DataError, match="hold no labels"):
            view.labels_of(windows)
        with pytest.raises(DataError, match="withheld"):
            view.to_scheme("aasm5")
        assert set(view.metadata) == {"subject", "session", "onset"}
        assert view[0][1] == -1
        assert view.__getitems__(range(N))[1].tolist() == [-1] * N


def test_a_view_holds_no_labels_of_windows_it_does_not_have(windows):
    """The source of a fold must not carry the test people's labels along."""
    source, test = windows[:6], windows[6:].without_labels()
    with pytest.raises(DataError, match="hold no labels for that view"):
        source.labels_of(test)
    sizes = [v.size for v in everything_in(source).values() if isinstance(v, np.ndarray)]
    assert not holds(source, windows.y)
    assert source.y.size in sizes


def test_labels_of_a_withheld_view_are_known_to_the_whole(windows, stored):
    rows = [4, 4, 1, -1]
    for whole in (windows, stored, stored[::-1]):
        view = whole[rows].without_labels().pick(["A"])
        np.testing.assert_array_equal(whole.labels_of(view), whole.y[rows])
    np.testing.assert_array_equal(stored.labels_of(sent_elsewhere(stored[rows])), stored.y[rows])


def test_labels_of_another_store_are_not_known(windows):
    with pytest.raises(DataError, match="hold no labels for that view"):
        windows.labels_of(make_windows())


def test_with_labels_labels_each_window_of_the_view(windows):
    view = windows[[5, 2, 5]].with_labels([9, 8, 7])  # window 5 twice, as in a bootstrap
    assert view.y.tolist() == [9, 8, 7]
    assert view[[2, 1]].y.tolist() == [7, 8]
    assert view.__getitems__([0, 2])[1].tolist() == [9, 7]
    assert view.pick(["B"]).y.tolist() == [9, 8, 7]
    assert windows.with_labels(pd.Series(range(N), index=range(50, 50 + N))).y[3] == 3
    assert windows.with_labels(list("abcdefghijkl"))[[1]].y.tolist() == ["b"]
    with pytest.raises(ValueError, match="for 3 windows"):
        view.with_labels([1, 2])
    with pytest.raises(ValueError, match="for 3 windows"):
        view.with_labels(np.zeros((3, 2)))


def test_later_changes_to_an_array_given_do_not_change_the_labels(windows):
    y = np.arange(N)
    labelled = windows.with_labels(y)
    y[:] = 0
    assert labelled.y.tolist() == list(range(N))


def test_to_scheme_merges_and_leaves_out():
    windows = make_windows(6).with_labels([0, 1, 2, 3, 4, 5])
    merged = windows.to_scheme("aasm5")
    assert merged.y.tolist() == [0, 1, 2, 3, 3, 4]
    assert merged.scheme == "aasm5"
    deep = merged.to_scheme("wake-deep")
    assert deep.y.tolist() == [0, 1, 1]
    assert deep.rows.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(np.asarray(deep), np.asarray(windows)[[0, 3, 4]])
    np.testing.assert_array_equal(deep.y, windows[[5, 4, 3, 0]].to_scheme("wake-deep").y[::-1])
    assert windows.to_scheme("rk6") is windows
    assert windows.y.tolist() == [0, 1, 2, 3, 4, 5]


def test_to_scheme_refuses_what_it_cannot_know(windows):
    with pytest.raises(TaskError, match="cannot be expressed in 'rk6'"):
        windows.to_scheme("aasm5").to_scheme("rk6")
    with pytest.raises(TaskError, match="unknown stage scheme"):
        windows.to_scheme("nope")
    with pytest.raises(ValueError, match="do not state a stage scheme"):
        make_windows(scheme=None).to_scheme("aasm5")


# ---------------------------------------------------------------------- joining


def test_views_of_one_store_are_joined_without_copying(stored):
    joined = Windows.concat([stored[6:], stored[[0, 0]], stored[[7]]])
    assert joined._signals is stored._signals
    assert joined.rows.tolist() == [6, 7, 8, 9, 10, 11, 0, 0, 7]
    np.testing.assert_array_equal(joined.y, stored.y[joined.rows])
    assert joined.fingerprint == stored[joined.rows].fingerprint


def test_joined_views_keep_their_own_labels(stored):
    """As pseudo-labels do: the same windows with labels of two sorts."""
    joined = Windows.concat([stored[:2].with_labels([5, 5]), stored[:2].with_labels([0, 1])])
    assert joined.y.tolist() == [5, 5, 0, 1]


def test_joining_with_a_withheld_view_withholds_all(stored):
    joined = Windows.concat([stored[:2], stored[2:4].without_labels()])
    assert not joined.has_labels
    assert not holds(joined, stored.y[:2])
    other = make_windows(seed=5)
    assert not Windows.concat([other.without_labels(), stored]).has_labels


def test_different_arrays_are_joined_by_copying(windows):
    other = make_windows(seed=5)
    joined = Windows.concat([windows[:3].pick(["A", "C"]), other[[1]].pick(["A", "C"])])
    both = [np.asarray(windows)[:3, [1, 0]], np.asarray(other)[[1]][:, [1, 0]]]
    np.testing.assert_array_equal(np.asarray(joined), np.concatenate(both))
    assert joined.y.tolist() == [*windows.y[:3], other.y[1]]
    assert joined.metadata["onset"].tolist() == [0, 30, 60, 30]
    assert joined.scheme == "rk6"
    assert joined.sfreq == 10.0


def test_what_does_not_go_together_is_not_joined(windows):
    with pytest.raises(ValueError, match="different channels or rates"):
        Windows.concat([windows, windows.pick(["A", "B", "C"])])
    with pytest.raises(ValueError, match="different channels or rates"):
        Windows.concat([windows, make_windows(sfreq=20.0)])
    with pytest.raises(ValueError, match="different stage schemes"):
        Windows.concat([windows, windows.to_scheme("aasm5")])
    with pytest.raises(ValueError, match="no windows to join"):
        Windows.concat([])


# ---------------------------------------------------------------------- fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_object(windows, stored):
    assert windows.fingerprint == make_windows().fingerprint
    assert windows[2:5].fingerprint == windows[[2, 3, 4]].fingerprint
    assert windows[::-1][::-1].fingerprint == windows.fingerprint
    assert windows.with_labels(windows.y).fingerprint == windows.fingerprint
    assert sent_elsewhere(stored).fingerprint == stored.fingerprint


def test_the_fingerprint_changes_with_all_that_matters(windows, stored):
    versions = [
        windows,
        windows[:5],
        windows[[1, 0]],
        windows[[0, 1]],
        windows.pick(["A"]),
        windows.pick(["C", "B", "A"]),
        windows.without_labels(),
        windows.with_labels(np.roll(windows.y, 1)),
        windows.to_scheme("stages3"),
        make_windows(seed=1),
        stored,
    ]
    assert len({version.fingerprint for version in versions}) == len(versions)


def test_labels_outside_a_view_do_not_change_its_fingerprint(windows):
    y = windows.y
    y[8:] = 0
    assert windows.with_labels(y)[:5].fingerprint == windows[:5].fingerprint


def test_the_fingerprint_of_a_store_is_hashed_once_and_not_passed_on(stored, monkeypatch):
    known = stored.fingerprint
    views = [stored[:5], stored.pick(["A"]), stored.without_labels(), stored.to_scheme("stages3")]
    assert len({known, *(view.fingerprint for view in views)}) == 5
    monkeypatch.setattr("sleepshift.windows.windows.digest", None)
    assert stored.fingerprint == known
    assert sent_elsewhere(stored).fingerprint == known


def test_arrays_in_memory_that_change_have_another_fingerprint():
    x, y = make_arrays()
    windows = Windows(x, None, y, ch_names=CHANNELS, sfreq=10.0)
    before = windows.fingerprint
    x[3] += 1
    assert windows.fingerprint != before


# ---------------------------------------------------------------------- batches


@given(indices=st.lists(st.integers(0, 6), min_size=1, max_size=10), picked=st.booleans())
def test_a_batch_equals_its_items_one_by_one(indices, picked):
    view = make_windows()[[11, 3, 3, 0, 7, 5, 1]]
    view = view.pick(["B", "A"]) if picked else view
    x, y, i = view.__getitems__(indices)
    items = [view[k] for k in indices]
    assert torch.equal(x, torch.stack([item[0] for item in items]))
    assert torch.equal(y, torch.stack([item[1] for item in items]))
    assert i.tolist() == indices
    assert (x.dtype, y.dtype, i.dtype) == (torch.float32, torch.int64, torch.int64)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_takes_whole_batches(stored, arrays, workers):
    loader = DataLoader(
        stored[::-1], batch_size=5, collate_fn=identity_collate, num_workers=workers
    )
    batches = list(loader)
    assert [len(batch[0]) for batch in batches] == [5, 5, 2]
    np.testing.assert_array_equal(torch.cat([b[0] for b in batches]).numpy(), arrays[0][::-1])
    np.testing.assert_array_equal(torch.cat([b[1] for b in batches]).numpy(), arrays[1][::-1])
    assert torch.cat([b[2] for b in batches]).tolist() == list(range(N))


def test_a_subset_of_torch_reads_the_same_windows(stored):
    subset = torch.utils.data.Subset(stored, [4, 2])
    (batch,) = DataLoader(subset, batch_size=2, collate_fn=identity_collate)
    assert batch[2].tolist() == [4, 2]
    assert torch.equal(batch[0], stored.__getitems__([4, 2])[0])


def test_a_batch_can_be_written_to_without_touching_the_store(stored, arrays):
    stored.__getitems__([0, 1])[0].zero_()
    stored[0][0].zero_()
    np.testing.assert_array_equal(np.asarray(stored), arrays[0])


# ---------------------------------------------------------------------- memory and pickles


def test_a_memory_mapped_view_reads_the_values_of_the_array(stored, windows):
    rows = [3, 0, 3, 11]
    np.testing.assert_array_equal(np.asarray(stored[rows]), np.asarray(windows[rows]))
    np.testing.assert_array_equal(
        np.asarray(stored[rows].pick(["B", "C"])), np.asarray(windows[rows].pick(["B", "C"]))
    )


def test_a_stored_view_pickles_by_its_path(tmp_path):
    signals = np.lib.format.open_memmap(
        tmp_path / "signals.npy", mode="w+", dtype=np.float32, shape=(500, 2, 3000)
    )
    signals[:] = np.arange(500)[:, None, None]
    signals.flush()
    stored = Windows(
        np.load(tmp_path / "signals.npy", mmap_mode="r"), ch_names="ab", sfreq=100.0, name="big"
    )
    text = pickle.dumps(stored[400:].pick(["b"]))
    assert len(text) < 20_000  # the file has 12 MB
    again = pickle.loads(text)  # noqa: S301
    np.testing.assert_array_equal(np.asarray(again)[:, 0, 0], np.arange(400, 500))
    assert isinstance(again._signals, np.memmap)
    assert not again._signals.flags.writeable
    twin = copy.deepcopy(stored)
    assert isinstance(twin._signals, np.memmap)
    assert Windows.concat([twin, stored])._signals is twin._signals  # still known as one store


def test_a_pickle_of_arrays_in_memory_carries_them(windows):
    again = sent_elsewhere(windows[2:4])
    np.testing.assert_array_equal(np.asarray(again), np.asarray(windows)[2:4])
    np.testing.assert_array_equal(again.y, windows.y[2:4])


def test_a_part_of_a_mapped_file_pickles_right(tmp_path, arrays):
    np.save(tmp_path / "signals.npy", arrays[0])
    part = np.load(tmp_path / "signals.npy", mmap_mode="r")[4:8]
    windows = Windows(part, ch_names=CHANNELS, sfreq=10.0)
    again = sent_elsewhere(windows)
    np.testing.assert_array_equal(np.asarray(again), arrays[0][4:8])


def test_a_pickle_whose_store_is_gone_says_so(stored, tmp_path):
    text = pickle.dumps(stored)
    (tmp_path / "signals.npy").unlink()
    with pytest.raises(DataError, match=r"signals\.npy cannot be opened again"):
        pickle.loads(text)  # noqa: S301


# ---------------------------------------------------------------------- Braindecode


def test_braindecode_and_back(windows):
    concat = windows.to_braindecode()
    assert len(concat.datasets) == 2
    assert len(concat) == N
    x, y, _ = concat[7]
    np.testing.assert_array_equal(x, np.asarray(windows)[7])
    assert y == windows.y[7]
    again = Windows.from_braindecode(concat, scheme="rk6")
    np.testing.assert_array_equal(np.asarray(again), np.asarray(windows))
    np.testing.assert_array_equal(again.y, windows.y)
    assert again.ch_names == windows.ch_names
    assert again.sfreq == windows.sfreq
    columns = ["subject", "session", "onset"]
    pd.testing.assert_frame_equal(again.metadata[columns], windows.metadata[columns])


def test_start_samples_are_rounded_not_cut_off():
    onset = np.array([0.0, 0.29, 0.57, 4.35])
    frame = pd.DataFrame({"subject": "0", "session": "1", "onset": onset})
    windows = Windows.from_arrays(
        np.zeros((4, 1, 10)), [0] * 4, metadata=frame, ch_names="a", sfreq=100.0
    )
    starts = windows.to_braindecode().datasets[0].metadata["i_start_in_trial"]
    assert starts.tolist() == [0, 29, 57, 435]


def test_recordings_stay_apart_and_in_order_in_braindecode(windows):
    mixed = windows[[11, 0, 6, 1]]
    concat = mixed.to_braindecode()
    assert [d.description["subject"] for d in concat.datasets] == ["8", "7"]
    again = Windows.from_braindecode(concat)
    assert again.metadata["onset"].tolist() == [330, 180, 0, 30]


def test_withheld_labels_are_withheld_in_braindecode_too(windows):
    concat = windows.without_labels().to_braindecode()
    assert {item[1] for item in concat} == {-1}


def test_features_have_no_braindecode_form():
    with pytest.raises(ValueError, match="no MNE form"):
        Windows.from_arrays(np.zeros((2, 1, 10)), [0, 1]).to_braindecode()


def braindecode_windows(ch_names, recording, value=0.0, sfreq=100.0):
    """One lazy Braindecode recording of four 1-s windows; channel k holds value + k."""
    import mne
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_fixed_length_windows

    order = np.array([ord(name) - ord("a") for name in ch_names], dtype=float)
    data = np.repeat(value + order[:, None], 4 * int(sfreq), axis=1)
    raw = mne.io.RawArray(data, mne.create_info(list(ch_names), sfreq, "eeg"), verbose=False)
    described = RawDataset(raw, recording, target_name="stage" if recording else None)
    size = int(sfreq)
    return create_fixed_length_windows(
        BaseConcatDataset([described]), window_size_samples=size, window_stride_samples=size,
        drop_last_window=False, verbose="error",
    ).datasets[0]  # fmt: skip


def test_recordings_whose_channels_differ_in_order_are_read_by_name():
    from braindecode.datasets import BaseConcatDataset

    concat = BaseConcatDataset(
        [
            braindecode_windows("ab", {"subject": 1, "recording": 1, "stage": 3}),
            braindecode_windows("ba", {"subject": 1, "recording": 2, "stage": 4}, value=10.0),
        ]
    )
    windows = Windows.from_braindecode(concat)
    assert windows.ch_names == ("a", "b")
    assert np.asarray(windows)[:, :, 0].tolist() == [[0.0, 1.0]] * 4 + [[10.0, 11.0]] * 4
    assert windows.metadata["session"].tolist() == ["1"] * 4 + ["2"] * 4
    assert windows.subjects.tolist() == ["1"] * 8
    assert windows.metadata["onset"].tolist() == [0, 1, 2, 3] * 2
    assert windows.y.tolist() == [3] * 4 + [4] * 4


def test_recordings_of_other_channels_or_rates_are_not_joined():
    from braindecode.datasets import BaseConcatDataset

    first = braindecode_windows("ab", {"subject": 1, "stage": 0})
    for other in (
        braindecode_windows("ac", {"subject": 2, "stage": 0}),
        braindecode_windows("ab", {"subject": 2, "stage": 0}, sfreq=50.0),
    ):
        with pytest.raises(ValueError, match="different channels or rates"):
            Windows.from_braindecode(BaseConcatDataset([first, other]))


def test_braindecode_windows_without_a_description_are_read():
    from braindecode.datasets import BaseConcatDataset

    windows = Windows.from_braindecode(BaseConcatDataset([braindecode_windows("ab", None)]))
    assert windows.shape == (4, 2, 100)
    assert windows.subjects is None
