"""EESM17 and EESM19: real tables, signals in EEGLAB's two layouts, and every way to damage them."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from sleepshift.datasets import dataset_class
from sleepshift.datasets.bids_tables import read_events
from sleepshift.datasets.eesm import Eesm17, Eesm19
from sleepshift.errors import DataError
from sleepshift.protocol.task import load_task
from sleepshift.windows import Recipe, cut_recording

SIDECARS = Path(__file__).parents[2] / ".." / "shared" / "data" / "bids_sidecars" / "eesm17"
needs_sidecars = pytest.mark.skipif(
    not SIDECARS.is_dir(), reason="the real sidecars of EESM17 are not at hand"
)
SCALP17 = ("C3", "O1", "A1", "C4", "O2", "A2")
EARS17 = (*Eesm17.ears[0], *Eesm17.ears[1])
SCALP19 = ("C3", "O1", "M1", "C4", "O2", "M2")
EARS19 = (*Eesm19.ears[0], *Eesm19.ears[1])
NAMES = {1: "W", 2: "R", 3: "N1", 4: "N2", 5: "N3"}


def noise(names: Sequence[str], n_times: int, bad: str = "", seed: int = 0) -> np.ndarray:
    """Microvolts of about 20, ten times as much where an electrode is bad."""
    signals = np.random.default_rng(seed).normal(0, 20, (len(names), n_times))
    signals[[name == bad for name in names]] *= 10
    return signals.astype(np.float32)


def write_set(path: Path, signals: np.ndarray, names: Sequence[str], rate: float, *, fdt=False):
    """EEGLAB's layout: one struct EEG, signals in it, or column by column in an .fdt file."""
    if fdt:
        signals.T.astype("<f4").tofile(path.with_suffix(".fdt"))
    labels = np.array([(name, "EEG") for name in names], [("labels", object), ("type", object)])
    empty = np.zeros((0, 0))
    eeg = {
        "setname": "night",
        "nbchan": float(len(names)),
        "trials": 1.0,
        "pnts": float(signals.shape[1]),
        "srate": float(rate),
        "xmin": 0.0,
        "xmax": (signals.shape[1] - 1) / rate,
        "data": path.with_suffix(".fdt").name if fdt else signals,
        "chanlocs": labels,
        "event": empty,
        "icawinv": empty,
        "icaweights": empty,
        "icasphere": empty,
        "icachansind": empty,
    }
    savemat(path, {"EEG": eeg})


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    lines = ["\t".join(map(str, row)) for row in (header, *rows)]
    path.write_text("\r\r\n".join(lines))  # the line ends of the published tables
    return path


def scored(codes: Sequence[int], begin: float = 0, duration: float = 0) -> list[tuple]:
    return [(begin + 30 * k, duration, code) for k, code in enumerate(codes)]


CODES = [1, 3, 4, 5, 2, 4]
LIGHTS_OFF = 41.5


def write_night17(
    folder: Path, subject: str = "001", codes: Sequence[int] = CODES, *, fdt=True, bad="ELB"
) -> Path:
    """A night of 41.5 s and one epoch per code; returns what the names of its files begin with."""
    eeg = folder / f"sub-{subject}" / "ses-001" / "eeg"
    eeg.mkdir(parents=True)
    start = eeg / f"sub-{subject}_ses-001_task-sleep"
    end = LIGHTS_OFF + 30 * len(codes)
    names = ("Event", *EARS17[::-1], *SCALP17, "CHIN12", "OSAT")
    signals = noise(names, int(200 * (end + 5)), bad)
    write_set(Path(f"{start}_eeg.set"), signals, names, 200, fdt=fdt)
    markers = [
        (0.0, 0, "Beginning of Recording"),
        (LIGHTS_OFF, 0, "Lights Off"),
        (50.25, 0, '"oplyst-""sidder stille"""'),
        (end, 0, "Lights On"),
    ]
    write_table(Path(f"{start}_events.tsv"), ("onset", "duration", "trial_type"), markers)
    scoring = Path(f"{start}_acq-scoring_events.tsv")
    write_table(scoring, ("onset", "duration", "staging"), scored(codes))
    return start


