"""MASS: files made in its layout, every way to damage them, and the published split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

from sleepshift.datasets import dataset_class, make_dataset
from sleepshift.datasets.mass import Mass
from sleepshift.errors import DataError, TaskError
from sleepshift.protocol import load_task
from sleepshift.windows import Recipe, cut_recording

TASKS = Path(__file__).parents[2] / "tasks"
CLE = ("EOG Left Horiz", "EEG C3-CLE", "EEG C4-CLE", "ECG ECGI", "EEG A2-CLE", "EMG Chin")
LER = ("EOG Left Horiz", "EEG C3-LER", "EEG A2-LER", "EMG Chin", "ECG ECGI")
A1_ONLY = ("EEG C3-CLE", "EEG C4-CLE", "ECG ECGI", "EEG A1-CLE")
SS4 = ("EEG C3-CLE", "EEG C4-CLE", "ECG ECGI", "ECG ECGII", "ECG ECGIII", "EEG A2-CLE")
#: One text an epoch.
STAGES = "?WW1?23R"
BOTH = ("EEG", "ECG")


def noise(label: str, n_samples: int) -> np.ndarray:
    return np.random.default_rng(sum(map(ord, label))).normal(0, 30, n_samples).clip(-190, 190)


def write_psg(path: Path, order: Sequence[str] = LER, seconds: int = 250, record: int = 1) -> Path:
    signals = [
        EdfSignal(
            noise(label, seconds * 256),
            256,
            label=label,
            physical_dimension="uV",
            physical_range=(-200, 200),
        )
        for label in order
    ]
    # The archive's files are EDF+, which keeps the time in a channel of its own.
    Edf(signals, annotations=[EdfAnnotation(3, None, "a mark")], data_record_duration=record).write(
        path
    )
    return path


def write_base(
    path: Path, stages: str = STAGES, *, seconds: float = 30, start: float = 5, last: float = 0
) -> Path:
    """One annotation an epoch from `start` on; the last one is shorter where `last` is given."""
    epochs = [
        (start + seconds * k, seconds, f"Sleep stage {stage}") for k, stage in enumerate(stages)
    ]
    if last:
        epochs[-1] = (epochs[-1][0], last, epochs[-1][2])
    return write_annotations(path, epochs)


def write_annotations(path: Path, annotations: Sequence[tuple[float, float, str]]) -> Path:
    Edf([], annotations=[EdfAnnotation(*a) for a in annotations]).write(path)
    return path


def write_night(folder: Path, subject: str, order: Sequence[str], **scoring: object) -> None:
    write_psg(folder / f"{subject} PSG.edf", order)
    write_base(folder / f"{subject} Base.edf", **scoring)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One night of each subset; those of 20-s epochs have more of them."""
    short = {"seconds": 20, "stages": "?WW1?234RW"}
    scorings = tmp_path / "annotations"
    scorings.mkdir()
    write_night(tmp_path, "01-01-0001", CLE)
    write_night(tmp_path, "01-02-0001", A1_ONLY, **short)
    write_psg(tmp_path / "01-03-0002 PSG.edf", LER[::-1])
    write_base(scorings / "01-03-0002 Base.edf")
    write_night(tmp_path, "01-04-0001", SS4, **short)
    write_psg(tmp_path / "01-05-0001 PSG.edf", record=2)
    write_base(tmp_path / "01-05-0001 Base.edf", **short)
    return tmp_path


def read(folder: Path, subject: str, channels: Sequence[str] | None = None) -> mne.io.BaseRaw:
    dataset = Mass(folder)
    return dataset.read(dataset.recordings([subject])[0], channels)


def refusal(folder: Path, subject: str = "01-01-0001", channels: object = None) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, subject, channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def cut(folder: Path, subject: str, channels: Sequence[str] = BOTH, **settings: object):
    recipe = {"sfreq": 256.0, "trim_wake_minutes": None, "scaling": "none"} | settings
    dataset = Mass(folder)
    night = dataset.recordings([subject])[0]
    return cut_recording(dataset, night, Recipe(channels=tuple(channels), **recipe)).windows


