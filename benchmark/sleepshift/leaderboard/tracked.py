"""Hand a run's results to who tracks it."""

from __future__ import annotations

import warnings

import pandas as pd

from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.results import Results
from sleepshift.runner.tracking import Tracker, TrackingWarning

__all__ = ["cell_scores", "track_results"]

_FACTS = ("title", "dataset", "simulated", "protocol", "scheme", "scoring", "training")


def cell_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a cell: its metrics, each the mean over people.

    Parameters
    ----------
    rows : DataFrame
        Of `results_frame`.
    """
    scored = rows[rows["status"] == "ok"]
    cells = scored.groupby(["task", "fold", "group", "method", "seed"], sort=False)
    means = cells[[*METRICS, "nll"]].mean()
    return means.assign(n_people=cells.size()).reset_index()


def track_results(results: Results, tracker: Tracker) -> list[str]:
    """Log every cell's scores and the final table, one summary a task.

    Parameters
    ----------
    results : Results
    tracker : Tracker

    Returns
    -------
    list of str
        What the user should hear: that tracking failed, or how to send what is here.
    """
    if tracker.project is None:
        return []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for name, facts in results.tasks.items():
            primary = facts["scoring"]["primary"]
            table = results.table[results.table["task"] == name]
            tracker.summary(
                name,
                config={fact: facts[fact] for fact in _FACTS if fact in facts},
                tables={
                    "cells": cell_scores(results.rows[results.rows["task"] == name]),
                    "leaderboard": table,
                },
                figures={
                    f"{row['group']}/{row['method']}/{primary}": float(row[primary])
                    for _, row in table.iterrows()
                },
            )
    said = [str(w.message) for w in caught if issubclass(w.category, TrackingWarning)]
    return [*said, *filter(None, [tracker.hint()])]
