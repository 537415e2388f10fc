"""What distillation gained: paired over people, against controls, and the gap recovered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, wilcoxon

from sleepshift.leaderboard.statistics import (
    BOOTSTRAP_SEED,
    N_RESAMPLES,
    bootstrap_interval,
    groups,
    per_person,
)

__all__ = ["REFERENCES", "distilled", "gains", "recovery"]

#: The controls that every distilled student is held against.
REFERENCES = ("student-only", "label-smoothing", "kd-random-teacher")
_STUDENT, _TEACHER = "student-only", "teacher"


def distilled(methods: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Methods of the distillation family, with its teacher and its controls."""
    return [name for name, facts in methods.items() if facts["family"] == "distillation"]


def gains(
    frame: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Differences of distilled students from the controls in the tasks' primary metrics.

    Parameters
    ----------
    frame : DataFrame
        Rows of `results_frame`.
    tasks, methods : mapping
        As in `leaderboard`.

    Returns
    -------
    DataFrame
        One row per task, group, method and reference: the mean over people of the
        difference (seeds averaged in each person), its 95 % bootstrap interval over people,
        the two-sided p-value of Wilcoxon's signed-rank test over people, and the same
        corrected by Holm's method over the methods held against one reference in one
        group. Empty where no task has the references.
    """
    rows = []
    for (task, group), part in groups(frame[frame["method"].isin(distilled(methods))], tasks):
        people = _by_method(part, tasks[task]["scoring"]["primary"])
        for reference in (name for name in REFERENCES if name in people):
            against = [
                {"task": task, "group": group, "method": method, "reference": reference}
                | _difference((people[method] - people[reference]).dropna())
                for method in people
                if method != reference
            ]
            corrected = _holm(np.array([row["p"] for row in against]))
            rows += [row | {"p_holm": p} for row, p in zip(against, corrected, strict=True)]
    return pd.DataFrame(rows)


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
    people = _by_method(part, primary)
    if not {_STUDENT, _TEACHER} <= set(people):
        return {}
    gap = people[_TEACHER] - people[_STUDENT]
    both = {
        method: pd.DataFrame({"gain": people[method] - people[_STUDENT], "gap": gap}).dropna()
        for method in people
        if method not in (_STUDENT, _TEACHER)
    }
    return {method: _ratio(pair["gain"], pair["gap"]) for method, pair in both.items()}


def _by_method(part: pd.DataFrame, primary: str) -> dict[str, pd.Series]:
    """A figure a person, by method."""
    each = part.groupby("method", sort=False)
    return {str(method): per_person(rows)[primary].sort_index() for method, rows in each}


def _difference(difference: pd.Series) -> dict[str, Any]:
    values = difference.to_numpy(dtype=float)
    low, high = bootstrap_interval(values)
    same = not len(values) or not np.any(values)
    p = 1.0 if same else float(wilcoxon(values, zero_method="zsplit").pvalue)
    return {
        "n_people": len(values),
        "gain": values.mean() if len(values) else np.nan,
        "gain_low": low,
        "gain_high": high,
        "p": p,
    }


def _holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected by Holm's step-down method."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(stepped)
    corrected[order] = stepped.clip(max=1)
    return corrected


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