def plain(folder: Path, subject: str) -> mne.io.BaseRaw:
    return mne.io.read_raw_edf(folder / f"{subject} PSG.edf", preload=True, verbose="ERROR")


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


# ---------------------------------------------------------------------- nights


def test_registry_finds_it():
    assert dataset_class("mass") is Mass
    dataset = make_dataset("mass", "somewhere", subsets=["SS1"], short_epochs="exclude")
    assert dataset.subsets == ("SS1",)
    assert dataset.info.login


def test_nights_are_listed_by_subset_wherever_their_files_are(folder):
    nights = Mass(folder).recordings()
    assert [night.subject for night in nights] == [
        "01-01-0001",
        "01-02-0001",
        "01-03-0002",
        "01-04-0001",
        "01-05-0001",
    ]
    assert {night.session for night in nights} == {"1"}
    assert {night.age for night in nights} == {None}
    assert [path.name for path in nights[2].files] == ["01-03-0002 PSG.edf", "01-03-0002 Base.edf"]
    assert [night.subject[4] for night in Mass(folder, subsets=["SS5", "SS2"]).recordings()] == [
        "2",
        "5",
    ]
    assert Mass(folder).count_present() == 5


def test_short_epochs_are_kept_with_context_or_left_out(folder):
    dataset = Mass(folder)
    assert [dataset.epoch_seconds(night) for night in dataset.recordings()] == [30, 20, 30, 20, 20]
    long = Mass(folder, short_epochs="exclude").recordings()
    assert [night.subject for night in long] == ["01-01-0001", "01-03-0002"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"subsets": ["SS6"]}, "SS1, SS2, SS3, SS4, SS5"),
        ({"subsets": "SS1"}, "are a list of"),
        ({"subsets": [["SS1"]]}, "are a list of"),
        ({"subsets": 3}, "are a list of"),
        ({"subsets": []}, "no subset"),
        ({"subsets": ["SS2"], "short_epochs": "exclude"}, "no subset"),
        ({"short_epochs": "drop"}, "'context' or 'exclude', not 'drop'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, reason):
    with pytest.raises(TaskError, match=reason):
        Mass("somewhere", **settings)


def test_folders_without_nights_are_refused(tmp_path, folder, monkeypatch):
    with pytest.raises(DataError, match="not a folder"):
        Mass(tmp_path / "nowhere").recordings()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold 01-0S-NNNN PSG"):
        Mass(tmp_path / "empty").recordings()
    with pytest.raises(DataError, match=r"subject 01-01-0002, SN1 in .*; there are 01-01-0001"):
        Mass(folder).recordings(["01-01-0002", "01-01-0001", "SN1"])
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "home"))
    with pytest.raises(DataError, match=r"ask for it at http://ceams-carsm\.ca/mass/"):
        Mass().recordings()


def test_a_night_that_is_there_twice_is_refused(folder):
    write_psg(folder / "annotations" / "01-01-0001 PSG.edf", seconds=5)
    with pytest.raises(DataError, match="same night"):
        Mass(folder).recordings()


def test_a_missing_scoring_is_listed_and_refused_on_reading(folder):
    (folder / "01-01-0001 Base.edf").rename(folder / "01-01-0009 Base.edf")
    assert len(Mass(folder).recordings()) == 5
    assert "put '01-01-0001 Base.edf' into the folder" in refusal(folder)


def test_two_scorings_of_one_night_are_refused(folder):
    write_base(folder / "annotations" / "01-01-0001 Base.edf")
    assert "has 2 scorings" in refusal(folder)


# ---------------------------------------------------------------------- channels