@pytest.fixture
def eesm17(tmp_path):
    """Two people, one with signals beside the .set file and one with them in it."""
    write_night17(tmp_path)
    write_night17(tmp_path, "004", [*CODES, 8], fdt=False, bad="ERK")
    write_table(
        tmp_path / "participants.tsv",
        ("participant_id", "gender"),
        [("sub-001", "m"), ("sub-004", "f")],
    )
    return tmp_path


def refusal(dataset, subject: str = "001", channels: Sequence[str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings([subject])[0], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "cls"), [("eesm17", Eesm17), ("eesm19", Eesm19)])
def test_registry_finds_them(name, cls):
    assert dataset_class(name) is cls


def test_people_have_a_sex_and_no_age_and_waking_recordings_are_not_listed(eesm17):
    other = eesm17 / "sub-001" / "ses-001" / "eeg" / "sub-001_ses-001_task-wake_eeg.set"
    other.write_bytes(b"")
    nights = Eesm17(eesm17).recordings()
    assert [(n.subject, n.session, n.age, n.sex) for n in nights] == [
        ("001", "001", None, "male"),
        ("004", "001", None, "female"),
    ]
    assert [path.name.partition("sleep_")[2] for path in nights[0].files] == [
        "eeg.set",
        "acq-scoring_events.tsv",
        "eeg.fdt",
        "events.tsv",
    ]
    assert Eesm17(eesm17).count_present() == 2


def test_derivatives_are_not_listed(eesm17):
    shutil.copytree(eesm17 / "sub-001", eesm17 / "derivatives" / "cleaned_1" / "sub-001")
    assert len(Eesm17(eesm17).recordings()) == 2


@pytest.mark.parametrize("subject", ["001", "004"])
def test_values_are_those_that_mne_reads_in_volts(eesm17, subject):
    dataset = Eesm17(eesm17)
    night = dataset.recordings([subject])[0]
    everything = mne.io.read_raw_eeglab(night.files[0], preload=True, verbose="ERROR")
    for names in (("ELA", "A2", "ERI"), ("C3",), EARS17[:3] + SCALP17):
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        assert raw.info["sfreq"] == 200
        np.testing.assert_array_equal(raw.get_data(), everything.get_data(list(names)))
    assert 1e-5 < raw.get_data(["C3"]).std() < 5e-5
    assert dataset.read(night, ["CHIN12", "ELA"]).get_channel_types() == ["emg", "eeg"]


def test_the_scoring_begins_when_the_lights_go_out(eesm17):
    raw = Eesm17(eesm17).read(Eesm17(eesm17).recordings(["001"])[0])
    assert raw.annotations.onset.tolist() == [LIGHTS_OFF + 30 * k for k in range(6)]
    assert raw.annotations.description.tolist() == [str(code) for code in CODES]


def test_windows_are_the_signals_of_their_epoch_and_unknown_ones_are_dropped(eesm17):
    dataset = Eesm17(eesm17)
    recipe = Recipe(channels=("A2", "C3"), sfreq=None, trim_wake_minutes=None, scaling="none")
    for night in dataset.recordings():
        cut = cut_recording(dataset, night, recipe).windows
        assert cut.y.tolist() == [0, 1, 2, 3, 4, 2]
        signals = mne.io.read_raw_eeglab(night.files[0], verbose="ERROR").get_data(["A2", "C3"])
        first = signals[:, 8300 + 6000 : 8300 + 12000].astype(np.float32)
        np.testing.assert_array_equal(cut.x[1], first)


