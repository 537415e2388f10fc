"""Figures of people and intervals over them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sleepshift.leaderboard.metrics import METRICS

__all__ = ["bootstrap_interval", "groups", "holm", "one_stage", "per_person", "scores"]

N_RESAMPLES = 2000
BOOTSTRAP_SEED = 20240229


def bootstrap_interval(
    values: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """95 % percentile interval of the mean over people, resampling people.

    Parameters
    ----------
    values : ndarray, shape (n_people,)
        One figure a person, in any order; NaN left out.

    Returns
    -------
    low, high : float
        NaN with fewer than two people.
    """
    values = np.sort(values[np.isfinite(values)])
    if len(values) < 2 or np.ptp(values) == 0:
        edge = float(values[0]) if len(values) > 1 else float("nan")
        return edge, edge
    rng = np.random.default_rng(seed)
    found = bootstrap((values,), np.mean, n_resamples=n_resamples, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return float(low), float(high)


def groups(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Scored rows by task and group of people.

    Parameters
    ----------
    rows : DataFrame
        Of `results_frame`.
    """
    scored = rows[rows["status"] == "ok"]
    for (task, group), part in scored.groupby(["task", "group"], sort=False):
        yield (str(task), str(group)), part


def one_stage(part: pd.DataFrame) -> pd.Series:
    """Whether each person was scored to have one stage only.

    Parameters
    ----------
    part : DataFrame
        Rows of one task and group.
    """
    return part.groupby("subject", sort=False)["n_stages"].max() < 2


def per_person(part: pd.DataFrame) -> pd.DataFrame:
    """Figures of each person, seeds averaged, from rows of one method.

    Of a person scored to have one stage, some figures say little: a perfect prediction has no
    kappa, a single error halves macro F1, and there is no specificity. They are NaN for every
    method alike.

    Parameters
    ----------
    part : DataFrame
        Rows of one task, group and method.
    """
    figures = [*METRICS, "nll", *[c for c in part if c.startswith("f1_")]]
    people = part.groupby("subject", sort=False)[figures].mean()
    people.loc[one_stage(part), ["macro_f1", "kappa", "g_mean"]] = np.nan
    return people


def scores(part: pd.DataFrame, metric: str) -> pd.DataFrame:
    """One metric of each person (rows) by each method (columns); NaN where there is none.

    People are sorted, so that what is drawn from them does not depend on the order of rows.

    Parameters
    ----------
    part : DataFrame
        Rows of one task and group.
    metric : str
        One of `METRICS`.
    """
    each = part.groupby("method", sort=False)
    people = {str(method): per_person(rows)[metric] for method, rows in each}
    return pd.DataFrame(people).sort_index()


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected by Holm's step-down method, for the family they are.

    Parameters
    ----------
    p : ndarray, shape (n_tests,)
        NaN is no test: it stays, and the family is smaller by it.

    Returns
    -------
    ndarray, shape (n_tests,)

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]
    stepped = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    corrected = np.full(len(p), np.nan)
    corrected[order] = stepped.clip(max=1)
    return corrected
