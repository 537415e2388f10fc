"""PhysioNet/CinC Challenge 2018: nights made in its layout, and every way to damage them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import wfdb

from sleepshift.datasets import dataset_class
from sleepshift.datasets.physionet2018 import PhysioNet2018
from sleepshift.datasets.wfdb_notes import read_notes
from sleepshift.errors import DataError
from sleepshift.windows import Recipe, cut_recording

CHANNELS = (
    *("F3-M2", "F4-M1", "C3-M2", "C4-M1", "O1-M2", "O2-M1", "E1-M2", "Chin1-Chin2"),
    *("ABD", "CHEST", "AIRFLOW", "SaO2", "ECG"),
)
UNITS = {"SaO2": "%", "ECG": "mV"}
# Second, text: a stage lasts until the next one.
MARKS = [
    (15, "W"),
    (45, "N1"),
    (50.5, "(arousal_rera"),
    (53, "arousal_rera)"),
    (75, "N2"),
    (135, "N3"),
    (140, "(resp_hypopnea"),
    (170, "resp_hypopnea)"),
    (195, "R"),
    (225, "W"),
]
STAGES = ["W", "N1", "N2", "N2", "N3", "N3", "R", "W"]


def write_signals(
    folder: Path, who: str, order: Sequence[str] = CHANNELS, seconds: int = 270, rate: int = 200
) -> None:
    """Header and samples as the Challenge has them: a Matlab file, read as WFDB format 16."""
    folder.mkdir(parents=True, exist_ok=True)
    n = seconds * rate
    noises = [np.random.default_rng(list(name.encode())).normal(0, 90, n) for name in order]
    samples = np.stack(noises, axis=1).astype("<i2")
    (folder / f"{who}.mat").write_bytes(b"\0" * 24 + samples.tobytes())
    lines = [f"{who} {len(order)} {rate} {n}"]
    for k, name in enumerate(order):
        gain = 1000 if name == "ECG" else 1
        first, total = samples[0, k], samples[:, k].sum(dtype="int16")
        lines.append(
            f"{who}.mat 16+24 {gain}/{UNITS.get(name, 'uV')} 16 0 {first} {total} 0 {name}"
        )
    (folder / f"{who}.hea").write_text("\n".join(lines) + "\n")


def write_marks(folder: Path, who: str, marks: Sequence[tuple[float, str]] = MARKS) -> None:
    seconds, texts = zip(*marks, strict=True)
    wfdb.wrann(
        who,
        "arousal",
        sample=np.round(np.array(seconds) * 200).astype(int),
        symbol=['"'] * len(texts),
        chan=np.array([int(text.strip("()") != text) for text in texts]),
        aux_note=list(texts),
        fs=200,
        write_dir=str(folder),
    )


def write_night(folder: Path, who: str, order: Sequence[str] = CHANNELS) -> None:
    write_signals(folder / "training" / who, who, order)
    write_marks(folder / "training" / who, who)


@pytest.fixture
def folder(tmp_path):
    """Two labelled nights, one with its channels the other way round, and one of the test set."""
    write_night(tmp_path, "tr03-0005")
    write_night(tmp_path, "tr12-0685", CHANNELS[::-1])
    write_signals(tmp_path / "test" / "te06-0293", "te06-0293")
    (tmp_path / "age-sex.csv").write_text(
        "Record,Age,Sex\r\ntr03-0005,59,M\r\ntr12-0685,x,F\r\nte06-0293,30,F\r\n"
    )
    return tmp_path


def place(folder: Path, end: str) -> Path:
    return folder / "training" / "tr03-0005" / f"tr03-0005{end}"


def refusal(folder: Path, channels=None) -> str:
    dataset = PhysioNet2018(folder)
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings(["tr03-0005"])[0], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labelled_nights_are_listed_with_age_and_sex(folder):
    assert dataset_class("physionet2018") is PhysioNet2018
    first, second = PhysioNet2018(folder).recordings()
    assert (first.subject, first.session, first.age, first.sex) == ("tr03-0005", "1", 59, "male")
    assert (second.subject, second.age, second.sex) == ("tr12-0685", None, "female")
    assert [path.suffix for path in first.files] == [".hea", ".mat", ".arousal"]
    with pytest.raises(DataError, match="no recording of subject te06-0293 in"):
        PhysioNet2018(folder).recordings(["te06-0293"])
    (folder / "age-sex.csv").unlink()
    assert PhysioNet2018(folder).recordings()[0].age is None


def braindecode_reads(folder: Path, who: str, eeg_only: bool):
    """What Braindecode makes of the files, without the downloads of its constructor."""
    from braindecode.datasets import SleepPhysionetChallenge2018

    table = pd.DataFrame({"Record": [who], "Age": [59], "Sex": ["M"]})
    path = [str(folder / "training" / who / f"{who}.mat")]
    dataset = SleepPhysionetChallenge2018._load_raw(
        SimpleNamespace(info_df=table), 0, path, path, eeg_only, None
    )
    return dataset.raw


def test_values_and_stages_are_those_that_braindecode_reads(folder):
    dataset = PhysioNet2018(folder)
    night = dataset.recordings(["tr03-0005"])[0]
    truth = braindecode_reads(folder, "tr03-0005", False)
    for names in (CHANNELS, ("ECG", "C4-M1", "E1-M2"), ("O2-M1",)):
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        assert raw.info["sfreq"] == 200
        np.testing.assert_allclose(raw.get_data(), truth.get_data(list(names)), rtol=1e-12)
    assert dataset.read(night).ch_names == list(CHANNELS[:7])
    bouts = [(a["onset"], a["duration"], a["description"]) for a in truth.annotations]
    epochs = [text for _, seconds, text in bouts for _ in range(round(seconds / 30))]
    read = dataset.read(night).annotations
    assert read.description.tolist() == epochs[: len(read)] == STAGES
    assert read.onset[0] == bouts[0][0] == 15


def test_channels_come_by_name_in_volts(folder):
    dataset = PhysioNet2018(folder)
    here, there = dataset.recordings()
    names = ("ECG", "C3-M2", "SaO2", "Chin1-Chin2", "E1-M2")
    raw = dataset.read(there, names)
    assert raw.get_channel_types() == ["ecg", "eeg", "misc", "emg", "eog"]
    np.testing.assert_array_equal(raw.get_data(), dataset.read(here, names).get_data())
    assert 5e-5 < raw.get_data(["C3-M2"]).std() < 2e-4
    assert raw.get_data(["SaO2"]).std() > 50  # no voltage: per cent, as stored


def test_windows_are_those_that_were_scored(folder):
    dataset = PhysioNet2018(folder)
    recipe = Recipe(channels=("C4-M1",), sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    windows = cut_recording(dataset, dataset.recordings()[0], recipe).windows
    assert windows.x.shape == (8, 1, 3000)
    assert windows.y.tolist() == [list(PhysioNet2018.stage_codes).index(stage) for stage in STAGES]
    assert windows.onset.tolist() == [15 + 30 * k for k in range(8)]


def test_a_last_stage_past_the_end_is_cut_there(folder):
    write_signals(place(folder, "").parent, "tr03-0005", seconds=240)
    dataset = PhysioNet2018(folder)
    raw = dataset.read(dataset.recordings()[0])
    assert len(raw.annotations) == 8
    assert raw.annotations.duration[-1] == pytest.approx(15)


@pytest.mark.parametrize("end", [".mat", ".arousal"])
def test_a_missing_file_is_named(folder, end):
    place(folder, end).unlink()
    assert len(PhysioNet2018(folder).recordings()) == 2
    assert f"tr03-0005.hea lacks tr03-0005{end}: put it into" in refusal(folder)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("13 200 ", "13 100 ", "claims 100 Hz"),
        ("13 200 ", "13 200/100 ", "claims 200 Hz"),
        ("13 200 54000", "13 200 53999", "it promises"),
        ("13 200 54000", "13 200 99999999999", "it promises"),
        ("13 200 54000", "13 200", "it promises"),
        ("13 200 54000", "12 200 54000", "cannot be read"),
        ("tr03-0005.mat", "../../etc/passwd", "cannot be read"),
        ("tr03-0005.mat", "https://example.org/a", "cannot be read"),
        ("tr03-0005.mat", "tr12-0685.mat", "file_name is"),
        ("16+24", "16+26", "byte_offset is"),
        ("16+24", "212+24", "fmt is"),
        ("16+24", "16x2+24", "samps_per_frame is"),
        ("16+24", "16:9+24", "shifted"),
        ("1/uV", "-1/uV", "no usable scale"),
        ("1/uV", "1/qV", "no usable scale"),
        ("F4-M1", "F3-M2", "or has it twice"),
        ("tr03-0005 13", "tr03-0005/2 13", "cannot be read"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(folder, old, new, reason):
    header = place(folder, ".hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    message = refusal(folder)
    assert reason in message
    assert "tr03-0005.hea" in message


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 13 200 54000", " 2720026000", "does not describe a recording"),
        (" 13 200 54000", " 999", "it promises 999 signals and describes 13"),
        ("tr03-0005 13", "tr03-0005 12", "it promises 12 signals and describes 13"),
        ("54000\n", "54000 " + "1" * 31 + "\n", "does not describe a recording"),
        ("F3-M2\n", "F3-M2\n" + "x" * 501 + "\n", "a line of more than 500 characters"),
        ("F3-M2\n", "F3-M2\n" + "# a\n" * 2**14, "more than 64 kB"),
    ],
)
def test_a_header_that_wfdb_would_not_come_back_from_never_reaches_it(
    folder, monkeypatch, old, new, reason
):
    header = place(folder, ".hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new, 1))
    monkeypatch.setattr(wfdb, "rdheader", None)
    assert reason in refusal(folder)
    header.write_text("# nothing\n")
    assert "does not describe a recording" in refusal(folder)


def test_a_header_may_have_a_date_and_comments(folder):
    header = place(folder, ".hea")
    first, rest = header.read_text().split("\n", 1)
    header.write_text(f"# of a night\r\n{first} 22:31:05.500 03/04/2010\n\n{rest}#Age: 59\n")
    dataset = PhysioNet2018(folder)
    assert len(dataset.read(dataset.recordings()[0]).annotations) == 8


def test_truncated_samples_are_refused(folder):
    samples = place(folder, ".mat")
    samples.write_bytes(samples.read_bytes()[:-2])
    assert "it promises 1404024 bytes, tr03-0005.mat has 1404022" in refusal(folder)


def test_a_channel_that_is_not_there_is_named(folder):
    message = refusal(folder, ["C4-A1"])
    assert "no channel C4-A1" in message
    assert "C4-M1" in message
    assert "no channel of tr03-0005.hea was named" in refusal(folder, [])


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        ([(15, "W"), (45, "N4")], "unknown annotation 'N4'"),
        ([(15, "W"), (45, "")], "unknown annotation ''"),
        ([(15, "(arousal_rera"), (45, "arousal_rera)")], "has no stages"),
        ([(15, "W"), (62, "N2")], "do not follow each other"),
        ([(15, "W"), (15.2, "N2")], "do not follow each other"),
        ([(9000, "W"), (9030, "N2")], "scores nothing"),
        ([(15, "W"), (15 + 30 * 20_000, "N2")], "do not follow each other"),
    ],
)
def test_stages_that_cannot_be_right_are_refused(folder, marks, reason):
    write_marks(place(folder, "").parent, "tr03-0005", marks)
    message = refusal(folder)
    assert reason in message
    assert "tr03-0005.arousal" in message


@pytest.mark.parametrize("content", [b"", b"\0\0", b"<html>404</html>", bytes(5001)])
def test_what_is_no_list_of_stages_is_refused(folder, content):
    place(folder, ".arousal").write_bytes(content)
    assert "tr03-0005.arousal" in refusal(folder)


def test_a_stage_that_begins_a_little_late_is_put_on_the_grid(folder):
    marks = [(15, "W"), (45.4, "N1"), (74.6, "N2"), (105, "R")]
    write_marks(place(folder, "").parent, "tr03-0005", marks)
    dataset = PhysioNet2018(folder)
    annotations = dataset.read(dataset.recordings()[0]).annotations
    assert annotations.description.tolist() == ["W", "N1", "N2", "R"]
    assert annotations.onset.tolist() == [15, 45, 75, 105]


def test_a_night_that_is_there_twice_is_refused(folder):
    write_signals(folder, "tr03-0005")
    with pytest.raises(DataError, match=r"is the same night as .*; keep one"):
        PhysioNet2018(folder).recordings()


def test_folders_without_labelled_nights_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"not a folder; name one that holds tr03-0005.hea"):
        PhysioNet2018(tmp_path / "nowhere").recordings()
    write_signals(tmp_path, "te06-0293")
    with pytest.raises(DataError, match="holds no recording of PhysioNet/CinC Challenge 2018"):
        PhysioNet2018(tmp_path).recordings()


def test_only_the_people_asked_for_are_downloaded(tmp_path, monkeypatch):
    asked: list[str] = []
    people = ("tr03-0005", "tr12-0685")
    ends = (".hea", ".mat", ".arousal", "-arousal.mat")
    names = [f"training/{who}/{who}{end}" for who in people for end in ends]
    names += ["age-sex.csv", "test/te06-0293/te06-0293.hea", "RECORDS"]
    listed = []

    def fetch(project, wanted, folder):
        assert project == "challenge-2018/1.0.0"
        asked.extend(wanted)
        for name in wanted:
            if name.endswith(".hea"):
                write_night(folder, Path(name).stem)

    def names_of(project, folder):
        listed.append(project)
        return names

    monkeypatch.setattr("sleepshift.datasets.folder.data_home", lambda: tmp_path)
    monkeypatch.setattr("sleepshift.datasets.download.list_physionet", names_of)
    monkeypatch.setattr("sleepshift.datasets.download.fetch_physionet", fetch)
    assert PhysioNet2018().count_present() == 0
    (night,) = PhysioNet2018().recordings(["tr12-0685"])
    assert sorted(asked) == sorted(["age-sex.csv", *names[4:7]])
    assert len(PhysioNet2018().read(night).annotations) == 8
    with pytest.raises(DataError, match="no recording of subject te06-0293 in PhysioNet/CinC"):
        PhysioNet2018().recordings(["te06-0293"])
    del asked[:], listed[:]
    assert len(PhysioNet2018().recordings(["tr12-0685"])) == 1
    assert (asked, listed) == ([], [])
    assert len(PhysioNet2018().recordings()) == 2
    assert sorted(asked) == sorted(["age-sex.csv", *names[:3]])


def test_notes_are_those_that_wfdb_reads(folder):
    notes = read_notes(place(folder, ".arousal"), 200)
    truth = wfdb.rdann(str(place(folder, "")), "arousal")
    assert [sample for sample, _ in notes] == truth.sample.tolist()
    assert [note for _, note in notes] == truth.aux_note == [text for _, text in MARKS]
    with pytest.raises(DataError, match="it counts in 200 Hz, not in 100 Hz"):
        read_notes(place(folder, ".arousal"), 100)


def test_notes_with_definitions_and_fields_of_their_own(tmp_path):
    labels = pd.DataFrame(
        {"label_store": [4], "symbol": ["v"], "description": ["a label of its own"]}
    )
    wfdb.wrann(
        "a",
        "arousal",
        sample=np.array([5, 2_000_000, 2_000_001]),
        symbol=["v", "N", "v"],
        chan=np.array([0, 3, 1]),
        num=np.array([0, 1, 0]),
        subtype=np.array([0, 0, 2]),
        aux_note=["W", "", "R"],
        fs=200,
        custom_labels=labels,
        write_dir=str(tmp_path),
    )
    notes = read_notes(tmp_path / "a.arousal", 200)
    assert notes == [(5, "W"), (2_000_000, ""), (2_000_001, "R")]


def test_a_list_must_end_where_the_file_ends(folder):
    marks = place(folder, ".arousal")
    content = marks.read_bytes()
    marks.write_bytes(content[:-2])
    assert "tr03-0005.arousal cannot be read" in refusal(folder)
    marks.write_bytes(content + b"W")
    assert "it goes on after its end" in refusal(folder)
    # wfdb's reader would not come back from this one.
    marks.write_bytes(content.replace(b"## time", b"## tome"))
    assert "unknown annotation '## tome resolution" in refusal(folder)


def test_any_damage_is_one_line_or_the_right_number_of_windows(tmp_path, survives):
    write_signals(tmp_path, "tr03-0005", ("C4-M1", "ECG", "E1-M2"))
    write_marks(tmp_path, "tr03-0005")
    (tmp_path / "age-sex.csv").write_text("Record,Age,Sex\ntr03-0005,59,M\n")
    recipe = Recipe(
        channels=("E1-M2", "C4-M1"), sfreq=100.0, trim_wake_minutes=None, scaling="robust"
    )
    (marks,) = (path.relative_to(tmp_path) for path in tmp_path.rglob("*.arousal"))
    original = read_notes(tmp_path / marks, 200.0)

    def another_list(damaged: Path) -> bool:
        """Times are relative: a list from which whole entries are cut has no fault to find."""
        return read_notes(damaged / marks, 200.0) != original

    outcomes = survives(PhysioNet2018, tmp_path, recipe, beyond=another_list)
    assert outcomes["refused"] > 200
    assert outcomes["read"] > 20
    assert outcomes["beyond"] < 5
