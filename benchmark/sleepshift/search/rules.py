"""Rules of choice side by side, in the columns of scikit-learn's ``cv_results_``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from sleepshift.atomic import write_text
from sleepshift.errors import LeakageError
from sleepshift.search.scores import Scores

__all__ = ["RULES", "cv_results", "oracle", "select", "selections", "write_tables"]

#: Rules by name, and on whom each chooses.
RULES = {
    "source_validation": "source people held out",
    "target_validation": "a labelled target person held out",
    "oracle": "the test people: an upper bound",
}


def cv_results(combinations: Sequence[Mapping[str, Any]], scores: Scores) -> pd.DataFrame:
    """A row a combination, in the columns of `GridSearchCV.cv_results_`.

    Splits are folds times seeds, a fold's seeds beside each other; a rule stands where a scorer
    does (``mean_test_source_validation``). Splits in which a rule has no score at all
    (nobody to choose on, every combination failed) are left out of its mean; a rule without
    any has no columns. A combination that failed in another split has no mean, and ranks last.

    Parameters
    ----------
    combinations : sequence of mapping
    scores : Scores

    Returns
    -------
    DataFrame
        ``mean_fit_time, std_fit_time, mean_score_time, std_score_time, param_<name>, params``,
        then of each of `RULES` ``split<k>_test_<rule>``, ``mean_test_<rule>``,
        ``std_test_<rule>`` and ``rank_test_<rule>``.
    """
    cells = scores.cells
    splits = [(fold, seed) for fold in cells["fold"].unique() for seed in cells["seed"].unique()]
    columns: dict[str, Any] = {}
    for time in ("fit_time", "score_time"):
        seconds = _by_split(cells, time, len(combinations), splits)
        columns |= {f"mean_{time}": seconds.mean(axis=1), f"std_{time}": seconds.std(axis=1)}
    for name in combinations[0]:
        values = [combination[name] for combination in combinations]
        columns[f"param_{name}"] = pd.Series(values, dtype=object)  # None stays None, 1 stays 1
    columns["params"] = [dict(combination) for combination in combinations]
    for rule in RULES:
        rows = scores.test if rule == "oracle" else scores.validation.query("role == @rule")
        if rows["score"].notna().any():
            columns |= _figures(f"test_{rule}", _by_split(rows, "score", len(combinations), splits))
    return pd.DataFrame(columns)


def _by_split(rows: pd.DataFrame, what: str, n: int, splits: Sequence[Any]) -> np.ndarray:
    """Means over people, shape (n_combinations, n_splits); NaN where there is none."""
    means = rows.groupby(["combination", "fold", "seed"])[what].mean()
    index = [(k, *split) for k in range(n) for split in splits]
    return means.reindex(index).to_numpy(dtype=float).reshape(n, len(splits))


def _figures(key: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Splits, mean, standard deviation and rank, as scikit-learn computes them."""
    known = values[:, np.isfinite(values).any(axis=0)]
    mean = known.mean(axis=1)
    worst = mean[np.isfinite(mean)].min(initial=np.inf) - 1
    rank = rankdata(-np.where(np.isfinite(mean), mean, worst), method="min")
    return {
        **{f"split{k}_{key}": column for k, column in enumerate(values.T)},
        f"mean_{key}": mean,
        f"std_{key}": known.std(axis=1),
        f"rank_{key}": rank.astype(np.int32),
    }


def select(validation: pd.DataFrame) -> pd.DataFrame:
    """What each rule chooses in each fold, from people held out alone.

    Every fold chooses for itself: where people take turns, one fold's test people are
    another's source. The best is the highest mean over seeds of the mean over people; of
    equals the first; a combination that failed with a seed is not chosen.

    Parameters
    ----------
    validation : DataFrame
        Of `Scores`.

    Returns
    -------
    DataFrame
        ``rule, group, fold, combination, score``; no row where nobody can be scored.

    Raises
    ------
    LeakageError
        If there are rows of test people.
    """
    if (validation["role"] == "test").any():
        raise LeakageError("settings are not chosen on test people; give people held out alone")
    return _best(validation.rename(columns={"role": "rule"}))


def oracle(test: pd.DataFrame) -> pd.DataFrame:
    """What would have been best on the test people: an upper bound, and no way to choose.

    Parameters
    ----------
    test : DataFrame
        Of `Scores`.

    Returns
    -------
    DataFrame
        As `select` returns it.
    """
    return _best(test.assign(rule="oracle"))


def _best(rows: pd.DataFrame) -> pd.DataFrame:
    chosen = []
    for (rule, group, fold), part in rows.groupby(["rule", "group", "fold"], sort=False):
        means = _over_seeds(part)
        if means.notna().any():
            best = means.idxmax()
            chosen.append((rule, group, fold, int(best), float(means[best])))
    return pd.DataFrame(chosen, columns=["rule", "group", "fold", "combination", "score"])


def _over_seeds(rows: pd.DataFrame) -> pd.Series:
    """Mean over seeds of the mean over people, by combination, of rows of one fold."""
    by_seed = rows.pivot_table("score", "combination", "seed", dropna=False)
    return by_seed.mean(axis=1, skipna=False)


def selections(combinations: Sequence[Mapping[str, Any]], scores: Scores) -> pd.DataFrame:
    """What each rule chooses in each fold, and what that scores on the test people.

    Parameters
    ----------
    combinations : sequence of mapping
    scores : Scores

    Returns
    -------
    DataFrame
        ``rule, chosen_on, oracle, group, fold, combination, params, selection_score,
        test_score``; the last is NaN where labels of the test people are withheld.
    """
    by_fold = scores.test.groupby("fold", sort=False)
    test = {fold: _over_seeds(rows) for fold, rows in by_fold}
    rows = []
    chosen = pd.concat([select(scores.validation), oracle(scores.test)])
    for rule in RULES:
        for found in chosen[chosen["rule"] == rule].itertuples():
            scored = test.get(found.fold, pd.Series(dtype=float)).get(found.combination, np.nan)
            rows.append(
                {
                    "rule": rule,
                    "chosen_on": RULES[rule],
                    "oracle": rule == "oracle",
                    "group": found.group,
                    "fold": found.fold,
                    "combination": found.combination,
                    "params": dict(combinations[found.combination]),
                    "selection_score": found.score,
                    "test_score": scored,
                }
            )
    columns = ["rule", "chosen_on", "oracle", "group", "fold", "combination", "params"]
    return pd.DataFrame(rows, columns=[*columns, "selection_score", "test_score"])


def write_tables(folder: Path, results: pd.DataFrame, selected: pd.DataFrame) -> None:
    """Write ``cv_results.csv`` and ``selected.csv``.

    Parameters
    ----------
    folder : Path
        As `record_search` returned it.
    results : DataFrame
        Of `cv_results`.
    selected : DataFrame
        Of `selections`.
    """
    for name, table in (("cv_results", results), ("selected", selected)):
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
