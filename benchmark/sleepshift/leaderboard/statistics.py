"""Figures of people and intervals over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sleepshift.leaderboard.metrics import METRICS

__all__ = ["bootstrap_interval", "groups", "one_stage", "per_person"]

N_RESAMPLES = 2000
BOOTSTRAP_SEED = 20240229


def bootstrap_interval(
    values: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """95 % percentile interval of the mean over people, resampling people.

    Parameters
    ----------
    values : ndarray, shape (n_people,)
        One figure a person, NaN left out.

    Returns
    -------
    low, high : float
        NaN with fewer than two people.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or np.ptp(values) == 0:
        edge = float(values[0]) if len(values) > 1 else float("nan")
        return edge, edge
    rng = np.random.default_rng(seed)
    found = bootstrap((values,), np.mean, n_resamples=n_resamples, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return float(low), float(high)


def groups(
    frame: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """Scored rows by task and group of people.

    A group is a fold, or ``"all"`` folds together where each person is tested once.
    """
    scored = frame[frame["status"] == "ok"].copy()
    pooled = scored["task"].map(lambda name: bool(tasks[name]["pool_folds"])).astype(bool)
    scored["group"] = scored["fold"].astype(str).where(~pooled, "all")
    for (task, group), part in scored.groupby(["task", "group"], sort=False):
        yield (str(task), str(group)), part


def one_stage(part: pd.DataFrame) -> pd.Series:
    """Whether each person was scored to have one stage only."""
    return part.groupby("subject", sort=False)["n_stages"].max() < 2


def per_person(part: pd.DataFrame) -> pd.DataFrame:
    """Figures of each person, seeds averaged, from rows of one method.

    Of a person scored to have one stage, macro F1 and kappa say little: a perfect prediction
    has no kappa, and a single error halves macro F1. They are NaN for every method alike.
    """
    figures = [*METRICS, "nll", *[c for c in part if c.startswith("f1_")]]
    people = part.groupby("subject", sort=False)[figures].mean()
    people.loc[one_stage(part), ["macro_f1", "kappa"]] = np.nan
    return people
