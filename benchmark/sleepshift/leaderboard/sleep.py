"""What clinicians read of a night, scored and predicted, and how far the two agree.

Definitions are those of the AASM manual as YASA computes them: time in bed is the length of the
hypnogram, latency the time to its first window of sleep, wake after sleep onset the wake between
the first and the last sleep; windows without a stage count for time in bed alone. A night begins
where its windows do, so where a task trims wake, latency is counted from there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sleepshift.leaderboard.statistics import bootstrap_interval
from sleepshift.stages import WINDOW_SECONDS, epoch_step, merge_map

__all__ = ["SCORED", "agreement", "covers_the_night", "hypnogram", "sleep_statistics"]

#: What stands for a method in rows of the scorer.
SCORED = "scored"


def covers_the_night(scheme: str) -> bool:
    """Whether a scheme has a place for every stage, so that a hypnogram can be written in it.

    Parameters
    ----------
    scheme : str
        Name of a stage scheme.
    """
    return bool((merge_map("aasm5", scheme) >= 0).all()) if scheme != "rk6" else True


def hypnogram(onset: np.ndarray, stages: np.ndarray) -> np.ndarray:
    """Stages on a grid of 30-s slots, from the first window to the last.

    Parameters
    ----------
    onset : ndarray of float, shape (n_windows,)
        Seconds, in any order, no two the same.
    stages : ndarray of int, shape (n_windows,)

    Returns
    -------
    ndarray of int
        -1 in slots that no window fills.

    Examples
    --------
    >>> hypnogram(np.array([90.0, 0.0, 30.0]), np.array([2, 0, 1])).tolist()
    [0, 1, -1, 2]
    """
    windows = windows_of_slots(onset)
    return np.where(windows < 0, -1, np.asarray(stages)[windows])


def windows_of_slots(onset: np.ndarray) -> np.ndarray:
    """Which window fills each 30-s slot of a night; -1 where none does.

    No two windows share a slot, also where bouts are no whole number of slots. Windows around
    shorter epochs, which overlap, are as many as these epochs: a slot then has the nearest.

    Parameters
    ----------
    onset : ndarray of float, shape (n_windows,)
        Seconds, in any order, no two the same.
    """
    order = np.argsort(onset, kind="stable")
    place = (onset[order] - onset[order[0]]) / WINDOW_SECONDS
    if epoch_step(onset[order]) < WINDOW_SECONDS:
        grid = np.arange(int(np.rint(place[-1])) + 1)
        after = np.searchsorted(place, grid).clip(1, len(place) - 1)
        nearest = after - (grid - place[after - 1] <= place[after] - grid + 1e-9)
        there = np.abs(place[nearest] - grid) <= 0.5
        return np.where(there, order[nearest], -1)
    steps = np.arange(len(onset))
    slots = np.maximum.accumulate(np.rint(place).astype(int) - steps) + steps
    windows = np.full(slots.max() + 1, -1)
    windows[slots] = order
    return windows


def sleep_statistics(stages: np.ndarray, names: Sequence[str], *, ordered: bool = True) -> dict:
    """Figures of one night.

    Parameters
    ----------
    stages : ndarray of int, shape (n_slots,)
        Codes of the stages, 0 wake, -1 none.
    names : sequence of str
        Stages by code.
    ordered : bool
        Whether slots follow each other in time; without it nothing is said of latency and
        wake after sleep onset.

    Returns
    -------
    dict of str to float
        ``time_in_bed``, ``total_sleep_time``, ``sleep_latency``, ``waso`` and
        ``minutes_<stage>`` in minutes, ``sleep_efficiency`` in percent of the time in bed.
        NaN where there is no sleep.

    Examples
    --------
    >>> night = sleep_statistics(np.array([0, 0, 1, 0, 2, 0]), ["W", "NREM", "R"])
    >>> night["sleep_latency"], night["waso"], night["total_sleep_time"]
    (1.0, 0.5, 1.0)
    """
    minutes = WINDOW_SECONDS / 60
    asleep = np.flatnonzero(stages > 0)
    latency = waso = np.nan
    if ordered and len(asleep):
        latency = asleep[0] * minutes
        waso = (stages[asleep[0] : asleep[-1]] == 0).sum() * minutes
    figures = {
        "time_in_bed": len(stages) * minutes,
        "total_sleep_time": len(asleep) * minutes,
        "sleep_efficiency": 100 * len(asleep) / len(stages) if len(stages) else np.nan,
        "sleep_latency": latency,
        "waso": waso,
    }
    per_stage = {f"minutes_{name}": (stages == k).sum() * minutes for k, name in enumerate(names)}
    return {name: float(value) for name, value in (figures | per_stage).items()}


def agreement(nights: pd.DataFrame) -> pd.DataFrame:
    """Bias and limits of agreement of predicted with scored figures, over people.

    Differences are predicted minus scored. The bias is the mean over people of their mean
    difference, with a 95 % bootstrap interval. The limits are bias +- 1.96 standard deviations
    of the difference for one night of one person by one fitted model: variance between people
    plus variance within, from a one-way analysis of variance, since nights and seeds of one
    person repeat each other (Bland and Altman 2007, section 3).

    Parameters
    ----------
    nights : DataFrame
        Rows of `nights_frame`.

    Returns
    -------
    DataFrame
        ``task, group, method, statistic, n_people, n_nights, scored, bias, bias_low,
        bias_high, limit_low, limit_high``; ``scored`` is the mean over people. Nights in
        which either is undefined are left out.
    """
    keys = ["task", "fold", "group", "subject", "session"]
    names = [c for c in nights if c not in (*keys, "method", "seed", "time_in_bed")]
    if nights.empty:
        return pd.DataFrame()
    truth = nights[nights["method"] == SCORED].drop(columns=["method", "seed", "time_in_bed"])
    guess = nights[nights["method"] != SCORED].merge(truth, on=keys, suffixes=("", "_scored"))
    found = []
    for (task, group, method), part in guess.groupby(["task", "group", "method"], sort=False):
        for name in names:
            pair = part[["subject", "session", name, f"{name}_scored"]].dropna()
            if pair.empty:
                continue
            difference = pair[name] - pair[f"{name}_scored"]
            row = {"task": task, "group": group, "method": method, "statistic": name}
            row["n_people"] = pair["subject"].nunique()
            row["n_nights"] = len(pair[["subject", "session"]].drop_duplicates())
            row["scored"] = pair.groupby("subject")[f"{name}_scored"].mean().mean()
            found.append(row | limits_of_agreement(difference, pair["subject"]))
    return pd.DataFrame(found)


def limits_of_agreement(difference: pd.Series, subject: pd.Series) -> dict[str, float]:
    """Bias and limits from repeated differences of several people; see `agreement`."""
    each = difference.groupby(subject.to_numpy())
    means, sizes = each.mean(), each.size()
    bias, k, n = means.mean(), len(means), len(difference)
    low, high = bootstrap_interval(means.to_numpy())
    spread = np.nan
    if k > 1:
        grand = difference.mean()
        between = (sizes * (means - grand) ** 2).sum() / (k - 1)
        within = ((difference - each.transform("mean")) ** 2).sum() / (n - k) if n > k else 0.0
        m = (n - (sizes**2).sum() / n) / (k - 1)
        spread = np.sqrt(max(0.0, (between - within) / m) + within)
    return {
        "bias": bias,
        "bias_low": low,
        "bias_high": high,
        "limit_low": bias - 1.96 * spread,
        "limit_high": bias + 1.96 * spread,
    }
