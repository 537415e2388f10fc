"""BOAS: two EDF files of a night merged, people with several recordings, the real tables."""

from __future__ import annotations

import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfSignal

from sleepshift.datasets import dataset_class
from sleepshift.datasets.bids_tables import read_bids_people, read_events
from sleepshift.datasets.boas import Boas
from sleepshift.errors import DataError
from sleepshift.protocol.task import load_task
from sleepshift.windows import Recipe, cut_recording

SIDECARS = Path(__file__).parents[2] / ".." / "shared" / "data" / "bids_sidecars" / "boas"
needs_sidecars = pytest.mark.skipif(
    not SIDECARS.is_dir(), reason="the real sidecars of BOAS are not at hand"
)
PSG = ("PSG_F3", "PSG_F4", "PSG_C3", "PSG_EOG", "PSG_EMG", "PSG_THER")
BAND = ("HB_1", "HB_2", "HB_IMU_1")
CODES = [0, 1, 2, 8, 3, 4]
TASK = ("PSG_F3", "PSG_C3", "HB_1", "HB_2")
PEOPLE = [
    ("sub-1", 27, "F", 19.8, 89),
    ("sub-2", 27, "F", 19.8, 89),
    ("sub-3", "n/a", "M", "n/a", 1),
]


def write_edf(path: Path, names: Sequence[str], seconds: int, rate: float = 256, seed=0) -> None:
    rng = np.random.default_rng([seed, len(names)])
    signals = [
        EdfSignal(
            rng.normal(0, 30, int(seconds * rate)).clip(-190, 190),
            rate,
            label=name,
            physical_dimension="" if "IMU" in name else "uV",
            physical_range=(-192, 192),
        )
        for name in names
    ]
    Edf(signals, data_record_duration=1).write(path)


def write_events(path: Path, codes: Sequence[object], **changes: object) -> None:
    """The published columns; `changes` replace a row's onset."""
    rows = ["onset\tduration\tbegsample\tendsample\toffset\tstage_hum\tstage_ai"]
    for k, code in enumerate(codes):
        onset = changes.get(f"row{k}", 30 * k)
        rows.append(f"{onset}\t30\t{7680 * k + 1}\t{7680 * (k + 1)}\t0\t{code}\t-2")
    path.write_text("\r\n".join(rows) + "\r\n")


def write_people(folder: Path, rows: Sequence[Sequence[object]] = PEOPLE) -> None:
    lines = ["\t".join(map(str, row)) for row in rows]
    header = "participant_id\tage\tsex\tbmi\tpid"
    (folder / "participants.tsv").write_text("\n".join([header, *lines]) + "\n")


def write_night(folder: Path, number: int, codes=CODES, psg=PSG, band=BAND, more: int = 9) -> Path:
    """A night that is `more` seconds longer than its scoring; returns how its names begin."""
    eeg = folder / f"sub-{number}" / "eeg"
    eeg.mkdir(parents=True)
    start = eeg / f"sub-{number}_task-Sleep_acq"
    seconds = 30 * len(codes) + more
    write_edf(Path(f"{start}-psg_eeg.edf"), psg, seconds, seed=number)
    write_edf(Path(f"{start}-headband_eeg.edf"), band, seconds, seed=number)
    write_events(Path(f"{start}-psg_events.tsv"), codes)
    Path(f"{start}-headband_events.tsv").write_text("onset\tduration\tstage_ai\n0\t30\t0\n")
    return start


@pytest.fixture
def boas(tmp_path):
    """Three nights of two people, channels of the third in another order."""
    write_people(tmp_path)
    write_night(tmp_path, 1)
    write_night(tmp_path, 2, codes=[*CODES, 4])
    write_night(tmp_path, 3, psg=PSG[::-1], band=BAND[::-1])
    return tmp_path


