"""Paired comparisons against tests written out here and against scipy's."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test, wilcoxon

from sleepshift.leaderboard.pairs import COLUMNS, paired, pairs
from sleepshift.leaderboard.statistics import bootstrap_interval


def flips(difference: np.ndarray) -> np.ndarray:
    """Sums of differences under every choice of signs."""
    signs = np.array(list(itertools.product([1, -1], repeat=len(difference))))
    return signs @ difference


def two_people(n: int, seed: int = 0, shift: float = 0.3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(shift, 1, n), "b": rng.normal(0, 1, n)})


# ---------------------------------------------------------------------- p-values


@pytest.mark.parametrize("n", [2, 5, 8, 13])
def test_p_of_few_people_is_that_of_all_sign_flips(n: int) -> None:
    for seed in range(3):
        people = two_people(n, seed)
        (row,) = paired(people).to_dict("records")
        difference = (people["a"] - people["b"]).to_numpy()
        sums, seen = flips(difference), difference.sum()
        # Two-sided, twice the smaller side.
        expected = min(1, 2 * min((sums >= seen - 1e-9).mean(), (sums <= seen + 1e-9).mean()))
        assert row["p"] == pytest.approx(expected, abs=1e-12)
        by_scipy = permutation_test(
            (difference,), np.mean, permutation_type="samples", n_resamples=2**n
        )
        assert row["p"] == pytest.approx(by_scipy.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [14, 16, 19])
def test_p_of_more_people_is_near_that_of_all_sign_flips(n: int) -> None:
    for seed in range(3):
        people = two_people(n, seed)
        difference = (people["a"] - people["b"]).to_numpy()
        sums, seen = flips(difference), difference.sum()
        exact = (np.abs(sums) >= abs(seen) - 1e-9).mean()
        p = paired(people)["p"][0]
        # 10,000 draws, and twice one side of them.
        assert p == pytest.approx(exact, abs=4 * 2 * np.sqrt(max(exact, 1e-3) / 2 / 10000) + 2e-4)


@pytest.mark.parametrize("n", [20, 25])
def test_p_of_many_people_is_wilcoxons(n: int) -> None:
    for seed in range(4):
        people = two_people(n, seed)
        assert paired(people)["p"][0] == pytest.approx(
            wilcoxon(people["a"], people["b"]).pvalue, rel=1e-12
        )


@pytest.mark.parametrize("n", [8, 13])
def test_ties_are_broken_by_rounding_at_most(n: int) -> None:
    """Shares of whole windows give equal sums that floating-point numbers tell apart."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        people = pd.DataFrame(rng.integers(150, 170, (n, 2)) / 360, columns=["a", "b"])
        difference = (people["a"] - people["b"]).to_numpy()
        sums, seen = flips(difference), abs(difference.sum())
        above, reached = ((sums > seen + 1e-9).mean(), (sums >= seen - 1e-9).mean())
        assert 2 * above <= paired(people)["p"][0] + 1e-12
        assert paired(people)["p"][0] <= min(1, 2 * reached) + 1e-12


def test_p_holds_its_level_where_nothing_differs() -> None:
    """At 8 people two of 256 signs are the most extreme; 5 % is met from below."""
    rng = np.random.default_rng(0)
    p = [
        paired(pd.DataFrame(rng.normal(size=(8, 2)), columns=["a", "b"]))["p"][0]
        for _ in range(200)
    ]
    share = np.mean(np.array(p) <= 0.05)
    assert 0.01 < share < 0.1
    assert min(p) >= 2 / 256


@pytest.mark.parametrize("n", [6, 16, 25])
def test_methods_that_score_alike_do_not_differ(n: int) -> None:
    same = np.random.default_rng(0).random(n)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (row,) = paired(pd.DataFrame({"a": same, "b": same})).to_dict("records")
    assert (row["difference"], row["difference_low"], row["difference_high"]) == (0, 0, 0)
    assert (row["smd"], row["p"]) == (0, 1)


