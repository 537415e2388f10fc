"""Folders of recordings: found, refused, and looked for in the dataset's own place."""

from __future__ import annotations

import json

import pytest

from sleepshift.datasets import DatasetInfo, Recording
from sleepshift.datasets.folder import FolderDataset, data_home, natural, shown
from sleepshift.errors import DataError


class Diary(FolderDataset):
    """One empty file a night: 3-2.night is the second of subject 3."""

    info = DatasetInfo(
        name="diary",
        title="The Diary",
        licence="mine",
        login=True,
        download="1 kB",
        url="https://example.org/ask",
        citation="none",
    )
    layout = "<subject>-<night>.night"
    scheme = "aasm5"

    def scan(self, folder):
        names = [path.stem.split("-") for path in folder.glob("*.night")]
        return [Recording(subject=subject, session=session) for subject, session in names]

    def read(self, recording, channels=None):
        raise NotImplementedError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    return tmp_path / "diary"


def fill(folder, *nights):
    folder.mkdir(exist_ok=True)
    for night in nights:
        (folder / f"{night}.night").touch()
    return folder


def test_recordings_come_by_subject_and_session_in_natural_order(tmp_path):
    folder = fill(tmp_path / "mine", "10-1", "2-2", "2-1", "a-1")
    there = [(r.subject, r.session) for r in Diary(folder).recordings()]
    assert there == [("2", "1"), ("2", "2"), ("10", "1"), ("a", "1")]
    assert [r.session for r in Diary(folder).recordings(["2"])] == ["1", "2"]
    assert Diary(folder).count_present() == 4


def test_what_has_to_be_asked_for_says_where_and_where_to_put_it(home):
    want = rf"ask for it at https://example.org/ask, put it into {home} .*<subject>-<night>.*--data"
    with pytest.raises(DataError, match=want):
        Diary().recordings()
    assert Diary().count_present() == 0
    fill(home, "1-1")
    assert len(Diary().recordings()) == Diary().count_present() == 1


def test_a_folder_that_is_none_or_holds_nothing_is_one_line(tmp_path):
    with pytest.raises(DataError, match="not a folder; name one that holds <subject>"):
        Diary(tmp_path / "nowhere").recordings()
    with pytest.raises(DataError, match="holds no recording of The Diary; it must hold <subject>"):
        Diary(fill(tmp_path / "empty")).recordings()
    assert Diary(tmp_path / "nowhere").count_present() == 0


def test_people_who_are_not_there_are_named(tmp_path):
    folder = fill(tmp_path / "mine", *(f"{k}-1" for k in range(1, 13)))
    with pytest.raises(DataError, match=r"subject 13, 20 in .*; there are 1, 2, .*10, ... \(12"):
        Diary(folder).recordings(["20", "3", "13"])


def test_numbers_sort_before_names():
    assert sorted(["b", "10", "9", "a"], key=natural) == ["9", "10", "a", "b"]
    assert shown(map(str, [3, 1])) == "1, 3"


def test_data_are_where_mne_keeps_them(tmp_path, monkeypatch):
    import mne

    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MNE_DATA", "_MNE_FAKE_HOME_DIR", "PHYSIONET_SLEEP_PATH"):
        monkeypatch.delenv(name, raising=False)
    assert data_home() == tmp_path / "mne_data"
    mne.set_config("MNE_DATA", "~/elsewhere", set_env=False)
    assert mne.get_config("MNE_DATA") == "~/elsewhere"
    assert data_home() == tmp_path / "elsewhere"
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "told"))
    assert data_home() == data_home("PHYSIONET_SLEEP_PATH") == tmp_path / "told"
    config = tmp_path / ".mne" / "mne-python.json"
    told = json.loads(config.read_text()) | {"PHYSIONET_SLEEP_PATH": str(tmp_path / "nights")}
    config.write_text(json.dumps(told))
    assert data_home("PHYSIONET_SLEEP_PATH") == tmp_path / "nights"
    config.write_text("[1")
    assert data_home() == tmp_path / "told"
