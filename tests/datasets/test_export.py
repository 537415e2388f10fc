"""The EDF folder: does it read back as Sleep-EDF does, and does it say what it is?"""

from __future__ import annotations

import csv
import warnings
from importlib.resources import files

import edfio
import mne
import numpy as np
import pytest

from sleepshift.datasets.export import cassette_subjects, write_sleep_edf
from sleepshift.datasets.simulated import STAGE_TEXTS, simulate_night
from sleepshift.datasets.sleep_edf import SleepEDF
from sleepshift.errors import SleepShiftError

N_WINDOWS, AWAKE = 60, 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "cassette"
    write_sleep_edf(path, subjects=["0", "60"], nights=2, hours=0.5, seed=3)
    return path


def test_files_and_marker(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.txt",
        "SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf", "SC4002E0-PSG.edf", "SC4002EC-Hypnogram.edf",
        "SC4601E0-PSG.edf", "SC4601EC-Hypnogram.edf", "SC4602E0-PSG.edf", "SC4602EC-Hypnogram.edf",
    ]  # fmt: skip
    assert "SIMULATED" in (folder / "README.txt").read_text()
    assert not list(folder.parent.glob(".tmp-*"))


def test_headers_say_simulated_and_match_the_cassette(folder):
    psg = edfio.read_edf((folder / "SC4601E0-PSG.edf").read_bytes())
    hypnogram = edfio.read_edf((folder / "SC4601EC-Hypnogram.edf").read_bytes())
    for file in (psg, hypnogram):
        assert "SIMULATED" in file.local_patient_identification
        assert "SIMULATED" in file.local_recording_identification
        assert "89yr" in file.local_patient_identification
    assert psg.data_record_duration == 30
    assert {signal.label: signal.sampling_frequency for signal in psg.signals} == {
        "EEG Fpz-Cz": 100, "EEG Pz-Oz": 100, "EOG horizontal": 100, "Resp oro-nasal": 1,
        "EMG submental": 1, "Temp rectal": 1, "Event marker": 1,
    }  # fmt: skip
    units = {signal.label: signal.physical_dimension for signal in psg.signals}
    assert [units[name] for name in ("EEG Fpz-Cz", "EOG horizontal", "EMG submental")] == ["uV"] * 3
    assert np.all(psg.get_signal("EMG submental").data > 0)


def test_signals_survive_the_round_trip(folder):
    _, night = simulate_night(0, 1, 33.0, N_WINDOWS, 3, AWAKE)
    raw = mne.io.read_raw_edf(folder / "SC4001E0-PSG.edf", include=["EEG Pz-Oz"], verbose="ERROR")
    assert raw.info["sfreq"] == 100
    expected = np.clip(night.channel("EEG Pz-Oz"), -500e-6, 500e-6)
    np.testing.assert_allclose(raw.get_data()[0], expected, atol=2e-8)


def test_hypnogram_survives_the_round_trip(folder):
    stages, _ = simulate_night(0, 1, 33.0, N_WINDOWS, 3, AWAKE)
    bouts = mne.read_annotations(folder / "SC4001EC-Hypnogram.edf")
    assert bouts.onset[0] == 0
    assert bouts.description[0] == "Sleep stage W"
    assert bouts.duration[0] >= 2400
    assert (bouts.description[-1], bouts.onset[-1]) == ("Sleep stage ?", 6600)
    assert bouts.onset[-1] + bouts.duration[-1] == 86400
    codes = [STAGE_TEXTS.index(text) for text in bouts.description[:-1]]
    expanded = np.repeat(codes, (bouts.duration[:-1] / 30).astype(int))
    moved = expanded == STAGE_TEXTS.index("Movement time")
    assert moved.sum() == 3
    np.testing.assert_array_equal(expanded[~moved], stages[~moved])


def test_sleep_edf_reads_it_with_mne_ages(folder):
    dataset = SleepEDF(folder)
    found = dataset.recordings()
    assert [(r.subject, r.session, r.age) for r in found] == [
        ("0", "1", 33), ("0", "2", 33), ("60", "1", 89), ("60", "2", 89),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw = dataset.read(found[0])
    assert raw.ch_names == ["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal"]
    assert 5e-6 < raw.get_data().std() < 100e-6


def test_same_settings_same_bytes(folder, tmp_path):
    (path,) = write_sleep_edf(tmp_path / "again", subjects=["60"], hours=0.5, seed=3)
    assert path.read_bytes() == (folder / path.name).read_bytes()


def test_subjects_spread_over_ages():
    table = files("mne.datasets.sleep_physionet").joinpath("age_records.csv").read_text()
    known = {row["subject"]: float(row["age"]) for row in csv.DictReader(table.splitlines())}
    ages = {subject: known[subject] for subject in cassette_subjects(8)}
    assert sum(age < 65 for age in ages.values()) == 4
    assert sum(65 <= age < 80 for age in ages.values()) == 2
    assert sum(age >= 80 for age in ages.values()) == 2
    assert len(set(cassette_subjects(75))) == 75
    assert not {"13", "36", "52"} & set(cassette_subjects(75))


def test_a_folder_that_holds_something_stays(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(SleepShiftError, match="not empty"):
        write_sleep_edf(tmp_path, subjects=1, hours=0.1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (path,) = write_sleep_edf(tmp_path, subjects=1, hours=0.1)
    assert path.is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subjects": 0}, "1 to 75"),
        ({"subjects": 76}, "1 to 75"),
        ({"subjects": []}, "name at least one"),
        ({"subjects": ["39"]}, "no subject 39"),
        ({"nights": 3}, "nights"),
        ({"hours": 0}, "hours"),
        ({"hours": 23}, "hours"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_leave_nothing_behind(tmp_path, settings, message):
    with pytest.raises(SleepShiftError, match=message):
        write_sleep_edf(tmp_path / "new", **{"subjects": 1, "hours": 0.1, **settings})
    assert not list(tmp_path.iterdir())
