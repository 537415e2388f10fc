"""ISRUC-Sleep: nights made in its layout, a real sheet, and every way to damage them."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfSignal
from openpyxl import Workbook

from sleepshift.datasets import dataset_class, isruc, make_dataset
from sleepshift.datasets.isruc import Isruc
from sleepshift.datasets.isruc_sheet import SHEET_STAGES, read_sheet, read_sheet_person
from sleepshift.errors import DataError, TaskError
from sleepshift.protocol.task import load_task
from sleepshift.windows import Recipe, cut_recording

SHEET = Path(__file__).parents[2] / ".." / "shared" / "data" / "formats" / "isruc_1_1.xlsx"
needs_sheet = pytest.mark.skipif(not SHEET.is_file(), reason="the real sheet is not at hand")
OLD = ("C3-A2", "C4-A1", "LOC-A2", "ROC-A1", "X1", "X2", "SaO2")
NEW = ("SaO2", "E2-M1", "X2", "C4-M1", "X1", "C3-M2", "E1-M2")
FIRST = ["0", "1", "2", "3", "5", "2"]
SECOND = ["0", "0", "2", "3", "5", "2"]
NAMES = {code: stage for stage, code in SHEET_STAGES.items()}


def write_rec(path: Path, order: Sequence[str] = OLD, seconds: int = 180, rate: int = 200) -> Path:
    """EDF with a noise of its own in every channel, one of them slow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = []
    for name in order:
        own = 10 if name == "SaO2" else rate
        noise = np.random.default_rng(list(name.encode())).normal(0, 30, seconds * own)
        unit = "%" if name == "SaO2" else "uV"
        limits = {"physical_range": (-192, 192), "digital_range": (-2048, 2047)}
        signals.append(
            EdfSignal(noise.clip(-190, 190), own, label=name, physical_dimension=unit, **limits)
        )
    Edf(signals, data_record_duration=1).write(path.with_suffix(".edf"))
    return path.with_suffix(".edf").rename(path)


def write_codes(path: Path, codes: Sequence[str], end: str = "\n\n") -> Path:
    path.write_text("\n".join(codes) + end)
    return path


def write_sheet(path: Path, codes: Sequence[str], age: object = 41, sex: object = "Female") -> Path:
    book = Workbook()
    sheet = book.active
    sheet.append(["Epoch", "Stage", "SpO2", None, "ID:", 1])
    for k, code in enumerate(codes, start=1):
        side = {1: ["AGE:", age], 2: ["SEX:", sex]}.get(k, [None, None])
        sheet.append([k, NAMES.get(code, code), 97, None, *side])
    sheet.append([None, None, 97])
    book.save(path)
    return path


def write_night(place: Path, order: Sequence[str] = OLD, first=FIRST, second=SECOND) -> None:
    write_rec(place / f"{place.name}.rec", order)
    write_codes(place / f"{place.name}_1.txt", first)
    write_codes(place / f"{place.name}_2.txt", second)


@pytest.fixture
def folder(tmp_path):
    """Group 3: person 1 with sheets and old names, person 10 without and with new names."""
    group = tmp_path / "subgroupIII"
    write_night(group / "1")
    write_sheet(group / "1" / "1_1.xlsx", FIRST)
    write_sheet(group / "1" / "1_2.xlsx", SECOND)
    write_night(group / "10", NEW)
    return group


def refusal(folder: Path, subject: str = "1", channels=None, **settings) -> str:
    dataset = Isruc(folder, **settings)
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings([subject])[0], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_finds_it_and_checks_its_settings():
    assert dataset_class("isruc") is Isruc
    assert make_dataset("isruc", "x", group=1, scorer=2).params() == {"group": 1, "scorer": 2}
    with pytest.raises(TaskError, match="group must be 1, 2 or 3, not 4"):
        Isruc(group=4)
    with pytest.raises(TaskError, match="scorer must be 1 or 2, not 0"):
        Isruc(scorer=0)