def test_what_eeg_and_ecg_are_in_each_subset(folder):
    volts = {n: plain(folder, n) for n in ("01-01-0001", "01-02-0001", "01-03-0002", "01-04-0001")}

    def value(subject: str, label: str) -> np.ndarray:
        return volts[subject].get_data([label])[0]

    expected = {
        "01-01-0001": (("EEG C3-CLE", "EEG A2-CLE"), "ECG ECGI"),
        "01-02-0001": (("EEG C4-CLE", "EEG A1-CLE"), "ECG ECGI"),
        "01-03-0002": (("EEG C3-LER", None), "ECG ECGI"),
        "01-04-0001": (("EEG C3-CLE", "EEG A2-CLE"), "ECG ECGII"),
    }
    for subject, ((plus, minus), lead) in expected.items():
        raw = read(folder, subject)
        assert raw.ch_names == ["EEG", "ECG"]
        assert raw.get_channel_types() == ["eeg", "ecg"]
        assert raw.info["sfreq"] == 256
        eeg = value(subject, plus) - (value(subject, minus) if minus else 0)
        np.testing.assert_array_equal(raw.get_data(["EEG"])[0], eeg)
        np.testing.assert_array_equal(raw.get_data(["ECG"])[0], value(subject, lead))
        assert 1e-5 < eeg.std() < 5e-5  # nobody's ECG is inverted, nothing is rescaled


def test_channels_come_in_the_order_asked_for_under_any_name(folder):
    names = ["ECG", "EOG Left Horiz", "ECG ECGI", "EEG", "EEG C3-CLE"]
    raw = read(folder, "01-01-0001", names)
    assert raw.ch_names == names
    assert raw.get_channel_types() == ["ecg", "eog", "ecg", "eeg", "eeg"]
    ecg, eog, same, _, c3 = raw.get_data()
    np.testing.assert_array_equal(ecg, same)
    everything = plain(folder, "01-01-0001")
    np.testing.assert_array_equal([eog, c3], everything.get_data(["EOG Left Horiz", "EEG C3-CLE"]))


def test_the_newer_spelling_of_the_leads_is_known(folder):
    labels = ("ECG I", "ECG II", "EEG C3-CLE", "EEG A2-CLE")
    for subject, lead in (("01-01-0001", "ECG I"), ("01-04-0001", "ECG II")):
        write_psg(folder / f"{subject} PSG.edf", labels)
        ecg = read(folder, subject, ["ECG"]).get_data()
        np.testing.assert_array_equal(ecg, plain(folder, subject).get_data([lead]))


def test_channels_that_are_not_there_are_named_with_those_that_are(folder):
    assert "no channel EEG Oz-CLE" in refusal(folder, channels=["EEG", "EEG Oz-CLE"])
    assert "no channel" in refusal(folder, channels=[])
    write_psg(folder / "01-01-0001 PSG.edf", ("EEG C3-CLE", "EEG A1-CLE"))
    assert "no channel EEG; it holds EEG C3-CLE, EEG A1-CLE" in refusal(folder)
    write_psg(folder / "01-04-0001 PSG.edf", CLE)
    assert "no channel ECG; it holds" in refusal(folder, "01-04-0001")


# ---------------------------------------------------------------------- stages and windows


def test_stages_begin_where_their_annotations_do(folder):
    raw = read(folder, "01-03-0002")
    stages = [(a["onset"], a["duration"], a["description"][-1]) for a in raw.annotations]
    assert stages == [(35 + 30 * k, 30, s) for k, s in enumerate("WW1?23R")]


def test_windows_of_30_s_are_the_signal_under_their_annotation(folder):
    windows = cut(folder, "01-03-0002", ["ECG", "EEG"])
    assert windows.ch_names == ("ECG", "EEG")
    assert windows.y.tolist() == [0, 0, 1, 2, 3, 4]  # the unknown one in the middle is dropped
    assert windows.onset.tolist() == [35, 65, 95, 155, 185, 215]
    truth = plain(folder, "01-03-0002").get_data(["ECG ECGI", "EEG C3-LER"])
    for x, onset in zip(windows.x, windows.onset, strict=True):
        a = round(onset * 256)
        np.testing.assert_array_equal(x, truth[:, a : a + 7680].astype(np.float32))


def test_windows_of_20_s_have_5_s_around_them(folder):
    windows = cut(folder, "01-05-0001")
    assert windows.y.tolist() == [0, 0, 1, 2, 3, 3, 4, 0]  # S3 and S4 are N3
    assert windows.onset.tolist() == [20, 40, 60, 100, 120, 140, 160, 180]
    truth = plain(folder, "01-05-0001").get_data(["EEG C3-LER", "ECG ECGI"])
    for x, onset in zip(windows.x, windows.onset, strict=True):
        a = round(onset * 256)
        np.testing.assert_array_equal(x, truth[:, a : a + 7680].astype(np.float32))