def refusal(dataset: Boas, number: str = "1", channels: Sequence[str] | None = TASK) -> str:
    nights = {night.session: night for night in dataset.recordings()}
    with pytest.raises(DataError) as caught:
        dataset.read(nights[number], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_finds_it():
    assert dataset_class("boas") is Boas


def test_nights_of_one_person_are_of_one_subject(boas):
    nights = Boas(boas).recordings()
    assert [(n.subject, n.session, n.age, n.sex) for n in nights] == [
        ("1", "3", None, "male"),
        ("89", "1", 27, "female"),
        ("89", "2", 27, "female"),
    ]
    assert [path.name for path in nights[1].files] == [
        "sub-1_task-Sleep_acq-psg_eeg.edf",
        "sub-1_task-Sleep_acq-headband_eeg.edf",
        "sub-1_task-Sleep_acq-psg_events.tsv",
    ]
    assert [n.session for n in Boas(boas).recordings(["89"])] == ["1", "2"]
    with pytest.raises(DataError, match=r"subject 2 in .*; there are 1, 89"):
        Boas(boas).recordings(["2"])


@pytest.mark.parametrize("number", [1, 2])
def test_values_are_those_of_both_files_in_volts_and_in_order(boas, number):
    dataset = Boas(boas)
    night = dataset.recordings()[{1: 1, 2: 0}[number]]
    psg, band = (
        mne.io.read_raw_edf(path, preload=True, verbose="ERROR") for path in night.files[:2]
    )
    for names in (TASK, TASK[::-1], ("HB_2", "PSG_EOG", "HB_1"), ("HB_1",), ("PSG_F4",)):
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        assert raw.info["sfreq"] == 256
        for name in names:
            truth = (band if name.startswith("HB") else psg).get_data([name])
            np.testing.assert_array_equal(raw.get_data([name]), truth)
    assert 1e-5 < raw.get_data().std() < 5e-5
    types = dataset.read(night, ["PSG_EOG", "PSG_EMG", "PSG_THER", "HB_1"]).get_channel_types()
    assert types == ["eog", "emg", "misc", "eeg"]


def test_windows_are_scored_by_people_and_disconnections_are_dropped(boas):
    dataset = Boas(boas)
    recipe = Recipe(channels=TASK, sfreq=None, trim_wake_minutes=None, scaling="none")
    stages = [cut_recording(dataset, n, recipe).windows.y.tolist() for n in dataset.recordings()]
    assert stages == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 4]]
    night = dataset.recordings()[0]
    cut = cut_recording(dataset, night, recipe).windows
    assert cut.onset.tolist() == [0, 30, 60, 120, 150]
    truth = mne.io.read_raw_edf(night.files[1], verbose="ERROR").get_data(["HB_2"])[0, 30720:38400]
    np.testing.assert_array_equal(cut.x[3, 3], truth.astype(np.float32))


def test_the_task_reads_every_night(boas):
    windows = load_task("boas-psg-to-headband").windows
    recipe = Recipe(
        channels=windows.channels,
        sfreq=windows.sfreq,
        trim_wake_minutes=windows.trim_wake_minutes,
        scaling=windows.scaling,
    )
    dataset = Boas(boas)
    for night in dataset.recordings():
        assert cut_recording(dataset, night, recipe).windows.x.shape[1:] == (4, 3000)


@pytest.mark.parametrize("recorder", ["psg", "headband"])
def test_a_recorder_that_ran_a_little_longer_is_cut_and_a_lot_longer_is_refused(boas, recorder):
    path = boas / "sub-1" / "eeg" / f"sub-1_task-Sleep_acq-{recorder}_eeg.edf"
    names = PSG if recorder == "psg" else BAND
    write_edf(path, names, 193)
    dataset = Boas(boas)
    raw = dataset.read(dataset.recordings()[1], TASK)
    assert raw.duration == 189
    write_edf(path, names, 195)
    assert "do not belong together" in refusal(dataset)


def test_a_last_epoch_that_one_recorder_missed_is_no_window(boas):
    write_edf(boas / "sub-1/eeg/sub-1_task-Sleep_acq-psg_eeg.edf", PSG, 181)
    write_edf(boas / "sub-1/eeg/sub-1_task-Sleep_acq-headband_eeg.edf", BAND, 178)
    dataset = Boas(boas)
    recipe = Recipe(channels=TASK, sfreq=100, trim_wake_minutes=None, scaling="robust")
    cut = cut_recording(dataset, dataset.recordings()[1], recipe).windows
    assert cut.y.tolist() == [0, 1, 2, 3]


def test_a_scoring_is_as_long_as_the_psg_of_which_it_is(boas):
    write_edf(boas / "sub-1/eeg/sub-1_task-Sleep_acq-psg_eeg.edf", PSG, 178)
    write_edf(boas / "sub-1/eeg/sub-1_task-Sleep_acq-headband_eeg.edf", BAND, 181)
    events = boas / "sub-1/eeg/sub-1_task-Sleep_acq-psg_events.tsv"
    dataset = Boas(boas)
    for codes in (CODES[:5], CODES):
        write_events(events, codes)
        raw = dataset.read(dataset.recordings()[1], TASK)
        assert len(raw.annotations) == len(codes)
    write_events(events, [*CODES, 4])
    assert "scores 7 epochs where sub-1_task-Sleep_acq-psg_eeg.edf has 5.9" in refusal(dataset)


