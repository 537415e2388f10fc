"""Mean ranks against Demsar (2006): the table of critical values, and his example."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from sleepshift.leaderboard.ranks import average_ranks, critical_difference

#: Table 5 (a) of Demsar (2006), alpha = .05, for 2 to 10 classifiers.
Q_05 = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]
#: The same for alpha = .10.
Q_10 = [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]

#: Table 6 there: AUC of four versions of C4.5 on 14 data sets (of the two .975 the first ranks
#: higher there).
AUC = {
    "C4.5": [.763, .599, .954, .628, .882, .936, .661, .583, .775, 1, .940, .619, .972, .957],
    "C4.5+m": [.768, .591, .971, .661, .888, .931, .668, .583, .838, 1, .962, .666, .981, .978],
    "C4.5+cf": [.771, .590, .968, .654, .886, .916, .609, .563, .866, 1, .965, .614, .9751, .946],
    "C4.5+m+cf": [.798, .569, .967, .657, .898, .931, .685, .625, .875, 1, .962, .669, .975, .970],
}  # fmt: skip


def table_of(scores: dict[str, list[float]], group: str = "all") -> pd.DataFrame:
    """A leaderboard of methods from their scores in tasks "0", "1", ..."""
    rows = [
        {"task": str(k), "group": group, "method": method, "kappa": value, "rank": 1}
        for method, values in scores.items()
        for k, value in enumerate(values)
    ]
    return pd.DataFrame(rows).astype({"rank": "Int64"})


def ranks_of(table: pd.DataFrame) -> pd.DataFrame:
    return average_ranks(table, dict.fromkeys(table["task"], "kappa"))


@pytest.mark.parametrize(("alpha", "table"), [(0.05, Q_05), (0.1, Q_10)])
def test_critical_values_are_demsars(alpha: float, table: list[float]) -> None:
    for k, q in enumerate(table, start=2):
        for n in (2, 14, 30):
            expected = q * np.sqrt(k * (k + 1) / (6 * n))
            scale = np.sqrt(k * (k + 1) / (6 * n))
            assert critical_difference(k, n, alpha) == pytest.approx(expected, abs=1.1e-3 * scale)


def test_demsars_example() -> None:
    found = ranks_of(table_of(AUC))
    ranks = found.set_index("method")["mean_rank"].round(3).to_dict()
    assert ranks == {"C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143}
    assert found["method"].tolist() == list(ranks)
    assert (found["n_tasks"] == 14).all()
    # He gives critical differences of 1.25 and 1.12, and a chi-square of 9.28, which is corrected
    # here for ties: four methods in one data set, two in three others.
    assert found.attrs["critical_difference"] == pytest.approx(1.25, abs=0.01)
    assert critical_difference(4, 14, 0.1) == pytest.approx(1.12, abs=0.01)
    assert found.attrs["friedman_p"] == pytest.approx(
        chi2.sf(9.28 / (1 - (60 + 6 + 6 + 6) / (14 * 4 * 15)), 3), abs=2e-4
    )


def friedman(scores: dict[str, list[float]]) -> float:
    """Friedman's chi-square by its formula, without ties."""
    table = np.array(list(scores.values()))
    k, n = table.shape
    ranks = (table[:, None, :] < table[None, :, :]).sum(axis=1) + 1
    statistic = 12 * n / (k * (k + 1)) * ((ranks.mean(axis=1) ** 2).sum() - k * (k + 1) ** 2 / 4)
    return float(chi2.sf(statistic, k - 1))


def test_friedmans_p_is_that_of_his_formula() -> None:
    rng = np.random.default_rng(0)
    for k in (3, 5):
        scores = {f"m{j}": (rng.normal(j / 3, 1, 9)).tolist() for j in range(k)}
        assert ranks_of(table_of(scores)).attrs["friedman_p"] == pytest.approx(friedman(scores))


def test_ties_share_their_ranks() -> None:
    found = ranks_of(table_of({"a": [0.5, 0.9], "b": [0.5, 0.9], "c": [0.1, 0.95]}))
    assert found.set_index("method")["mean_rank"].to_dict() == {"a": 2, "b": 2, "c": 2}
    assert np.isfinite(found.attrs["friedman_p"])


def test_two_methods_have_no_friedman_test() -> None:
    found = ranks_of(table_of({"a": [0.5, 0.9, 0.3], "b": [0.4, 0.8, 0.7]}))
    assert found["method"].tolist() == ["a", "b"]
    assert found["mean_rank"].tolist() == pytest.approx([4 / 3, 5 / 3])
    assert np.isnan(found.attrs["friedman_p"])
    assert found.attrs["critical_difference"] == pytest.approx(1.96 / np.sqrt(3), abs=1e-3)


def test_methods_that_a_task_lacks_are_left_out() -> None:
    table = table_of({"a": [0.5, 0.9], "b": [0.4, 0.8], "c": [0.9, np.nan], "d": [0.1, 0.1]})
    table = table[(table["method"] != "d") | (table["task"] == "0")]
    found = ranks_of(table)
    assert found["method"].tolist() == ["a", "b"]
    assert found["mean_rank"].tolist() == [1, 2]


def test_bounds_and_the_sources_own_people_have_no_part() -> None:
    table = table_of({"a": [0.5, 0.9], "b": [0.4, 0.8], "teacher": [0.9, 0.95]})
    table["rank"] = table["rank"].where(table["method"] != "teacher")
    home = table_of({"a": [0.0, 0.0], "b": [1.0, 1.0]}, group="in-domain")
    found = ranks_of(pd.concat([table, home]))
    assert found["method"].tolist() == ["a", "b"]
    assert found["mean_rank"].tolist() == [1, 2]


def test_a_score_in_a_task_is_the_mean_over_its_groups() -> None:
    one = table_of({"a": [0.5, 0.9], "b": [0.4, 0.8]})
    other = table_of({"a": [0.1, 0.1], "b": [0.9, 0.1]}, "other")
    found = ranks_of(pd.concat([one, other])).set_index("method")
    assert found["mean_rank"].to_dict() == {"a": 1.5, "b": 1.5}


def test_a_method_that_lacks_a_group_is_not_ranked_by_the_others() -> None:
    easy = table_of({"a": [0.9, 0.9], "b": [0.8, 0.8], "c": [0.7, 0.7]}, "easy")
    hard = table_of({"a": [0.2, 0.2], "b": [0.1, 0.1]}, "hard")
    found = ranks_of(pd.concat([easy, hard]))
    assert found["method"].tolist() == ["a", "b"]
    unknown = table_of({"c": [np.nan, np.nan]}, "hard")
    pd.testing.assert_frame_equal(ranks_of(pd.concat([easy, hard, unknown])), found)


@pytest.mark.parametrize("scores", [{"a": [0.5], "b": [0.4]}, {"a": [0.5, 0.4]}])
def test_one_task_or_one_method_has_no_ranks_over_tasks(scores: dict) -> None:
    found = ranks_of(table_of(scores))
    assert found.empty
    assert list(found) == ["method", "mean_rank", "n_tasks"]


def test_each_task_is_ranked_by_its_own_metric() -> None:
    table = table_of({"a": [0.5, 0.9], "b": [0.4, 0.8]}).assign(macro_f1=lambda t: 1 - t["kappa"])
    found = average_ranks(table, {"0": "kappa", "1": "macro_f1"}).set_index("method")
    assert found["mean_rank"].to_dict() == {"a": 1.5, "b": 1.5}