def test_a_short_epoch_at_the_end_of_the_signals_gives_no_window(folder):
    write_base(folder / "01-01-0001 Base.edf", start=10)  # the eighth reaches past 250 s
    assert cut(folder, "01-01-0001").y.tolist() == [0, 0, 1, 2, 3, 4]
    write_base(folder / "01-01-0001 Base.edf", start=20)
    assert cut(folder, "01-01-0001").y.tolist() == [0, 0, 1, 2, 3]
    write_base(folder / "01-01-0001 Base.edf", start=20, last=20)
    assert cut(folder, "01-01-0001").y.tolist() == [0, 0, 1, 2, 3]
    write_base(folder / "01-01-0001 Base.edf", last=20)
    assert "a stage of 20 s at 215 s, where all have 30 s" in refusal(folder)


def test_what_is_unknown_at_either_end_may_be_of_any_length(folder):
    epochs = [(0.0, 7, "?"), (7, 30, "W"), (37, 30, "2"), (67, 183, "?")]
    annotations = [(onset, duration, f"Sleep stage {s}") for onset, duration, s in epochs]
    write_annotations(folder / "01-01-0001 Base.edf", annotations)
    windows = cut(folder, "01-01-0001")
    assert (windows.y.tolist(), windows.onset.tolist()) == ([0, 2], [7, 37])


def test_detections_of_the_recorder_are_set_aside(folder):
    event = (41.3, 1.5, '<Event channel="EEG C3-LER" groupName="EMGArtefact" name="x"/>')
    epochs = [(5 + 30 * k, 30, f"Sleep stage {s}") for k, s in enumerate(STAGES)]
    write_annotations(folder / "01-01-0001 Base.edf", [*epochs, event])
    assert cut(folder, "01-01-0001").y.tolist() == [0, 0, 1, 2, 3, 4]


def test_lengths_that_are_a_little_off_are_those_of_the_epoch(folder):
    epochs = [
        (5 + 30 * k, 29.98 + 0.04 * (k % 2), f"Sleep stage {s}") for k, s in enumerate("W12R")
    ]
    expected = ([0, 1, 2, 4], [5, 35, 65, 95])
    for part in (epochs, epochs[1:], epochs[:-1]):
        write_annotations(folder / "01-01-0001 Base.edf", part)
        windows = cut(folder, "01-01-0001")
        first = epochs.index(part[0])
        assert windows.y.tolist() == expected[0][first:][: len(part)]
        assert windows.onset.tolist() == expected[1][first:][: len(part)]


@pytest.mark.parametrize(
    ("subject", "record"),
    [
        ("01-01-0001", b"1.0001  "),
        ("01-01-0001", b"0.9999  "),
        ("01-05-0001", b"2.0002  "),
        ("01-05-0001", b"1.9998  "),
    ],
)
def test_a_rate_with_decimals_is_256_and_onsets_follow_the_samples(folder, subject, record):
    before = cut(folder, subject, sfreq=100.0)
    base = folder / f"{subject} Base.edf"
    epochs = mne.read_annotations(base)
    onsets = (epochs.onset * float(record) / round(float(record))).tolist()
    texts = map(str, epochs.description)
    write_annotations(base, list(zip(onsets, epochs.duration.tolist(), texts, strict=True)))
    overwrite(folder / f"{subject} PSG.edf", 244, record)
    windows = cut(folder, subject, sfreq=100.0)
    np.testing.assert_array_equal(windows.y, before.y)
    np.testing.assert_array_equal(windows.x, before.x)