@pytest.mark.parametrize("n", [8, 13, 16, 25])
def test_the_order_of_methods_changes_signs_alone(n: int) -> None:
    rng = np.random.default_rng(0)
    people = pd.DataFrame(rng.normal([0, 0.3, 0.5], 1, (n, 3)), columns=list("abc"))
    keys = ["method", "other"]
    once = paired(people).set_index(keys)
    for order in itertools.permutations("abc"):
        for pair, row in paired(people[list(order)]).set_index(keys).iterrows():
            same = pair in once.index
            there = once.loc[pair if same else pair[::-1]]
            sign = 1 if same else -1
            assert row["p"] == there["p"]
            assert row["difference"] == pytest.approx(sign * there["difference"])
            assert row["smd"] == pytest.approx(sign * there["smd"])


@pytest.mark.parametrize("n", [8, 16, 25])
def test_asked_twice_it_says_the_same_and_leaves_chance_alone(n: int) -> None:
    people = two_people(n)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    pd.testing.assert_frame_equal(paired(people), paired(people))
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(n)  # noqa: NPY002
    pd.testing.assert_frame_equal(paired(people), paired(people))


# ---------------------------------------------------------------------- figures


def test_figures_of_a_pair_by_hand() -> None:
    people = pd.DataFrame({"a": [0.5, 0.7, 0.9, 0.8], "b": [0.4, 0.7, 0.5, 0.5]})
    (row,) = paired(people).to_dict("records")
    difference = np.array([0.1, 0.0, 0.4, 0.3])
    assert (row["method"], row["other"], row["n_people"]) == ("a", "b", 4)
    assert row["difference"] == pytest.approx(0.2)
    assert row["smd"] == pytest.approx(0.2 / difference.std(ddof=1))
    interval = (row["difference_low"], row["difference_high"])
    assert interval == pytest.approx(bootstrap_interval(difference))
    # Flips of the person without a difference change nothing: 2 x 2 of 16 signs.
    assert row["p"] == 4 / 16


def test_a_difference_that_is_the_same_in_everyone_has_no_finite_effect() -> None:
    people = pd.DataFrame({"a": [0.75, 0.5, 1.0], "b": [0.5, 0.25, 0.75]})
    assert paired(people)["smd"][0] == np.inf
    assert paired(people[["b", "a"]])["smd"][0] == -np.inf


# ---------------------------------------------------------------------- groups


def test_every_two_methods_of_a_group_are_compared_once_better_first(rows_of, tasks) -> None:
    rng = np.random.default_rng(0)
    names = ["majority", "source-only", "pooled", "target-only"]
    frame = rows_of({name: rng.normal(k, 0.1, (2, 7)) for k, name in enumerate(names)})
    found = pairs(frame, tasks)
    assert list(found) == list(COLUMNS)
    assert set(zip(found["method"], found["other"], strict=True)) == {
        (names[i], names[j]) for i in range(4) for j in range(i)
    }
    assert (found["difference"] > 0).all()
    assert (found["n_people"] == 7).all()
    assert (found["p"] == 2 / 128).all()
    assert found["p_holm"].tolist() == pytest.approx([6 * 2 / 128] * 6)


def test_the_primary_metric_is_compared(rows_of, tasks) -> None:
    frame = rows_of({"majority": [0.1, 0.2, 0.4], "pooled": [0.5, 0.5, 0.5]})
    frame["accuracy"] = 1 - frame["accuracy"]
    assert pairs(frame, tasks)["method"].tolist() == ["pooled"]
    tasks["t"]["scoring"]["primary"] = "accuracy"
    assert pairs(frame, tasks)["method"].tolist() == ["majority"]


def test_seeds_are_averaged_in_a_person_before_anything_is_compared(rows_of, tasks) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 8))
    by_seed = pairs(rows_of({"majority": a, "pooled": b}), tasks)
    averaged = pairs(rows_of({"majority": a.mean(axis=0), "pooled": b.mean(axis=0)}), tasks)
    pd.testing.assert_frame_equal(by_seed, averaged)