def test_a_last_epoch_that_is_cut_off_is_no_window(tmp_path):
    start = write_night17(tmp_path, codes=CODES)
    names = (*EARS17, *SCALP17)
    n_times = int(200 * (LIGHTS_OFF + 30 * 6 - 2.6))
    write_set(Path(f"{start}_eeg.set"), noise(names, n_times), names, 200, fdt=True)
    recipe = Recipe(channels=("A1",), sfreq=None, trim_wake_minutes=None, scaling="none")
    dataset = Eesm17(tmp_path)
    cut = cut_recording(dataset, dataset.recordings()[0], recipe).windows
    assert cut.y.tolist() == [0, 1, 2, 3, 4]


def test_bad_electrodes_are_found_whatever_is_asked_for(eesm17):
    dataset = Eesm17(eesm17)
    first, second = dataset.recordings()
    assert dataset.read(first).info["bads"] == ["ELB"]
    assert dataset.read(first, ["ELB", "C3"]).info["bads"] == ["ELB"]
    assert dataset.read(first, ["ELA", "C3"]).info["bads"] == []
    assert dataset.read(second).info["bads"] == ["ERK"]


def test_what_happens_before_lights_out_makes_no_electrode_bad(tmp_path):
    start = write_night17(tmp_path, codes=CODES, bad="")
    names = (*EARS17, *SCALP17)
    signals = noise(names, 200 * 230)
    signals[2, : int(200 * LIGHTS_OFF)] = 0
    signals[3, int(200 * LIGHTS_OFF) :] = 0
    write_set(Path(f"{start}_eeg.set"), signals, names, 200, fdt=True)
    dataset = Eesm17(tmp_path)
    assert dataset.read(dataset.recordings()[0]).info["bads"] == [names[3]]


def test_the_task_derives_from_the_electrodes_that_are_good(eesm17):
    windows = load_task("eesm17-scalp-to-ear").windows
    recipe = Recipe(
        channels=windows.channels,
        sfreq=None,
        trim_wake_minutes=None,
        scaling="none",
        derivations=windows.derived,
        empty_derivation=windows.empty_derivation,
    )
    dataset = Eesm17(eesm17)
    night = dataset.recordings(["001"])[0]
    cut = cut_recording(dataset, night, recipe).windows
    signals = mne.io.read_raw_eeglab(night.files[0], verbose="ERROR")
    volts = {name: signals.get_data([name])[0, 8300 : 8300 + 6000] for name in (*EARS17, *SCALP17)}
    by_hand = {
        "A1-A2": volts["A1"] - volts["A2"],
        "C4-O2": volts["C4"] - volts["O2"],
        "L": volts["ELA"] - np.mean([volts[f"EL{c}"] for c in "EIGK"], axis=0),
        "R": (volts["ERA"] + volts["ERB"]) / 2 - np.mean([volts[f"ER{c}"] for c in "EIGK"], axis=0),
        "L-R": np.mean([volts[f"EL{c}"] for c in "AEIGK"], axis=0)
        - np.mean([volts[f"ER{c}"] for c in "ABEIGK"], axis=0),
    }
    for name, expected in by_hand.items():
        np.testing.assert_allclose(cut.x[0, cut.ch_names.index(name)], expected, atol=1e-10)


def test_an_ear_without_good_electrodes_on_one_side_is_zero_in_the_task(tmp_path):
    start = write_night17(tmp_path, codes=CODES, bad="")
    names = (*EARS17, *SCALP17)
    signals = noise(names, 200 * 230)
    signals[[names.index("ERA"), names.index("ERB")]] = 0
    write_set(Path(f"{start}_eeg.set"), signals, names, 200, fdt=True)
    windows = load_task("eesm17-scalp-to-ear").windows
    recipe = Recipe(
        channels=windows.channels,
        sfreq=windows.sfreq,
        trim_wake_minutes=None,
        scaling="robust",
        derivations=windows.derived,
        empty_derivation=windows.empty_derivation,
    )
    dataset = Eesm17(tmp_path)
    cut = cut_recording(dataset, dataset.recordings()[0], recipe)
    assert not cut.windows.x[:, cut.windows.ch_names.index("R")].any()
    assert cut.windows.x[:, cut.windows.ch_names.index("L-R")].any()
    assert not cut.flat.any()


