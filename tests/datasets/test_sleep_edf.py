"""Sleep-EDF: files in the published layout, the real hypnograms, and every way to damage them."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
import pytest
from edfio import Edf, EdfAnnotation, EdfSignal

from sleepshift.datasets import Recording, dataset_class
from sleepshift.datasets.sleep_edf import SleepEDF
from sleepshift.errors import DataError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_hypnograms = pytest.mark.skipif(
    not (SHARED / "hypnograms").is_dir(), reason="the real hypnograms are not at hand"
)
FAST = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")
SLOW = ("Resp oro-nasal", "EMG submental", "Temp rectal", "Event marker")
STAGES = [
    (0, 90, "Sleep stage W"),
    (90, 30, "Sleep stage 1"),
    (120, 60, "Sleep stage 2"),
    (180, 30, "Movement time"),
    (210, 30, "Sleep stage 3"),
    (240, 30, "Sleep stage 4"),
    (270, 30, "Sleep stage R"),
    (300, 6900, "Sleep stage ?"),
]


def write_psg(path: Path, n_records: int = 10, order: Sequence[str] = FAST + SLOW) -> Path:
    """Write a PSG in Sleep-EDF's layout: 30-s records, three channels at 100 Hz, four at 1 Hz."""
    signals = []
    for name in order:
        rate = 100 if name in FAST else 1
        noise = np.random.default_rng(len(name)).normal(0, 30, n_records * 30 * rate)
        signals.append(
            EdfSignal(
                noise.clip(-190, 190),
                rate,
                label=name,
                physical_dimension="uV" if name in FAST or "EMG" in name else "",
                physical_range=(-192, 192),
                digital_range=(-2048, 2047),
            )
        )
    Edf(signals, data_record_duration=30).write(path)
    return path


