"""Stores larger than memory: the same values, without the file in the process."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleepshift.errors import DataError
from sleepshift.windows import Windows, reading
from sleepshift.windows.reading import RowReader


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read past the map even what is small."""
    monkeypatch.setattr(reading, "LIMIT", 0)


def mapped(folder: Path, mode: str = "r") -> np.memmap:
    x = np.random.default_rng(0).normal(size=(12, 4, 30)).astype(np.float32)
    np.save(folder / "signals.npy", x)
    return np.load(folder / "signals.npy", mmap_mode=mode)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.integers(0, 11), max_size=20),
    channels=st.none() | st.lists(st.integers(0, 3), min_size=1, unique=True),
)
def test_rows_and_channels_are_those_of_the_array(
    tmp_path: Path, rows: list[int], channels: list[int] | None
) -> None:
    array = mapped(tmp_path)
    reader = RowReader.of(array)
    assert reader is not None
    picks = None if channels is None else np.array(channels)
    found = reader(np.array(rows, dtype=np.int64), picks)
    expected = array[rows] if channels is None else array[rows][:, channels]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == array.dtype
    found[:] = 0  # a copy
    np.testing.assert_array_equal(mapped(tmp_path), array)


def test_windows_read_the_same_values_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = mapped(tmp_path)
    facts = {"ch_names": "abcd", "sfreq": 1.0, "name": "store"}
    large = Windows(array, **facts)
    monkeypatch.setattr(reading, "LIMIT", array.nbytes)
    small = Windows(array, **facts)
    assert large._reader is not None
    assert small._reader is None
    monkeypatch.setattr(reading, "LIMIT", 0)
    large = pickle.loads(pickle.dumps(large[::-1].pick(["d", "b"])))  # noqa: S301
    small = small[::-1].pick(["d", "b"])
    assert large._reader is not None
    np.testing.assert_array_equal(np.asarray(large), np.asarray(small))
    for got, expected in zip(
        large.__getitems__([3, 0, 3]), small.__getitems__([3, 0, 3]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert large[:2]._reader is large._reader  # views open no file of their own


def test_other_arrays_are_read_as_they_are(tmp_path: Path) -> None:
    array = mapped(tmp_path)
    own_changes = mapped(tmp_path, "c")
    own_changes[0] = 7
    for other in (np.asarray(array), array[2:5], array[:, ::2], own_changes):
        assert RowReader.of(other) is None
    windows = Windows(own_changes, ch_names="abcd", sfreq=1.0)
    assert (np.asarray(windows[:1]) == 7).all()


def test_a_file_that_became_shorter_is_an_error_not_noise(tmp_path: Path) -> None:
    windows = Windows(mapped(tmp_path), ch_names="abcd", sfreq=1.0)
    with (tmp_path / "signals.npy").open("rb+") as file:
        file.truncate(128 + 11 * 480)
    assert len(np.asarray(windows[:11])) == 11
    with pytest.raises(DataError, match=r"signals\.npy has become shorter"):
        np.asarray(windows)


READ_ALL = """
import sys
import numpy as np
from sleepshift.windows import Windows, reading

if sys.argv[2] == "map":
    reading.LIMIT = 2**40
rng = np.random.default_rng(0)

def resident():
    with open("/proc/self/status") as lines:
        facts = dict(line.split(":", 1) for line in lines)
    return int(facts["RssFile"].split()[0]) // 1024

signals = np.load(sys.argv[1], mmap_mode="r")
windows = Windows(signals, ch_names="ab", sfreq=100.0, name="large").pick(["b"])
before = resident()
for rows in np.array_split(rng.permutation(len(windows)), 200):
    windows.__getitems__(rows)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what a process holds")
def test_a_pass_over_a_large_store_leaves_nothing_of_it_in_the_process(tmp_path: Path) -> None:
    """Of a gigabyte of nothing, which takes no disk."""
    path = tmp_path / "signals.npy"
    shape = (45_000, 2, 3000)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()
    held = {}
    for how in ("map", "rows"):
        call = [sys.executable, "-c", READ_ALL, str(path), how]
        done = subprocess.run(call, capture_output=True, text=True, check=True)
        held[how] = int(done.stdout)
    assert held["rows"] < 50 < 500 < held["map"]
