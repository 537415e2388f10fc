"""Gains over the controls and the gap recovered, against figures made by hand and by scipy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap, permutation_test, wilcoxon

from sleepshift.leaderboard.gains import REFERENCES, gains, recovery
from sleepshift.leaderboard.pairs import pairs
from sleepshift.leaderboard.statistics import holm
from sleepshift.leaderboard.table import leaderboard
from sleepshift.leaderboard.text import to_markdown

STUDENT = (0.40, 0.50, 0.60, 0.45, 0.55, 0.50)

Build = Callable[..., pd.DataFrame]


@pytest.fixture
def frame_gains(tasks, facts) -> Build:
    """``frame_gains(rows)``: gains of rows."""
    return lambda frame, tasks=tasks: gains(pairs(frame, tasks), facts)


@pytest.fixture
def gains_of(rows_of, frame_gains) -> Build:
    """``gains_of({method: figures})``."""
    return lambda figures, **form: frame_gains(rows_of(figures, **form))


@pytest.fixture
def markdown(results) -> Callable[[pd.DataFrame], str]:
    """``markdown(rows)``: the report in words."""
    return lambda frame: to_markdown(results(frame))


# ---------------------------------------------------------------------- gains


def test_a_student_that_saw_the_dataset_is_not_tested_and_weighs_on_no_other(
    rows_of, tasks, facts, markdown
) -> None:
    better = np.add(STUDENT, [0.1, 0.2, 0.3, 0.05, 0.1, 0.2])
    figures = {"student-only": STUDENT, "kd-softmax": better, "kd-feature": better + 0.1}
    rows = rows_of(figures)
    alone = rows[rows["method"] != "kd-feature"]
    expected = gains(pairs(alone, tasks, facts), facts).set_index("method").loc["kd-softmax"]
    rows["pretrained_saw"] = np.where(rows["method"] == "kd-feature", "yes", None)
    found = gains(pairs(rows, tasks, facts), facts).set_index("method")
    assert found.loc["kd-softmax", ["p", "p_holm"]].tolist() == [expected["p"], expected["p_holm"]]
    assert found.loc["kd-feature", ["p", "p_holm"]].isna().all()
    assert found.loc["kd-feature", "flag"] == "kd-feature: start saw this dataset"
    text = markdown(rows)
    assert "nan" not in text
    assert "no test" in text


def test_a_gain_is_the_mean_over_people_of_the_paired_difference(gains_of) -> None:
    better = np.add(STUDENT, [0.1, 0.2, 0.3, 0.0, 0.1, 0.2])
    found = gains_of({"student-only": STUDENT, "kd-softmax": better})
    (row,) = found.to_dict("records")
    assert (row["task"], row["group"]) == ("t", "all")
    assert (row["method"], row["reference"]) == ("kd-softmax", "student-only")
    assert row["n_people"] == 6
    assert row["gain"] == pytest.approx(0.15)
    assert row["gain_low"] < 0.15 < row["gain_high"]


@pytest.mark.parametrize("n", [9, 25])
def test_intervals_and_p_values_are_scipys(n: int, gains_of) -> None:
    rng = np.random.default_rng(0)
    student, taught = rng.normal(0.5, 0.1, (2, n))
    taught += 0.05
    (row,) = gains_of({"student-only": student, "kd-softmax": taught}).to_dict("records")
    difference = taught - student
    drawn = bootstrap(
        (difference,),
        np.mean,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (row["gain_low"], row["gain_high"]) == pytest.approx(tuple(drawn), abs=0.006)
    by_flips = permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=2**9
    )
    expected = by_flips if n < 20 else wilcoxon(taught, student)
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["p_holm"] == row["p"]


def test_p_of_six_people_who_all_gain_is_two_of_64_signs(gains_of) -> None:
    better = np.array(STUDENT) + 0.01 * np.arange(1, 7)
    worse = np.array(STUDENT) - 0.01 * np.arange(1, 7)
    found = gains_of({"student-only": STUDENT, "kd-softmax": better, "kd-feature": worse})
    assert found["p"].tolist() == pytest.approx([2 / 64] * 2)
    assert found["p_holm"].tolist() == pytest.approx([4 / 64] * 2)
    assert found["gain"].tolist() == pytest.approx([0.035, -0.035])


def test_a_method_like_its_reference_gained_nothing(gains_of) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gains_of({"student-only": STUDENT, "kd-softmax": STUDENT})
    (row,) = found.to_dict("records")
    assert (row["gain"], row["gain_low"], row["gain_high"]) == (0, 0, 0)
    assert row["p"] == row["p_holm"] == 1


def test_people_who_gained_nothing_change_no_p(gains_of) -> None:
    some = [0.11, 0.2, 0.3, 0.4, 0.15, 0.07, 0.0, 0.0, -0.21, -0.13]
    lost = [value for value in some if value]
    with_them, without = (
        gains_of({"student-only": [0.0] * len(people), "kd-softmax": people})
        for people in (some, lost)
    )
    assert with_them["p"][0] == without["p"][0]
    assert with_them["gain"][0] == pytest.approx(0.8 * without["gain"][0])


def test_the_controls_come_first_or_last_in_a_pair_and_the_gain_is_the_same(facts) -> None:
    pair = {
        "task": "t", "group": "all", "n_people": 7, "smd": 1.0, "p": 0.03, "p_holm": 0.2,
        "difference": 0.2, "difference_low": 0.1, "difference_high": 0.4, "flag": "",
    }  # fmt: skip
    found = gains(
        pd.DataFrame(
            [
                pair | {"method": "kd-softmax", "other": "student-only"},
                pair | {"method": "student-only", "other": "kd-feature"},
            ]
        ),
        facts,
    ).set_index("method")
    figures = ["gain", "gain_low", "gain_high", "p", "p_holm"]
    assert found.loc["kd-softmax", figures].tolist() == [0.2, 0.1, 0.4, 0.03, 0.06]
    assert found.loc["kd-feature", figures].tolist() == [-0.2, -0.4, -0.1, 0.03, 0.06]


def test_every_distilled_method_is_held_against_every_control(gains_of) -> None:
    rng = np.random.default_rng(0)
    names = ["teacher", *REFERENCES, "kd-softmax", "takd"]
    others = ["features-logreg", "majority", "rp-linear"]
    found = gains_of({name: rng.normal(size=9) for name in [*others, *names]})
    pairs = set(zip(found["method"], found["reference"], strict=True))
    assert pairs == {(m, r) for m in names for r in REFERENCES if m != r}
    assert len(found) == len(pairs)


def test_only_the_controls_that_are_there_are_references(gains_of) -> None:
    found = gains_of({"label-smoothing": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1})
    assert found["reference"].tolist() == ["label-smoothing"]


@pytest.mark.parametrize(
    "figures",
    [
        {"kd-softmax": STUDENT, "teacher": STUDENT},
        {"source-only": STUDENT, "features-logreg": STUDENT},
    ],
)
def test_without_references_there_are_no_gains(
    figures: Mapping[str, Any], rows_of, frame_gains, markdown
) -> None:
    frame = rows_of(figures)
    assert frame_gains(frame).empty
    assert "Gain in" not in markdown(frame)
    skipped = frame.assign(status="skipped: no reason")
    assert frame_gains(skipped).empty


def test_a_lone_reference_makes_no_table(rows_of, frame_gains, markdown) -> None:
    frame = rows_of({"student-only": STUDENT, "features-logreg": STUDENT})
    assert frame_gains(frame).empty
    assert "Gain in" not in markdown(frame)


def test_seeds_are_averaged_inside_a_person(gains_of) -> None:
    rng = np.random.default_rng(0)
    student, taught = rng.normal(size=(2, 3, 8))
    by_seed = gains_of({"student-only": student, "kd-softmax": taught})
    averaged = gains_of({"student-only": student.mean(axis=0), "kd-softmax": taught.mean(axis=0)})
    pd.testing.assert_frame_equal(by_seed, averaged)
    assert by_seed["n_people"].tolist() == [8]


def test_people_whom_a_method_lacks_are_left_out_for_all(rows_of, frame_gains) -> None:
    few = np.add(STUDENT, [0.1, 0.1, 0.1, 0.1, np.nan, 0.1])
    more = np.array(STUDENT) + 0.01 * np.arange(6)
    figures = {"student-only": STUDENT, "kd-softmax": few, "kd-feature": more}
    for frame in (rows_of(figures), rows_of(figures).dropna(subset="kappa")):
        found = frame_gains(frame).set_index("method")
        assert found["n_people"].to_dict() == {"kd-softmax": 5, "kd-feature": 5}
        assert found["gain"].to_dict() == pytest.approx({"kd-softmax": 0.1, "kd-feature": 0.022})


def test_people_whom_the_teacher_lacks_recover_nothing(rows_of) -> None:
    teacher = np.add(STUDENT, [0.2, 0.2, 0.2, 0.2, np.nan, 0.2])
    half = np.add(STUDENT, [0.1, 0.1, 0.1, 0.1, 9.0, 0.1])
    figures = {"student-only": STUDENT, "teacher": teacher, "kd-softmax": half}
    for frame in (rows_of(figures), rows_of(figures).dropna(subset="kappa")):
        assert recovery(frame, "kappa")["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))


def test_people_with_one_scored_stage_have_no_kappa_and_no_gain(
    rows_of, frame_gains, tasks
) -> None:
    figures = {"student-only": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1}
    frame = rows_of(figures)
    frame.loc[frame["subject"] == "p2", "n_stages"] = 1
    assert frame_gains(frame)["n_people"].tolist() == [5]
    tasks["t"]["scoring"]["primary"] = "accuracy"
    assert frame_gains(frame)["n_people"].tolist() == [6]


@pytest.mark.parametrize(
    "people", [[[0.1, np.nan], [np.nan, 0.3]], [[0.1, 0.2], [np.nan, 0.3]], [[0.1], [0.2]]]
)
def test_fewer_than_two_people_in_common_are_no_gain(
    people: list, rows_of, frame_gains, markdown
) -> None:
    student, taught = np.array(people)
    frame = rows_of({"student-only": student, "kd-softmax": taught})
    assert frame_gains(frame).empty
    assert "nan" not in markdown(frame)


def test_groups_and_tasks_are_kept_apart(rows_of, frame_gains, tasks) -> None:
    better = np.array(STUDENT) + 0.1
    young = rows_of({"student-only": STUDENT, "kd-softmax": better}, group="young")
    old = rows_of({"student-only": better, "kd-softmax": STUDENT}, group="old")
    found = frame_gains(pd.concat([young, old]))
    assert found["group"].tolist() == ["young", "old"]
    assert found["gain"].tolist() == pytest.approx([0.1, -0.1])
    other = rows_of({"student-only": STUDENT, "kd-feature": better}, task="u")
    found = frame_gains(pd.concat([young, other]), {**tasks, "u": tasks["t"]})
    assert found["task"].tolist() == ["t", "u"]
    assert found["method"].tolist() == ["kd-softmax", "kd-feature"]


def test_folds_that_test_everyone_once_are_paired_together(rows_of, frame_gains) -> None:
    frame = rows_of({"student-only": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1})
    whole = frame_gains(frame)
    frame["fold"] = frame["subject"].map(lambda name: str(int(name[1:]) // 2))
    pd.testing.assert_frame_equal(frame_gains(frame), whole)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_matter(seed: int, rows_of, frame_gains) -> None:
    rng = np.random.default_rng(0)
    names = ["student-only", "label-smoothing", "kd-softmax", "teacher"]
    frame = rows_of({name: rng.normal(k, 1, (2, 7)) for k, name in enumerate(names)})
    order = (
        np.random.default_rng(seed).permutation(len(frame)) if seed else np.arange(len(frame))[::-1]
    )
    keys = ["method", "reference"]
    once, again = (frame_gains(f).set_index(keys).sort_index() for f in (frame, frame.iloc[order]))
    pd.testing.assert_frame_equal(again, once)
    shares = recovery(frame, "kappa")
    for method, found in recovery(frame.iloc[order], "kappa").items():
        assert found == pytest.approx(shares[method], nan_ok=True)


def test_each_reference_is_corrected_by_itself(gains_of) -> None:
    rng = np.random.default_rng(0)
    names = [*REFERENCES, "kd-softmax", "kd-feature"]
    found = gains_of({name: rng.normal(k, 2, 12) for k, name in enumerate(names)})
    for _, part in found.groupby("reference"):
        assert len(part) == 4
        assert part["p_holm"].tolist() == holm(part["p"].to_numpy()).tolist()
    assert (found["p_holm"] > found["p"]).any()


# ---------------------------------------------------------------------- recovery


def test_recovery_by_hand(rows_of) -> None:
    student = np.array(STUDENT)
    gap = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.3])
    figures = {
        "teacher": student + gap,
        "kd-softmax": student + gap / 2,
        "kd-feature": student - gap / 4,
        "kd-online": student + 0.05,
        "student-only": student,
        "features-logreg": student + 2 * gap,
    }
    shares = recovery(rows_of(figures), "kappa")
    assert set(shares) == {"kd-softmax", "kd-feature", "kd-online", "features-logreg"}
    assert shares["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))
    assert shares["kd-feature"] == pytest.approx((-0.25, -0.25, -0.25))
    assert shares["features-logreg"] == pytest.approx((2, 2, 2))
    value, low, high = shares["kd-online"]
    assert value == pytest.approx(0.05 / 0.2)
    assert low < value < high


def test_recovery_is_a_ratio_of_means_not_a_mean_of_ratios(rows_of) -> None:
    figures = {
        "student-only": [0, 0],
        "teacher": [0.1, 0.9],
        "kd-softmax": [0.1, 0.1],
    }
    assert recovery(rows_of(figures), "kappa")["kd-softmax"][0] == pytest.approx(0.2)


def test_the_interval_of_recovery_is_that_of_redrawn_people(rows_of) -> None:
    rng = np.random.default_rng(0)
    student = rng.normal(0.5, 0.05, 15)
    gap = rng.normal(0.3, 0.1, 15)
    gain = 0.4 * gap + rng.normal(0, 0.05, 15)
    figures = {"student-only": student, "teacher": student + gap, "kd-softmax": student + gain}
    value, low, high = recovery(rows_of(figures), "kappa")["kd-softmax"]
    people = np.random.default_rng(1).integers(0, 15, (20000, 15))
    ratios = gain[people].mean(axis=1) / gap[people].mean(axis=1)
    assert value == pytest.approx(gain.mean() / gap.mean())
    assert (low, high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.015)


@pytest.mark.parametrize("gap", [-0.1, 0.0])
def test_there_is_nothing_to_recover_where_the_teacher_is_not_better(
    gap: float, rows_of, markdown, tasks, facts
) -> None:
    student = np.array(STUDENT)
    figures = {
        "student-only": student, "teacher": student + gap, "kd-softmax": student + 0.1,
    }  # fmt: skip
    frame = rows_of(figures)
    assert np.isnan(recovery(frame, "kappa")["kd-softmax"]).all()
    table = leaderboard(frame, tasks, facts)
    assert table["recovery"].isna().all()
    assert "recovery" not in markdown(frame)


def _doubtful(share: tuple[float, float]) -> np.ndarray:
    """Gaps of 20 people whose redrawn mean is not above 0 in a share of the draws in a range."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 20)
    people = np.random.default_rng(1).integers(0, 20, (4000, 20))
    for shift in np.linspace(0, 2, 200):
        gap = noise - noise.mean() + shift
        if share[0] <= (gap[people].mean(axis=1) <= 0).mean() <= share[1]:
            return gap
    raise AssertionError(share)