@pytest.mark.parametrize("setting", ["group", "scorer"])
@pytest.mark.parametrize("value", [1.0, True, "1", [1], None])
def test_settings_that_are_no_whole_numbers_would_name_other_stores(setting, value):
    with pytest.raises(TaskError, match=rf"{setting} must be 1.* 2.*, not "):
        Isruc(**{setting: value})


def test_people_are_listed_with_what_their_sheets_say(folder):
    first, tenth = Isruc(folder).recordings()
    assert (first.subject, first.session, first.age, first.sex) == ("1", "1", 41.0, "female")
    assert (tenth.subject, tenth.session, tenth.age, tenth.sex) == ("10", "1", None, None)
    assert str(first) == "1.rec"
    assert [path.name for path in tenth.files] == ["10.rec", "10_1.txt", "10_2.txt"]
    with pytest.raises(DataError, match=r"no recording of subject 4 in .*; there are 1, 10"):
        Isruc(folder).recordings(["4"])


def test_the_group_is_found_in_the_folder_around_it(folder, tmp_path):
    assert len(Isruc(tmp_path).recordings()) == 2
    with pytest.raises(DataError, match="holds subgroupIII, but not group 1"):
        Isruc(tmp_path, group=1).recordings()
    with pytest.raises(DataError, match="is not of group 2"):
        Isruc(folder, group=2).recordings()
    write_night(tmp_path / "Subgroup_3" / "2")
    with pytest.raises(DataError, match="are both of group 3; keep one"):
        Isruc(tmp_path).recordings()


@pytest.mark.parametrize(
    "name", ["group1", "group_1", "Group 1", "subgroupI", "Subgroup_1", "sg1", "ISRUC-SG1"]
)
def test_names_that_group_folders_have(tmp_path, name):
    write_night(tmp_path / name / "100")
    write_night(tmp_path / name.replace("I", "II").replace("1", "2") / "1" / "1")
    (night,) = Isruc(tmp_path, group=1).recordings()
    assert night.subject == "100"


def test_more_people_than_the_group_has_are_another_group(tmp_path):
    write_night(tmp_path / "11")
    with pytest.raises(DataError, match="group 3 has 10 people; name the folder"):
        Isruc(tmp_path).recordings()
    assert len(Isruc(tmp_path, group=1).recordings()) == 1


def test_group_2_has_two_nights_and_someone_may_have_one(tmp_path):
    for person, session in (("1", "1"), ("1", "2"), ("2", "2")):
        write_night(tmp_path / person / session)
    nights = Isruc(tmp_path, group=2).recordings()
    assert [(n.subject, n.session) for n in nights] == [("1", "1"), ("1", "2"), ("2", "2")]
    assert len(Isruc(tmp_path, group=2).read(nights[1]).annotations) == 6


@pytest.mark.parametrize("subject", ["1", "10"])
def test_values_are_those_that_mne_reads_whatever_the_spelling_and_order(folder, subject):
    dataset = Isruc(folder)
    night = dataset.recordings([subject])[0]
    copy = folder / "copy.edf"
    copy.write_bytes(night.files[0].read_bytes())
    labels = {"1": OLD, "10": NEW}[subject]
    truth = mne.io.read_raw_edf(copy, include=labels, preload=True, verbose="ERROR")
    own = dict(zip(("C3-A2", "E2-M1", "EMG chin", "ECG"), range(4), strict=True))
    spelled = {"1": ("C3-A2", "ROC-A1", "X1", "X2"), "10": ("C3-M2", "E2-M1", "X1", "X2")}[subject]
    for names in (list(own), list(own)[::-1]):
        raw = dataset.read(night, names)
        assert raw.ch_names == names
        wanted = truth.get_data([spelled[own[name]] for name in names])
        np.testing.assert_array_equal(raw.get_data(), wanted)
    assert raw.get_channel_types() == ["ecg", "emg", "eog", "eeg"]
    assert dataset.read(night).ch_names == list(Isruc.default_channels)
    assert 1e-6 < raw.get_data().std() < 1e-4


