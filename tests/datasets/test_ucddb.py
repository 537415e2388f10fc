"""UCDDB: files made in the published layout, the real stage files, and every way to damage them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfSignal

from sleepshift.datasets import dataset_class
from sleepshift.datasets.ucddb import Ucddb
from sleepshift.errors import DataError
from sleepshift.protocol import load_task
from sleepshift.windows import Recipe, cut_recording

TASKS = Path(__file__).parents[2] / "tasks"
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_stages = pytest.mark.skipif(
    not (SHARED / "formats" / "ucddb002_stage.txt").is_file(),
    reason="the real stage files are not at hand",
)
RATES = {"Lefteye": 64, "RightEye": 64, "C3A2": 128, "C4A1": 128, "ECG": 128, "SpO2": 8}
#: Wake, S1 to S4, REM, an artefact, something indeterminate, and the code without a meaning.
STAGES = ["0", "2", "3", "4", "5", "1", "6", "7", "8", "0"]


def write_recording(path: Path, order: Sequence[str] = tuple(RATES), seconds: int = 300) -> Path:
    """Write an EDF file with the database's suffix."""
    signals = []
    for label in order:
        n_samples = seconds * RATES[label]
        noise = np.random.default_rng(sum(map(ord, label))).normal(0, 30, n_samples)
        signals.append(
            EdfSignal(
                noise.clip(-190, 190),
                RATES[label],
                label=label,
                physical_dimension="%" if label == "SpO2" else "uV",
                physical_range=(-200, 200),
            )
        )
    Edf(signals, data_record_duration=1).write(path)
    return path