def test_a_teacher_who_may_not_be_better_leaves_the_share_without_an_interval(
    rows_of, markdown
) -> None:
    gap = _doubtful((0.1, 0.3))
    figures = {"student-only": 0 * gap, "teacher": gap, "kd-softmax": gap / 2}
    value, low, high = recovery(rows_of(figures), "kappa")["kd-softmax"]
    assert value == pytest.approx(0.5)
    assert np.isnan([low, high]).all()
    text = markdown(rows_of(figures))
    assert "| 0.50 |" in text
    assert "nan" not in text


def test_a_few_draws_without_a_gap_do_not_take_the_interval_away(rows_of) -> None:
    gap = _doubtful((0.003, 0.012))
    figures = {"student-only": 0 * gap, "teacher": gap, "kd-softmax": gap / 2}
    assert recovery(rows_of(figures), "kappa")["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))


def test_one_person_has_a_share_without_an_interval(rows_of, markdown) -> None:
    frame = rows_of({"student-only": [0.2], "teacher": [0.6], "kd-softmax": [0.3]})
    value, low, high = recovery(frame, "kappa")["kd-softmax"]
    assert value == pytest.approx(0.25)
    assert np.isnan([low, high]).all()
    assert "nan" not in markdown(frame)


@pytest.mark.parametrize("lost", ["teacher", "student-only"])
def test_recovery_needs_both_references(lost: str, rows_of, markdown, tasks, facts) -> None:
    figures = {"student-only": STUDENT, "teacher": STUDENT, "kd-softmax": STUDENT}
    del figures[lost]
    frame = rows_of(figures)
    assert recovery(frame, "kappa") == {}
    assert "recovery" not in leaderboard(frame, tasks, facts)
    assert "recovery" not in markdown(frame)


# ---------------------------------------------------------------------- in the table


@pytest.fixture
def whole(rows_of) -> pd.DataFrame:
    student = np.array(STUDENT)
    gap = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.3])
    return rows_of(
        {
            "student-only": student,
            "label-smoothing": student - 0.02,
            "teacher": student + gap,
            "kd-softmax": student + gap / 2,
            "features-logreg": student - 0.1,
        }
    )


