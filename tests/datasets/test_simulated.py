"""The simulated dataset: its contract, its bad arguments, and how hard it is to stage."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy.signal import find_peaks, welch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepshift.datasets import make_dataset
from sleepshift.datasets.electrodes import ELECTRODES, Electrodes
from sleepshift.datasets.physiology import CHANNELS
from sleepshift.datasets.simulated import STAGE_TEXTS, Simulated, simulate_night, stage_bouts
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS
from sleepshift.windows import Derivation, derive

EEG = ["EEG Fpz-Cz", "EEG Pz-Oz"]
EAR = ["EAR left", "EAR right"]
SCALP_PAIRS = [
    Derivation(f"{a}-{b}", (a,), (b,)) for a, b in (("A1", "A2"), ("C3", "O1"), ("C4", "O2"))
]
LEFT, RIGHT = ([f"E{side}{place}" for place in "ABEIGK"] for side in "LR")
EAR_PAIRS = [
    Derivation("L-R", LEFT, RIGHT),
    Derivation("L", LEFT[:2], LEFT[2:]),
    Derivation("R", RIGHT[:2], RIGHT[2:]),
]


@pytest.fixture(scope="module")
def dataset():
    return Simulated(people=[(2, 30, 40), (1, 85, 85)], nights=2, hours=0.5, seed=7)


@pytest.fixture(scope="module")
def raw(dataset):
    return dataset.read(dataset.recordings()[0])


def test_registry_and_label(dataset):
    made = make_dataset("simulated", people=[[1, 20, 20]], hours=1)
    assert isinstance(made, Simulated)
    assert made.info.name == "simulated"
    assert "simulated" in made.info.title.lower()
    assert dataset.scheme == "rk6"


def test_import_is_light():
    code = (
        "import sys, sleepshift.datasets.simulated as s; print({'torch', 'mne'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_recordings_spread_ages_and_alternate_sex(dataset):
    found = dataset.recordings()
    assert [(r.subject, r.session) for r in found] == [
        ("0", "1"), ("0", "2"), ("1", "1"), ("1", "2"), ("2", "1"), ("2", "2"),
    ]  # fmt: skip
    assert [r.age for r in found[::2]] == [30, 40, 85]
    assert [r.sex for r in found[::2]] == ["female", "male", "female"]
    assert [r.session for r in dataset.recordings(["2"])] == ["1", "2"]
    with pytest.raises(DataError, match="no simulated subject 3; there are 0 to 2"):
        dataset.recordings(["3"])


def test_raw_has_named_typed_channels_in_volts(raw):
    assert raw.ch_names == list(CHANNELS)
    assert raw.get_channel_types() == ["eeg", "eeg", "eog", "emg", "ecg", "eeg", "eeg"]
    assert raw.info["sfreq"] == 100
    assert raw.n_times == 180000
    assert "SIMULATED" in raw.info["description"]
    spread = np.subtract(*np.percentile(raw.get_data(), [95, 5], axis=1)) * 1e6
    assert np.all((spread[:2] > 10) & (spread[:2] < 150))


def test_annotations_are_bouts_of_known_stages(dataset, raw):
    stages, _ = simulate_night(0, 1, 30.0, 60, seed=7)
    bouts = raw.annotations
    assert set(bouts.description) <= set(dataset.stage_codes)
    assert all(a != b for a, b in zip(bouts.description, bouts.description[1:], strict=False))
    np.testing.assert_allclose(bouts.onset[1:], (bouts.onset + bouts.duration)[:-1])
    assert bouts.onset[0] == 0
    assert bouts.onset[-1] + bouts.duration[-1] == 1800
    codes = [STAGE_TEXTS.index(text) for text in bouts.description]
    expanded = np.repeat(codes, (bouts.duration / WINDOW_SECONDS).astype(int))
    np.testing.assert_array_equal(expanded, stages)


def test_bouts_of_one_stage():
    onset, duration, text = stage_bouts(np.full(3, 5))
    assert (onset.tolist(), duration.tolist(), text) == ([0], [90], ["Sleep stage R"])


def test_channels_come_in_the_order_asked_and_unchanged(dataset, raw):
    recording = dataset.recordings()[0]
    two = dataset.read(recording, ["ECG", "EEG Fpz-Cz"])
    assert two.ch_names == ["ECG", "EEG Fpz-Cz"]
    np.testing.assert_array_equal(two.get_data(), raw.get_data(picks=["ECG", "EEG Fpz-Cz"])[[0, 1]])


def test_electrodes_come_by_name_with_the_bad_ones_listed(dataset):
    listed = []
    for recording in dataset.recordings():
        names = ["ERK", "EEG Fpz-Cz", *(name for name in ELECTRODES if name != "ERK")]
        every = dataset.read(recording, names)
        assert every.ch_names == names
        assert set(every.get_channel_types()) == {"eeg"}
        assert recording.age is not None
        key = int(recording.subject), int(recording.session), recording.age
        bads = Electrodes(simulate_night(*key, 60, seed=7)[1]).bads
        assert set(every.info["bads"]) == set(bads)
        listed += bads
        few = dataset.read(recording, ["ELA", "ERE", "O1"])
        assert set(few.info["bads"]) == set(bads) & {"ELA", "ERE"}
        np.testing.assert_array_equal(few.get_data(), every.get_data(picks=few.ch_names))
        alone = dataset.read(recording, ["EEG Fpz-Cz"])
        np.testing.assert_array_equal(alone.get_data(), every.get_data(picks=["EEG Fpz-Cz"]))
    assert listed


def test_people_nights_and_seeds_differ(dataset):
    def signal(source, index):
        return source.read(source.recordings()[index], EEG[:1]).get_data()[0]

    first = signal(dataset, 0)
    np.testing.assert_array_equal(first, signal(dataset, 0))
    reseeded = Simulated(people=dataset.people, nights=2, hours=0.5, seed=8)
    for other in (signal(dataset, 1), signal(dataset, 2), signal(reseeded, 0)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.1


def test_fewer_people_or_nights_change_no_one_else(dataset):
    small = Simulated(people=[(1, 30, 30)], hours=0.5, seed=7)
    np.testing.assert_array_equal(
        small.read(small.recordings()[0], EEG).get_data(),
        dataset.read(dataset.recordings()[0], EEG).get_data(),
    )


def test_params_are_everything_that_decides(dataset):
    assert dataset.params() == {
        "people": [[2, 30.0, 40.0], [1, 85.0, 85.0]],
        "nights": 2,
        "hours": 0.5,
        "seed": 7,
        "version": 1,
    }
    same = {name: value for name, value in dataset.params().items() if name != "version"}
    assert Simulated(**same).params() == dataset.params()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "folder"}, "need no folder"),
        ({"people": 3}, "groups of"),
        ({"people": []}, "no group"),
        ({"people": [(2, 30)]}, "groups of"),
        ({"people": [(2, "a", 40)]}, "groups of"),
        ({"people": [(0, 30, 40)]}, "at least 1"),
        ({"people": [(1.5, 30, 40)]}, "whole number"),
        ({"people": [(2, 60, 40)]}, "must rise"),
        ({"people": [(2, 3, 40)]}, "18 to 110"),
        ({"nights": 0}, "nights"),
        ({"nights": True}, "nights"),
        ({"hours": 0}, "hours"),
        ({"hours": float("nan")}, "hours"),
        ({"hours": "4"}, "hours"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_told_in_one_line(settings, message):
    with pytest.raises(TaskError, match=message) as caught:
        Simulated(**settings)
    assert "\n" not in str(caught.value)


def test_bad_channel_and_recording(dataset):
    recording = dataset.recordings()[0]
    with pytest.raises(DataError, match="no channel EEG Cz; there are EEG Fpz-Cz, "):
        dataset.read(recording, ["EEG Cz"])
    with pytest.raises(DataError, match="no channel is asked for"):
        dataset.read(recording, [])
    stranger = Simulated(people=[(1, 70, 70)]).recordings()[0]
    with pytest.raises(DataError, match="not a recording"):
        dataset.read(stranger)


# How hard the data are: band powers and logistic regression, on people never seen.


def _band_powers(signal: np.ndarray) -> np.ndarray:
    low, middle, high = np.percentile(signal, [25, 50, 75])
    windows = ((signal - middle) / (high - low)).reshape(-1, 100 * WINDOW_SECONDS)
    frequency, power = welch(windows, 100, nperseg=400)
    bands = ((0.5, 4), (4, 8), (8, 12), (12, 16), (16, 30))
    sums = [power[:, (frequency >= a) & (frequency < b)].sum(axis=1) for a, b in bands]
    powers = np.stack(sums, axis=1)
    return np.log(np.hstack([powers, powers / powers.sum(axis=1, keepdims=True)]))


def _heart_features(signal: np.ndarray) -> np.ndarray:
    peaks, _ = find_peaks(signal, height=0.45 * np.percentile(signal, 99.7), distance=40)
    intervals, window = np.diff(peaks) / 100, peaks[1:] // (100 * WINDOW_SECONDS)
    rows = []
    for index in range(len(signal) // (100 * WINDOW_SECONDS)):
        own = intervals[window == index]
        steps = np.diff(own)
        rows.append([60 / np.median(own), np.log(own.std()), np.log(np.sqrt(np.mean(steps**2)))])
    features = np.array(rows)
    return (features - np.median(features, axis=0)) / features.std(axis=0)


def _derived_powers(electrodes: Electrodes) -> dict[str, np.ndarray]:
    x = np.stack([electrodes.signal(name) for name in ELECTRODES])
    pairs = SCALP_PAIRS + EAR_PAIRS
    signals = derive(x, list(ELECTRODES), pairs, bads=electrodes.bads)
    return {pair.name: _band_powers(signal) for pair, signal in zip(pairs, signals, strict=True)}


@pytest.fixture(scope="module")
def cohorts():
    people = {"fit": (25, 59), "same": (25, 59), "old": (65, 79), "oldest": (80, 95)}
    dataset = Simulated(people=[(8, *ages) for ages in people.values()], hours=2.5, seed=3)
    nights = []
    for index, recording in enumerate(dataset.recordings()):
        channels = [*EEG, *EAR, "ECG"] if index < 16 else EEG
        stages, night = simulate_night(index, 1, recording.age or 0.0, 300, seed=3)
        signals = {name: night.channel(name) for name in channels}
        features = {name: _band_powers(signal) for name, signal in signals.items()}
        if index < 16:
            features |= _derived_powers(Electrodes(night))
        if "ECG" in signals:
            features["heart"] = _heart_features(signals["ECG"])
        nights.append((np.array([0, 1, 2, 3, 3, 5])[stages], features))
    return {name: nights[8 * i : 8 * i + 8] for i, name in enumerate(people)}


def _kappa(cohorts, views, test="same"):
    def table(nights):
        x = np.concatenate(
            [np.hstack([features[view] for view in views]) for _, features in nights]
        )
        return x, np.concatenate([stages for stages, _ in nights])

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(*table(cohorts["fit"]))
    scores = []
    for night in cohorts[test]:
        x, y = table([night])
        scores.append(cohen_kappa_score(y, model.predict(x)))
    return np.mean(scores)


def test_staging_from_the_scalp_falls_with_age(cohorts):
    same, old, oldest = (_kappa(cohorts, EEG, test) for test in ("same", "old", "oldest"))
    assert 0.58 < same < 0.8
    assert 0.42 < old < same - 0.04
    assert 0.3 < oldest < same - 0.1


def test_the_ear_is_worse_than_the_scalp_and_better_than_the_heart(cohorts):
    scalp, ear = _kappa(cohorts, EEG), _kappa(cohorts, EAR)
    heart = _kappa(cohorts, ["heart"])
    assert 0.4 < ear < scalp - 0.03
    assert 0.15 < heart < 0.42


def test_band_powers_of_the_electrocardiogram_tell_a_little(cohorts):
    assert 0.04 < _kappa(cohorts, ["ECG"]) < 0.4


def test_derivations_of_the_ear_tell_less_than_those_of_the_scalp(cohorts):
    scalp = _kappa(cohorts, [pair.name for pair in SCALP_PAIRS])
    ear = _kappa(cohorts, [pair.name for pair in EAR_PAIRS])
    assert 0.58 < scalp < 0.8
    assert 0.4 < ear < scalp - 0.1
    for pair in EAR_PAIRS[1:]:  # one ear by itself
        assert 0.15 < _kappa(cohorts, [pair.name]) < ear - 0.05