@pytest.mark.parametrize("n", [8, 16])
def test_the_order_of_rows_does_not_matter(n: int, rows_of, tasks) -> None:
    rng = np.random.default_rng(0)
    frame = rows_of({name: rng.normal(k, 1, (2, n)) for k, name in enumerate("abc")})
    once = pairs(frame, tasks)
    for order in (slice(None, None, -1), rng.permutation(len(frame))):
        pd.testing.assert_frame_equal(pairs(frame.iloc[order], tasks), once)


def test_groups_are_families_of_their_own(rows_of, tasks) -> None:
    rng = np.random.default_rng(0)
    names = ["majority", "source-only", "pooled"]
    parts = [
        rows_of({name: rng.normal(size=9) for name in names[:k]}, group=group, fold=group)
        for k, group in ((3, "young"), (2, "old"))
    ]
    found = pairs(pd.concat(parts), tasks)
    assert found["group"].tolist() == ["young"] * 3 + ["old"]
    alone = pairs(parts[1], tasks)
    pd.testing.assert_frame_equal(found[found["group"] == "old"].reset_index(drop=True), alone)
    assert alone["p_holm"].tolist() == alone["p"].tolist()


def test_people_without_a_score_by_all_methods_are_left_out(rows_of, tasks) -> None:
    a, b, c = np.random.default_rng(0).normal(size=(3, 6))
    frame = rows_of({"majority": a, "pooled": b, "source-only": c})
    partial = frame[~((frame["method"] == "pooled") & frame["subject"].isin(["p1", "p4"]))]
    kept = [0, 2, 3, 5]
    whole = rows_of({"majority": a[kept], "pooled": b[kept], "source-only": c[kept]})
    pd.testing.assert_frame_equal(pairs(partial, tasks), pairs(whole, tasks))
    frame.loc[frame["subject"].isin(["p1", "p4"]), "n_stages"] = 1
    pd.testing.assert_frame_equal(pairs(frame, tasks), pairs(whole, tasks))


@pytest.mark.parametrize(
    "figures",
    [
        {"majority": [0.1, 0.2, 0.3]},
        {"majority": [0.1], "pooled": [0.2]},
        {"majority": [0.1, np.nan, 0.3], "pooled": [np.nan, 0.2, 0.3]},
        {"majority": [np.nan] * 3, "pooled": [0.2] * 3},
    ],
)
def test_nothing_to_compare_is_an_empty_table(figures, rows_of, tasks) -> None:
    found = pairs(rows_of(figures), tasks)
    assert found.empty
    assert list(found) == list(COLUMNS)
    assert pairs(rows_of(figures).assign(status="missing"), tasks).empty


def test_what_scores_more_than_it_would_is_not_tested_and_weighs_on_no_other(
    rows_of, tasks, facts
) -> None:
    figures = {
        "attnsleep@published": [0.9, 0.8, 0.9, 0.8],
        "attnsleep": [0.7, 0.7, 0.6, 0.7],
        "pooled": [0, 0.1, 0.1, 0],
        "source-only": [0.5, 0.5, 0.4, 0.5],
    }
    rows, pair = rows_of(figures), ["method", "other"]
    found = pairs(rows, tasks, facts).set_index(pair)
    chosen = found.index.get_level_values("method") == "attnsleep@published"
    assert chosen.sum() == 3
    assert found.loc[chosen, ["p", "p_holm"]].isna().all(axis=None)
    assert found.loc[chosen, "difference"].gt(0).all()
    fair = pairs(rows[rows["method"] != "attnsleep@published"], tasks, facts).set_index(pair)
    pd.testing.assert_frame_equal(found[~chosen], fair)
    saw = rows.assign(pretrained_saw=np.where(rows["method"] == "pooled", "yes", "no"))
    without = pairs(saw, tasks, facts).set_index(pair)["p"]
    assert without.index[without.notna()].tolist() == [("attnsleep", "source-only")]
    assert pairs(rows, tasks)["p"].notna().all()
    assert found["flag"].tolist() == [
        "attnsleep@published: optimistic: its training pass is chosen on the test people"
        if is_chosen
        else ""
        for is_chosen in chosen
    ]