def test_labels_are_one_scorers_and_the_other_is_second(folder):
    for scorer, labels, others in ((1, FIRST, SECOND), (2, SECOND, FIRST)):
        dataset = Isruc(folder, scorer=scorer)
        night = dataset.recordings(["1"])[0]
        raw = dataset.read(night)
        assert raw.annotations.description.tolist() == labels
        assert raw.annotations.onset.tolist() == [0, 30, 60, 90, 120, 150]
        assert dataset.second_scoring(night).description.tolist() == others
        recipe = Recipe(channels=("C4-A1",), sfreq=100.0, trim_wake_minutes=None, scaling="robust")
        windows = cut_recording(dataset, night, recipe).windows
        assert windows.x.shape == (6, 1, 3000)
        assert windows.y.tolist() == ["01235".index(code) for code in labels]
        assert windows.second.tolist() == ["01235".index(code) for code in others]


def test_lengths_may_differ_by_some_epochs_and_no_more(folder):
    place = folder / "10"
    for number in (1, 2):
        write_codes(place / f"10_{number}.txt", FIRST + ["2"] * 30)
    dataset = Isruc(folder)
    assert len(dataset.read(dataset.recordings(["10"])[0]).annotations) == 6
    write_rec(place / "10.rec", seconds=200)  # a short last epoch
    assert len(dataset.read(dataset.recordings(["10"])[0]).annotations) == 7
    recipe = Recipe(channels=None, sfreq=None, trim_wake_minutes=None, scaling="robust")
    assert len(cut_recording(dataset, dataset.recordings(["10"])[0], recipe).windows.y) == 6
    for number in (1, 2):
        write_codes(place / f"10_{number}.txt", FIRST + ["2"] * 40)
    assert "10_1 scores 46 epochs and 10.rec has 6" in refusal(folder, "10")


def test_a_scoring_that_is_cut_short_does_not_pass(folder):
    write_codes(folder / "10" / "10_1.txt", FIRST[:5])
    assert "5 epochs by scorer 1 and 6 by scorer 2" in refusal(folder, "10")
    for number in (1, 2):
        write_codes(folder / "1" / f"1_{number}.txt", FIRST[:5])
    assert "1_1.txt has 5 epochs and 1_1.xlsx 6" in refusal(folder)


def test_a_scorer_without_text_is_read_from_the_sheet(folder):
    for number in (1, 2):
        (folder / "1" / f"1_{number}.txt").unlink()
    dataset = Isruc(folder)
    night = dataset.recordings(["1"])[0]
    assert dataset.read(night).annotations.description.tolist() == FIRST
    assert dataset.second_scoring(night).description.tolist() == SECOND
    write_sheet(folder / "1" / "1_1.xlsx", [*FIRST[:5], "U"])
    assert "1_1.xlsx has the unknown stage 'U' in epoch 6" in refusal(folder)


@pytest.mark.parametrize(("number", "scorer"), [(1, 2), (2, 1), (2, 2)])
def test_a_missing_scorer_is_named(folder, number, scorer):
    (folder / "10" / f"10_{number}.txt").unlink()
    message = refusal(folder, "10", scorer=scorer)
    assert f"10.rec has no 10_{number}.txt (nor .xlsx) of scorer {number}" in message
    assert "--skip-bad" in message