def test_the_table_says_what_share_is_recovered(whole: pd.DataFrame, tasks, facts) -> None:
    table = leaderboard(whole, tasks, facts).set_index("method")
    assert table.loc["kd-softmax", "recovery"] == pytest.approx(0.5)
    assert table.loc["label-smoothing", "recovery"] == pytest.approx(-0.1)
    assert table.loc[["teacher", "student-only"], "recovery"].isna().all()
    assert list(table.index) == [
        "teacher", "kd-softmax", "student-only", "label-smoothing", "features-logreg",
    ]  # fmt: skip
    assert table["rank"].tolist()[1:] == [1, 2, 3, 4]


def test_markdown_has_the_shares_and_the_gains(whole: pd.DataFrame, markdown) -> None:
    text = markdown(whole)
    tables = [part for part in text.split("\n\n") if part.startswith("|")]
    (main, gained) = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines()]
        for part in tables
    ]
    header, _, *rows = main
    assert {len(row) for row in rows} == {len(header)}
    column = header.index("recovery")
    shares = {row[1]: row[column] for row in rows}
    assert shares["kd-softmax"] == "0.50 [0.50, 0.50]"
    assert shares["teacher"] == shares["student-only"] == ""
    assert {row[1]: row[0] for row in rows}["teacher"] == "-"
    assert {row[1]: row[-1] for row in rows}["teacher"].startswith("bound: ")
    header, _, *rows = gained
    assert header == ["method", "over student-only", "over label-smoothing"]
    cells = {row[0]: row[1:] for row in rows}
    assert set(cells) == {"teacher", "student-only", "label-smoothing", "kd-softmax"}
    assert cells["kd-softmax"][0].startswith("+0.100 [+0.0")
    assert cells["kd-softmax"][0].endswith(", p = 0.094")
    assert cells["label-smoothing"] == ["-0.020 [-0.020, -0.020], p = 0.094", ""]
    assert cells["student-only"][0] == ""
    assert "Gain in kappa over the controls" in text
    assert "Holm-corrected" in text


def test_the_report_is_a_function_of_what_is_written(whole, markdown, tmp_path) -> None:
    path = tmp_path / "rows.csv"
    whole.to_csv(path, index=False, float_format="%.9g")
    assert markdown(pd.read_csv(path, dtype={"fold": str})) == markdown(whole)
