"""Figures of all predictions together, as most published ones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.frame import person_figures, read_confusion
from sleepshift.leaderboard.marks import marks, words
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.statistics import groups

__all__ = ["COLUMNS", "pooled"]

COLUMNS = ("task", "group", "method", "flag", "n_seeds", "n_windows", *METRICS)


def pooled(
    rows: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Metrics of the summed confusion matrices of all people and folds of a group.

    A person counts by the length of the nights, and differences between people are lost: these
    figures are for comparison with published ones and rank nothing.

    Parameters
    ----------
    rows : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with ``scoring.scheme``.
    methods : mapping
        Name -> facts that `sleepshift.leaderboard.marks.marks` takes.

    Returns
    -------
    DataFrame
        `COLUMNS` and ``f1_<stage>``, a row a method; means over seeds. ``flag`` has the
        marks of a method.
    """
    found = []
    for (task, group), part in groups(rows):
        scheme = tasks[task]["scoring"]["scheme"]
        for method, own in part.groupby("method", sort=False):
            seeds = pd.DataFrame([_figures(one, scheme) for _, one in own.groupby("seed")])
            row = {"task": task, "group": group, "method": method, "n_seeds": len(seeds)}
            row["flag"] = words(marks(methods[str(method)], own))
            found.append(row | seeds.mean().to_dict())
    if not found:
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.DataFrame(found)
    return table[[*COLUMNS, *[c for c in table if c.startswith("f1_")]]]


def _figures(rows: pd.DataFrame, scored: str) -> dict[str, float]:
    counts = np.sum([read_confusion(text) for text in rows["confusion"]], axis=0)
    return person_figures(counts, rows["scheme"].iloc[0], scored)