def test_a_sheet_of_another_night_is_refused(folder):
    write_sheet(folder / "1" / "1_1.xlsx", FIRST[::-1])
    assert "1_1.txt and 1_1.xlsx differ in 100% of their epochs" in refusal(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("0\n1\n2\n3\n4\n5\n", "unknown stage '4' in epoch 5"),
        ("0\n1\n\n3\n5\n5\n", "unknown stage '' in epoch 3"),
        ("", "unknown stage '' in epoch 1"),
        ("0\n1\n2\n3\n5\n\xff\n", "cannot be read"),
        ("0" * 2**21, "too large"),
    ],
)
def test_a_text_file_that_cannot_be_right_is_refused(folder, content, reason):
    (folder / "10" / "10_1.txt").write_text(content, encoding="latin-1")
    message = refusal(folder, "10")
    assert reason in message
    assert "10_1.txt" in message


def test_another_rate_is_refused_and_a_channel_that_is_not_there_named(folder):
    message = refusal(folder, channels=["F3-A2"])
    assert "no channel F3-A2" in message
    assert "LOC-A2" in message
    assert "claims 10 Hz" in refusal(folder, channels=["SaO2"])
    write_rec(folder / "10" / "10.rec", rate=100)
    assert "10.rec claims 100 Hz, where ISRUC-Sleep has 200 Hz" in refusal(folder, "10")


def test_a_recording_renamed_to_edf_is_read_lazily(folder):
    (folder / "10" / "10.rec").rename(folder / "10" / "10.edf")
    dataset = Isruc(folder)
    raw = dataset.read(dataset.recordings(["10"])[0])
    assert not raw.preload
    assert len(raw.annotations) == 6


def test_what_is_not_at_hand_is_to_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("sleepshift.datasets.folder.data_home", lambda: tmp_path)
    with pytest.raises(DataError, match=r"download it from https://sleeptight.isr.uc.pt/, put it"):
        Isruc().recordings()
    with pytest.raises(DataError, match=r"must hold 1/1.rec beside 1/1_1.txt"):
        Isruc(tmp_path).recordings()
    assert Isruc(tmp_path / "nowhere").count_present() == 0