@pytest.mark.parametrize("seconds", [b"2       ", b"1.01    ", b"0.5     "])
def test_another_rate_is_refused(folder, seconds):
    overwrite(folder / "01-01-0001 PSG.edf", 244, seconds)
    assert "where MASS has 256 Hz" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({7: (225, 30, "Sleep stage R")}, "the one at 225 s begins 10 s too late"),
        ({3: (94, 30, "Sleep stage 1")}, "same time twice"),
        ({7: (215, 60, "Sleep stage R")}, "a stage of 60 s at 215 s"),
        ({3: None}, "the one at 125 s begins 30 s too late"),
        ({3: (95, 30, "Sleep stage N1")}, "unknown annotation 'Sleep stage N1'"),
        ({3: (95, 0, "Sleep stage 1")}, "without length"),
        (dict.fromkeys(range(1, 8)), "scores nothing"),
    ],
)
def test_a_scoring_that_cannot_be_right_is_refused(folder, change, reason):
    epochs = {k: (5 + 30 * k, 30, f"Sleep stage {s}") for k, s in enumerate(STAGES)} | change
    kept = [epoch for epoch in epochs.values() if epoch]
    write_annotations(folder / "01-01-0001 Base.edf", kept)
    message = refusal(folder)
    assert reason in message
    assert "01-01-0001 Base.edf" in message


def test_a_scoring_whose_clock_was_shifted_is_refused(folder):
    path = folder / "01-01-0001 Base.edf"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"+0\x14\x14", b"+7\x14\x14", 1))
    assert mne.read_annotations(path).onset[1] == 28  # every stage 7 s too early
    assert "damaged annotation" in refusal(folder)
    path.write_bytes(content[:512] + bytes(len(content) - 512))
    assert "damaged annotation" in refusal(folder)


def test_damaged_files_end_in_one_line_or_in_all_windows(tmp_path, survives):
    for subject, order, seconds in (("01-03-0001", LER, 30), ("01-04-0001", SS4, 20)):
        write_psg(tmp_path / f"{subject} PSG.edf", order, seconds=180)
        write_base(tmp_path / f"{subject} Base.edf", "?W123", seconds=seconds, start=7.5)
    recipe = Recipe(channels=BOTH, sfreq=None, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(Mass, tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20


# ---------------------------------------------------------------------- the published split


def ids(subset: int, n: int) -> list[str]:
    """The people of a subset in the order of their files; two numbers of SS3 do not exist."""
    numbers = [k for k in range(1, 65) if subset != 3 or k not in (43, 49)][:n]
    return [f"01-0{subset}-{k:04d}" for k in numbers]


def published() -> dict[str, tuple[list[int], list[int]]]:
    """Validation and test people by index: two scripts, each seeds once, then goes by subset."""
    parts = {}
    for script in ((("SS1", 53), ("SS3", 62)), (("SS2", 19), ("SS4", 40), ("SS5", 26))):
        random.seed(42)
        for subset, n in script:
            order = list(range(n))
            random.shuffle(order)
            parts[subset] = (
                sorted(order[int(0.8 * n) : int(0.9 * n)]),
                sorted(order[int(0.9 * n) :]),
            )
    return parts


def test_the_published_split_is_that_of_its_seed():
    assert published() == {
        "SS1": ([6, 8, 14, 34, 43], [1, 7, 15, 17, 40, 47]),
        "SS2": ([7, 8], [0, 3]),
        "SS3": ([4, 12, 23, 36, 39, 45], [5, 18, 24, 35, 40, 53, 59]),
        "SS4": ([0, 14, 17, 28], [12, 26, 34, 35]),
        "SS5": ([7, 9, 21], [1, 2, 22]),
    }


@pytest.mark.parametrize("name", ["mass-eeg-to-ecg-3", "mass-eeg-to-ecg-4"])
def test_tasks_test_the_published_people(name):
    task = load_task(TASKS / f"{name}.toml")
    people = {
        int(s[2]): ids(int(s[2]), n)
        for s, n in (("SS1", 53), ("SS2", 19), ("SS3", 62), ("SS4", 40), ("SS5", 26))
    }
    expected = [people[int(s[2])][k] for s, (_, test) in published().items() for k in test]
    (fold,) = task.protocol.published
    assert fold.name == "published"
    assert sorted(fold.test) == sorted(expected)
    assert len(expected) == 22
    assert task.dataset.login
    assert task.make_dataset("somewhere").subsets == ("SS1", "SS2", "SS3", "SS4", "SS5")
