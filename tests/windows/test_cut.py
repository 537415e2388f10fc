"""Cutting: held against Braindecode's own windows, and scaling against scikit-learn's."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler, RobustScaler

from sleepshift.datasets.base import LabelledWindows, Recording
from sleepshift.datasets.simulated import Simulated
from sleepshift.errors import DataError, TaskError
from sleepshift.windows import Derivation, Recipe, cut_recording, derive
from sleepshift.windows.cut import window_digests
from sleepshift.windows.scaling import CLIP, minmax_scale, robust_scale

W, S1, S2, S3, S4, R = (f"Sleep stage {stage}" for stage in "W1234R")
UNKNOWN, MOVEMENT = "Sleep stage ?", "Movement time"
RK6 = {W: 0, S1: 1, S2: 2, S3: 3, S4: 4, R: 5}


class Given(Simulated):
    """A dataset whose only recording is the one given."""

    def __init__(self, recording):
        super().__init__(people=[(1, 30, 30)])
        self.recording = recording

    def read(self, recording, channels=None):
        if isinstance(self.recording, LabelledWindows):
            return self.recording
        return self.recording.copy()


def make_raw(bouts, *, sfreq=100.0, seconds=None, n_channels=2, seed=0):
    """Noise, scored by (text, seconds) bouts one after the other."""
    lengths = [length for _, length in bouts]
    onsets = np.cumsum([0, *lengths[:-1]])
    n_times = round((sum(lengths) if seconds is None else seconds) * sfreq)
    x = 1e-5 * np.random.default_rng(seed).normal(size=(n_channels, n_times))
    names = [f"EEG {k}" for k in range(n_channels)]
    raw = mne.io.RawArray(x, mne.create_info(names, sfreq, "eeg"), verbose=False)
    annotations = mne.Annotations(onsets, lengths, [text for text, _ in bouts])
    return raw.set_annotations(annotations, emit_warning=False, verbose=False)


def cut(raw, *, sfreq=100.0, trim=None, scaling="none"):
    recipe = Recipe(channels=None, sfreq=sfreq, trim_wake_minutes=trim, scaling=scaling)
    return cut_recording(Given(raw), Recording(subject="0", session="1"), recipe)


def braindecode_windows(raw):
    """The windows that Braindecode's dataset itself gives, one by one."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    size = round(30 * raw.info["sfreq"])
    there = set(raw.annotations.description)
    concat = create_windows_from_events(
        BaseConcatDataset([RawDataset(raw.copy(), {})]),
        window_size_samples=size,
        window_stride_samples=size,
        on_last_window="drop",
        accepted_bads_ratio=1.0,
        mapping={text: code for text, code in RK6.items() if text in there},
        verbose="error",
    )
    x, y, where = zip(*(concat[k] for k in range(len(concat))), strict=True)
    return np.stack(x), list(y), [crop[1] for crop in where]