def rewrite(path: Path, part: str, change) -> None:
    """Change one part of a sheet; a new part where there is none."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts.get(part, b""))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


ROWS = "xl/worksheets/sheet1.xml"
BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    ("part", "change", "reason"),
    [
        ("xl/more.bin", lambda _: bytes(5 * 2**20), "unpacks to more than 4 MB"),
        (ROWS, lambda xml: BOMB + xml, "document type"),
        (ROWS, lambda xml: xml[:-200], "no readable sheet"),
        (ROWS, lambda xml: xml.replace(b'<c r="A3"', b'<c r="G3"'), "1, 2, 3 and so on"),
        (ROWS, lambda _: b"<worksheet/>", "no Epoch and Stage"),
        ("xl/workbook.xml", lambda _: b"<a/>", "no readable sheet"),
        ("[Content_Types].xml", lambda _: b"", "no readable sheet"),
    ],
)
def test_a_hostile_sheet_is_refused(tmp_path, part, change, reason):
    sheet = write_sheet(tmp_path / "1_1.xlsx", FIRST)
    rewrite(sheet, part, change)
    with pytest.raises(DataError, match=r"1_1.xlsx is no readable sheet") as caught:
        read_sheet(sheet)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_far_cell_does_not_ask_for_memory(tmp_path):
    sheet = write_sheet(tmp_path / "1_1.xlsx", FIRST)
    far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    rewrite(sheet, ROWS, lambda xml: xml.replace(b"</sheetData>", far))
    assert len(read_sheet(sheet).stages) == 6


@pytest.mark.parametrize(
    ("age", "sex", "person"),
    [
        (64, "Male", (64.0, "male")),
        ("33", "F", (33.0, "female")),
        (None, "?", (None, None)),
        (900, None, (None, None)),
    ],
)
def test_age_and_sex_are_read_where_they_make_sense(tmp_path, age, sex, person):
    sheet = write_sheet(tmp_path / "1_1.xlsx", FIRST, age, sex)
    assert read_sheet_person(sheet) == read_sheet(sheet).person == person


def test_only_sheets_of_the_people_asked_for_are_opened_and_each_once_to_be_read(
    folder, monkeypatch
):
    opened: list[str] = []

    def watch(name):
        real = getattr(isruc, name)
        monkeypatch.setattr(isruc, name, lambda path: opened.append(path.name) or real(path))

    watch("read_sheet")
    watch("read_sheet_person")
    write_sheet(folder / "10" / "10_1.xlsx", FIRST, age=33)
    dataset = Isruc(folder)
    assert dataset.count_present() == 2
    assert opened == []
    (night,) = dataset.recordings(["10"])
    assert (night.age, opened) == (33, ["10_1.xlsx"])
    (night,) = dataset.recordings(["1"])
    opened.clear()
    recipe = Recipe(channels=("C4-A1",), sfreq=None, trim_wake_minutes=None, scaling="robust")
    assert cut_recording(dataset, night, recipe).windows.second.tolist() == [0, 0, 2, 3, 4, 2]
    assert opened == ["1_1.xlsx", "1_2.xlsx"]
    # What was kept is of that night.
    other = dataset.recordings(["10"])[0]
    write_codes(folder / "10" / "10_2.txt", FIRST[::-1])
    assert dataset.second_scoring(other).description.tolist() == FIRST[::-1]


def test_a_broken_sheet_leaves_the_age_unknown_and_the_night_unread(folder):
    (folder / "1" / "1_1.xlsx").write_bytes(b"<html>404</html>")
    (folder / "1" / "1_2.xlsx").write_bytes(b"PK")
    assert Isruc(folder).recordings(["1"])[0].age is None
    assert "1_1.xlsx is no readable sheet" in refusal(folder)


@needs_sheet
def test_the_real_sheet_holds_what_it_counts_itself():
    sheet = read_sheet(SHEET)
    # The sheet's own totals: 880 epochs, of which 264 wake.
    assert len(sheet.stages) == 880
    assert Counter(sheet.stages) == {"W": 264, "N1": 73, "N2": 194, "N3": 231, "R": 118}
    assert sheet.stages[845:850] == ["N1", "W", "W", "N1", "N1"]
    assert sheet.person == read_sheet_person(SHEET) == (64.0, "male")


@needs_sheet
def test_the_real_sheet_can_be_the_stages_of_a_night(tmp_path):
    codes = [SHEET_STAGES[stage] for stage in read_sheet(SHEET).stages]
    place = tmp_path / "1"
    write_rec(place / "1.rec", ("C4-A1",), seconds=880 * 30)
    (place / "1_1.xlsx").write_bytes(SHEET.read_bytes())
    write_codes(place / "1_2.txt", codes)
    dataset = Isruc(tmp_path, group=1)
    raw = dataset.read(dataset.recordings()[0], ["C4-A1"])
    assert raw.annotations.description.tolist() == codes


def test_any_damage_is_one_line_or_the_right_number_of_windows(tmp_path, survives):
    write_rec(tmp_path / "1" / "1.rec", ("C4-M1", "E1-M2"))
    for number, codes in ((1, FIRST), (2, SECOND)):
        write_codes(tmp_path / "1" / f"1_{number}.txt", codes)
    write_sheet(tmp_path / "1" / "1_1.xlsx", FIRST)
    recipe = Recipe(
        channels=("LOC-A2", "C4-A1"), sfreq=100.0, trim_wake_minutes=None, scaling="robust"
    )
    outcomes = survives(Isruc, tmp_path, recipe)
    assert outcomes["refused"] > 250
    assert outcomes["read"] > 20


def test_the_task_asks_for_group_3():
    task = load_task("isruc3-compression")
    dataset = task.make_dataset("x")
    assert isinstance(dataset, Isruc)
    assert (dataset.group, dataset.scorer) == (3, 1)
    assert task.protocol.subjects() == [str(k) for k in range(1, 11)]
    assert not task.dataset.login
