"""HMC: files made in the published layout, and every way to damage them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

from sleepshift.datasets import dataset_class
from sleepshift.datasets.hmc import Hmc
from sleepshift.errors import DataError
from sleepshift.protocol import load_task
from sleepshift.windows import Recipe, cut_recording

TASKS = Path(__file__).parents[2] / "tasks"
CHANNELS = (
    "EEG F4-M1",
    "EEG C4-M1",
    "EEG O2-M1",
    "EEG C3-M2",
    "EMG chin",
    "EOG E1-M2",
    "EOG E2-M2",
    "ECG",
)
STAGES = ("W", "N1", "N2", "N3", "R", "N2")
LIGHTS = [(0, None, "Lights off@@EEG F4-A1"), (150, 0, "Lights on@@EEG F4-A1")]


def write_psg(path: Path, order: Sequence[str] = CHANNELS, seconds: int = 180) -> Path:
    signals = []
    for label in order:
        noise = np.random.default_rng(sum(map(ord, label))).normal(0, 30, seconds * 256)
        signals.append(
            EdfSignal(
                noise.clip(-190, 190),
                256,
                label=label,
                physical_dimension="uV",
                physical_range=(-200, 200),
            )
        )
    Edf(signals, data_record_duration=1).write(path)
    return path


def epochs_of(stages: Sequence[str] = STAGES) -> list[tuple[float, float, str]]:
    return [(30 * k, 30, f"Sleep stage {stage}") for k, stage in enumerate(stages)]


def write_scoring(path: Path, annotations: Sequence[tuple[float, float | None, str]]) -> Path:
    Edf([], annotations=[EdfAnnotation(*a) for a in annotations]).write(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two people, the second with channels in another order."""
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    write_psg(recordings / "SN001.edf")
    write_scoring(recordings / "SN001_sleepscoring.edf", LIGHTS + epochs_of())
    write_psg(recordings / "SN010.edf", CHANNELS[::-1])
    write_scoring(recordings / "SN010_sleepscoring.edf", epochs_of())
    (recordings / "SN001_sleepscoring.txt").write_text("Date, Time, Recording onset, Duration\n")
    return tmp_path


def read(folder: Path, subject: str = "SN001", channels: Sequence[str] | None = None):
    dataset = Hmc(folder)
    return dataset.read(dataset.recordings([subject])[0], channels)


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def stages_of(folder: Path) -> list[int]:
    recipe = Recipe(channels=None, sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    dataset = Hmc(folder)
    return cut_recording(dataset, dataset.recordings(["SN001"])[0], recipe).windows.y.tolist()


def scored(folder: Path, annotations: Sequence[tuple[float, float | None, str]]) -> Path:
    """The folder, with another scoring of the first night."""
    write_scoring(folder / "recordings" / "SN001_sleepscoring.edf", annotations)
    return folder


def test_registry_finds_it():
    assert dataset_class("hmc") is Hmc
    assert not Hmc.info.login


def test_nights_are_listed_with_their_scorings(folder):
    nights = Hmc(folder).recordings()
    assert [(n.subject, n.session, n.age, n.sex) for n in nights] == [
        ("SN001", "1", None, None),
        ("SN010", "1", None, None),
    ]
    assert [path.name for path in nights[0].files] == ["SN001.edf", "SN001_sleepscoring.edf"]
    assert Hmc(folder).epoch_seconds(nights[0]) == 30


@pytest.mark.parametrize("subject", ["SN001", "SN010"])
def test_values_are_those_that_mne_reads_in_volts(folder, subject):
    path = folder / "recordings" / f"{subject}.edf"
    everything = mne.io.read_raw_edf(path, preload=True, verbose="ERROR")
    names = ("EOG E1-M2", "EEG F4-M1", "ECG", "EMG chin")
    raw = read(folder, subject, names)
    assert not raw.preload
    assert raw.ch_names == list(names)
    assert raw.get_channel_types() == ["eog", "eeg", "ecg", "emg"]
    np.testing.assert_array_equal(raw.get_data(), everything.get_data(list(names)))
    assert 1e-5 < raw.get_data().std() < 5e-5
    assert read(folder, subject).ch_names == ["EEG F4-M1", "EEG C4-M1", "EEG O2-M1", "EOG E1-M2"]


def test_stages_come_as_annotations_and_lights_are_set_aside(folder):
    raw = read(folder)
    stages = [(a["onset"], a["duration"], a["description"]) for a in raw.annotations]
    assert stages == epochs_of()
    assert stages_of(folder) == [0, 1, 2, 3, 4, 2]


def test_a_short_epoch_at_the_end_of_the_signals_gives_no_window(folder):
    write_psg(folder / "recordings" / "SN001.edf", seconds=170)
    assert stages_of(folder) == [0, 1, 2, 3, 4]
    assert stages_of(scored(folder, [*epochs_of()[:-1], (150, 20, "Sleep stage N2")])) == [
        *(0, 1, 2, 3, 4)
    ]
    scored(folder, [*epochs_of()[:-2], (120, 20, "Sleep stage N2")])
    assert "a stage of 20 s at 120 s, where all have 30 s" in refusal(folder)


def test_a_scoring_may_begin_later_and_end_earlier_than_the_signals(folder):
    later = [(onset + 12.5, duration, text) for onset, duration, text in epochs_of(STAGES[:4])]
    raw = read(scored(folder, later))
    assert raw.annotations.onset.tolist() == [12.5, 42.5, 72.5, 102.5]
    assert stages_of(folder) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ((60, 30, "Sleep stage 2"), "unknown annotation 'Sleep stage 2'"),
        ((60, 30, "Lights out"), "unknown annotation 'Lights out'"),
        ((60, 0, "Sleep stage N2"), "without length"),
        ((61, 30, "Sleep stage N2"), "same time twice"),
        ((60, 20, "Sleep stage N2"), "the one at 90 s begins 10 s too late"),
        ((600, 30, "Sleep stage N2"), "the one at 90 s begins 30 s too late"),
        ((90, 30, "Sleep stage N2"), "same time twice"),
    ],
)
def test_a_scoring_that_cannot_be_right_is_refused(folder, changed, reason):
    epochs = epochs_of()
    message = refusal(scored(folder, [*epochs[:2], changed, *epochs[3:]]))
    assert reason in message
    assert "SN001_sleepscoring.edf" in message
    assert "scores nothing" in refusal(scored(folder, LIGHTS))


