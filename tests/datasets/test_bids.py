"""BIDS folders: settings, tables of every kind, and signals in both formats."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfSignal
from scipy.io import savemat

from sleepshift.datasets import dataset_class, make_dataset
from sleepshift.datasets.bids import BidsFolder
from sleepshift.datasets.bids_tables import BidsFile, check_length, read_bids_people, read_events
from sleepshift.datasets.matlab import check_mat
from sleepshift.errors import DataError, TaskError
from sleepshift.windows import Recipe, cut_recording

CODES = {"0": "W", "1": "N1", "2": "N2", "3": "N3", "4": "R", "8": ""}
STAGES = ["0", "1", "2", "8", "3", "4"]
NAMES = ("Fz", "Cz", "LOC", "chin")
TYPES = {"Fz": "EEG", "Cz": "EEG", "LOC": "EOG", "chin": "EMG"}
SETTINGS = {"column": "stage", "codes": CODES, "task": "sleep"}


def write_edf(path: Path, seconds: int, names: Sequence[str] = NAMES) -> None:
    rng = np.random.default_rng(len(path.name))
    signals = [
        EdfSignal(
            rng.normal(0, 30, seconds * 128).clip(-190, 190),
            128,
            label=name,
            physical_dimension="uV",
            physical_range=(-192, 192),
        )
        for name in names
    ]
    Edf(signals, data_record_duration=1).write(path)


def write_set(path: Path, seconds: int, names: Sequence[str] = NAMES, **settings) -> None:
    signals = np.random.default_rng(3).normal(0, 30, (len(names), seconds * 128))
    empty = np.zeros((0, 0))
    eeg = {
        "nbchan": float(len(names)),
        "trials": 1.0,
        "pnts": float(signals.shape[1]),
        "srate": 128.0,
        "xmin": 0.0,
        "xmax": seconds - 1 / 128,
        "data": signals.astype(np.float32),
        "chanlocs": np.array([(name, "EEG") for name in names], [("labels", "O"), ("type", "O")]),
        "event": empty,
        "icawinv": empty,
        "icaweights": empty,
        "icasphere": empty,
    }
    savemat(path, {"EEG": eeg}, **settings)


def write_table(path: Path, header: str, rows: Sequence[Sequence[object]]) -> None:
    lines = [header.replace(" ", "\t"), *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def write_events(path: Path, stages: Sequence[object] = STAGES, duration: object = 30) -> None:
    rows = [(30 * k, duration, "epoch", stage) for k, stage in enumerate(stages)]
    write_table(path, "onset duration trial_type stage", rows)


def write_night(folder: Path, name: str, suffix: str = ".edf", names=NAMES) -> Path:
    """A night of `STAGES` and 7 s; returns where its signals are."""
    subject, *rest = name.split("_")
    parts = [subject, *(part for part in rest if part.startswith("ses-")), "eeg"]
    eeg = folder.joinpath(*parts)
    eeg.mkdir(parents=True, exist_ok=True)
    path = eeg / f"{name}_eeg{suffix}"
    (write_edf if suffix == ".edf" else write_set)(path, 187, names)
    write_events(eeg / f"{name}_events.tsv")
    rows = [(n, TYPES[n], "uV", "bad" if n == "Cz" else "good") for n in names]
    write_table(eeg / f"{name}_channels.tsv", "name type units status", rows)
    return path


@pytest.fixture
def study(tmp_path):
    """Two people: EDF with sessions, and EEGLAB with channels in another order."""
    write_night(tmp_path, "sub-A1_ses-02_task-sleep")
    write_night(tmp_path, "sub-A1_ses-10_task-sleep_run-1", ".set", NAMES[::-1])
    write_night(tmp_path, "sub-7_task-sleep_acq-lab")
    write_night(tmp_path, "sub-7_task-rest")
    rows = [("sub-A1", 30.5, "f", "p1"), ("sub-7", "n/a", "n/a", "p1")]
    write_table(tmp_path / "participants.tsv", "participant_id age sex who", rows)
    return tmp_path


def refusal(dataset: BidsFolder, channels: Sequence[str] = ("Fz",), number: int = 0) -> str:
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings()[number], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_finds_it_and_wants_a_folder(study):
    assert dataset_class("bids") is BidsFolder
    with pytest.raises(TaskError, match="name it with --data"):
        make_dataset("bids", None, **SETTINGS)
    assert len(make_dataset("bids", study, **SETTINGS).recordings()) == 3


def test_nights_are_listed_with_age_and_sex(study):
    nights = BidsFolder(study, **SETTINGS).recordings()
    assert [(n.subject, n.session, n.age, n.sex) for n in nights] == [
        ("7", "1", None, None),
        ("A1", "02", 30.5, "female"),
        ("A1", "10", 30.5, "female"),
    ]


@pytest.mark.parametrize(
    ("settings", "sessions"),
    [
        ({"acquisition": "lab"}, ["1"]),
        ({"acquisition": ""}, ["02", "10"]),
        ({"session": "10"}, ["10"]),
        ({"task": "rest"}, ["1"]),
    ],
)
def test_recordings_are_chosen_by_label(study, settings, sessions):
    nights = BidsFolder(study, **{**SETTINGS, **settings}).recordings()
    assert [night.session for night in nights] == sessions


def test_two_recordings_of_one_session_are_refused(study):
    with pytest.raises(DataError, match="choose by task, acquisition or session"):
        BidsFolder(study, **{**SETTINGS, "task": None}).recordings()


def test_a_column_says_which_recordings_are_of_one_person(study):
    nights = BidsFolder(study, person_column="who", **SETTINGS).recordings()
    assert [(n.subject, n.session) for n in nights] == [
        ("p1", "7"),
        ("p1", "A1-02"),
        ("p1", "A1-10"),
    ]
    with pytest.raises(DataError, match="no column pid"):
        BidsFolder(study, person_column="pid", **SETTINGS).recordings()
    write_table(study / "participants.tsv", "participant_id who", [("sub-7", "p1")])
    with pytest.raises(DataError, match="does not say who sub-A1 is"):
        BidsFolder(study, person_column="who", **SETTINGS).recordings()
    (study / "participants.tsv").unlink()
    with pytest.raises(DataError, match=r"participants\.tsv is missing"):
        BidsFolder(study, person_column="who", **SETTINGS).recordings()
    assert len(BidsFolder(study, **SETTINGS).recordings()) == 3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_values_are_those_that_mne_reads_in_volts_and_in_order(study, number):
    dataset = BidsFolder(study, **SETTINGS)
    night = dataset.recordings()[number]
    everything = mne.io.read_raw(night.files[0], preload=True, verbose="ERROR")
    for names in (("LOC", "Fz", "chin"), ("Cz",), NAMES):
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        np.testing.assert_array_equal(raw.get_data(), everything.get_data(list(names)))
        assert raw.info["bads"] == [name for name in names if name == "Cz"]
    assert raw.get_channel_types() == ["eeg", "eeg", "eog", "emg"]
    assert 1e-5 < raw.get_data().std() < 5e-5


def test_windows_have_their_stages_and_what_is_dropped_is_dropped(study):
    dataset = BidsFolder(study, **SETTINGS)
    recipe = Recipe(channels=("LOC", "Fz"), sfreq=None, trim_wake_minutes=None, scaling="none")
    for night in dataset.recordings():
        cut = cut_recording(dataset, night, recipe).windows
        assert cut.y.tolist() == [0, 1, 2, 3, 4]
        assert cut.onset.tolist() == [0, 30, 60, 120, 150]
        signals = mne.io.read_raw(night.files[0], verbose="ERROR").get_data(["LOC", "Fz"])
        np.testing.assert_array_equal(cut.x[3], signals[:, 15360:19200].astype(np.float32))


def test_another_scheme_and_other_texts(study):
    codes = {"0": "W", "1": "S1", "2": "S2", "8": "S3", "3": "S4", "4": "R"}
    dataset = BidsFolder(study, "rk6", "stage", codes, "sleep")
    recipe = Recipe(channels=("Fz",), sfreq=None, trim_wake_minutes=None, scaling="none")
    cut = cut_recording(dataset, dataset.recordings()[0], recipe).windows
    assert cut.y.tolist() == [0, 1, 2, 3, 4, 5]
    assert dataset.params() != BidsFolder(study, **SETTINGS).params()
    assert BidsFolder.stage_codes == {}


def test_a_scoring_may_have_an_acquisition_of_its_own(study):
    eeg = study / "sub-7" / "eeg"
    scoring = eeg / "sub-7_task-sleep_acq-scorer1_events.tsv"
    (eeg / "sub-7_task-sleep_acq-lab_events.tsv").rename(scoring)
    write_events(scoring, ["0", "1", "1", "1", "1", "1"])
    assert "no table of events" in refusal(BidsFolder(study, **SETTINGS))
    dataset = BidsFolder(study, scoring="scorer1", **SETTINGS)
    raw = dataset.read(dataset.recordings(["7"])[0], ["Fz"])
    assert raw.annotations.description.tolist() == ["0", *"11111"]


@pytest.mark.parametrize(
    ("name", "acquisition", "expected"),
    [
        ("sub-1_task-s_acq-PSG_eeg.set", None, "sub-1_task-s_acq-PSG_events.tsv"),
        ("sub-1_task-s_acq-PSG_eeg.set", "one", "sub-1_task-s_acq-one_events.tsv"),
        ("sub-1_task-s_eeg.set", "one", "sub-1_task-s_acq-one_events.tsv"),
        ("sub-1_task-s_acq-PSG_run-2_eeg.set", "one", "sub-1_task-s_acq-one_run-2_events.tsv"),
        ("sub-1_task-s_acq-PSG_run-2_eeg.set", "", "sub-1_task-s_run-2_events.tsv"),
    ],
)
def test_names_of_tables_beside_a_recording(name, acquisition, expected):
    file = BidsFile(path=Path(name), subject="1", session="", acquisition="")
    assert file.beside("events.tsv", acquisition).name == expected


def test_events_of_other_kinds_are_left_out_and_decimal_codes_are_whole(study):
    path = study / "sub-7" / "eeg" / "sub-7_task-sleep_acq-lab_events.tsv"
    rows = [(30 * k, "n/a", "epoch", f"{stage}.0") for k, stage in enumerate(STAGES)]
    rows.insert(2, (40, 5, "arousal", "n/a"))
    write_table(path, "onset duration trial_type stage", rows)
    dataset = BidsFolder(study, **SETTINGS)
    raw = dataset.read(dataset.recordings()[0], ["Fz"])
    assert raw.annotations.description.tolist() == STAGES
    assert raw.annotations.onset.tolist() == [0, 30, 60, 90, 120, 150]
    assert set(raw.annotations.duration) == {30}


def test_bouts_longer_than_an_epoch(study):
    path = study / "sub-7" / "eeg" / "sub-7_task-sleep_acq-lab_events.tsv"
    write_table(path, "onset duration stage", [(0, 90, 0), (90, 60, 2), (150, 30, 4)])
    dataset = BidsFolder(study, **SETTINGS)
    recipe = Recipe(channels=("Fz",), sfreq=100, trim_wake_minutes=None, scaling="robust")
    cut = cut_recording(dataset, dataset.recordings()[0], recipe).windows
    assert cut.y.tolist() == [0, 0, 0, 2, 2, 4]


def test_a_scoring_with_gaps_is_read_only_if_the_settings_say_so(study):
    path = study / "sub-7" / "eeg" / "sub-7_task-sleep_acq-lab_events.tsv"
    write_table(path, "onset duration stage", [(30, 30, 0), (90, 30, 2)])
    assert "too late" in refusal(BidsFolder(study, **SETTINGS))
    write_table(path, "onset duration stage", [(30, 30, 0), (60, 30, 2)])
    assert "begins at 30 s" in refusal(BidsFolder(study, **SETTINGS))
    write_table(path, "onset duration stage", [(0, 30, 0), (30, 30, 2)])
    assert "scores 2 epochs where" in refusal(BidsFolder(study, **SETTINGS))
    write_table(path, "onset duration stage", [(30, 30, 0), (90, 30, 2)])
    dataset = BidsFolder(study, complete=False, **SETTINGS)
    raw = dataset.read(dataset.recordings()[0], ["Fz"])
    assert raw.annotations.onset.tolist() == [30, 90]


def test_check_length_lets_a_rest_be_scored_or_not():
    for n_epochs in (3, 4):
        check_length(n_epochs, 100, "a", "b")
    for n_epochs in (2, 5):
        with pytest.raises(DataError):
            check_length(n_epochs, 100, "a", "b")
    check_length(3, 90.0004, "a", "b")
    with pytest.raises(DataError):
        check_length(2, 90, "a", "b")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read"),
        ("onset\tduration\n0\t30\n", "no column stage (it has onset, duration)"),
        ("onset\tduration\tstage\n", "has no rows"),
        ("onset\tduration\tstage\tstage\n0\t30\t1\t1\n", "two columns of one name"),
        ("onset\tduration\tstage\n0\t30\t1\t9\n", "cannot be read"),
        ("onset\tduration\tstage\n0\t30\tX\n", "unknown stage 'X'"),
        ("onset\tduration\tstage\n0\t30\n", "unknown stage ''"),
        ("onset\tduration\tstage\n0\t-30\t1\n", "'-30' where seconds must be"),
        ("onset\tduration\tstage\n1e99\t30\t1\n", "'1e99' where seconds must be"),
        ("onset\tduration\tstage\n30\t30\t1\n0\t30\t1\n", "each once"),
        ("\udcff", "cannot be read"),
    ],
)
def test_tables_of_events_that_cannot_be_right_are_refused(tmp_path, content, reason):
    path = tmp_path / "a_events.tsv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=re.escape(reason)) as caught:
        read_events(path, "stage", {"1": "N1"})
    assert "\n" not in str(caught.value)


def test_people_may_be_missing_and_have_no_age(tmp_path):
    assert read_bids_people(tmp_path) == {}
    write_table(tmp_path / "participants.tsv", "participant_id gender", [("sub-1", "m")])
    assert read_bids_people(tmp_path)["1"].sex == "male"
    assert read_bids_people(tmp_path)["1"].age is None


def test_recordings_that_are_missing_or_misnamed_are_refused(study, tmp_path_factory):
    with pytest.raises(DataError, match="is not a folder"):
        BidsFolder(study / "nowhere", **SETTINGS).recordings()
    with pytest.raises(DataError, match="must hold sub-<label>"):
        BidsFolder(tmp_path_factory.mktemp("empty"), **SETTINGS).recordings()
    with pytest.raises(DataError, match="subject 8 in"):
        BidsFolder(study, **SETTINGS).recordings(["8"])
    (study / "sub-7" / "eeg" / "sub-7_night-1_eeg.edf").write_bytes(b"")
    with pytest.raises(DataError, match="is no name of BIDS"):
        BidsFolder(study, **SETTINGS).recordings()


@pytest.mark.parametrize("seconds", ["99999", "1e99", "1e-99", "0.001"])
def test_a_rate_that_no_recorder_has_is_refused_before_anything_is_read(study, seconds):
    path = BidsFolder(study, **SETTINGS).recordings()[0].files[0]
    content = bytearray(path.read_bytes())
    content[244:252] = seconds.encode().ljust(8)
    path.write_bytes(content)
    assert "Hz, where recorders have 1 to 20000 Hz" in refusal(BidsFolder(study, **SETTINGS))


@pytest.mark.parametrize("rate", [0.5, 1e9])
def test_a_rate_that_no_recorder_has_is_refused_in_a_set_file(study, monkeypatch, rate):
    dataset = BidsFolder(study, **SETTINGS)
    raw = mne.io.RawArray(np.zeros((1, 9)), mne.create_info(["Fz"], rate, "eeg"), verbose=False)
    monkeypatch.setattr("sleepshift.datasets.bids.open_set", lambda *_, **__: raw)
    assert f"claims {rate:.6g} Hz" in refusal(dataset, number=2)


@pytest.mark.parametrize("error", [MemoryError, SystemError])
def test_what_a_reader_dies_of_is_one_line(study, monkeypatch, error):
    def fail(*_, **__):
        raise error("Unable to allocate 223. GiB")

    monkeypatch.setattr("mne.io.read_raw_edf", fail)
    assert "cannot be read (Unable to allocate 223. GiB)" in refusal(BidsFolder(study, **SETTINGS))


def test_channels_must_be_named_and_there(study):
    assert "name those to read" in refusal(BidsFolder(study, **SETTINGS), channels=())
    for number in (0, 2):
        message = refusal(BidsFolder(study, **SETTINGS), channels=("Oz",), number=number)
        assert "no channel Oz" in message
        assert "chin" in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"codes": None}, "codes must map"),
        ({"codes": {}}, "codes must map"),
        ({"codes": {"0": "N4"}}, "no stage 'N4'"),
        ({"scheme": "none"}, "unknown stage scheme"),
        ({"datatype": "../x"}, "datatype must be"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, reason):
    with pytest.raises(TaskError, match=reason):
        BidsFolder("folder", **{**SETTINGS, **changes})


@pytest.mark.parametrize("settings", [{}, {"do_compression": True}])
def test_whole_matlab_files_pass_and_shortened_ones_do_not(tmp_path, settings):
    path = tmp_path / "a.set"
    write_set(path, 30, **settings)
    check_mat(path)
    content = path.read_bytes()
    for kept in (0, 100, 128, 140, 1000, len(content) - 8):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"a\.set cannot be read"):
            check_mat(path)


def test_sparse_arrays_and_complex_numbers_and_lists_pass(tmp_path):
    from scipy.sparse import eye_array

    path = tmp_path / "a.set"
    nested = np.array([1, "b", np.zeros((2, 0))], dtype=object)
    values = {"a": eye_array(3), "b": np.array([1j, 2]), "c": nested, "d": "\u03b1", "e": np.True_}
    savemat(path, values)
    check_mat(path)


def test_a_matlab_file_that_would_end_the_process_is_refused(tmp_path):
    """SciPy reads behind the end of a list that claims more parts than it has."""
    path = tmp_path / "a.set"
    cells = np.array(["a", "b"], dtype=object)
    savemat(path, {"c": cells})
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<IIii", 5, 8, 1, 2)) + 12
    content[place : place + 4] = struct.pack("<i", 1 << 20)
    path.write_bytes(content)
    with pytest.raises(DataError, match="has lost or gained a part"):
        check_mat(path)
    body = zlib.compress(bytes(content[128:]))
    path.write_bytes(bytes(content[:128]) + struct.pack("<II", 15, len(body)) + body)
    with pytest.raises(DataError, match="has lost or gained a part"):
        check_mat(path)


@pytest.mark.parametrize("suffix", [".edf", ".set"])
def test_damaged_files_are_one_line_or_as_many_windows(tmp_path, survives, suffix):
    path = write_night(tmp_path, "sub-7_ses-1_task-sleep", suffix, NAMES[:2])
    (write_edf if suffix == ".edf" else write_set)(path, 180, NAMES[:2])
    write_table(tmp_path / "participants.tsv", "participant_id who", [("sub-7", "p1")])
    table = next(tmp_path.glob("sub-7/ses-1/eeg/*_events.tsv"))
    people = tmp_path / "participants.tsv"

    def make(folder: Path) -> BidsFolder:
        dataset = BidsFolder(folder, person_column="who", **SETTINGS)
        # What is whole and says something else cannot be told: another stage, another person.
        if folder != tmp_path:
            other = folder / table.relative_to(tmp_path)
            try:
                onsets = [
                    read_events(p, "stage", dataset.stage_codes).onset.tolist()
                    for p in (table, other)
                ]
                if onsets[0] == onsets[1]:
                    other.write_bytes(table.read_bytes())
            except DataError:
                pass
            try:
                if "7" in read_bids_people(folder, "who"):
                    (folder / people.name).write_bytes(people.read_bytes())
            except DataError:
                pass
        return dataset

    recipe = Recipe(channels=("Fz",), sfreq=100, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(make, tmp_path, recipe, variants=250)
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 20
