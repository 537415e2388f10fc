"""Datasets as one: people told apart, channels and stages of one name."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import mne
import numpy as np
import pytest

from sleepshift.datasets import DATASETS, LabelledWindows, Recording, make_dataset
from sleepshift.datasets.base import Dataset
from sleepshift.datasets.joined import Joined
from sleepshift.datasets.simulated import Simulated
from sleepshift.errors import DataError, TaskError
from sleepshift.windows import Recipe, cut_recording

NORTH = {
    "name": "simulated",
    "label": "north",
    "params": {"people": [[2, 20, 30]], "hours": 0.5, "seed": 1},
    "channels": {"EEG": "EEG Fpz-Cz", "EOG": "EOG horizontal"},
}
SOUTH = {
    **NORTH,
    "label": "south",
    "params": {"people": [[1, 70, 70]], "hours": 0.5, "seed": 2},
    "channels": {"EOG": "EOG horizontal", "EEG": "EEG Pz-Oz"},
}


def joined(*parts, **settings):
    return make_dataset("joined", parts=list(parts), **settings)


@pytest.fixture
def both():
    return joined(NORTH, SOUTH)


def test_people_of_one_number_in_two_datasets_are_two(both):
    there = [(r.subject, r.age) for r in both.recordings()]
    assert there == [("north:0", 20.0), ("north:1", 30.0), ("south:0", 70.0)]
    assert [r.subject for r in both.recordings(["south:0"])] == ["south:0"]
    assert not both.reads_files


def test_signals_are_those_of_the_dataset_under_the_common_names(both):
    night = both.recordings(["south:0"])[0]
    raw = both.read(night, ["EEG", "EOG"])
    assert raw.ch_names == ["EEG", "EOG"]
    own = Simulated(**SOUTH["params"])
    expected = own.read(own.recordings()[0], ["EEG Pz-Oz", "EOG horizontal"])
    np.testing.assert_array_equal(raw.get_data(), expected.get_data())


def test_windows_have_the_stages_of_the_common_scheme(both):
    recipe = Recipe(channels=("EOG", "EEG"), sfreq=100.0, trim_wake_minutes=None, scaling="none")
    night = both.recordings(["north:1"])[0]
    windows = cut_recording(both, night, recipe).windows
    own = Simulated(**NORTH["params"])
    finer = cut_recording(
        own,
        own.recordings(["1"])[0],
        Recipe(
            channels=("EOG horizontal", "EEG Fpz-Cz"),
            sfreq=100.0,
            trim_wake_minutes=None,
            scaling="none",
        ),
    ).windows
    # A bout of S3 and S4 is one of N3 now, so no window may be lost or moved.
    np.testing.assert_array_equal(windows.onset, finer.onset)
    assert windows.y.tolist() == [min(y, 3) if y < 5 else 4 for y in finer.y]
    np.testing.assert_array_equal(windows.x, finer.x)


class Cut(Dataset):
    """A recording that comes cut, scored by two."""

    info, scheme, needs_folder = Simulated.info, "rk6", False
    stage_codes = Simulated.stage_codes

    def recordings(self, subjects=None):
        return [Recording(subject="0", session="1")]

    def read(self, recording, channels=None):
        y = np.array([0, 3, 4, -1, 5])
        onset = 30.0 * np.arange(5)
        x = np.zeros((5, 1, 3000), np.float32)
        return LabelledWindows(
            x=x, y=y, onset=onset, ch_names=("C",), sfreq=100.0, second=y[::-1].copy()
        )

    def epoch_seconds(self, recording):
        return 20.0

    def second_scoring(self, recording):
        return mne.Annotations([0, 30], [30, 30], ["Sleep stage 4", "Movement time"])


@pytest.fixture
def with_cut(monkeypatch):
    monkeypatch.setitem(DATASETS, "cut", "cut:Cut")
    monkeypatch.setitem(sys.modules, "cut", SimpleNamespace(Cut=Cut))


def test_windows_that_come_cut_are_converted(with_cut):
    cut = {"name": "cut", "channels": {"EEG": "C", "EOG": "D"}}
    both = joined(NORTH, cut, scheme="aasm5")
    night = both.recordings(["cut:0"])[0]
    windows = both.read(night, ["EEG"])
    assert windows.ch_names == ("EEG",)
    assert windows.y.tolist() == [0, 3, 3, -1, 4]
    assert windows.second.tolist() == [4, -1, 3, 3, 0]
    assert both.epoch_seconds(night) == 20.0
    assert list(both.second_scoring(night).description) == ["N3", "unscored"]
    deep = joined(NORTH, cut, scheme="wake-deep").read(night, ["EEG"])
    assert deep.y.tolist() == [0, 1, 1, -1]  # REM has no place; what is withheld stays withheld
    assert deep.onset.tolist() == [0, 30, 60, 90]


def test_each_part_has_a_folder_of_its_label_or_its_own_place(tmp_path, monkeypatch):
    part = {"name": "sleep-edf", "channels": {"EEG": "EEG Fpz-Cz", "EOG": "EOG horizontal"}}
    both = Joined(tmp_path, [part, NORTH])
    assert both.reads_files
    with pytest.raises(DataError, match="sleep-edf is not a folder"):
        both.recordings()
    (tmp_path / "sleep-edf").mkdir()
    with pytest.raises(DataError, match="holds no recording of Sleep-EDF"):
        both.recordings()
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "home"))
    assert Joined(parts=[part, NORTH]).parts["sleep-edf"].dataset.data is None
    assert Joined(parts=[part, NORTH]).count_present() == 0


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "two datasets or more"),
        ([NORTH], "two datasets or more"),
        ([NORTH, NORTH], "a label of its own"),
        ([NORTH, {**SOUTH, "channels": {"EEG": "EEG Pz-Oz"}}], "name the same ones"),
        ([NORTH, {**SOUTH, "channels": {}}], "maps common names"),
        ([NORTH, {**SOUTH, "label": "../x"}], "is no label"),
        ([NORTH, {**SOUTH, "label": "a:b"}], "is no label"),
        ([NORTH, {**SOUTH, "name": "nothing"}], "unknown dataset 'nothing'"),
        ([NORTH, {**SOUTH, "more": 1}], "each has name and channels"),
        ([NORTH, "south"], "each has name and channels"),
        ([NORTH, {**SOUTH, "params": {"moons": 2}}], "moons"),
        (
            [NORTH, {**SOUTH, "channels": {"EEG": "EEG Pz-Oz", "EOG": "EEG Pz-Oz"}}],
            "two common names are of one channel",
        ),
        (
            [
                {"name": "beetl", "channels": {"EEG": "Fpz-Cz"}},
                {"name": "sleep-edf", "channels": {"EEG": "EEG Fpz-Cz"}},
            ],
            "beetl and sleep-edf are of the same people",
        ),
    ],
)
def test_parts_that_make_no_sense_are_one_line(parts, words):
    with pytest.raises(TaskError, match=words) as caught:
        joined(*parts)
    assert "\n" not in str(caught.value)


def test_a_scheme_finer_than_that_of_a_part_is_refused():
    with pytest.raises(TaskError):
        joined(NORTH, {"name": "npz", "channels": NORTH["channels"]}, scheme="rk6")


def test_people_and_channels_that_are_not_there_are_named(both):
    with pytest.raises(DataError, match=r"no recording of subject 3; .* north:3, south:3"):
        both.recordings(["3"])
    with pytest.raises(DataError, match="west:0"):
        both.recordings(["west:0"])
    with pytest.raises(DataError, match="ECG"):
        both.read(both.recordings()[0], ["ECG"])


def test_what_decides_the_windows_is_in_the_settings():
    other = joined(NORTH, {**SOUTH, "channels": {"EOG": "EEG Pz-Oz", "EEG": "EOG horizontal"}})
    assert joined(NORTH, SOUTH).params() != other.params()
    assert joined(NORTH, SOUTH).params() == joined(NORTH, SOUTH).params()


def test_one_person_in_two_parts_is_refused():
    """Another electrode of the same night would pass for another person's."""
    same = {**NORTH, "label": "again", "channels": SOUTH["channels"]}
    with pytest.raises(DataError, match=r"of again is in north too: .*both sides of a split"):
        joined(NORTH, same).recordings()
    visits = [
        {"name": "isruc", "label": f"g{k}", "params": {"scorer": k}, "channels": {"EEG": "C3-A2"}}
        for k in (1, 2)
    ]
    with pytest.raises(DataError, match="ISRUC-Sleep is not at hand"):
        joined(*visits).recordings()