def test_short_gaps_are_bridged_and_long_ones_make_an_electrode_bad(eesm17):
    path = eesm17 / "sub-001" / "ses-001" / "eeg" / "sub-001_ses-001_task-sleep_eeg.set"
    names = (*EARS17, *SCALP17)
    signals = noise(names, int(200 * 226.5))
    signals[0] = np.nan  # ELA
    signals[1, 10_000:10_004] = np.nan  # ELB
    signals[names.index("A2")] = np.nan
    write_set(path, signals, names, 200, fdt=True)
    raw = Eesm17(eesm17).read(Eesm17(eesm17).recordings(["001"])[0])
    assert raw.info["bads"] == ["ELA", "A2"]
    bridged = raw.get_data(["ELB"])[0, 9_999:10_005] * 1e6
    np.testing.assert_allclose(bridged, np.linspace(signals[1, 9_999], signals[1, 10_004], 6), 1e-5)


def test_missing_tables_are_named(eesm17):
    eeg = eesm17 / "sub-001" / "ses-001" / "eeg"
    (eeg / "sub-001_ses-001_task-sleep_events.tsv").unlink()
    assert "no table ..._task-sleep_events.tsv" in refusal(Eesm17(eesm17))
    (eeg / "sub-001_ses-001_task-sleep_acq-scoring_events.tsv").unlink()
    assert "--skip-bad" in refusal(Eesm17(eesm17))
    (eesm17 / "participants.tsv").unlink()
    assert Eesm17(eesm17).recordings()[0].sex is None


def test_signals_that_are_missing_truncated_or_of_another_rate_are_refused(eesm17):
    start = eesm17 / "sub-001" / "ses-001" / "eeg" / "sub-001_ses-001_task-sleep_eeg"
    path, fdt = start.with_suffix(".set"), start.with_suffix(".fdt")
    content = fdt.read_bytes()
    fdt.write_bytes(content[:-400])
    assert "eeg.fdt is truncated or damaged" in refusal(Eesm17(eesm17))
    fdt.unlink()
    assert "eeg.set cannot be read" in refusal(Eesm17(eesm17))
    names = (*EARS17, *SCALP17)
    write_set(path, noise(names, 50_000), names, 250, fdt=True)
    assert "claims 250 Hz, where this dataset has 200 Hz" in refusal(Eesm17(eesm17))
    path.write_bytes(b"<html>404</html>" * 99)
    assert "eeg.set cannot be read" in refusal(Eesm17(eesm17))


def test_a_channel_that_is_not_there_is_named_with_those_that_are(eesm17):
    message = refusal(Eesm17(eesm17), channels=["A1", "Fz"])
    assert "no channel Fz" in message
    assert "CHIN12" in message
    assert "none was named" in refusal(Eesm17(eesm17), channels=[])


HEADER = ("onset", "duration", "staging")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (scored([1, 3, 4, 9, 2, 4]), "unknown stage '9'"),
        (scored([1, 3, 4, 5, 2]), "scores 5 epochs"),
        (scored([1, 3, 4, 5, 2, 4, 4]), "scores 7 epochs"),
        (scored(CODES, begin=30), "from 0"),
        ([*scored(CODES[:3]), *scored(CODES[3:], begin=120)], "too late"),
        ([*scored(CODES[:3]), *scored(CODES[3:], begin=75)], "too early|same time twice"),
        ([*scored(CODES[:3]), *scored(CODES[2:], begin=60)], "each once"),
        ([("nan", 0, 1), *scored(CODES)[1:]], "where seconds must be"),
        ([("-30", 0, 1), *scored(CODES)[1:]], "where seconds must be"),
        ([("", 0, 1), *scored(CODES)[1:]], "where seconds must be"),
        ([*scored(CODES)[:5], (150, 0)], "unknown stage ''"),
        ([], "no rows"),
    ],
)
def test_a_scoring_that_cannot_be_right_is_refused(eesm17, rows, reason):
    eeg = eesm17 / "sub-001" / "ses-001" / "eeg"
    path = eeg / "sub-001_ses-001_task-sleep_acq-scoring_events.tsv"
    write_table(path, HEADER, rows)
    message = refusal(Eesm17(eesm17))
    assert any(part in message for part in reason.split("|")), message
    assert path.name in message


