"""What distillation gained: paired over people, against controls, and the gap recovered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sleepshift.leaderboard.statistics import BOOTSTRAP_SEED, N_RESAMPLES, holm, scores

__all__ = ["REFERENCES", "distilled", "gains", "recovery"]

#: The controls that every distilled student is held against.
REFERENCES = ("student-only", "label-smoothing", "kd-random-teacher")
_STUDENT, _TEACHER = "student-only", "teacher"


def distilled(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Methods of the distillation family, with its teacher and its controls."""
    return [name for name, facts in methods.items() if facts["family"] == "distillation"]


def gains(pairs: pd.DataFrame, methods: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Differences of distilled students from the controls in the tasks' primary metrics.

    Parameters
    ----------
    pairs : DataFrame
        Of `sleepshift.leaderboard.pairs`.
    methods : mapping
        Name -> facts with ``family``.

    Returns
    -------
    DataFrame
        One row per task, group, method and reference: the mean over people of the
        difference, its 95 % bootstrap interval over people, the two-sided p-value of the
        pair, and the same corrected by Holm's method over the methods held against one
        reference in one group; ``flag`` says where there is no p-value and why. Empty where no
        task has the references.
    """
    ours = pairs[pairs[["method", "other"]].isin(distilled(methods)).all(axis=1)]
    found = []
    for (task, group), part in ours.groupby(["task", "group"], sort=False):
        for reference in REFERENCES:
            against = _against(part, reference)
            if len(against):
                against["p_holm"] = holm(against["p"].to_numpy())
                found.append(against.assign(task=task, group=group, reference=reference))
    columns = ["task", "group", "method", "reference", "n_people"]
    columns += ["gain", "gain_low", "gain_high", "p", "p_holm", "flag"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame()


def _against(part: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Each method minus the reference, whichever of the two the pair names first."""
    names = {"difference": "gain", "difference_low": "gain_low", "difference_high": "gain_high"}
    above = part[part["other"] == reference].rename(columns=names)
    below = part[part["method"] == reference].drop(columns="method")
    turned = {"difference": "gain", "difference_low": "gain_high", "difference_high": "gain_low"}
    below = below.rename(columns={"other": "method", **turned})
    below[list(names.values())] *= -1
    kept = ["method", "n_people", *names.values(), "p", "flag"]
    return pd.concat([above[kept], below[kept]], ignore_index=True)


def recovery(part: pd.DataFrame, primary: str) -> dict[str, tuple[float, float, float]]:
    """Share of the gap between student and teacher that each method closes.

    ``mean(method - student) / mean(teacher - student)`` over people, with a 95 % interval
    over people (percentiles of the ratio, both means resampled together).

    Parameters
    ----------
    part : DataFrame
        Rows of one task and group.
    primary : str
        Metric.

    Returns
    -------
    dict of str to (value, low, high)
        By method; NaN where the teacher is not better, and an interval of NaN where that
        is in doubt: among more than 2.5 % of the resamples. Fewer than that are left out.
        Empty without both references.
    """
    people = scores(part, primary)
    if not {_STUDENT, _TEACHER} <= set(people.columns):
        return {}
    gap = people[_TEACHER] - people[_STUDENT]
    both = {
        method: pd.DataFrame({"gain": people[method] - people[_STUDENT], "gap": gap}).dropna()
        for method in people
        if method not in (_STUDENT, _TEACHER)
    }
    return {method: _ratio(pair["gain"], pair["gap"]) for method, pair in both.items()}


def _ratio(gain: pd.Series, gap: pd.Series) -> tuple[float, float, float]:
    top, bottom = gain.to_numpy(dtype=float), gap.to_numpy(dtype=float)
    if not len(top) or bottom.mean() <= 0:
        return np.nan, np.nan, np.nan
    value = top.mean() / bottom.mean()
    if len(top) < 2:
        return value, np.nan, np.nan

    def means(a: np.ndarray, b: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        return a.mean(axis=axis), b.mean(axis=axis)

    found = bootstrap(
        (top, bottom),
        means,
        paired=True,
        n_resamples=N_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    )
    tops, bottoms = found.bootstrap_distribution
    better = bottoms > 0
    if better.mean() < 0.975:
        return value, np.nan, np.nan
    low, high = np.percentile(tops[better] / bottoms[better], [2.5, 97.5])
    return value, float(low), float(high)