def test_one_file_in_two_parts_is_refused(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
    arrays = {"x": np.zeros((2, 1, 3000), np.float32), "y": np.array([0, 2])}
    np.savez(tmp_path / "a" / "one.npz", **arrays)
    (tmp_path / "b" / "two.npz").symlink_to(tmp_path / "a" / "one.npz")
    params = {"sfreq": 100.0, "person_per_file": True}
    parts = [
        {"name": "npz", "label": label, "params": params, "channels": {"EEG": "EEG"}}
        for label in ("a", "b")
    ]
    with pytest.raises(DataError, match=r"two\.npz of b is in a too"):
        Joined(tmp_path, parts).recordings()


def test_what_must_be_fetched_by_hand_is_missed_before_a_download_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("MNE_DATA", str(tmp_path))

    def fetch(self, subjects, folder):
        raise AssertionError("a download began")

    monkeypatch.setattr("sleepshift.datasets.sleep_edf.SleepEDF.fetch", fetch)
    channels = {"EEG": "EEG Fpz-Cz"}
    edf = {"name": "sleep-edf", "channels": channels}
    by_hand = {"name": "isruc", "channels": {"EEG": "C3-A2"}}
    with pytest.raises(DataError, match="ISRUC-Sleep is not at hand"):
        joined(edf, by_hand).recordings()
