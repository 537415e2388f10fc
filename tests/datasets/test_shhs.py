"""SHHS: nights made in the NSRR's layout, a real Profusion export, and every way to damage them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from edfio import Edf, EdfSignal

from sleepshift.datasets import dataset_class, make_dataset
from sleepshift.datasets.nsrr_xml import parse_xml, read_nsrr, read_profusion
from sleepshift.datasets.shhs import Shhs, regular_sleepers
from sleepshift.errors import DataError, TaskError
from sleepshift.protocol.task import load_task
from sleepshift.windows import Recipe, cut_recording

EXPORT = Path(__file__).parents[2] / ".." / "shared" / "data" / "formats"
EXPORT = EXPORT / "profusion_learn-nsrr01.xml"
needs_export = pytest.mark.skipif(not EXPORT.is_file(), reason="the real export is not at hand")
LABELS = ("SaO2", "EEG(sec)", "ECG", "EMG", "EOG(L)", "EOG(R)", "EEG")
CODES = "001234560925"
TEXTS = {
    "0": "Wake|0",
    "1": "Stage 1 sleep|1",
    "2": "Stage 2 sleep|2",
    "3": "Stage 3 sleep|3",
    "4": "Stage 4 sleep|4",
    "5": "REM sleep|5",
    "6": "Movement|6",
    "9": "Unscored|9",
}
RATES = {"SaO2": 1, "EOG(L)": 50, "EOG(R)": 50}


def write_edf(path: Path, order: Sequence[str] = LABELS, seconds: int = 360, eeg=125) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = []
    for k, name in enumerate(order):
        own = RATES.get(name, eeg)
        noise = np.random.default_rng(k).normal(0, 20 + k, seconds * own)
        unit = "%" if name == "SaO2" else "mV" if name == "ECG" else "uV"
        limits = {"physical_range": (-125, 125), "digital_range": (-2048, 2047)}
        signals.append(
            EdfSignal(noise.clip(-120, 120), own, label=name, physical_dimension=unit, **limits)
        )
    Edf(signals, data_record_duration=1).write(path)
    return path


def profusion(codes: Sequence[str] = CODES, length: object = 30) -> str:
    stages = "\n".join(f"<SleepStage>{code}</SleepStage>" for code in codes)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<CMPStudyConfig><EpochLength>{length}'
        "</EpochLength><ScoredEvents><ScoredEvent><Name>Arousal ()</Name><Start>5</Start>"
        f"</ScoredEvent></ScoredEvents>\n<SleepStages>{stages}</SleepStages></CMPStudyConfig>\n"
    )


def event(kind: str, concept: str, start: object, duration: object) -> str:
    return (
        f"<ScoredEvent>\n<EventType>{kind}</EventType>\n<EventConcept>{concept}</EventConcept>\n"
        f"<Start>{start}</Start>\n<Duration>{duration}</Duration>\n</ScoredEvent>\n"
    )


def nsrr(codes: Sequence[str] = CODES, bouts: Sequence[tuple] | None = None) -> str:
    """Neighbouring epochs of one stage are one event, between events of other kinds."""
    if bouts is None:
        starts = [k for k, code in enumerate(codes) if k == 0 or codes[k - 1] != code]
        ends = [*starts[1:], len(codes)]
        bouts = [
            (TEXTS[codes[a]], float(30 * a), float(30 * (b - a)))
            for a, b in zip(starts, ends, strict=True)
        ]
    return (
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<PSGAnnotation>\n'
        "<SoftwareVersion>Compumedics</SoftwareVersion>\n<EpochLength>30</EpochLength>\n"
        "<ScoredEvents>\n"
        + event("", "Recording Start Time", 0, 30 * len(codes))
        + event("Respiratory|Respiratory", "Hypopnea|Hypopnea", 77.3, 12.1)
        + "".join(event("Stages|Stages", *bout) for bout in bouts)
        + "</ScoredEvents>\n</PSGAnnotation>\n"
    )


def write_night(
    folder: Path, who: str = "200001", kinds=("nsrr", "profusion"), order=LABELS
) -> None:
    """One night where the NSRR's downloader puts it."""
    visit, top = "shhs1", folder / "polysomnography"
    write_edf(top / "edfs" / visit / f"{visit}-{who}.edf", order)
    for kind in kinds:
        place = top / f"annotations-events-{kind}" / visit
        place.mkdir(parents=True, exist_ok=True)
        content = nsrr() if kind == "nsrr" else profusion()
        (place / f"{visit}-{who}-{kind}.xml").write_text(content)


