"""Methods ranked over tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from sleepshift.protocol.protocols import IN_DOMAIN

__all__ = ["average_ranks", "critical_difference"]


def critical_difference(n_methods: int, n_tasks: int, alpha: float = 0.05) -> float:
    """How far two average ranks must lie apart to differ (Nemenyi's test; Demsar 2006).

    ``q sqrt(k (k + 1) / (6 n))`` with ``q`` the studentised range of k methods and infinite
    degrees of freedom, divided by the square root of 2.

    Parameters
    ----------
    n_methods, n_tasks : int
        How many are ranked, and how often.
    alpha : float
        Level of the test.

    Examples
    --------
    >>> round(critical_difference(5, 10), 3)
    1.929
    """
    q = studentized_range.ppf(1 - alpha, n_methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(n_methods * (n_methods + 1) / (6 * n_tasks)))


def average_ranks(table: pd.DataFrame, primary: dict[str, str]) -> pd.DataFrame:
    """Mean rank over tasks of the methods that every task has.

    Parameters
    ----------
    table : DataFrame
        The leaderboard.
    primary : dict of str to str
        Primary metric of each task. A method's score in a task is its mean over the target
        groups, all of which it must have; bounds have no rank.

    Returns
    -------
    DataFrame
        ``method, mean_rank, n_tasks``, best first; ``attrs`` hold ``critical_difference``
        and ``friedman_p`` (NaN with fewer than three methods). Empty with fewer than two
        tasks or methods: ranks of one task are in its own table.
    """
    fair = table[table["rank"].notna() & (table["group"] != IN_DOMAIN)]
    score = {
        task: part.pivot_table(
            primary[str(task)], "method", "group", sort=False, dropna=False
        ).mean(axis=1, skipna=False)
        for task, part in fair.groupby("task", sort=False)
    }
    scores = pd.DataFrame(score).dropna()
    n_methods, n_tasks = scores.shape
    if n_tasks < 2 or n_methods < 2:
        return pd.DataFrame(columns=["method", "mean_rank", "n_tasks"])
    ranks = rankdata(-scores.to_numpy(), axis=0)
    found = pd.DataFrame(
        {"method": scores.index, "mean_rank": ranks.mean(axis=1), "n_tasks": n_tasks}
    ).sort_values("mean_rank", kind="stable", ignore_index=True)
    found.attrs["critical_difference"] = critical_difference(n_methods, n_tasks)
    p = friedmanchisquare(*scores.to_numpy()).pvalue if n_methods > 2 else np.nan
    found.attrs["friedman_p"] = float(p)
    return found
