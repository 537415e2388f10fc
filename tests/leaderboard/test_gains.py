"""Gains over the controls and the gap recovered, against figures made by hand and by scipy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, wilcoxon

from sleepshift.leaderboard.gains import REFERENCES, _holm, gains, recovery
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.table import leaderboard, to_markdown
from sleepshift.methods import METHODS

TASKS = {
    "t": {
        "title": "A task",
        "simulated": False,
        "pool_folds": True,
        "transductive": [],
        "scheme": "aasm5",
        "scoring": {"scheme": "aasm5", "primary": "kappa"},
        "skipped_recordings": [],
    }
}

NAMES = ("family", "labels", "unlabeled", "deep", "floor", "privileged")
FACTS = {name: {k: getattr(m, k) for k in NAMES} for name, m in METHODS.items()}
STUDENT = (0.40, 0.50, 0.60, 0.45, 0.55, 0.50)


def _frame(figures: Mapping[str, Any], *, fold: str = "0", task: str = "t") -> pd.DataFrame:
    """Rows of methods from their figures (people), or (seeds, people)."""
    rows = []
    for method, values in figures.items():
        for seed, people in enumerate(np.atleast_2d(np.asarray(values, dtype=float))):
            for person, value in enumerate(people):
                rows.append(
                    {
                        "task": task,
                        "fold": fold,
                        "method": method,
                        "seed": seed,
                        "subject": f"p{person}",
                        "status": "ok",
                        "n_stages": 5,
                        **dict.fromkeys(METRICS, value),
                        "nll": 1.0,
                        "fit_seconds": 1.0,
                        "n_parameters": 10,
                    }
                )
    return pd.DataFrame(rows)


def _gains(figures: Mapping[str, Any], **form: Any) -> pd.DataFrame:
    return gains(_frame(figures, **form), TASKS, FACTS)


def _markdown(frame: pd.DataFrame) -> str:
    return to_markdown(leaderboard(frame, TASKS, FACTS), frame, TASKS, FACTS, [])


# ---------------------------------------------------------------------- gains


def test_a_gain_is_the_mean_over_people_of_the_paired_difference() -> None:
    better = np.add(STUDENT, [0.1, 0.2, 0.3, 0.0, 0.1, 0.2])
    found = _gains({"student-only": STUDENT, "kd-softmax": better})
    (row,) = found.to_dict("records")
    assert (row["task"], row["group"]) == ("t", "all")
    assert (row["method"], row["reference"]) == ("kd-softmax", "student-only")
    assert row["n_people"] == 6
    assert row["gain"] == pytest.approx(0.15)
    assert row["gain_low"] < 0.15 < row["gain_high"]


def test_intervals_and_p_values_are_scipys() -> None:
    rng = np.random.default_rng(0)
    student, taught = rng.normal(0.5, 0.1, (2, 18))
    taught += 0.05
    (row,) = _gains({"student-only": student, "kd-softmax": taught}).to_dict("records")
    difference = taught - student
    drawn = bootstrap(
        (difference,),
        np.mean,
        n_resamples=20000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (row["gain_low"], row["gain_high"]) == pytest.approx(tuple(drawn), abs=0.005)
    # Without zeros and ties there is one signed-rank test only.
    assert row["p"] == pytest.approx(wilcoxon(taught, student).pvalue)
    assert row["p_holm"] == row["p"]


def test_p_of_six_people_who_all_gain_is_two_of_64_signs() -> None:
    better = np.array(STUDENT) + 0.01 * np.arange(1, 7)
    worse = np.array(STUDENT) - 0.01 * np.arange(1, 7)
    found = _gains({"student-only": STUDENT, "kd-softmax": better, "kd-feature": worse})
    assert found["p"].tolist() == pytest.approx([2 / 64] * 2)
    assert found["p_holm"].tolist() == pytest.approx([4 / 64] * 2)
    assert found["gain"].tolist() == pytest.approx([0.035, -0.035])


def test_a_method_like_its_reference_gained_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = _gains({"student-only": STUDENT, "kd-softmax": STUDENT})
    (row,) = found.to_dict("records")
    assert (row["gain"], row["gain_low"], row["gain_high"]) == (0, 0, 0)
    assert row["p"] == row["p_holm"] == 1


def test_people_who_gained_nothing_count_for_both_sides() -> None:
    some = [0.11, 0.2, 0.3, 0.4, 0.15, 0.07, 0.0, 0.0, -0.21, -0.13]
    (row,) = _gains({"student-only": [0.0] * 10, "kd-softmax": some}).to_dict("records")
    left_out, split = (wilcoxon(some, zero_method=how).pvalue for how in ("wilcox", "zsplit"))
    assert row["p"] == pytest.approx(split)
    assert abs(split - left_out) > 0.01


def test_every_distilled_method_is_held_against_every_control() -> None:
    rng = np.random.default_rng(0)
    names = ["teacher", *REFERENCES, "kd-softmax", "takd"]
    others = ["features-logreg", "majority", "rp-linear"]
    found = _gains({name: rng.normal(size=9) for name in [*others, *names]})
    pairs = set(zip(found["method"], found["reference"], strict=True))
    assert pairs == {(m, r) for m in names for r in REFERENCES if m != r}
    assert len(found) == len(pairs)


def test_only_the_controls_that_are_there_are_references() -> None:
    found = _gains({"label-smoothing": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1})
    assert found["reference"].tolist() == ["label-smoothing"]


@pytest.mark.parametrize(
    "figures",
    [
        {"kd-softmax": STUDENT, "teacher": STUDENT},
        {"source-only": STUDENT, "features-logreg": STUDENT},
    ],
)
def test_without_references_there_are_no_gains(figures: Mapping[str, Any]) -> None:
    frame = _frame(figures)
    assert gains(frame, TASKS, FACTS).empty
    assert "Gain in" not in _markdown(frame)
    skipped = frame.assign(status="skipped: no reason")
    assert gains(skipped, TASKS, FACTS).empty


def test_a_lone_reference_makes_no_table() -> None:
    frame = _frame({"student-only": STUDENT, "features-logreg": STUDENT})
    assert gains(frame, TASKS, FACTS).empty
    assert "Gain in" not in _markdown(frame)


def test_seeds_are_averaged_inside_a_person() -> None:
    rng = np.random.default_rng(0)
    student, taught = rng.normal(size=(2, 3, 8))
    by_seed = _gains({"student-only": student, "kd-softmax": taught})
    averaged = _gains({"student-only": student.mean(axis=0), "kd-softmax": taught.mean(axis=0)})
    pd.testing.assert_frame_equal(by_seed, averaged)
    assert by_seed["n_people"].tolist() == [8]


def test_people_whom_a_method_lacks_are_left_out_of_its_pairs_alone() -> None:
    few = np.add(STUDENT, [0.1, 0.1, 0.1, 0.1, np.nan, 0.1])
    more = np.array(STUDENT) + 0.01 * np.arange(6)
    figures = {"student-only": STUDENT, "kd-softmax": few, "kd-feature": more}
    for frame in (_frame(figures), _frame(figures).dropna(subset="kappa")):
        found = gains(frame, TASKS, FACTS).set_index("method")
        assert found["n_people"].to_dict() == {"kd-softmax": 5, "kd-feature": 6}
        assert found["gain"].to_dict() == pytest.approx({"kd-softmax": 0.1, "kd-feature": 0.025})
        alone = _gains({"student-only": STUDENT, "kd-feature": more})
        assert found.loc["kd-feature", "p"] == alone["p"][0]


def test_people_whom_the_teacher_lacks_recover_nothing() -> None:
    teacher = np.add(STUDENT, [0.2, 0.2, 0.2, 0.2, np.nan, 0.2])
    half = np.add(STUDENT, [0.1, 0.1, 0.1, 0.1, 9.0, 0.1])
    figures = {"student-only": STUDENT, "teacher": teacher, "kd-softmax": half}
    for frame in (_frame(figures), _frame(figures).dropna(subset="kappa")):
        assert recovery(frame, "kappa")["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))


def test_people_with_one_scored_stage_have_no_kappa_and_no_gain() -> None:
    figures = {"student-only": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1}
    frame = _frame(figures)
    frame.loc[frame["subject"] == "p2", "n_stages"] = 1
    assert gains(frame, TASKS, FACTS)["n_people"].tolist() == [5]
    task = {**TASKS["t"], "scoring": {"scheme": "aasm5", "primary": "accuracy"}}
    assert gains(frame, {"t": task}, FACTS)["n_people"].tolist() == [6]


def test_nobody_in_common_is_no_gain() -> None:
    student, taught = np.array([[0.1, np.nan], [np.nan, 0.3]])
    frame = _frame({"student-only": student, "kd-softmax": taught})
    (row,) = gains(frame, TASKS, FACTS).to_dict("records")
    assert row["n_people"] == 0
    assert np.isnan([row["gain"], row["gain_low"], row["gain_high"]]).all()
    assert "nan" not in _markdown(frame)


def test_groups_and_tasks_are_kept_apart() -> None:
    better = np.array(STUDENT) + 0.1
    young = _frame({"student-only": STUDENT, "kd-softmax": better}, fold="young")
    old = _frame({"student-only": better, "kd-softmax": STUDENT}, fold="old")
    apart = {"t": {**TASKS["t"], "pool_folds": False}}
    found = gains(pd.concat([young, old]), apart, FACTS)
    assert found["group"].tolist() == ["young", "old"]
    assert found["gain"].tolist() == pytest.approx([0.1, -0.1])
    other = _frame({"student-only": STUDENT, "kd-feature": better}, task="u")
    found = gains(pd.concat([young, other]), {**TASKS, "u": TASKS["t"]}, FACTS)
    assert found["task"].tolist() == ["t", "u"]
    assert found["method"].tolist() == ["kd-softmax", "kd-feature"]


def test_folds_that_test_everyone_once_are_paired_together() -> None:
    frame = _frame({"student-only": STUDENT, "kd-softmax": np.array(STUDENT) + 0.1})
    whole = gains(frame, TASKS, FACTS)
    frame["fold"] = frame["subject"].map(lambda name: str(int(name[1:]) // 2))
    pd.testing.assert_frame_equal(gains(frame, TASKS, FACTS), whole)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(0)
    names = ["student-only", "label-smoothing", "kd-softmax", "teacher"]
    frame = _frame({name: rng.normal(k, 1, (2, 7)) for k, name in enumerate(names)})
    order = (
        np.random.default_rng(seed).permutation(len(frame)) if seed else np.arange(len(frame))[::-1]
    )
    keys = ["method", "reference"]
    once, again = (
        gains(f, TASKS, FACTS).set_index(keys).sort_index() for f in (frame, frame.iloc[order])
    )
    pd.testing.assert_frame_equal(again, once)
    shares = recovery(frame, "kappa")
    for method, found in recovery(frame.iloc[order], "kappa").items():
        assert found == pytest.approx(shares[method], nan_ok=True)


# ---------------------------------------------------------------------- Holm


def test_holm_by_hand() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005])
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, then not below the one before.
    assert _holm(p).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert _holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert _holm(np.array([0.02])).tolist() == [0.02]
    assert _holm(np.array([])).tolist() == []


def _holm_by_definition(p: list[float]) -> list[float]:
    """The largest of (k - rank + 1) p over the p-values that are no larger."""
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    return [
        min(1.0, max((len(p) - r) * p[ordered[r]] for r in range(ordered.index(i) + 1)))
        for i in range(len(p))
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_what_it_is_defined_to_be(p: list[float]) -> None:
    corrected = _holm(np.array(p))
    assert corrected.tolist() == pytest.approx(_holm_by_definition(p))
    assert (corrected >= np.array(p) - 1e-15).all()
    assert (corrected <= 1).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert _holm(np.array(p)).tolist() == pytest.approx(
        multitest.multipletests(p, method="holm")[1]
    )


def test_each_reference_is_corrected_by_itself() -> None:
    rng = np.random.default_rng(0)
    names = [*REFERENCES, "kd-softmax", "kd-feature"]
    found = _gains({name: rng.normal(k, 2, 12) for k, name in enumerate(names)})
    for _, part in found.groupby("reference"):
        assert len(part) == 4
        expected = _holm_by_definition(part["p"].tolist())
        assert part["p_holm"].tolist() == pytest.approx(expected)
    assert (found["p_holm"] > found["p"]).any()


# ---------------------------------------------------------------------- recovery


def test_recovery_by_hand() -> None:
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
    shares = recovery(_frame(figures), "kappa")
    assert set(shares) == {"kd-softmax", "kd-feature", "kd-online", "features-logreg"}
    assert shares["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))
    assert shares["kd-feature"] == pytest.approx((-0.25, -0.25, -0.25))
    assert shares["features-logreg"] == pytest.approx((2, 2, 2))
    value, low, high = shares["kd-online"]
    assert value == pytest.approx(0.05 / 0.2)
    assert low < value < high


def test_recovery_is_a_ratio_of_means_not_a_mean_of_ratios() -> None:
    figures = {
        "student-only": [0, 0],
        "teacher": [0.1, 0.9],
        "kd-softmax": [0.1, 0.1],
    }
    assert recovery(_frame(figures), "kappa")["kd-softmax"][0] == pytest.approx(0.2)


def test_the_interval_of_recovery_is_that_of_redrawn_people() -> None:
    rng = np.random.default_rng(0)
    student = rng.normal(0.5, 0.05, 15)
    gap = rng.normal(0.3, 0.1, 15)
    gain = 0.4 * gap + rng.normal(0, 0.05, 15)
    figures = {"student-only": student, "teacher": student + gap, "kd-softmax": student + gain}
    value, low, high = recovery(_frame(figures), "kappa")["kd-softmax"]
    people = np.random.default_rng(1).integers(0, 15, (20000, 15))
    ratios = gain[people].mean(axis=1) / gap[people].mean(axis=1)
    assert value == pytest.approx(gain.mean() / gap.mean())
    assert (low, high) == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.015)


@pytest.mark.parametrize("gap", [-0.1, 0.0])
def test_there_is_nothing_to_recover_where_the_teacher_is_not_better(gap: float) -> None:
    student = np.array(STUDENT)
    figures = {
        "student-only": student, "teacher": student + gap, "kd-softmax": student + 0.1,
    }  # fmt: skip
    frame = _frame(figures)
    assert np.isnan(recovery(frame, "kappa")["kd-softmax"]).all()
    table = leaderboard(frame, TASKS, FACTS)
    assert table["recovery"].isna().all()
    assert "recovery" not in _markdown(frame)


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


def test_a_teacher_who_may_not_be_better_leaves_the_share_without_an_interval() -> None:
    gap = _doubtful((0.1, 0.3))
    figures = {"student-only": 0 * gap, "teacher": gap, "kd-softmax": gap / 2}
    value, low, high = recovery(_frame(figures), "kappa")["kd-softmax"]
    assert value == pytest.approx(0.5)
    assert np.isnan([low, high]).all()
    text = _markdown(_frame(figures))
    assert "| 0.50 |" in text
    assert "nan" not in text


def test_a_few_draws_without_a_gap_do_not_take_the_interval_away() -> None:
    gap = _doubtful((0.003, 0.012))
    figures = {"student-only": 0 * gap, "teacher": gap, "kd-softmax": gap / 2}
    assert recovery(_frame(figures), "kappa")["kd-softmax"] == pytest.approx((0.5, 0.5, 0.5))


def test_one_person_has_a_share_without_an_interval() -> None:
    frame = _frame({"student-only": [0.2], "teacher": [0.6], "kd-softmax": [0.3]})
    value, low, high = recovery(frame, "kappa")["kd-softmax"]
    assert value == pytest.approx(0.25)
    assert np.isnan([low, high]).all()
    assert "nan" not in _markdown(frame)


@pytest.mark.parametrize("lost", ["teacher", "student-only"])
def test_recovery_needs_both_references(lost: str) -> None:
    figures = {"student-only": STUDENT, "teacher": STUDENT, "kd-softmax": STUDENT}
    del figures[lost]
    frame = _frame(figures)
    assert recovery(frame, "kappa") == {}
    assert "recovery" not in leaderboard(frame, TASKS, FACTS)
    assert "recovery" not in _markdown(frame)


# ---------------------------------------------------------------------- in the table


@pytest.fixture
def whole() -> pd.DataFrame:
    student = np.array(STUDENT)
    gap = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.3])
    return _frame(
        {
            "student-only": student,
            "label-smoothing": student - 0.02,
            "teacher": student + gap,
            "kd-softmax": student + gap / 2,
            "features-logreg": student - 0.1,
        }
    )


def test_the_table_says_what_share_is_recovered(whole: pd.DataFrame) -> None:
    table = leaderboard(whole, TASKS, FACTS).set_index("method")
    assert table.loc["kd-softmax", "recovery"] == pytest.approx(0.5)
    assert table.loc["label-smoothing", "recovery"] == pytest.approx(-0.1)
    assert table.loc[["teacher", "student-only"], "recovery"].isna().all()
    assert list(table.index) == [
        "teacher", "kd-softmax", "student-only", "label-smoothing", "features-logreg",
    ]  # fmt: skip
    assert table["rank"].tolist()[1:] == [1, 2, 3, 4]


def test_markdown_has_the_shares_and_the_gains(whole: pd.DataFrame) -> None:
    text = _markdown(whole)
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


def test_the_report_is_a_function_of_what_is_written(whole: pd.DataFrame, tmp_path: Any) -> None:
    path = tmp_path / "rows.csv"
    whole.to_csv(path, index=False, float_format="%.9g")
    assert _markdown(pd.read_csv(path, dtype={"fold": str})) == _markdown(whole)
