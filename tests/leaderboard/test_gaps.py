"""Transfer gaps by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.gaps import COLUMNS, gaps

YOUNG = (0.8, 0.7, 0.9)
OLD = (0.5, 0.4, 0.6, 0.5)


@pytest.fixture
def frame(rows_of) -> pd.DataFrame:
    """source-only at home and away; finetune-all and majority."""
    home = {"source-only": YOUNG, "majority": (0.1, 0.2, 0.3)}
    away = {"source-only": OLD, "finetune-all": np.add(OLD, 0.2), "majority": (0.1,) * 4}
    young = rows_of(home, group="in-domain", fold="in-domain-0")
    young["subject"] = "y" + young["subject"]
    return pd.concat([rows_of(away, group="old", n_labeled=2), young], ignore_index=True)


def test_a_gap_is_the_mean_at_home_minus_the_mean_here(frame, tasks, facts) -> None:
    found = gaps(frame, tasks, facts)
    assert list(found) == list(COLUMNS)
    assert found["group"].tolist() == ["old"] * 3
    row = found.set_index("method").loc["source-only"]
    assert row["in_domain_of"] == "source-only"
    figures = row[["in_domain", "score", "gap"]].tolist()
    assert figures == pytest.approx([0.8, 0.5, 0.3])
    assert found.set_index("method").loc["majority", "gap"] == pytest.approx(0.1)


def test_who_needs_the_target_is_held_against_source_only(frame, tasks, facts) -> None:
    row = gaps(frame, tasks, facts).set_index("method").loc["finetune-all"]
    assert row["in_domain_of"] == "source-only"
    assert row[["in_domain", "score", "gap"]].tolist() == pytest.approx([0.8, 0.7, 0.1])


def test_features_that_saw_target_labels_are_held_against_features(rows_of, tasks, facts) -> None:
    home = {"source-only": YOUNG, "features-logreg": np.subtract(YOUNG, 0.1)}
    # Its head learns from the source where the target has no labels, from the target otherwise.
    home["rp-linear"] = np.subtract(YOUNG, 0.3)
    away = {"features-logreg-target": OLD, "rp-linear": OLD}
    frame = pd.concat([rows_of(away, group="old", n_labeled=2), rows_of(home, group="in-domain")])
    found = gaps(frame, tasks, facts).set_index("method")
    assert found["in_domain_of"].to_dict() == {
        "features-logreg-target": "features-logreg",
        "rp-linear": "source-only",
    }
    assert found["gap"].tolist() == pytest.approx([0.2, 0.3])
    found = gaps(frame.assign(n_labeled=0), tasks, facts).set_index("method")
    assert found.loc["rp-linear", ["in_domain_of", "gap"]].tolist() == [
        "rp-linear",
        pytest.approx(0.0),
    ]


def test_without_source_only_at_home_there_is_no_gap_of_who_needs_the_target(
    frame, tasks, facts
) -> None:
    lost = (frame["method"] == "source-only") & (frame["group"] == "in-domain")
    assert gaps(frame[~lost], tasks, facts)["method"].tolist() == ["majority"]


def test_the_interval_redraws_the_people_of_both_groups(rows_of, tasks, facts) -> None:
    rng = np.random.default_rng(0)
    young, old = rng.normal(0.8, 0.1, 12), rng.normal(0.5, 0.05, 15)
    frame = pd.concat(
        [
            rows_of({"source-only": young}, group="in-domain"),
            rows_of({"source-only": old}, group="old"),
        ]
    )
    (row,) = gaps(frame, tasks, facts).to_dict("records")
    drawn = [rng.choice(young, 12).mean() - rng.choice(old, 15).mean() for _ in range(20000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (row["gap_low"], row["gap_high"]) == pytest.approx((low, high), abs=0.006)
    alone = [rng.choice(old, 15).mean() for _ in range(20000)]
    assert row["gap_high"] - row["gap_low"] > 1.5 * np.ptp(np.quantile(alone, [0.025, 0.975]))
    pd.testing.assert_frame_equal(gaps(frame.iloc[::-1], tasks, facts), gaps(frame, tasks, facts))


@pytest.mark.parametrize("lost", ["young", "old"])
def test_one_person_in_a_group_is_a_gap_without_an_interval(lost, rows_of, tasks, facts) -> None:
    few = {"young": (YOUNG[:1], OLD), "old": (YOUNG, OLD[:1])}[lost]
    parts = [
        rows_of({"source-only": people}, group=group)
        for people, group in zip(few, ("in-domain", "old"), strict=True)
    ]
    (row,) = gaps(pd.concat(parts), tasks, facts).to_dict("records")
    assert row["gap"] == pytest.approx(np.mean(few[0]) - np.mean(few[1]))
    assert np.isnan([row["gap_low"], row["gap_high"]]).all()


def test_nobody_with_a_score_is_a_gap_that_is_not_known(rows_of, tasks, facts) -> None:
    parts = [
        rows_of({"source-only": people}, group=group)
        for people, group in (((np.nan, np.nan), "in-domain"), (OLD, "old"))
    ]
    (row,) = gaps(pd.concat(parts), tasks, facts).to_dict("records")
    assert np.isnan([row["gap"], row["in_domain"], row["gap_low"]]).all()


def test_people_with_one_stage_are_in_no_gap_of_kappa(frame, tasks, facts) -> None:
    frame.loc[frame["subject"] == "yp1", "n_stages"] = 1
    found = gaps(frame, tasks, facts).set_index("method")
    assert found.loc["source-only", "in_domain"] == pytest.approx(0.85)
    tasks["t"]["scoring"]["primary"] = "accuracy"
    found = gaps(frame, tasks, facts).set_index("method")
    assert found.loc["source-only", "in_domain"] == pytest.approx(0.8)


def test_every_target_group_of_every_task_has_its_own(frame, rows_of, tasks, facts) -> None:
    older = rows_of({"source-only": np.subtract(OLD, 0.1)}, group="older")
    other = frame.assign(task="u")
    elsewhere = rows_of({"source-only": OLD}, task="v", group="old")
    found = gaps(
        pd.concat([frame, older, other, elsewhere]), dict.fromkeys("tuv", tasks["t"]), facts
    )
    assert list(dict.fromkeys(zip(found["task"], found["group"], strict=True))) == [
        ("t", "old"), ("t", "older"), ("u", "old"),
    ]  # fmt: skip
    assert found[found["group"] == "older"]["gap"].tolist() == pytest.approx([0.4])


def test_without_people_at_home_there_is_nothing(frame, tasks, facts) -> None:
    for part in (frame[frame["group"] == "old"], frame[frame["group"] == "in-domain"], frame[:0]):
        found = gaps(part, tasks, facts)
        assert found.empty
        assert list(found) == list(COLUMNS)