def file(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path


@pytest.fixture
def folder(tmp_path):
    """One person with both files of stages, one with another order and spelling."""
    write_night(tmp_path)
    write_night(tmp_path, "200010", ["nsrr"], ("EEG", "EOG(R)", "ECG", "EEG2", "EOG(L)", "EMG"))
    tables = tmp_path / "datasets"
    tables.mkdir()
    (tables / "shhs1-dataset-0.9.0.csv").write_text("nsrrid,gender,age_s1\n200001,1,20\n")
    (tables / "shhs1-dataset-0.20.0.csv").write_text(
        "nsrrid,pptid,gender,age_s1\n200001,1,2,55\n200010,2,1,\n200099,3,1,70\n"
    )
    return tmp_path


def refusal(folder: Path, subject: str = "200001", channels=None, **settings) -> str:
    dataset = Shhs(folder, **settings)
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings([subject])[0], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_finds_it_and_checks_its_settings():
    assert dataset_class("shhs") is Shhs
    made = make_dataset("shhs", "x", visit=2, annotations="profusion")
    assert made.params() == {"visit": 2, "annotations": "profusion"}
    with pytest.raises(TaskError, match="visit must be 1 or 2, not 3"):
        Shhs(visit=3)
    with pytest.raises(TaskError, match="annotations must be nsrr or profusion, not 'edf'"):
        Shhs(annotations="edf")


def test_people_are_listed_with_ages_of_the_newest_table(folder):
    first, second = Shhs(folder).recordings()
    assert (first.subject, first.session, first.age, first.sex) == ("200001", "1", 55, "female")
    assert (second.subject, second.age, second.sex) == ("200010", None, "male")
    assert str(first) == "shhs1-200001.edf"
    assert len(first.files) == 3
    with pytest.raises(DataError, match=r"no recording of subject 200099 in .*; there are 200001"):
        Shhs(folder).recordings(["200099"])
    with pytest.raises(DataError, match="holds no recording of Sleep Heart Health Study"):
        Shhs(folder, visit=2).recordings()


def test_the_second_visit_is_read_alone(folder):
    write_edf(folder / "shhs2-200001.edf")
    (folder / "shhs2-200001-nsrr.xml").write_text(nsrr())
    (folder / "shhs2-dataset-0.20.0.csv").write_text("nsrrid,age_s2,gender\n200001,60,2\n")
    (night,) = Shhs(folder, visit=2).recordings()
    assert (night.session, night.age) == ("2", 60)
    assert len(Shhs(folder).recordings()) == 2


@pytest.mark.parametrize("table", ["nsrrid,age_s1\n200001,50\n", "", "\x00", 'nsrrid,"age\n'])
def test_a_table_that_makes_no_sense_is_refused_and_none_is_none(folder, table):
    path = file(folder, "shhs1-dataset-0.20.0.csv")
    path.write_text(table)
    with pytest.raises(DataError, match=r"0.20.0.csv cannot be read .* must have columns nsrrid"):
        Shhs(folder).recordings()
    for path in folder.rglob("*.csv"):
        path.unlink()
    assert Shhs(folder).recordings()[0].age is None


@pytest.mark.parametrize("subject", ["200001", "200010"])
def test_values_are_those_that_mne_reads_whatever_the_order(folder, subject):
    dataset = Shhs(folder)
    night = dataset.recordings([subject])[0]
    second = {"200001": "EEG(sec)", "200010": "EEG2"}[subject]
    names = ("ECG", "EEG(sec)", "EEG", "EMG")
    truth = mne.io.read_raw_edf(
        night.files[0], include=["EEG", second, "ECG", "EMG"], verbose="ERROR"
    )
    for wanted in (names, names[::-1]):
        raw = dataset.read(night, wanted)
        assert raw.ch_names == list(wanted)
        own = [second if name == "EEG(sec)" else name for name in wanted]
        np.testing.assert_array_equal(raw.get_data(), truth.get_data(own))
    assert raw.get_channel_types() == ["emg", "eeg", "eeg", "ecg"]
    assert 1e-5 < raw.get_data(["EEG"]).std() < 5e-5
    assert raw.info["sfreq"] == 125
    assert not raw.preload
    assert dataset.read(night).ch_names == ["EEG", "EEG(sec)"]
    assert dataset.read(night, ["EOG(L)"]).info["sfreq"] == 50


@pytest.mark.parametrize("kind", ["nsrr", "profusion"])
def test_stages_and_windows(folder, kind):
    dataset = Shhs(folder, annotations=kind)
    night = dataset.recordings(["200001"])[0]
    raw = dataset.read(night)
    assert raw.annotations.description.tolist() == [TEXTS[code] for code in CODES]
    recipe = Recipe(channels=("EEG",), sfreq=125.0, trim_wake_minutes=None, scaling="robust")
    windows = cut_recording(dataset, night, recipe).windows
    assert windows.x.shape == (10, 1, 3750)  # movement and what was not scored are dropped
    assert windows.y.tolist() == [0, 0, 1, 2, 3, 4, 5, 0, 2, 5]
    assert windows.onset.tolist() == [30 * k for k, code in enumerate(CODES) if code not in "69"]
    assert windows.second is None


def test_a_last_epoch_may_be_short_and_no_more(folder):
    signals = file(folder, "shhs1-200001.edf")
    dataset = Shhs(folder)
    for seconds, there in ((345, 12), (375, 12)):
        write_edf(signals, seconds=seconds)
        raw = dataset.read(dataset.recordings(["200001"])[0])
        assert len(raw.annotations) == there
    for seconds in (330, 390):
        write_edf(signals, seconds=seconds)
        want = f"shhs1-200001-nsrr.xml scores 12 epochs and shhs1-200001.edf has {seconds // 30}"
        assert want in refusal(folder)


def test_missing_stages_are_named_with_what_is_there(folder):
    message = refusal(folder, "200010", annotations="profusion")
    assert "put shhs1-200010-profusion.xml into the folder" in message
    assert "shhs1-200010-nsrr.xml is there, set annotations to read it" in message
    file(folder, "shhs1-200010-nsrr.xml").unlink()
    assert "shhs1-200010.edf has no stages" in refusal(folder, "200010")
    assert "--skip-bad" in refusal(folder, "200010")


@pytest.mark.parametrize("kind", ["nsrr", "profusion"])
def test_two_files_of_stages_must_be_equally_long(folder, kind):
    content = nsrr(CODES[:-1]) if kind == "nsrr" else profusion(CODES[:-1])
    file(folder, f"shhs1-200001-{kind}.xml").write_text(content)
    for read in ("nsrr", "profusion"):
        assert "one of the files is cut short" in refusal(folder, annotations=read)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "cannot be read"),
        (nsrr()[:-30], "cannot be read"),
        (profusion(), "its root is 'CMPStudyConfig', not 'PSGAnnotation'"),
        (nsrr().replace("<EpochLength>30", "<EpochLength>20"), "its epochs have 30 s"),
        (nsrr().replace("REM sleep|5", "REM sleep|7"), "unknown stage 'REM sleep|7'"),
        (nsrr(bouts=[("Wake|0", 30, 330)]), "not the one at 30 s"),
        (nsrr(bouts=[("Wake|0", 0, 30), ("Wake|0", 60, 300)]), "not the one at 60 s"),
        (nsrr(bouts=[("Wake|0", 0, 60), ("Wake|0", 30, 330)]), "not the one at 30 s"),
        (nsrr(bouts=[("Wake|0", 0, 0)]), "not the one at 0 s"),
        (nsrr(bouts=[("Wake|0", 0, 1e300)]), "not the one at 0 s"),
        (nsrr(bouts=[("Wake|0", 0, 45)]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", 0, "nan")]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", 0, "inf")]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", "", 30)]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", 0, "36_0")]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", 0, "\u0663\u0666\u0660")]), "no whole number of epochs"),
        (nsrr(bouts=[("Wake|0", 0, "9" * 5000)]), "no whole number of epochs"),
        (nsrr(bouts=[]), "shhs1-200001-nsrr.xml has no stages"),
    ],
)
def test_nsrr_stages_that_cannot_be_right_are_refused(folder, content, reason):
    file(folder, "shhs1-200001-profusion.xml").unlink()
    file(folder, "shhs1-200001-nsrr.xml").write_text(content)
    message = refusal(folder)
    assert reason in message
    assert "shhs1-200001-nsrr.xml" in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (profusion(length=20), "its epochs have 30 s"),
        (profusion([*CODES[:-1], "7"]), "unknown stage '7'"),
        (profusion([*CODES[:-1], ""]), "unknown stage ''"),
        (profusion().replace("SleepStages>", "Stages>"), "no single list of SleepStages"),
        (profusion().replace("<SleepStage>2<", "<Other>2<"), "cannot be read"),
        (profusion([]), "shhs1-200001-profusion.xml has no stages"),
        (profusion(CODES[:-1]), "scores 11 epochs and shhs1-200001.edf has 12"),
    ],
)
def test_profusion_stages_that_cannot_be_right_are_refused(folder, content, reason):
    file(folder, "shhs1-200001-nsrr.xml").unlink()
    file(folder, "shhs1-200001-profusion.xml").write_text(content)
    assert reason in refusal(folder, annotations="profusion")


