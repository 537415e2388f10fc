"""Sleep statistics against YASA's, limits of agreement against their definition."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.leaderboard.sleep import (
    SCORED,
    agreement,
    covers_the_night,
    hypnogram,
    limits_of_agreement,
    sleep_statistics,
    windows_of_slots,
)
from sleepshift.stages import get_scheme

YASA = {
    "time_in_bed": "TIB", "total_sleep_time": "TST", "sleep_efficiency": "SE",
    "sleep_latency": "SOL", "waso": "WASO",
}  # fmt: skip
YASA_STAGES = {
    "aasm5": ["WAKE", "N1", "N2", "N3", "REM"],
    "stages4": ["WAKE", "LIGHT", "DEEP", "REM"],
    "stages3": ["WAKE", "NREM", "REM"],
}
nan = float("nan")

#: Hypnograms, and TIB, TST, SE, SOL, WASO and minutes of each stage that YASA 0.8.1 computes of
#: them (`yasa.Hypnogram(...).sleep_statistics()`, slots without a stage written "UNS").
NIGHTS = {
    "ordinary": (
        "aasm5", [0, 0, 0, 1, 1, 2, 2, 3, 3, 0, 2, 2, 4, 4, 0, 1, 2, 2, 0, 0],
        [10.0, 6.5, 65.0, 1.5, 1.0, 3.5, 1.5, 3.0, 1.0, 1.0],
    ),
    "unscored inside": (
        "aasm5", [0, 1, 2, -1, -1, 2, 0, -1, 3, 4, 0, 0],
        [6.0, 2.5, 41.6667, 0.5, 0.5, 2.0, 0.5, 1.0, 0.5, 0.5],
    ),
    "unscored at the ends": (
        "aasm5", [-1, -1, 0, 1, 2, 2, 0, 4, -1],
        [4.5, 2.0, 44.4444, 1.5, 0.5, 1.0, 0.5, 1.0, 0.0, 0.5],
    ),
    "unscored before the first sleep": (
        "aasm5", [0, -1, -1, 2, 0, 2, -1], [3.5, 1.0, 28.5714, 1.5, 0.5, 1.0, 0.0, 1.0, 0.0, 0.0],
    ),
    "all wake": ("aasm5", [0] * 10, [5.0, 0.0, 0.0, nan, nan, 5.0, 0.0, 0.0, 0.0, 0.0]),
    "all sleep": (
        "aasm5", [1, 2, 2, 3, 3, 4, 4], [3.5, 3.5, 100.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0],
    ),
    "sleep at the very end": (
        "aasm5", [0, 0, 0, 0, 0, 2], [3.0, 0.5, 16.6667, 2.5, 0.0, 2.5, 0.0, 0.5, 0.0, 0.0],
    ),
    "sleep at the very start": (
        "aasm5", [2, 0, 0, 0], [2.0, 0.5, 25.0, 0.0, 0.0, 1.5, 0.0, 0.5, 0.0, 0.0],
    ),
    "one window of wake": ("aasm5", [0], [0.5, 0.0, 0.0, nan, nan, 0.5, 0.0, 0.0, 0.0, 0.0]),
    "one window of sleep": ("aasm5", [3], [0.5, 0.5, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0]),
    "nothing scored": (
        "aasm5", [-1, -1, -1], [1.5, 0.0, 0.0, nan, nan, 0.0, 0.0, 0.0, 0.0, 0.0],
    ),
    "no sleep but unscored": (
        "aasm5", [0, -1, 0, 0], [2.0, 0.0, 0.0, nan, nan, 1.5, 0.0, 0.0, 0.0, 0.0],
    ),
    "four stages": (
        "stages4", [0, 1, 1, 2, 0, 3, -1, 1, 0], [4.5, 2.5, 55.5556, 0.5, 0.5, 1.5, 1.5, 0.5, 0.5],
    ),
    "three stages": (
        "stages3", [0, 0, 1, 1, 0, -1, 2, 2, 0, 0], [5.0, 2.0, 40.0, 1.0, 0.5, 2.5, 1.0, 1.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("scheme", "stages", "expected"), NIGHTS.values(), ids=NIGHTS)
def test_sleep_statistics_are_yasas(scheme: str, stages: list, expected: list) -> None:
    found = sleep_statistics(np.array(stages), get_scheme(scheme).stages)
    names = [*YASA, *(f"minutes_{stage}" for stage in get_scheme(scheme).stages)]
    assert list(found) == names
    assert list(found.values()) == pytest.approx(expected, abs=5e-5, nan_ok=True)
    assert {type(value) for value in found.values()} == {float}


@pytest.mark.parametrize("scheme", YASA_STAGES)
def test_sleep_statistics_of_random_nights_are_yasas(scheme: str) -> None:
    yasa = pytest.importorskip("yasa", reason="YASA is not installed")
    names, rng = YASA_STAGES[scheme], np.random.default_rng(0)
    for _ in range(20):
        stages = rng.integers(-1, len(names), rng.integers(1, 200))
        labels = ["UNS" if code < 0 else names[code] for code in stages]
        made = yasa.Hypnogram(labels, n_stages=len(names)).sleep_statistics()
        expected = [float(made[name]) for name in (*YASA.values(), *names)]
        found = sleep_statistics(stages, get_scheme(scheme).stages)
        assert list(found.values()) == pytest.approx(expected, abs=5e-5, nan_ok=True)


def test_without_order_nothing_is_said_of_latency() -> None:
    stages = np.array([2, 0, 1, 0])
    with_order, without = (
        sleep_statistics(stages, ("W", "NREM", "R"), ordered=ordered) for ordered in (True, False)
    )
    assert np.isnan([without["sleep_latency"], without["waso"]]).all()
    same = [name for name in with_order if name not in ("sleep_latency", "waso")]
    assert [with_order[name] for name in same] == [without[name] for name in same]


def test_no_windows_are_no_night() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sleep_statistics(np.array([], dtype=int), ("W", "N3"))
    assert found["time_in_bed"] == found["total_sleep_time"] == found["minutes_W"] == 0
    assert np.isnan([found["sleep_efficiency"], found["waso"]]).all()


def test_schemes_that_leave_stages_out_have_no_night() -> None:
    covering = {"rk6": True, "aasm5": True, "stages4": True, "stages3": True, "wake-deep": False}
    assert {scheme: covers_the_night(scheme) for scheme in covering} == covering


# ---------------------------------------------------------------------- slots


@given(st.sets(st.integers(0, 300), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_a_hypnogram_has_every_window_in_its_slot(places: set[int], random) -> None:
    windows = list(places)
    random.shuffle(windows)
    stages = np.array([place % 5 for place in windows])
    grid = hypnogram(1234.5 + 30.0 * np.array(windows), stages)
    first = min(windows)
    assert len(grid) == max(windows) - first + 1
    for place in range(len(grid)):
        assert grid[place] == ((place + first) % 5 if place + first in places else -1)


@given(st.lists(st.floats(30, 200), max_size=40))
def test_bouts_that_are_no_whole_number_of_slots_share_none(steps: list[float]) -> None:
    onset = np.cumsum([7.0, *steps])
    windows = windows_of_slots(onset)
    slots = np.flatnonzero(windows >= 0)
    np.testing.assert_array_equal(windows[slots], np.arange(len(onset)))
    assert slots[0] == 0
    assert (np.diff(slots) >= 1).all()
    # No slot runs ahead of its window by more than the rounding that came before it.
    assert (np.abs(slots - (onset - onset[0]) / 30) <= 0.5 + 1e-9).all()
    stages = np.arange(len(onset)) % 5
    grid = hypnogram(onset, stages)
    np.testing.assert_array_equal(grid[grid >= 0], stages)


@given(st.lists(st.integers(0, 4), min_size=9, max_size=60))
def test_epochs_of_20_s_make_no_night_longer(epochs: list[int]) -> None:
    """Each slot of 30 s has an epoch that begins within 10 s of it, and none is made up."""
    onset = 15 + 20.0 * np.arange(len(epochs))
    grid = hypnogram(onset, np.array(epochs))
    assert len(grid) == round((len(epochs) - 1) * 20 / 30) + 1
    for slot, stage in enumerate(grid):
        near = {epochs[k] for k in range(len(epochs)) if abs(20 * k - 30 * slot) <= 10}
        assert stage in near


def test_a_pause_among_epochs_of_20_s_is_one() -> None:
    onset = np.array([0, 20, 40, 60, 180, 200, 220, 240.0])
    assert hypnogram(onset, np.arange(8) % 5).tolist() == [0, 1, 3, -1, -1, -1, 4, 0, 2]


# ---------------------------------------------------------------------- limits of agreement


def limits(values: list[list[float]]) -> dict[str, float]:
    """Of people with any number of differences each."""
    frame = pd.DataFrame(
        [(str(k), value) for k, own in enumerate(values) for value in own],
        columns=["subject", "difference"],
    )
    return limits_of_agreement(frame["difference"], frame["subject"])


def test_one_night_each_is_the_mean_and_196_deviations() -> None:
    values = np.random.default_rng(0).normal(2, 5, 12)
    found = limits([[value] for value in values])
    assert found["bias"] == pytest.approx(values.mean())
    spread = 1.96 * values.std(ddof=1)
    assert found["limit_low"] == pytest.approx(values.mean() - spread)
    assert found["limit_high"] == pytest.approx(values.mean() + spread)
    assert found["bias_low"] < found["bias"] < found["bias_high"]


def test_repeated_nights_by_hand() -> None:
    """Bland and Altman (2007), section 3: variance between people plus variance within."""
    values = [[1.0, 3.0], [5.0, 5.0, 8.0], [2.0]]
    each = [2.0, 6.0, 2.0]
    within = (1 + 1 + 1 + 1 + 4) / (6 - 3)
    grand = 24 / 6
    between = (2 * (2 - grand) ** 2 + 3 * (6 - grand) ** 2 + (2 - grand) ** 2) / 2
    m = (6**2 - (4 + 9 + 1)) / (2 * 6)
    spread = np.sqrt((between - within) / m + within)
    found = limits(values)
    assert found["bias"] == pytest.approx(np.mean(each))
    assert found["limit_high"] - found["bias"] == pytest.approx(1.96 * spread)
    assert found["bias"] - found["limit_low"] == pytest.approx(1.96 * spread)


def test_people_who_differ_less_than_their_nights_have_no_negative_variance() -> None:
    found = limits([[-5.0, 5.0], [-5.0, 5.0], [-4.0, 4.0]])
    within = (50 + 50 + 32) / 3
    assert found["limit_high"] == pytest.approx(1.96 * np.sqrt(within))


def test_one_person_has_a_bias_and_no_limits() -> None:
    found = limits([[1.0, 3.0]])
    assert found["bias"] == 2
    assert np.isnan([found[k] for k in ("bias_low", "limit_low", "limit_high")]).all()


@pytest.mark.parametrize("unequal", [False, True], ids=["equal", "unequal"])
def test_limits_hold_95_percent_of_new_nights_of_new_people(unequal: bool) -> None:
    rng = np.random.default_rng(0)
    between, within, shift, n_people = 8.0, 5.0, 3.0, 60
    held, widths, biases = [], [], []
    for _ in range(60):
        sizes = rng.integers(1, 6, n_people) if unequal else np.full(n_people, 3)
        people = rng.normal(shift, between, n_people)
        found = limits(
            [rng.normal(mean, within, n).tolist() for mean, n in zip(people, sizes, strict=True)]
        )
        new = rng.normal(shift, between, 500) + rng.normal(0, within, 500)
        held.append(((new > found["limit_low"]) & (new < found["limit_high"])).mean())
        widths.append(found["limit_high"] - found["limit_low"])
        biases.append(found["bias_low"] < shift < found["bias_high"])
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * np.hypot(between, within), rel=0.03)
    assert np.mean(biases) > 0.85


def test_nights_predicted_by_several_seeds_do_not_make_limits_narrow() -> None:
    """Seeds of one night repeat its error: variance of nights must not be lost between them."""
    rng = np.random.default_rng(1)
    between, of_night, of_seed, widths = 4.0, 6.0, 3.0, []
    for _ in range(60):
        people = rng.normal(0, between, (50, 1, 1)) + rng.normal(0, of_night, (50, 2, 1))
        values = people + rng.normal(0, of_seed, (50, 2, 3))
        found = limits(values.reshape(50, 6).tolist())
        widths.append(found["limit_high"] - found["limit_low"])
    total = np.sqrt(between**2 + of_night**2 + of_seed**2)
    assert np.mean(widths) == pytest.approx(2 * 1.96 * total, rel=0.03)


# ---------------------------------------------------------------------- agreement


def nights_of(rows: list[tuple]) -> pd.DataFrame:
    """Rows of subject, session, method, seed, latency."""
    frame = pd.DataFrame(rows, columns=["subject", "session", "method", "seed", "sleep_latency"])
    return frame.assign(task="t", fold="0", group="all", time_in_bed=400.0, minutes_W=30.0)


def test_predicted_is_held_against_scored_of_the_same_night() -> None:
    found = agreement(
        nights_of(
            [
                ("a", "1", SCORED, None, 10.0), ("a", "2", SCORED, None, 20.0),
                ("b", "1", SCORED, None, 60.0),
                ("a", "1", "m", 0, 13.0), ("a", "2", "m", 0, 21.0), ("b", "1", "m", 0, 50.0),
                ("a", "1", "m", 1, 15.0), ("a", "2", "m", 1, 27.0), ("b", "1", "m", 1, 60.0),
            ]
        )
    )  # fmt: skip
    assert "time_in_bed" not in set(found["statistic"])
    row = found.set_index("statistic").loc["sleep_latency"]
    assert (row["task"], row["group"], row["method"]) == ("t", "all", "m")
    assert (row["n_people"], row["n_nights"]) == (2, 3)
    # By person: of a the mean of 3, 1, 5 and 7; of b of -10 and 0.
    assert row["bias"] == pytest.approx((4 - 5) / 2)
    assert row["scored"] == pytest.approx((15 + 60) / 2)
    expected = limits([[3.0, 1.0, 5.0, 7.0], [-10.0, 0.0]])
    for name, value in expected.items():
        assert row[name] == pytest.approx(value)
    wake = found.set_index("statistic").loc["minutes_W"]
    assert wake[["bias", "limit_low", "limit_high"]].tolist() == [0, 0, 0]


def test_nights_in_which_either_has_no_sleep_are_left_out() -> None:
    rows = [
        ("a", "1", SCORED, None, 10.0), ("b", "1", SCORED, None, nan),
        ("c", "1", SCORED, None, 5.0),
        ("a", "1", "m", 0, 12.0), ("b", "1", "m", 0, 12.0), ("c", "1", "m", 0, nan),
        ("a", "1", "none", 0, nan), ("b", "1", "none", 0, nan), ("c", "1", "none", 0, nan),
    ]  # fmt: skip
    found = agreement(nights_of(rows)).set_index(["method", "statistic"])
    row = found.loc[("m", "sleep_latency")]
    assert (row["n_people"], row["bias"]) == (1, 2)
    assert np.isnan([row["limit_low"], row["bias_low"]]).all()
    assert ("none", "sleep_latency") not in found.index
    assert found.loc[("none", "minutes_W"), "n_people"] == 3


def test_groups_methods_and_folds_are_kept_apart() -> None:
    one = nights_of([("a", "1", SCORED, None, 10.0), ("a", "1", "m", 0, 12.0)])
    other = nights_of([("a", "1", SCORED, None, 10.0), ("a", "1", "m", 0, 30.0)])
    both = agreement(pd.concat([one, other.assign(fold="1")])).set_index("statistic")
    assert both.loc["sleep_latency", ["n_people", "n_nights", "bias"]].tolist() == [1, 1, 11]
    apart = agreement(pd.concat([one, other.assign(group="old")])).set_index(["group", "statistic"])
    assert apart.loc[("all", "sleep_latency"), "bias"] == 2
    assert apart.loc[("old", "sleep_latency"), "bias"] == 20


def test_without_nights_there_is_no_agreement() -> None:
    assert agreement(pd.DataFrame()).empty