def test_another_rate_is_refused(boas):
    path = boas / "sub-1" / "eeg" / "sub-1_task-Sleep_acq-headband_eeg.edf"
    write_edf(path, BAND, 189, rate=128)
    assert "claims 128 Hz, where BOAS has 256 Hz" in refusal(Boas(boas))


def test_missing_files_are_named(boas):
    start = boas / "sub-1" / "eeg" / "sub-1_task-Sleep_acq"
    Path(f"{start}-headband_eeg.edf").unlink()
    assert "no file ..._acq-headband_eeg.edf" in refusal(Boas(boas))
    Path(f"{start}-psg_events.tsv").unlink()
    assert "no file ..._acq-psg_events.tsv" in refusal(Boas(boas), channels=["PSG_F3"])
    (boas / "participants.tsv").unlink()
    with pytest.raises(DataError, match=r"participants\.tsv is missing"):
        Boas(boas).recordings()


def test_channels_that_are_not_there_are_named_with_those_that_are(boas):
    message = refusal(Boas(boas), channels=["PSG_EOGL", "HB_1"])
    assert "no channel PSG_EOGL" in message
    assert "PSG_EOG," in message
    assert "none was named" in refusal(Boas(boas), channels=[])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (PEOPLE[:2], "does not say who sub-3 is"),
        ([*PEOPLE, PEOPLE[0]], "sub-1 has a row already"),
        ([*PEOPLE[:2], ("sub-3", 30, "M", 20, "n/a")], "pid does not say who sub-3 is"),
        ([*PEOPLE[:2], ("sub-3", 300, "M", 20, 1)], "age '300'"),
        ([*PEOPLE[:2], ("sub-3", 30, "X", 20, 1)], "sex 'X'"),
        ([*PEOPLE[:2], ("", 30, "M", 20, 1)], "is no participant_id"),
    ],
)
def test_a_table_of_people_that_cannot_be_right_is_refused(boas, rows, reason):
    write_people(boas, rows)
    with pytest.raises(DataError, match=reason) as caught:
        Boas(boas).recordings()
    assert "\n" not in str(caught.value)
    assert Boas(boas).count_present() == 0


@pytest.mark.parametrize(
    ("codes", "changes", "reason"),
    [
        ([0, 1, 2, 5, 3, 4], {}, "unknown stage '5' in column stage_hum"),
        ([0, 1, 2, -2, 3, 4], {}, "unknown stage '-2'"),
        (CODES[:5], {}, "scores 5 epochs"),
        ([*CODES, 0, 0], {}, "scores 8 epochs"),
        (CODES, {"row0": 30}, "each once"),
        (CODES, {"row3": 80}, "same time twice"),
        (CODES, {"row5": 180}, "too late"),
        (CODES, {"row3": "inf"}, "where seconds must be"),
    ],
)
def test_a_scoring_that_cannot_be_right_is_refused(boas, codes, changes, reason):
    path = boas / "sub-1" / "eeg" / "sub-1_task-Sleep_acq-psg_events.tsv"
    write_events(path, codes, **changes)
    assert reason in refusal(Boas(boas))


def test_a_scoring_of_the_program_alone_is_refused(boas):
    path = boas / "sub-1" / "eeg" / "sub-1_task-Sleep_acq-psg_events.tsv"
    path.write_text("onset\tduration\tstage_ai\n0\t30\t0\n")
    assert "no column stage_hum" in refusal(Boas(boas))


def test_folders_without_recordings_are_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        Boas(tmp_path / "nowhere").recordings()
    with pytest.raises(DataError, match=r"must hold participants\.tsv"):
        Boas(tmp_path).recordings()


def test_a_file_in_the_folder_of_another_person_is_refused(boas):
    eeg = boas / "sub-1" / "eeg"
    shutil.copy(eeg / "sub-1_task-Sleep_acq-psg_eeg.edf", eeg / "sub-9_task-Sleep_acq-psg_eeg.edf")
    with pytest.raises(DataError, match="folder of another person"):
        Boas(boas).recordings()