def write_hypnogram(path: Path, stages: Sequence[tuple[float, float, str]] = STAGES) -> Path:
    Edf([], annotations=[EdfAnnotation(*stage) for stage in stages]).write(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two nights of subject 0, one of subject 10 (nested, channels in another order)."""
    nested = tmp_path / "sleep-cassette"
    nested.mkdir()
    write_psg(tmp_path / "SC4001E0-PSG.edf")
    write_hypnogram(tmp_path / "SC4001EC-Hypnogram.edf")
    write_psg(tmp_path / "SC4002E0-PSG.edf")
    write_hypnogram(tmp_path / "SC4002EH-Hypnogram.edf")
    write_psg(nested / "SC4101E0-PSG.edf", order=SLOW[:2] + FAST[::-1] + SLOW[2:])
    write_hypnogram(nested / "SC4101EJ-Hypnogram.edf")
    return tmp_path


def refusal(folder: Path, subject: str = "0", channels: Sequence[str] | None = None) -> str:
    """The one line that reading the first night of `subject` ends with."""
    dataset = SleepEDF(folder)
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings([subject])[0], channels)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_registry_finds_it():
    assert dataset_class("sleep-edf") is SleepEDF


def test_nights_are_listed_with_age_and_sex_in_numeric_order(folder):
    write_psg(folder / "SC4021E0-PSG.edf", 1)
    nights = SleepEDF(folder).recordings()
    assert [(n.subject, n.session) for n in nights] == [
        ("0", "1"),
        ("0", "2"),
        ("2", "1"),
        ("10", "1"),
    ]
    assert (nights[0].age, nights[0].sex) == (33, "female")
    assert [path.name for path in nights[3].files] == ["SC4101E0-PSG.edf", "SC4101EJ-Hypnogram.edf"]
    assert [n.subject for n in SleepEDF(folder).recordings(["10"])] == ["10"]


def test_a_subject_mne_does_not_know_has_no_age(folder):
    write_psg(folder / "SC4391E0-PSG.edf", 1)
    (night,) = SleepEDF(folder).recordings(["39"])
    assert night.age is None
    assert night.sex is None


@pytest.mark.parametrize("subject", ["0", "10"])
def test_values_are_those_that_mne_reads_in_volts(folder, subject):
    dataset = SleepEDF(folder)
    night = dataset.recordings([subject])[0]
    everything = mne.io.read_raw_edf(night.files[0], preload=True, verbose="ERROR")
    for names in (FAST, FAST[::-1], FAST[1:2]):
        raw = dataset.read(night, names)
        assert raw.ch_names == list(names)
        assert raw.info["sfreq"] == 100
        np.testing.assert_array_equal(raw.get_data(), everything.get_data(list(names)))
    assert 1e-5 < raw.get_data().std() < 5e-5


def test_reading_is_lazy_opens_the_fast_channels_and_types_them(folder):
    dataset = SleepEDF(folder)
    night = dataset.recordings(["10"])[0]
    raw = dataset.read(night)
    assert not raw.preload
    assert raw.ch_names == list(FAST)
    assert raw.get_channel_types() == ["eeg", "eeg", "eog"]
    emg = dataset.read(night, ["EMG submental"])
    assert emg.get_channel_types() == ["emg"]
    assert emg.info["sfreq"] == 1


def test_stages_come_as_annotations_without_a_warning(folder):
    dataset = SleepEDF(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw = dataset.read(dataset.recordings()[0])
    stages = [(a["onset"], a["duration"], a["description"]) for a in raw.annotations]
    assert stages == STAGES[:7]  # the "?" lies past the last sample
    assert set(raw.annotations.description) <= set(dataset.stage_codes)
    assert dataset.stage_codes["Movement time"] is None


def test_a_stage_that_reaches_past_the_signals_is_cut_there(folder):
    write_hypnogram(
        folder / "SC4001EC-Hypnogram.edf", [(0, 270, "Sleep stage W"), (270, 90, "Sleep stage R")]
    )
    dataset = SleepEDF(folder)
    raw = dataset.read(dataset.recordings()[0])
    assert raw.annotations.duration[-1] == pytest.approx(30)


def test_a_missing_hypnogram_is_listed_and_refused_on_reading(folder):
    (folder / "SC4001EC-Hypnogram.edf").unlink()
    assert len(SleepEDF(folder).recordings()) == 3
    assert "SC4001E0-PSG.edf has no hypnogram" in refusal(folder)
    assert "--skip-bad" in refusal(folder)


def test_two_hypnograms_of_one_night_are_refused(folder):
    write_hypnogram(folder / "SC4001EH-Hypnogram.edf")
    assert "has 2 hypnograms" in refusal(folder)


def test_a_night_that_is_there_twice_is_refused(folder):
    write_psg(folder / "sleep-cassette" / "SC4001E0-PSG.edf", 1)
    with pytest.raises(DataError, match="same night"):
        SleepEDF(folder).recordings()


def test_a_channel_that_is_not_there_is_named_with_those_that_are(folder):
    message = refusal(folder, channels=["EEG Fpz-Cz", "ECG"])
    assert "no channel ECG" in message
    assert "EOG horizontal" in message
    assert "no channel" in refusal(folder, channels=[])


@pytest.mark.parametrize("lost", [1, 7, 18_000, 100_000])
def test_a_truncated_psg_is_refused(folder, lost):
    path = folder / "SC4001E0-PSG.edf"
    os.truncate(path, path.stat().st_size - lost)
    assert "SC4001E0-PSG.edf is truncated" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"0", b"<html>404 Not Found</html>" * 99, bytes(5000)])
def test_what_is_no_edf_file_is_refused(folder, content):
    (folder / "SC4001E0-PSG.edf").write_bytes(content)
    assert "SC4001E0-PSG.edf is no readable EDF file" in refusal(folder)


def test_a_recording_with_gaps_between_records_is_refused(folder):
    overwrite(folder / "SC4001E0-PSG.edf", 192, b"EDF+D")
    assert "do not follow each other" in refusal(folder)


def test_a_channel_without_a_scale_in_volts_is_refused(folder):
    overwrite(folder / "SC4001E0-PSG.edf", 256 + 7 * 96, b"xx")
    assert "channel EEG Fpz-Cz no usable scale" in refusal(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / "SC4001EC-Hypnogram.edf").unlink()
    (folder / "SC4001EC-Hypnogram.edf").mkdir()
    assert "SC4001EC-Hypnogram.edf is no readable EDF file" in refusal(folder)


@pytest.mark.parametrize(
    ("stages", "reason"),
    [
        ([(0, 300, "Sleep stage X")], "unknown annotation 'Sleep stage X'"),
        ([(0, 300, "Sleep stage ?")], "scores nothing"),
        ([(9000, 300, "Sleep stage W")], "scores nothing"),
        ([(0, 90, "Sleep stage W"), (60, 90, "Sleep stage 1")], "same time twice"),
        ([(0, 0, "Sleep stage W")], "without length"),
    ],
)
def test_a_hypnogram_that_cannot_be_right_is_refused(folder, stages, reason):
    write_hypnogram(folder / "SC4001EC-Hypnogram.edf", stages)
    message = refusal(folder)
    assert reason in message
    assert "SC4001EC-Hypnogram.edf" in message


def test_a_hypnogram_of_another_format_is_refused(folder):
    hypnogram = folder / "SC4001EC-Hypnogram.edf"
    write_psg(hypnogram, 1)
    assert "no EDF+ hypnogram" in refusal(folder)
    hypnogram.write_text('<?xml version="1.0"?><CMPStudyConfig/>' * 9)
    assert "no readable EDF file" in refusal(folder)


def test_an_annotation_that_mne_would_pass_over_is_refused(folder):
    path = folder / "SC4001EC-Hypnogram.edf"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"+120\x1560", b"+1z0\x1560"))
    assert len(mne.read_annotations(path)) == len(STAGES) - 1
    assert "damaged annotation" in refusal(folder)


@pytest.mark.parametrize("name", ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"])
@pytest.mark.parametrize("seed", range(150))
def test_any_flipped_byte_reads_cleanly_or_is_a_data_error(folder_once, name, seed):
    path = folder_once / name
    sound = path.read_bytes()
    rng = np.random.default_rng(seed)
    broken = bytearray(sound)
    broken[rng.integers(min(len(sound), 2048))] = rng.integers(256)
    path.write_bytes(broken)
    try:
        complaint = read_or_complain(folder_once)
    finally:
        path.write_bytes(sound)
    assert complaint is None or re.search(r"SC4001E\w-(PSG|Hypnogram)\.edf", complaint)
    assert "\n" not in (complaint or "")


def read_or_complain(folder: Path) -> str | None:
    dataset = SleepEDF(folder)
    try:
        raw = dataset.read(dataset.recordings(["0"])[0])
    except DataError as error:
        return str(error)
    assert raw.get_data().shape[0] == 3
    assert set(raw.annotations.description) <= set(dataset.stage_codes)
    return None


@pytest.fixture(scope="module")
def folder_once(tmp_path_factory):
    """One night for tests that put it back as it was."""
    path = tmp_path_factory.mktemp("night")
    write_psg(path / "SC4001E0-PSG.edf", 10)
    write_hypnogram(path / "SC4001EC-Hypnogram.edf")
    return path


def test_folders_without_recordings_are_refused(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        SleepEDF(tmp_path / "nowhere").recordings()
    with pytest.raises(DataError, match="must hold SC4ssNxx-PSG"):
        SleepEDF(tmp_path).recordings()
    write_psg(tmp_path / "ST7011J0-PSG.edf", 1)
    with pytest.raises(DataError, match="must hold SC4ssNxx-PSG"):
        SleepEDF(tmp_path).recordings()


def test_subjects_that_are_not_there_are_named(folder):
    with pytest.raises(DataError, match=r"subject 3, 82 in .*; there are 0, 10"):
        SleepEDF(folder).recordings(["82", "0", "3"])


def test_only_the_subjects_asked_for_are_downloaded(tmp_path, monkeypatch):
    asked = []
    home = tmp_path / "physionet-sleep-data"

    def fetch_data(subjects, **settings):
        asked.extend(subjects)
        home.mkdir(exist_ok=True)
        write_psg(home / "SC4001E0-PSG.edf")
        write_hypnogram(home / "SC4001EC-Hypnogram.edf")

    monkeypatch.setenv("PHYSIONET_SLEEP_PATH", str(tmp_path))
    monkeypatch.setattr("mne.datasets.sleep_physionet.age.fetch_data", fetch_data)
    assert SleepEDF().count_present() == 0
    (night,) = SleepEDF().recordings(["0"])
    assert asked == [0]
    assert (night.subject, night.session, night.age) == ("0", "1", 33)
    assert SleepEDF().read(night).ch_names == list(FAST)
    with pytest.raises(DataError, match="subject 39 in Sleep-EDF"):
        SleepEDF().recordings(["0", "39"])
    assert asked == [0]
    assert SleepEDF().count_present() == 1


@pytest.mark.parametrize("error", [ConnectionError("no\nroute"), ValueError("SHA1 hash differs")])
def test_a_failed_download_tells_to_pass_a_folder(monkeypatch, error):
    def fetch_data(subjects, **settings):
        raise error

    monkeypatch.setattr("mne.datasets.sleep_physionet.age.fetch_data", fetch_data)
    with pytest.raises(DataError, match="--data") as caught:
        SleepEDF().recordings(["0"])
    assert "\n" not in str(caught.value)


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


@pytest.fixture(scope="module")
def real_hypnograms(tmp_path_factory):
    """The real hypnograms, each with a silent 24-h PSG (sparse: it takes no room on disk)."""
    folder = tmp_path_factory.mktemp("real")
    template = write_psg(folder / "template.edf", 1, FAST).read_bytes()
    for hypnogram in sorted((SHARED / "hypnograms").glob("*.edf")):
        (folder / hypnogram.name).write_bytes(hypnogram.read_bytes())
        psg = folder / f"{hypnogram.name[:7]}0-PSG.edf"
        last = mne.read_annotations(hypnogram).onset[-1]  # the "?" begins where the signals end
        psg.write_bytes(template[:1024])
        overwrite(psg, 236, f"{last / 30:<8.0f}".encode())
        os.truncate(psg, 1024 + int(last) * 100 * 3 * 2)
    return SleepEDF(folder)


@needs_hypnograms
def test_real_hypnograms_hold_the_stages_that_others_published(real_hypnograms):
    nights = real_hypnograms.recordings()
    assert len(nights) == 20
    codes = {"W": 0, "S1": 1, "S2": 2, "S3": 3, "S4": 3, "R": 4, None: -1}
    for night in nights:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            raw = real_hypnograms.read(night)
        windows = [
            codes[real_hypnograms.stage_codes[a["description"]]]
            for a in raw.annotations
            for _ in range(round(a["duration"] / 30))
        ]
        assert len(windows) == raw.duration / 30
        (listed,) = (SHARED / "sleep_edf_stages").glob(f"{night.files[0].name[:7]}*.json")
        published = json.loads(listed.read_text())
        first_sleep = next(i for i, code in enumerate(windows) if code > 0)
        assert windows[first_sleep - 60 :][: len(published)] == published


@needs_hypnograms
def test_ages_and_sexes_are_those_in_the_headers_of_the_real_files(real_hypnograms):
    for night in real_hypnograms.recordings():
        assert isinstance(night, Recording)
        patient = night.files[1].read_bytes()[8:88].decode("ascii")
        sex, age = re.search(r"(Female|Male)_(\d+)yr", patient).groups()
        assert (night.sex, night.age) == (sex.lower(), int(age))


def test_a_header_that_claims_another_rate_is_refused(folder):
    psg = next(folder.glob("SC400*-PSG.edf"))
    content = bytearray(psg.read_bytes())
    assert content[244:252] == b"30      "
    content[244:252] = b"31      "
    psg.write_bytes(content)
    assert "claims 96.7" in refusal(folder)