PLAIN = [(W, 300), (S1, 60), (S2, 120), (S3, 30), (S4, 90), (R, 60), (W, 300)]
NIGHTS = {
    "plain": (PLAIN, None),
    "a bout shorter than a window": ([(W, 90), (S2, 60), (S1, 10), (S2, 50), (R, 90)], None),
    "a bout of no whole number of windows": ([(W, 90), (S2, 100), (R, 75), (W, 95)], None),
    "movement and ? in the middle": (
        [(W, 90), (S2, 60), (MOVEMENT, 30), (S2, 60), (UNKNOWN, 90), (R, 90)],
        None,
    ),
    "scored past the end": ([(W, 90), (S2, 60), (R, 90), (UNKNOWN, 900)], 200.0),
    "ends in sleep, past the end": ([(W, 90), (S2, 600)], 301.5),
    "starts in sleep": ([(S2, 60), (W, 60)], None),
}


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS)
def test_windows_are_those_of_braindecode(night):
    bouts, seconds = night
    raw = make_raw(bouts, seconds=seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Braindecode warns that it drops a short bout
        x, y, starts = braindecode_windows(raw)
    done = cut(raw).windows
    np.testing.assert_array_equal(done.x, x)
    assert done.y.tolist() == y
    np.testing.assert_allclose(done.onset, np.array(starts) / 100)
    assert (done.x.dtype, done.y.dtype) == (np.float32, np.int64)
    assert done.ch_names == ("EEG 0", "EEG 1")


@pytest.mark.parametrize("night", NIGHTS.values(), ids=NIGHTS)
def test_windows_are_where_the_scorer_put_them(night):
    """By hand: whole windows from the start of each bout, as far as the recording goes."""
    bouts, seconds = night
    raw = make_raw(bouts, seconds=seconds)
    onsets, y, begin = [], [], 0
    for text, length in bouts:
        end = min(begin + length, raw.n_times / 100)
        inside = np.arange(begin, end - 30 + 1e-9, 30) if text in RK6 else []
        onsets += list(inside)
        y += [RK6.get(text)] * len(inside)
        begin += length
    done = cut(raw).windows
    assert done.onset.tolist() == onsets
    assert done.y.tolist() == y
    for onset, window in zip(onsets, done.x, strict=True):
        first = round(onset * 100)
        expected = raw.get_data(start=first, stop=first + 3000).astype(np.float32)
        np.testing.assert_array_equal(window, expected)


def test_a_simulated_night_is_cut_as_braindecode_cuts_it():
    dataset = Simulated(people=[(1, 70, 70)], hours=0.5, seed=2)
    (recording,) = dataset.recordings()
    channels = ("EEG Pz-Oz", "EEG Fpz-Cz")
    x, y, starts = braindecode_windows(dataset.read(recording, channels))
    recipe = Recipe(channels=channels, sfreq=None, trim_wake_minutes=None, scaling="none")
    done = cut_recording(dataset, recording, recipe).windows
    np.testing.assert_array_equal(done.x, x)
    assert done.y.tolist() == y
    assert (done.onset * 100).tolist() == starts
    assert done.ch_names == channels


# ---------------------------------------------------------------------- trimming wake


@pytest.mark.parametrize("minutes", [0, 0.5, 2, 3.5, 5, 60])
def test_wake_is_kept_for_exactly_so_many_minutes(minutes):
    raw = make_raw([(W, 300), (S2, 120), (W, 120), (R, 60), (W, 240)])
    everything, done = cut(raw).windows, cut(raw, trim=minutes).windows
    kept = (everything.onset >= 300 - 60 * minutes) & (everything.onset < 600 + 60 * minutes)
    assert done.onset.tolist() == everything.onset[kept].tolist()
    assert done.y.tolist() == everything.y[kept].tolist()
    np.testing.assert_array_equal(done.x, everything.x[kept])


@given(
    lengths=st.lists(st.integers(1, 8), min_size=3, max_size=6),
    extra=st.integers(0, 3000),
    minutes=st.sampled_from([0, 1, 1.5, 30]),
    sfreq=st.sampled_from([100.0, 125.0, 128.0]),
)
@settings(max_examples=25, deadline=None)
def test_no_window_is_lost_at_the_ends(lengths, extra, minutes, sfreq):
    stages = [W, S2, R, S1, S3, W][: len(lengths)]
    bouts = [(s, 30 * n) for s, n in zip(stages, lengths, strict=True)]
    total = 30 * sum(lengths)
    raw = make_raw(bouts, sfreq=sfreq, seconds=total + extra / sfreq, n_channels=1)
    done = cut(raw, sfreq=sfreq, trim=minutes).windows
    asleep = [k for k, stage in enumerate(stages) if stage != W]
    first = 30 * sum(lengths[: asleep[0]]) - 60 * minutes
    last = 30 * sum(lengths[: asleep[-1] + 1]) + 60 * minutes
    expected = np.arange(max(first, 0), min(last, total), 30)
    np.testing.assert_allclose(done.onset, expected, atol=1e-9)


def test_a_night_that_ends_at_an_awkward_sample_is_trimmed():
    """MNE refuses 600.07 s as the end of 60007 samples, by rounding."""
    raw = make_raw([(W, 300), (S2, 300.07)], seconds=600.07)
    assert raw.n_times == 60007
    assert cut(raw, trim=1).windows.y.tolist() == [0, 0] + [2] * 10


def test_onsets_count_from_the_start_of_the_original_recording():
    raw = make_raw([(W, 600), (S2, 90), (W, 600)], sfreq=200.0)
    for rate in (200.0, 100.0, 128.0):
        done = cut(raw, sfreq=rate, trim=1).windows
        np.testing.assert_allclose(done.onset, np.arange(540, 750, 30), atol=1e-9)


def test_onsets_do_not_count_what_came_before_the_recording():
    """A raw that was cropped when it was saved has a first sample of its own."""
    raw = make_raw([(W, 600), (S2, 90), (W, 600)]).crop(tmin=300)
    assert raw.first_samp == 30000
    for trim, first in ((None, 0), (1, 240)):
        onset = cut(raw, trim=trim).windows.onset
        np.testing.assert_allclose(onset[:2], [first, first + 30], atol=1e-9)


# ---------------------------------------------------------------------- what is refused


def test_a_night_without_sleep_is_refused():
    for bouts in ([(W, 300)], [(W, 60), (MOVEMENT, 60), (UNKNOWN, 60)]):
        with pytest.raises(DataError, match="no scored sleep"):
            cut(make_raw(bouts), trim=30)


def test_an_unknown_stage_is_named():
    with pytest.raises(DataError, match="unknown stage 'Sleep stage 5' in the scoring"):
        cut(make_raw([(W, 60), (S2, 60), ("Sleep stage 5", 30)]))


def test_sleep_in_bouts_too_short_for_a_window_is_refused():
    with pytest.raises(DataError, match="no scored bout is as long as a window"):
        cut(make_raw([(W, 300), (S2, 20), (W, 300)]), trim=0)


def test_time_scored_twice_is_refused():
    raw = make_raw(PLAIN)
    raw.set_annotations(mne.Annotations([0, 60], [120, 120], [W, S2]))
    with pytest.raises(DataError, match="subject 0 session 1: the scoring cannot be cut"):
        cut(raw)


def test_a_channel_without_any_finite_value_is_named():
    raw = make_raw(PLAIN)
    raw._data[1] = np.nan
    with pytest.raises(DataError, match="channel 'EEG 1' holds no finite value"):
        cut(raw)


@pytest.mark.parametrize("scaling", ["robust", "none"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_windows_with_gaps_are_counted_and_made_finite(value, scaling):
    raw = make_raw([(W, 60), (S2, 540)])
    raw._data[0, 7000:10000] = value  # the end of window 2 and the start of window 3
    done = cut(raw, scaling=scaling)
    assert np.flatnonzero(done.nan).tolist() == [2, 3]
    assert np.isfinite(done.windows.x).all()
    gap = done.windows.x[2, 0, 1000:]
    assert (gap == 0).all()


def test_a_gap_does_not_change_how_the_rest_is_scaled():
    whole, holed = make_raw([(W, 60), (S2, 540)]), make_raw([(W, 60), (S2, 540)])
    holed._data[0, :30000] = np.inf  # half the night: quantiles over it would be infinite
    own = whole.get_data()[0, 30000:].astype(np.float32)
    low, median, high = np.percentile(own, [25, 50, 75])
    got = cut(holed, scaling="robust").windows.x[10:, 0].ravel()
    np.testing.assert_allclose(got, (own - median) / (high - low), rtol=1e-4, atol=1e-4)


def test_flat_windows_are_found_before_scaling_and_clipping():
    raw = make_raw([(W, 60), (S2, 240)])
    raw._data[1, 3000:6000] = 4e-5
    assert np.flatnonzero(cut(raw, scaling="robust").flat).tolist() == [1]


# ---------------------------------------------------------------------- rates


class Rescored(Given):
    """A recording that a second scorer looked at."""

    def __init__(self, recording, second):
        super().__init__(recording)
        self.second = second

    def second_scoring(self, recording):
        return self.second


@pytest.mark.parametrize("first", [0.0, 12.0])
def test_a_second_scorer_is_read_at_the_middle_of_each_window(first):
    raw = make_raw([(W, 60), (S2, 90), (R, 60)])
    if first:  # as a file that was cropped has it
        raw.crop(first, None)
        raw = mne.io.RawArray(
            raw.get_data(), raw.info, first_samp=round(first * 100), verbose=False
        ).set_annotations(mne.Annotations([0, 48, 138], [48, 90, 60], [W, S2, R]))
    # Nobody scored the last 30 s, and the second scorer's bouts start 10 s later.
    second = mne.Annotations([10.0, 70.0 - first], [60.0 - first, 100.0], [W, S1])
    recipe = Recipe(channels=None, sfreq=None, trim_wake_minutes=None, scaling="none")
    cut = cut_recording(Rescored(raw, second), Recording(subject="0", session="1"), recipe)
    middle = cut.windows.onset + 15
    expected = np.where(middle < 10, -1, np.where(middle < 70 - first, 0, 1))
    expected[middle >= 170 - first] = -1
    assert cut.windows.second.tolist() == expected.tolist()
    assert {-1, 1} <= set(expected)


def test_stages_of_a_second_scorer_that_nobody_knows_are_named():
    second = mne.Annotations([0.0], [60.0], ["Sleep stage 9"])
    recipe = Recipe(channels=None, sfreq=None, trim_wake_minutes=None, scaling="none")
    with pytest.raises(DataError, match="unknown stage 'Sleep stage 9'"):
        cut_recording(
            Rescored(make_raw(PLAIN), second), Recording(subject="0", session="1"), recipe
        )


def test_resampling_keeps_the_signal_and_the_stages():
    raw = make_raw(PLAIN, sfreq=256.0)
    t = raw.times
    raw._data[:] = 1e-5 * np.sin(2 * np.pi * 3 * t)
    done = cut(raw, sfreq=100.0).windows
    assert done.sfreq == 100.0
    assert done.x.shape == (32, 2, 3000)
    assert done.y.tolist() == cut(raw, sfreq=None).windows.y.tolist()
    for onset, window in zip(done.onset[2:-2], done.x[2:-2], strict=True):
        expected = 1e-5 * np.sin(2 * np.pi * 3 * (onset + np.arange(3000) / 100))
        np.testing.assert_allclose(window[0], expected, atol=2e-7)


@pytest.mark.parametrize("rate", [3000 / 31, 3000 / 29, 99.5])
def test_a_rate_that_is_no_whole_number_is_not_resampled(rate):
    """A damaged record length makes MNE report 96.8 Hz instead of 100, and warps the night."""
    raw = make_raw(PLAIN, sfreq=rate)
    with pytest.raises(DataError, match="not a whole number, and the task wants 100 Hz"):
        cut(raw, sfreq=100.0)


def test_a_rate_below_1_hz_is_not_resampled(monkeypatch):
    """A damaged record length of a day would ask for more memory than there is."""
    monkeypatch.setattr("mne.io.BaseRaw.resample", None)
    with pytest.raises(DataError, match=r"gives 0\.0001 Hz, not a whole number"):
        cut(make_raw(PLAIN, sfreq=1e-4, seconds=1e6), sfreq=100.0)


def test_gaps_are_not_smeared_by_resampling():
    raw = make_raw(PLAIN, sfreq=200.0)
    raw._data[1, 40000] = np.nan
    assert cut(raw, sfreq=200.0).nan.sum() == 1
    with pytest.raises(DataError, match=r"'EEG 1' has gaps .* cannot be resampled"):
        cut(raw, sfreq=100.0)


def test_windows_that_come_cut_must_have_the_rate_of_the_task():
    given_windows = LabelledWindows(
        x=np.random.default_rng(0).normal(size=(3, 1, 300)).astype(np.float32),
        y=np.array([0, 1, 2]), onset=None, ch_names=("a",), sfreq=10.0,
    )  # fmt: skip
    assert cut(given_windows, sfreq=10.0).windows.y.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"windows at 10.0 Hz, but the task wants 100.0 Hz"):
        cut(given_windows, sfreq=100.0)


@pytest.mark.parametrize("scaling", ["robust", "none"])
def test_double_precision_windows_become_single(scaling):
    given_windows = LabelledWindows(
        x=np.random.default_rng(0).normal(size=(3, 1, 300)), y=np.array([0, 1, 2]),
        onset=None, ch_names=("a",), sfreq=10.0,
    )  # fmt: skip
    assert cut(given_windows, sfreq=None, scaling=scaling).windows.x.dtype == np.float32


def test_one_feature_a_channel_is_not_flat():
    features = LabelledWindows(
        x=np.arange(6, dtype=np.float32).reshape(3, 2, 1), y=np.array([0, 1, 2]),
        onset=None, ch_names=("a", "b"), sfreq=None,
    )  # fmt: skip
    assert not cut(features, sfreq=None).flat.any()


def test_no_window_at_all_is_refused():
    empty = LabelledWindows(
        x=np.zeros((0, 1, 300), np.float32), y=np.zeros(0, int), onset=None,
        ch_names=("a",), sfreq=10.0,
    )  # fmt: skip
    with pytest.raises(DataError, match="no scored window"):
        cut(empty, sfreq=10.0)


# ---------------------------------------------------------------------- scaling


def test_scaling_is_scikit_learns_robust_scaler_clipped():
    rng = np.random.default_rng(3)
    x = (rng.standard_t(2, size=(20, 2, 50)) * [[[3e-5], [40.0]]] + 7e-5).astype(np.float32)
    samples = x.transpose(0, 2, 1).reshape(-1, 2)
    expected = RobustScaler().fit_transform(samples.astype(np.float64)).clip(-CLIP, CLIP)
    got = robust_scale(x).transpose(0, 2, 1).reshape(-1, 2)
    assert (np.abs(got) == CLIP).any()  # heavy tails do reach the limit
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert got.dtype == np.float32


def test_features_are_scaled_each_by_itself():
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(30, 2, 4)) * [1, 10, 100, 1000]).astype(np.float32)
    expected = RobustScaler().fit_transform(x.reshape(30, 8)).reshape(30, 2, 4)
    np.testing.assert_allclose(robust_scale(x, per_feature=True), expected, rtol=1e-4, atol=1e-4)