@pytest.mark.parametrize("marker", ["Lights Off", "Lights On"])
def test_a_night_without_its_markers_is_refused(eesm17, marker):
    path = eesm17 / "sub-001" / "ses-001" / "eeg" / "sub-001_ses-001_task-sleep_events.tsv"
    content = path.read_text()
    path.write_text(content.replace(marker, "Obs"))
    assert f"one onset of {marker!r}" in refusal(Eesm17(eesm17))


def test_folders_and_people_that_are_not_there_are_named(tmp_path, eesm17):
    with pytest.raises(DataError, match="is not a folder"):
        Eesm17(tmp_path / "nowhere").recordings()
    with pytest.raises(DataError, match="must hold sub-0NN/ses-00N/eeg"):
        Eesm19(eesm17).recordings()
    with pytest.raises(DataError, match=r"subject 003 in .*; there are 001, 004"):
        Eesm17(eesm17).recordings(["003"])


@pytest.mark.parametrize("cls", [Eesm17, Eesm19])
def test_only_what_is_read_of_the_people_asked_for_is_downloaded(tmp_path, monkeypatch, cls):
    asked = []

    class Download:
        @staticmethod
        def fetch_openneuro(accession, prefixes, folder, wanted=None):
            asked.append((accession, prefixes, wanted))
            folder.mkdir(exist_ok=True)
            if cls is Eesm17 and wanted:
                write_night17(folder, "001")

    monkeypatch.setitem(sys.modules, "sleepshift.datasets.download", Download)
    monkeypatch.setenv("MNE_DATA", str(tmp_path))
    if cls is Eesm17:
        assert len(cls().recordings(["001"])) == 1
    else:
        with pytest.raises(DataError, match="holds no recording"):
            cls().recordings(["001"])
    (first, _, _), (accession, prefixes, wanted) = asked
    assert first == accession == cls.accession
    assert prefixes == ["sub-001/"]
    start = "sub-001/ses-001/eeg/sub-001_ses-001_task-sleep"
    own = {
        Eesm17: ["_eeg.set", "_eeg.fdt", "_events.tsv", "_acq-scoring_events.tsv"],
        Eesm19: ["_acq-PSG_eeg.set", "_acq-PSG_eeg.fdt", "_acq-scoring2_events.tsv"],
    }
    assert all(wanted.fullmatch(start + ending) for ending in own[cls])
    others = {Eesm17: own[Eesm19], Eesm19: own[Eesm17]}[cls]
    assert not any(wanted.fullmatch(start + ending) for ending in others)
    assert not wanted.fullmatch(start.replace("ses-001", "ses-005") + own[cls][0])
    with pytest.raises(DataError, match="subject 099"):
        cls().recordings(["099"])
    assert len(asked) == 2


SECOND = [1, 3, 3, 5, 2, 7, 4, 4]
FIRST = [1, 3, 4, 5, 2, 7, 4, 4]


def write_night19(folder: Path, subject="001", session="001", *, fdt=True, begin=30.0) -> Path:
    eeg = folder / f"sub-{subject}" / f"ses-{session}" / "eeg"
    eeg.mkdir(parents=True)
    start = eeg / f"sub-{subject}_ses-{session}_task-sleep"
    names = ("EOGl", *EARS19[::-1], *SCALP19, "EMGr")
    n_times = int(500 * (begin + 30 * len(FIRST) + 12))
    signals = noise(names, n_times, seed=int(session))
    signals[names.index("ELT")] = np.nan
    write_set(Path(f"{start}_acq-PSG_eeg.set"), signals, names, 500, fdt=fdt)
    for k, codes in enumerate((FIRST, SECOND), start=1):
        header = ("onset", "duration", f"Scoring{k}")
        table = Path(f"{start}_acq-scoring{k}_events.tsv")
        write_table(table, header, scored(codes, begin, 30))
    return start


