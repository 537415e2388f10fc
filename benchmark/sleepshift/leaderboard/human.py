"""How well a second human scorer agrees with the first: a line to hold stagers against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.statistics import bootstrap_interval, groups, per_person
from sleepshift.stages import merge_map

__all__ = ["human_agreement"]


def human_agreement(rows: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Figures of the second scorer on the test people, the first taken as the truth.

    Parameters
    ----------
    rows : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts; ``second_scorer`` has the ``scheme`` and the ``counts`` of each
        person's confusion matrix, rows of the first scorer, where there are two.

    Returns
    -------
    DataFrame
        ``task, group, n_people`` and each of `METRICS` with its 95 % bootstrap interval over
        people. No row where there is one scorer, or where the scoring scheme leaves stages out,
        since the second may say one of them.
    """
    found = []
    for (task, group), part in groups(rows):
        second = tasks[task]["second_scorer"]
        people = [s for s in dict.fromkeys(part["subject"]) if np.sum(second["counts"].get(s, 0))]
        scheme = tasks[task]["scoring"]["scheme"]
        if not people or (merge_map(second["scheme"], scheme) < 0).any():
            continue
        figures = pd.DataFrame(
            {"subject": s, "nll": float("nan")}
            | person_figures(np.array(second["counts"][s]), second["scheme"], scheme)
            for s in people
        )
        each = per_person(figures)
        row: dict[str, Any] = {"task": task, "group": group, "n_people": len(each)}
        for name in METRICS:
            low, high = bootstrap_interval(each[name].to_numpy())
            row |= {name: each[name].mean(), f"{name}_low": low, f"{name}_high": high}
        found.append(row)
    return pd.DataFrame(found, columns=["task", "group", "n_people", *_metric_columns()])


def _metric_columns() -> list[str]:
    return [f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")]