def write_stages(path: Path, stages: Sequence[str] = STAGES, end: str = "\n") -> Path:
    path.write_bytes("".join(f"{stage}{end}" for stage in stages).encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people, the second with channels in another order."""
    write_recording(tmp_path / "ucddb002.rec")
    write_stages(tmp_path / "ucddb002_stage.txt")
    write_recording(tmp_path / "ucddb010.rec", tuple(RATES)[::-1])
    write_stages(tmp_path / "ucddb010_stage.txt")
    (tmp_path / "ucddb002_respevt.txt").write_text("Time Type\n")
    return tmp_path


def read(folder: Path, subject: str = "ucddb002", channels: Sequence[str] | None = None):
    dataset = Ucddb(folder)
    return dataset.read(dataset.recordings([subject])[0], channels)


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def windows_of(folder: Path, subject: str = "ucddb002", **settings: object):
    recipe = {"channels": None, "sfreq": None, "trim_wake_minutes": None, "scaling": "none"}
    dataset = Ucddb(folder)
    night = dataset.recordings([subject])[0]
    return cut_recording(dataset, night, Recipe(**recipe | settings)).windows


def test_registry_finds_it():
    assert dataset_class("ucddb") is Ucddb
    assert not Ucddb.info.login


def test_nights_are_listed_with_their_stages(folder):
    nights = Ucddb(folder).recordings()
    assert [(n.subject, n.session, n.age) for n in nights] == [
        ("ucddb002", "1", None),
        ("ucddb010", "1", None),
    ]
    assert [path.name for path in nights[0].files] == ["ucddb002.rec", "ucddb002_stage.txt"]


@pytest.mark.parametrize("subject", ["ucddb002", "ucddb010"])
def test_values_are_those_that_mne_reads_in_volts(folder, subject):
    edf = folder / f"{subject}.edf"
    edf.write_bytes((folder / f"{subject}.rec").read_bytes())
    names = ("ECG", "C3A2", "C4A1")
    alone = mne.io.read_raw_edf(edf, include=names, preload=True, verbose="ERROR")
    for channels in (names, names[::-1], names[:1]):
        raw = read(folder, subject, channels)
        assert raw.ch_names == list(channels)
        assert raw.info["sfreq"] == 128
        np.testing.assert_array_equal(raw.get_data(), alone.get_data(list(channels)))
    assert 1e-5 < raw.get_data().std() < 5e-5
    assert read(folder, subject).get_channel_types() == ["eeg", "eeg", "ecg"]


def test_channels_of_other_rates_are_opened_at_their_own_and_typed(folder):
    eyes = read(folder, channels=["RightEye", "Lefteye"])
    assert eyes.info["sfreq"] == 64
    assert eyes.get_channel_types() == ["eog", "eog"]
    assert read(folder, channels=["SpO2"]).info["sfreq"] == 8
    assert read(folder, channels=["Lefteye", "ECG"]).info["sfreq"] == 128


def test_windows_follow_the_codes_and_what_has_no_stage_is_dropped(folder):
    windows = windows_of(folder, channels=("ECG", "C3A2"))
    assert windows.y.tolist() == [0, 1, 2, 3, 4, 5, 0]
    assert windows.onset.tolist() == [0, 30, 60, 90, 120, 150, 270]
    signals = read(folder, channels=["ECG", "C3A2"]).get_data()
    for x, onset in zip(windows.x, windows.onset, strict=True):
        a = round(onset * 128)
        np.testing.assert_array_equal(x, signals[:, a : a + 3840].astype(np.float32))
    fast = windows_of(folder, channels=("C4A1",), sfreq=100.0, scaling="robust")
    assert fast.x.shape == (7, 1, 3000)


@pytest.mark.parametrize("end", ["\r\n", " \n", "\t \r\n"])
def test_ends_of_lines_do_not_matter(folder, end):
    expected = windows_of(folder).y
    path = write_stages(folder / "ucddb002_stage.txt", end=end)
    np.testing.assert_array_equal(windows_of(folder).y, expected)
    path.write_bytes(path.read_bytes() + b" \n\n\r\n")
    np.testing.assert_array_equal(windows_of(folder).y, expected)


@pytest.mark.parametrize(
    ("seconds", "n_stages", "n_windows"), [(310, 10, 7), (295, 10, 6), (295, 9, 6), (300, 10, 7)]
)
def test_a_last_epoch_that_is_cut_short_may_have_a_code(folder, seconds, n_stages, n_windows):
    write_recording(folder / "ucddb002.rec", seconds=seconds)
    write_stages(folder / "ucddb002_stage.txt", STAGES[:n_stages])
    assert len(windows_of(folder).y) == n_windows


@pytest.mark.parametrize(("seconds", "n_stages"), [(300, 9), (300, 11), (331, 10), (269, 10)])
def test_a_number_of_stages_that_does_not_fit_is_refused(folder, seconds, n_stages):
    write_recording(folder / "ucddb002.rec", seconds=seconds)
    write_stages(folder / "ucddb002_stage.txt", (STAGES * 2)[:n_stages])
    message = refusal(folder)
    assert f"ucddb002_stage.txt has {n_stages} stages" in message
    assert f"ucddb002.rec lasts {seconds / 30:.6g} epochs of 30 s" in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"0\n9\n", "line 2: '9' is not a stage code from 0 to 8"),
        (b"0\n\n3\n", "line 2 is empty"),
        (b"0 1\n", "line 1: '0 1' is not a stage code"),
        (b"", "has 0 stages"),
        (b"W\nN1\n", "line 1: 'W' is not"),
        (b"\xff\xfe0\n", "cannot be read"),
        (b"0\n" * 2**20, "too large for the stages of a night"),
        (b"6\n" * 10, "scores nothing"),
    ],
)
def test_stages_that_cannot_be_right_are_refused(folder, content, reason):
    (folder / "ucddb002_stage.txt").write_bytes(content)
    message = refusal(folder)
    assert reason in message
    assert "ucddb002_stage.txt" in message


@pytest.mark.parametrize("seconds", [b"2       ", b"1.001   "])
@pytest.mark.parametrize("channels", [["ECG"], ["Lefteye", "C3A2"]])
def test_another_rate_is_refused(folder, seconds, channels):
    path = folder / "ucddb002.rec"
    content = path.read_bytes()
    path.write_bytes(content[:244] + seconds + content[252:])
    assert "where UCDDB has 128 Hz" in refusal(folder, channels=channels)


def test_a_rate_that_other_channels_may_have_does_not_fit_the_stages(folder):
    path = folder / "ucddb002.rec"
    content = path.read_bytes()
    path.write_bytes(content[:244] + b"2       " + content[252:])
    assert "lasts 20 epochs" in refusal(folder, channels=["Lefteye"])


def test_missing_doubled_and_truncated_files_are_refused(folder):
    stages = folder / "ucddb002_stage.txt"
    (folder / "more").mkdir()
    write_stages(folder / "more" / stages.name)
    assert "ucddb002.rec has 2 scorings" in refusal(folder)
    (folder / "more" / stages.name).unlink()
    stages.unlink()
    assert len(Ucddb(folder).recordings()) == 2
    assert "put 'ucddb002_stage.txt' into the folder" in refusal(folder)
    path = folder / "ucddb010.rec"
    path.write_bytes(path.read_bytes()[:-999])
    assert "ucddb010.rec is truncated" in refusal(folder, subject="ucddb010")
    write_recording(folder / "more" / "ucddb002.rec", seconds=1)
    with pytest.raises(DataError, match="same night"):
        Ucddb(folder).recordings()


def test_folders_without_nights_people_and_channels_that_are_not_there(tmp_path, folder):
    with pytest.raises(DataError, match="not a folder"):
        Ucddb(tmp_path / "nowhere").recordings()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"must hold ucddb002\.rec beside"):
        Ucddb(tmp_path / "empty").recordings()
    with pytest.raises(DataError, match=r"subject ucddb001 in .*; there are ucddb002, ucddb010"):
        Ucddb(folder).recordings(["ucddb001"])
    assert "no channel F4" in refusal(folder, channels=["F4", "ECG"])


def test_only_the_people_asked_for_are_downloaded(folder, tmp_path, monkeypatch):
    fetched = []
    names = [path.name for path in sorted(folder.glob("ucddb*"))]

    def fetch(project: str, wanted: Sequence[str], home: Path) -> None:
        fetched.append((project, sorted(wanted)))
        home.mkdir(parents=True, exist_ok=True)
        for name in wanted:
            (home / name).write_bytes((folder / name).read_bytes())

    monkeypatch.setenv("MNE_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(
        "sleepshift.datasets.download.list_physionet", lambda project, folder: names
    )
    monkeypatch.setattr("sleepshift.datasets.download.fetch_physionet", fetch)
    (night,) = Ucddb().recordings(["ucddb010"])
    assert fetched == [("ucddb/1.0.0", ["ucddb010.rec", "ucddb010_stage.txt"])]
    assert Ucddb().read(night).ch_names == ["C3A2", "C4A1", "ECG"]
    Ucddb().recordings(["ucddb010"])
    assert len(fetched) == 1  # what is there needs no network
    assert len(Ucddb().recordings()) == 2
    assert "ucddb002_respevt.txt" not in fetched[-1][1]
    with pytest.raises(DataError, match="subject ucddb001 in PhysioNet's ucddb"):
        Ucddb().recordings(["ucddb001"])


@needs_stages
@pytest.mark.parametrize("person", ["002", "003"])
def test_real_stages_are_those_of_windows_that_others_cut(tmp_path, person):
    name = f"ucddb{person}_stage.txt"
    content = (SHARED / "formats" / name).read_bytes()
    n_epochs = len(content.split())
    (tmp_path / name).write_bytes(content)
    write_recording(tmp_path / f"ucddb{person}.rec", ("C3A2",), seconds=30 * n_epochs)
    windows = windows_of(tmp_path, f"ucddb{person}", channels=("C3A2",))
    assert len(windows.y) == n_epochs  # these two hold no artefact
    with np.load(SHARED / "ucddb_wake_deep" / f"ucddb{person}.npz") as others:
        index, y = others["window"], others["y"]
    assert np.flatnonzero(windows.y == 0).tolist() == sorted(index[y == 0])
    assert np.flatnonzero(np.isin(windows.y, (3, 4))).tolist() == sorted(index[y == 3])
    assert (windows.onset == 30 * np.arange(n_epochs)).all()


def test_the_task_loads_and_its_views_are_channels():
    task = load_task(TASKS / "ucddb-eeg-to-ecg.toml")
    assert task.windows.views["student"] == ("ECG",)
    assert set(task.windows.channels) <= set(RATES)
    assert "C26C7D" in task.dataset.licence


class Counted(Ucddb):
    """Codes without a stage count as wake: one flipped bit may turn a stage into them."""

    stage_codes = {**Ucddb.stage_codes, "6": "W", "7": "W", "8": "W"}


def test_damaged_files_end_in_one_line_or_in_all_windows(tmp_path, survives):
    for subject in ("ucddb002", "ucddb003"):
        write_recording(tmp_path / f"{subject}.rec", ("C3A2", "ECG", "Lefteye"), seconds=240)
        write_stages(tmp_path / f"{subject}_stage.txt", STAGES[:8])
    channels = ("ECG", "C3A2")
    recipe = Recipe(channels=channels, sfreq=None, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(Counted, tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20