@pytest.mark.parametrize("seconds", [b"2       ", b"1.001   "])
def test_another_rate_is_refused(folder, seconds):
    path = folder / "recordings" / "SN001.edf"
    content = path.read_bytes()
    path.write_bytes(content[:244] + seconds + content[252:])
    assert "where HMC has 256 Hz" in refusal(folder)


def test_channels_that_are_not_there_are_named_with_those_that_are(folder):
    message = refusal(folder, channels=["EEG F3-M2", "ECG"])
    assert "no channel EEG F3-M2" in message
    assert "EOG E2-M2" in message


def test_missing_doubled_and_truncated_files_are_refused(folder):
    scoring = folder / "recordings" / "SN001_sleepscoring.edf"
    (folder / "more").mkdir()
    (folder / "more" / scoring.name).write_bytes(scoring.read_bytes())
    assert "SN001.edf has 2 scorings" in refusal(folder)
    scoring.unlink()
    assert stages_of(folder) == [0, 1, 2, 3, 4, 2]
    (folder / "more" / scoring.name).unlink()
    assert len(Hmc(folder).recordings()) == 2
    assert "put 'SN001_sleepscoring.edf' into the folder" in refusal(folder)
    path = folder / "recordings" / "SN010.edf"
    path.write_bytes(path.read_bytes()[:-999])
    assert "SN010.edf is truncated" in refusal(folder, subject="SN010")
    write_psg(folder / "more" / "SN001.edf", seconds=1)
    with pytest.raises(DataError, match="same night"):
        Hmc(folder).recordings()


def test_folders_without_nights_and_unknown_people_are_refused(tmp_path, folder):
    with pytest.raises(DataError, match="not a folder"):
        Hmc(tmp_path / "nowhere").recordings()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"must hold SN001\.edf beside"):
        Hmc(tmp_path / "empty").recordings()
    with pytest.raises(DataError, match=r"subject SN002 in .*; there are SN001, SN010"):
        Hmc(folder).recordings(["SN002", "SN001"])


@pytest.fixture
def physionet(folder, tmp_path, monkeypatch):
    """PhysioNet, without a network: what was fetched, by project."""
    fetched: list[tuple[str, list[str]]] = []
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("SN*"))]

    def fetch(project: str, wanted: Sequence[str], home: Path) -> None:
        fetched.append((project, sorted(wanted)))
        for name in wanted:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes((folder / name).read_bytes())

    monkeypatch.setenv("MNE_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(
        "sleepshift.datasets.download.list_physionet", lambda project, folder: [*names, "RECORDS"]
    )
    monkeypatch.setattr("sleepshift.datasets.download.fetch_physionet", fetch)
    return fetched


def test_only_the_people_asked_for_are_downloaded(physionet):
    assert Hmc().count_present() == 0
    (night,) = Hmc().recordings(["SN010"])
    files = ["recordings/SN010.edf", "recordings/SN010_sleepscoring.edf"]
    assert physionet == [("hmc-sleep-staging/1.1", files)]
    assert Hmc().read(night).annotations.description[1] == "Sleep stage N1"
    assert Hmc().count_present() == 1
    Hmc().recordings(["SN010"])
    assert len(physionet) == 1  # what is there needs no network
    assert [night.subject for night in Hmc().recordings()] == ["SN001", "SN010"]
    assert len(physionet[-1][1]) == 2  # not the scorings as text, nor what is there
    with pytest.raises(DataError, match=r"SN002 in PhysioNet's hmc-sleep-staging/1\.1"):
        Hmc().recordings(["SN002"])


def test_the_task_loads_and_its_views_are_channels():
    task = load_task(TASKS / "hmc-eeg-to-eog.toml")
    assert set(task.windows.channels) <= set(CHANNELS)
    assert task.windows.views["student"] == ("EOG E1-M2",)
    assert not task.dataset.login
    assert "t79q-fr32" in task.dataset.licence


def test_damaged_files_end_in_one_line_or_in_all_windows(tmp_path, survives):
    for subject in ("SN001", "SN002"):
        write_psg(tmp_path / f"{subject}.edf", CHANNELS[3:7], seconds=190)
        write_scoring(tmp_path / f"{subject}_sleepscoring.edf", LIGHTS + epochs_of())
    channels = ("EOG E1-M2", "EEG C3-M2")
    recipe = Recipe(channels=channels, sfreq=None, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(Hmc, tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20