def test_eesm19_has_two_scorers_and_four_nights(tmp_path):
    for session in ("001", "004", "005"):
        write_night19(tmp_path, session=session, fdt=session == "001")
    header = ("participant_id", "age", "sex")
    write_table(tmp_path / "participants.tsv", header, [("sub-001", 24, "F")])
    dataset = Eesm19(tmp_path)
    nights = dataset.recordings()
    assert [(n.session, n.age, n.sex) for n in nights] == [
        ("001", 24, "female"),
        ("004", 24, "female"),
    ]
    names = ("ELT", "M2", "ERC", "EOGl")
    for night in nights:
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        assert raw.get_channel_types() == ["eeg", "eeg", "eeg", "eog"]
        assert raw.info["bads"] == ["ELT"]
        everything = mne.io.read_raw_eeglab(night.files[0], preload=True, verbose="ERROR")
        np.testing.assert_array_equal(raw.get_data(names), everything.get_data(names))
        recipe = Recipe(channels=("M1", "O2"), sfreq=100, trim_wake_minutes=None, scaling="robust")
        cut = cut_recording(dataset, night, recipe).windows
        assert cut.y.tolist() == [0, 1, 2, 3, 4, 2, 2]
        assert cut.second.tolist() == [0, 1, 1, 3, 4, 2, 2]
        assert cut.onset.tolist() == [30, 60, 90, 120, 150, 210, 240]


def test_eesm19_without_a_second_scorer_is_read(tmp_path):
    start = write_night19(tmp_path)
    Path(f"{start}_acq-scoring2_events.tsv").unlink()
    dataset = Eesm19(tmp_path)
    (night,) = dataset.recordings()
    assert dataset.second_scoring(night) is None
    assert len(dataset.read(night, ["C3"]).annotations) == 8


def test_eesm19_derives_as_its_task_says(tmp_path):
    write_night19(tmp_path)
    windows = load_task("eesm19-scalp-to-ear").windows
    recipe = Recipe(
        channels=windows.channels,
        sfreq=None,
        trim_wake_minutes=None,
        scaling="none",
        derivations=windows.derived,
        empty_derivation=windows.empty_derivation,
    )
    dataset = Eesm19(tmp_path)
    (night,) = dataset.recordings()
    cut = cut_recording(dataset, night, recipe).windows
    signals = mne.io.read_raw_eeglab(night.files[0], verbose="ERROR")
    volts = {n: signals.get_data([n])[0, 15_000:30_000] for n in (*EARS19, *SCALP19)}

    def mean(ear: str, letters: str) -> np.ndarray:
        return np.mean([volts[f"{ear}{letter}"] for letter in letters], axis=0)

    by_hand = {
        "M1-M2": volts["M1"] - volts["M2"],
        "L": mean("EL", "ABC") - mean("EL", "EI"),
        "R": mean("ER", "ABCT") - mean("ER", "EI"),
        "L-R": mean("EL", "ABCEI") - mean("ER", "ABCTEI"),
    }
    for name, expected in by_hand.items():
        np.testing.assert_allclose(cut.x[0, cut.ch_names.index(name)], expected, atol=1e-10)


@pytest.mark.parametrize(("begin", "codes"), [(60.0, SECOND), (30.0, SECOND[:6])])
def test_eesm19_scorings_of_other_spans_are_refused(tmp_path, begin, codes):
    start = write_night19(tmp_path)
    path = Path(f"{start}_acq-scoring2_events.tsv")
    write_table(path, ("onset", "duration", "Scoring2"), scored(codes, begin, 30))
    assert "the second scoring from" in refusal(Eesm19(tmp_path), channels=["C3"])