def test_all_nights_of_the_people_asked_for_are_downloaded(tmp_path, monkeypatch):
    asked = []

    class Download:
        @staticmethod
        def fetch_openneuro(accession, prefixes, folder, wanted=None):
            assert accession == "ds005555"
            asked.extend(prefixes)
            folder.mkdir(exist_ok=True)
            if prefixes == ["participants.tsv"]:
                write_people(folder)
            else:
                write_night(folder, int(prefixes[0].split("/")[0][4:]))

    monkeypatch.setitem(sys.modules, "sleepshift.datasets.download", Download)
    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    assert [n.session for n in Boas().recordings(["89"])] == ["1", "2"]
    assert asked == [
        "participants.tsv",
        *(
            f"sub-{k}/eeg/sub-{k}_task-Sleep_acq-{end}"
            for k in (1, 2)
            for end in ("psg_eeg.edf", "headband_eeg.edf", "psg_events.tsv")
        ),
    ]
    with pytest.raises(DataError, match="subject 2 in Bitbrain"):
        Boas().recordings(["2"])
    assert len(Boas().recordings(["89"])) == 2
    assert len(asked) == 7


@needs_sidecars
def test_real_scorings_have_the_stages_counted_without_this_package():
    tables = sorted(SIDECARS.glob("sub-*/eeg/*_acq-psg_events.tsv"))
    assert len(tables) == 5
    names = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "R", 8: None}
    for path in tables:
        with path.open(newline="") as file:
            truth = [names[int(row["stage_hum"])] for row in csv.DictReader(file, delimiter="\t")]
        ours = read_events(path, "stage_hum", Boas.stage_codes)
        assert [Boas.stage_codes[text] for text in ours.description] == truth
        assert ours.onset.tolist() == [30 * k for k in range(len(truth))]
    assert len(truth) == 922  # sub-60, which ends with 51 disconnections
    assert truth.count(None) == 51


@needs_sidecars
def test_the_real_table_names_a_hundred_people():
    people = read_bids_people(SIDECARS, "pid")
    assert len(people) == 128
    assert len({person.name for person in people.values()}) == 100
    assert people["1"] == people["2"]
    assert people["16"].age is None
    assert {person.sex for person in people.values()} == {"female", "male"}


@needs_sidecars
def test_a_real_night_has_a_window_for_each_row_that_is_a_stage(tmp_path):
    shutil.copytree(SIDECARS, tmp_path / "boas")
    start = tmp_path / "boas" / "sub-1" / "eeg" / "sub-1_task-Sleep_acq"
    write_edf(Path(f"{start}-psg_eeg.edf"), PSG[:1], 27459)
    write_edf(Path(f"{start}-headband_eeg.edf"), BAND[:1], 27459)
    dataset = Boas(tmp_path / "boas")
    (night,) = dataset.recordings()
    assert (night.subject, night.session, night.age) == ("89", "1", 27)
    recipe = Recipe(channels=("PSG_F3", "HB_1"), sfreq=None, trim_wake_minutes=None, scaling="none")
    stages = cut_recording(dataset, night, recipe).windows.y
    assert np.bincount(stages).tolist() == [200, 57, 398, 172, 87]


def restore_other_tables(sound: Path, damaged: Path) -> None:
    """Put back tables that are whole and say something else: no reader could tell.

    Another code is another stage, or one that is dropped; another pid is another person.
    """
    pairs = [(path, damaged / path.relative_to(sound)) for path in sound.rglob("*psg_events.tsv")]
    pairs.append((sound / "participants.tsv", damaged / "participants.tsv"))
    for before, after in pairs:
        try:
            if before.name == "participants.tsv":
                same = set(read_bids_people(sound, "pid")) <= set(read_bids_people(damaged, "pid"))
            else:
                onsets = (
                    read_events(path, "stage_hum", Boas.stage_codes).onset.tolist()
                    for path in (before, after)
                )
                same = next(onsets) == next(onsets)
        except DataError:
            continue
        if same:
            shutil.copy(before, after)


def test_damaged_files_are_one_line_or_as_many_windows(tmp_path, survives):
    write_people(tmp_path, PEOPLE[:1])
    write_night(tmp_path, 1, psg=PSG[:2], band=BAND[:2], more=0)

    def make(folder: Path) -> Boas:
        if folder != tmp_path:
            restore_other_tables(tmp_path, folder)
        return Boas(folder)

    channels = ("HB_1", "PSG_F3")
    recipe = Recipe(channels=channels, sfreq=100, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(make, tmp_path, recipe)
    assert outcomes["refused"] > 200
    assert outcomes["read"] > 20