LAUGHS = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    [
        f"{LAUGHS}]><PSGAnnotation>&i;</PSGAnnotation>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><PSGAnnotation>&x;</PSGAnnotation>',
        '<!DOCTYPE a SYSTEM "https://example.org/a.dtd"><PSGAnnotation/>',
        "<a>" * 100_000,
        '<?xml version="1.0" encoding="no-such"?><a/>',
        "<a>&x;</a>",
        "<a/><b/>",
        "<a>\ud800</a>".encode("utf-8", "surrogatepass"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_hostile_xml_is_refused(tmp_path, content, encoding):
    path = tmp_path / "shhs1-1-nsrr.xml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    for reader in (read_nsrr, read_profusion):
        with pytest.raises(DataError, match=r"shhs1-1-nsrr.xml cannot be read") as caught:
            reader(path)
        assert "\n" not in str(caught.value)


def test_xml_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(b" " * (5 * 2**20))
    with pytest.raises(DataError, match="more than 4 MB"):
        read_nsrr(path)
    assert parse_xml(b"<a>x&amp;y</a>").text == "x&y"


def test_what_is_there_twice_is_refused(folder):
    write_edf(folder / "shhs1-200001.edf")
    with pytest.raises(DataError, match=r"is the same file as .*; keep one"):
        Shhs(folder).recordings()


def test_another_rate_is_refused(folder):
    write_edf(file(folder, "shhs1-200001.edf"), eeg=100)
    assert "shhs1-200001.edf claims 100 Hz, where SHHS has 125" in refusal(folder)


def test_what_is_not_at_hand_is_to_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("sleepshift.datasets.folder.data_home", lambda: tmp_path)
    with pytest.raises(DataError, match=r"ask for it at https://sleepdata.org/datasets/shhs, put"):
        Shhs().recordings()
    with pytest.raises(DataError, match=r"not a folder; name one that holds shhs1-200001.edf"):
        Shhs(tmp_path / "nowhere").recordings()
    assert Shhs(tmp_path).count_present() == 0


@needs_export
def test_the_real_export_holds_what_can_be_counted_in_it():
    stages = read_profusion(EXPORT)
    text = EXPORT.read_text()
    counted = {TEXTS[c]: text.count(f"<SleepStage>{c}</SleepStage>") for c in TEXTS}
    assert Counter(stages) == Counter({stage: n for stage, n in counted.items() if n})
    assert len(stages) == 1364
    assert Counter(stages)["Stage 2 sleep|2"] == 523
    assert Counter(stages)["Stage 4 sleep|4"] == 1


def test_regular_sleepers_sleep_long_deep_and_without_apnea():
    good = {"nsrrid": 200001, "ahi_a0h3": 4.9, "times34p": 5, "timeremp": 15, "slpeffp": 75}
    good["slpprdp"] = 420
    bad = {"ahi_a0h3": 5, "times34p": 4.9, "timeremp": 14, "slpeffp": 74, "slpprdp": 419}
    rows = [good]
    for k, (column, value) in enumerate(bad.items(), start=2):
        rows += [good | {"nsrrid": 200000 + k, column: value}]
        rows += [good | {"nsrrid": 200010 + k, column: np.nan}]
    rows.append(good | {"nsrrid": 200000})
    table = pd.DataFrame(rows)
    assert regular_sleepers(table) == ["200000", "200001"]
    with pytest.raises(DataError, match="no column 'ahi_a0h3'; name the one"):
        regular_sleepers(table.rename(columns={"ahi_a0h3": "ahi"}))
    renamed = table.rename(columns={"ahi_a0h3": "ahi"})
    assert regular_sleepers(renamed, ahi="ahi") == ["200000", "200001"]


def test_any_damage_is_one_line_or_the_right_number_of_windows(tmp_path, survives):
    write_edf(tmp_path / "shhs1-200001.edf", ("EEG(SEC)", "EEG"))
    (tmp_path / "shhs1-200001-nsrr.xml").write_text(nsrr())
    write_edf(tmp_path / "shhs1-200002.edf", ("EEG", "EEG sec"))
    (tmp_path / "shhs1-200002-nsrr.xml").write_text(nsrr())
    (tmp_path / "shhs1-200002-profusion.xml").write_text(profusion())
    (tmp_path / "shhs1-dataset-0.20.0.csv").write_text("nsrrid,age_s1,gender\n200001,50,1\n")
    recipe = Recipe(
        channels=("EEG(sec)", "EEG"), sfreq=100.0, trim_wake_minutes=None, scaling="robust"
    )
    outcomes = survives(Shhs, tmp_path, recipe)
    assert outcomes["refused"] > 200
    assert outcomes["read"] > 20


def test_any_damage_to_an_export_is_one_line_or_the_right_number_of_windows(tmp_path, survives):
    write_edf(tmp_path / "shhs1-200001.edf", ("EEG",))
    (tmp_path / "shhs1-200001-profusion.xml").write_text(profusion())

    def make(folder: Path) -> Shhs:
        return Shhs(folder, annotations="profusion")

    recipe = Recipe(channels=("EEG",), sfreq=None, trim_wake_minutes=None, scaling="robust")
    assert survives(make, tmp_path, recipe)["refused"] > 200


def test_the_task_lists_the_people_that_were_published():
    task = load_task("shhs-attnsleep")
    people = task.protocol.subjects()
    assert people is not None
    assert len(people) == len(set(people)) == 329
    assert (min(people), max(people)) == ("200010", "205789")
    assert people == np.random.default_rng(0).permutation(sorted(people)).tolist()
    assert task.dataset.login
    assert task.make_dataset("x").params() == {"visit": 1, "annotations": "profusion"}
    table = pd.DataFrame({"subject": people, "age": 50.0})
    folds = task.protocol.roles(table, seed=0, allow_missing=False)
    assert sorted(len(fold.test) for fold in folds) == [16] * 11 + [17] * 9