def test_a_channel_without_spread_is_only_centred():
    x = np.random.default_rng(0).normal(size=(5, 2, 40)).astype(np.float32)
    x[:, 1] = 7.0
    scaled = robust_scale(x)
    assert (scaled[:, 1] == 0).all()
    assert np.isfinite(scaled).all()
    x[0, 1, 0] = 8.0  # one blip on a dead channel: no spread still, and no division by zero
    assert robust_scale(x)[0, 1, 0] == 1.0


@given(st.floats(1e-6, 1e3), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_scaling_takes_gain_away(gain, shift):
    x = np.random.default_rng(0).normal(size=(4, 1, 30)).astype(np.float32)
    other = (x * np.float32(gain) + np.float32(shift * gain)).astype(np.float32)
    np.testing.assert_allclose(robust_scale(other), robust_scale(x), atol=1e-4)


def test_the_scaling_of_a_recording_leaves_what_was_read_as_it_was():
    raw = make_raw(PLAIN)
    before = cut(raw).windows.x.copy()
    cut(raw, scaling="robust")
    np.testing.assert_array_equal(cut(raw).windows.x, before)


def test_digests_find_copies_only():
    x = np.random.default_rng(0).normal(size=(6, 1, 30)).astype(np.float32)
    x[4] = x[1]
    digests = window_digests(x)
    assert digests.dtype == np.uint64
    assert digests[4] == digests[1]
    assert len(set(digests.tolist())) == 5
    x[4, 0, 0] = np.nextafter(x[4, 0, 0], np.float32(9))
    assert window_digests(x)[4] != digests[1]


# ---------------------------------------------------------------------- derivations


class Picked(Given):
    """Gives the channels asked for, and remembers which they were."""

    def read(self, recording, channels=None):
        self.asked = channels
        if isinstance(self.recording, LabelledWindows):
            picks = [self.recording.ch_names.index(name) for name in channels]
            fields = {"x": self.recording.x[:, picks], "ch_names": tuple(channels)}
            return LabelledWindows(**{**self.recording.__dict__, **fields})
        return self.recording.copy().pick(list(channels))


PAIR = Derivation("0-2", ("EEG 0",), ("EEG 2",))
MEANS = Derivation("01-23", ("EEG 0", "EEG 1"), ("EEG 2", "EEG 3"))


def derived(source, channels, *, sfreq=None, trim=None, scaling="none", empty="raise"):
    recipe = Recipe(
        channels=channels, sfreq=sfreq, trim_wake_minutes=trim, scaling=scaling,
        derivations=(PAIR, MEANS), empty_derivation=empty,
    )  # fmt: skip
    return cut_recording(Picked(source), Recording(subject="0", session="1"), recipe)


@pytest.mark.parametrize("settings", [{}, {"trim": 1}, {"sfreq": 50.0}, {"scaling": "robust"}])
@pytest.mark.parametrize("began", [None, datetime(2020, 1, 1, 23, tzinfo=UTC)])
@pytest.mark.parametrize("cropped", [False, True])
def test_a_pair_is_cut_like_the_bipolar_channel_that_mne_makes(settings, began, cropped):
    raw = make_raw([(W, 600), (S2, 90), (S1, 10), (R, 200), (W, 600)], n_channels=4)
    raw.set_meas_date(began)
    if cropped:
        raw.crop(tmin=300)
    expected = cut(
        mne.set_bipolar_reference(raw, "EEG 0", "EEG 2", ch_name="0-2", verbose=False).pick(
            ["0-2"]
        ),
        **{"sfreq": None, **settings},
    )
    got = derived(raw, ("0-2",), **settings)
    np.testing.assert_array_equal(got.windows.x, expected.windows.x)
    np.testing.assert_array_equal(got.windows.onset, expected.windows.onset)
    np.testing.assert_array_equal(got.digests, expected.digests)
    assert got.windows.y.tolist() == expected.windows.y.tolist()
    assert got.windows.sfreq == expected.windows.sfreq
    assert got.windows.ch_names == ("0-2",)


def test_channels_and_derivations_come_in_the_order_asked():
    raw = make_raw(PLAIN, n_channels=4)
    names = ("EEG 3", "01-23", "EEG 0", "0-2")
    windows = derived(raw, names).windows
    assert windows.ch_names == names
    a, b, c, d = cut(raw).windows.x.transpose(1, 0, 2).astype(np.float64)
    expected = np.stack([d, (a + b - c - d) / 2, a, a - c], axis=1)
    np.testing.assert_allclose(windows.x, expected, rtol=1e-5, atol=1e-11)


def test_each_electrode_is_read_once_and_no_other():
    source = make_raw(PLAIN, n_channels=6)
    for channels, electrodes in (
        (("0-2",), ("EEG 0", "EEG 2")),
        (("EEG 5", "01-23", "0-2"), ("EEG 5", "EEG 0", "EEG 1", "EEG 2", "EEG 3")),
        (("EEG 5", "EEG 4"), ("EEG 5", "EEG 4")),
    ):
        recipe = Recipe(
            channels=channels, sfreq=None, trim_wake_minutes=None, scaling="none",
            derivations=(MEANS, PAIR),
        )  # fmt: skip
        dataset = Picked(source)
        cut_recording(dataset, Recording(subject="0", session="1"), recipe)
        assert tuple(dataset.asked) == electrodes


@pytest.mark.parametrize("sfreq", [100.0, 50.0])
@pytest.mark.parametrize("held", [np.nan, 1.0])
def test_bad_electrodes_take_no_part_whatever_they_hold(sfreq, held):
    raw = make_raw(PLAIN, n_channels=4)
    without = Derivation("01-23", ("EEG 1",), ("EEG 2", "EEG 3"))
    recipe = Recipe(
        channels=("01-23",), sfreq=sfreq, trim_wake_minutes=None, scaling="none",
        derivations=(without,),
    )  # fmt: skip
    expected = cut_recording(Picked(raw), Recording(subject="0", session="1"), recipe)
    raw._data[0] = held
    raw.info["bads"] = ["EEG 0"]
    got = derived(raw, ("01-23",), sfreq=sfreq)
    np.testing.assert_array_equal(got.windows.x, expected.windows.x)
    assert not got.nan.any()


def test_gaps_of_an_electrode_that_is_not_bad_are_counted():
    raw = make_raw(PLAIN, n_channels=4)
    raw._data[2, 40000] = np.nan
    assert np.flatnonzero(derived(raw, ("0-2", "EEG 1")).nan).tolist() == [13]
    with pytest.raises(DataError, match="channel '0-2' has gaps"):
        derived(raw, ("0-2",), sfreq=50.0)


def test_a_derivation_that_lost_its_electrodes_is_refused_or_zero():
    raw = make_raw(PLAIN, n_channels=4)
    raw.info["bads"] = ["EEG 0"]
    with pytest.raises(DataError, match="subject 0 session 1: derivation '0-2': every electrode"):
        derived(raw, ("0-2", "01-23"))
    for scaling in ("none", "robust"):
        done = derived(raw, ("0-2", "01-23"), empty="zeros", scaling=scaling)
        assert (done.windows.x[:, 0] == 0).all()
        assert (done.windows.x[:, 1].std(axis=1) > 0).all()
        assert not done.flat.any()  # zeros by rule are no dead signal
    with pytest.raises(DataError, match="subject 0 session 1: no derivation has electrodes left"):
        derived(raw, ("0-2",), empty="zeros")
    raw._data[1:, 3000:6000] = 0
    assert np.flatnonzero(derived(raw, ("0-2", "01-23"), empty="zeros").flat).tolist() == [1]


def test_windows_that_come_cut_are_derived_and_features_are_not():
    x = np.random.default_rng(0).normal(size=(5, 4, 300)).astype(np.float32)
    names = tuple(f"EEG {k}" for k in range(4))
    source = LabelledWindows(x=x, y=np.arange(5), onset=None, ch_names=names, sfreq=10.0)
    windows = derived(source, ("EEG 3", "01-23", "0-2")).windows
    assert windows.ch_names == ("EEG 3", "01-23", "0-2")
    np.testing.assert_array_equal(windows.x[:, 0], x[:, 3])
    np.testing.assert_array_equal(windows.x[:, 1:], derive(x, names, [MEANS, PAIR]))
    assert windows.y.tolist() == [0, 1, 2, 3, 4]
    features = LabelledWindows(**{**source.__dict__, "sfreq": None})
    with pytest.raises(DataError, match="subject 0 session 1 holds features; only signals"):
        derived(features, ("0-2",))
    assert derived(features, ("EEG 3",)).windows.ch_names == ("EEG 3",)


def test_recipes_without_derivations_are_written_as_ever():
    plain = {"channels": ("a",), "sfreq": 50.0, "trim_wake_minutes": None, "scaling": "none"}
    assert Recipe(**plain).plain() == {**plain, "window_seconds": 30.0, "clip": 20.0}
    more = Recipe(**plain, derivations=(PAIR,)).plain()
    assert more["derivations"] == ({"name": "0-2", "plus": ("EEG 0",), "minus": ("EEG 2",)},)
    assert more["empty_derivation"] == "raise"


def test_a_recipe_that_makes_no_sense_is_one_line():
    plain = {"sfreq": None, "trim_wake_minutes": None, "scaling": "none"}
    with pytest.raises(TaskError, match="must name its channels"):
        Recipe(channels=None, derivations=(PAIR,), **plain)
    with pytest.raises(TaskError, match="two derivations '0-2'"):
        Recipe(channels=("0-2",), derivations=(PAIR, PAIR), **plain)


class Rated(Given):
    """Scored in epochs of 20 s, as Rechtschaffen and Kales were often used."""

    def epoch_seconds(self, recording):
        return 20.0


def cut_short(bouts, **settings):
    recipe = Recipe(channels=None, sfreq=100.0, trim_wake_minutes=None, scaling="none")
    raw = make_raw(bouts, **settings)
    return raw, cut_recording(Rated(raw), Recording(subject="0", session="1"), recipe).windows


def test_an_epoch_of_20_s_is_the_middle_of_a_window_and_the_first_and_last_have_none():
    raw, windows = cut_short([(W, 40), (S2, 60), (R, 20), (S3, 20)])
    assert windows.y.tolist() == [0, 2, 2, 2, 5]  # 7 epochs, without the first and the last
    assert windows.onset.tolist() == [15, 35, 55, 75, 95]
    signals = raw.get_data()
    for x, onset in zip(windows.x, windows.onset, strict=True):
        start = round(onset * 100)
        np.testing.assert_array_equal(x, signals[:, start : start + 3000].astype(np.float32))


def test_movement_takes_no_window_but_stays_around_others():
    _, windows = cut_short([(W, 40), (MOVEMENT, 20), (S2, 60)])
    assert windows.y.tolist() == [0, 2, 2]
    assert windows.onset.tolist() == [15, 55, 75]


def test_an_epoch_of_20_s_without_room_around_it_is_refused():
    with pytest.raises(DataError, match="no scored epoch of 20 s has a window around it"):
        cut_short([(S2, 20)])


def test_minmax_scaling_is_scikit_learns_window_by_window():
    x = cut(make_raw(PLAIN), scaling="none").windows.x
    scaled = cut(make_raw(PLAIN), scaling="window-minmax").windows.x
    for window, got in zip(x, scaled, strict=True):
        want = MinMaxScaler().fit_transform(window.T.astype(np.float64)).T
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_minmax_scaling_passes_over_gaps_and_flat_windows():
    x = np.array([[[np.nan, 1, 3, 2]], [[5, 5, 5, 5]], [[np.nan] * 4]], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = minmax_scale(x)
    np.testing.assert_array_equal(scaled[0, 0], [np.nan, 0, 1, 0.5])
    np.testing.assert_array_equal(scaled[1, 0], 0)
    assert np.isnan(scaled[2]).all()