@needs_sidecars
def test_real_scorings_have_the_stages_counted_without_this_package():
    people = sorted(SIDECARS.glob("sub-*"))
    assert len(people) == 9
    pooled: Counter[str] = Counter()
    for person in people:
        (path,) = person.glob("ses-001/eeg/*_task-sleep_acq-scoring_events.tsv")
        # Split by hand: every third cell after the header, whatever ends the lines.
        cells = path.read_text().split()
        truth = [NAMES.get(int(code)) for code in cells[5::3]]
        ours = read_events(path, "staging", Eesm17.stage_codes)
        stages = [Eesm17.stage_codes[text] for text in ours.description]
        assert stages == truth
        assert ours.onset.tolist() == [30 * k for k in range(len(truth))]
        if person.name != "sub-006":
            pooled.update(stage for stage in stages if stage)
    # The eight people that distillation was published on.
    assert sum(pooled.values()) == 6919
    shares = {stage: round(100 * n / 6919, 1) for stage, n in pooled.items()}
    assert shares == pytest.approx(
        {"W": 17.8, "N1": 7.2, "N2": 43.2, "N3": 13.1, "R": 18.7}, abs=0.1
    )


@needs_sidecars
def test_real_tables_fit_signals_of_their_length(tmp_path):
    shutil.copytree(SIDECARS, tmp_path / "eesm17")
    folder = tmp_path / "eesm17"
    n_windows = {}
    for person in sorted(folder.glob("sub-*")):
        eeg = person / "ses-001" / "eeg"
        start = eeg / f"{person.name}_ses-001_task-sleep"
        events = pd.read_csv(f"{start}_events.tsv", sep="\t")
        n_times = round(events["onset"].max() * 200) + 1
        path = Path(f"{start}_eeg.set")
        write_set(path, np.zeros((1, 0), np.float32), ["C3"], 200, fdt=True)
        rewrite = np.random.default_rng(0).normal(0, 20, (1, n_times)).astype(np.float32)
        write_set(path, rewrite, ["C3"], 200, fdt=True)
        dataset = Eesm17(folder)
        night = dataset.recordings([person.name[4:]])[0]
        recipe = Recipe(channels=("C3",), sfreq=None, trim_wake_minutes=None, scaling="none")
        n_windows[night.subject] = len(cut_recording(dataset, night, recipe).windows.y)
        path.unlink()
    # As many as rows that are scored; the last epoch of 008 goes on after the recording.
    assert n_windows == {
        "001": 926,
        "002": 932,
        "003": 857,
        "004": 1150,
        "005": 1039,
        "006": 491,
        "007": 964,
        "008": 757,
        "009": 293,
    }


def restore_other_scorings(sound: Path, damaged: Path) -> None:
    """Put back tables that are whole and say something else: no reader could tell.

    Another code is another stage, or one that is dropped.
    """
    for table in sound.rglob("*_acq-scoring*_events.tsv"):
        other = damaged / table.relative_to(sound)
        column = table.read_text().split("\t")[2].split()[0]
        try:
            before, after = (read_events(p, column, Eesm17.stage_codes) for p in (table, other))
        except DataError:
            continue
        if after.onset.tolist() == before.onset.tolist():
            shutil.copy(table, other)


@pytest.mark.parametrize("layout", ["fdt", "set"])
@pytest.mark.parametrize("cls", [Eesm17, Eesm19])
def test_damaged_files_are_one_line_or_as_many_windows(tmp_path, survives, cls, layout):
    write = {Eesm17: write_night17, Eesm19: write_night19}[cls]
    write(tmp_path, fdt=layout == "fdt")
    write_table(tmp_path / "participants.tsv", ("participant_id", "gender"), [("sub-001", "m")])

    def make(folder: Path):
        if folder != tmp_path:
            restore_other_scorings(tmp_path, folder)
        return cls(folder)

    recipe = Recipe(channels=("C3", "ELA"), sfreq=100, trim_wake_minutes=None, scaling="robust")
    outcomes = survives(make, tmp_path, recipe, variants=250)
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 20
