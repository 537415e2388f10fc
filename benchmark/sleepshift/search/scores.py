"""What the cells of a search score: people to choose on apart from people to test on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.statistics import per_person
from sleepshift.runner import ArtifactStore, Plan

__all__ = ["Scores", "read_scores"]

_ROW = ("combination", "group", "fold", "seed")


@dataclass(frozen=True)
class Scores:
    """Scores of a search.

    Parameters
    ----------
    cells : DataFrame
        A row a combination, fold and seed: ``combination`` (its position), ``group``,
        ``fold``, ``seed``, ``fit_time`` and ``score_time`` (seconds), and ``reason`` why there
        is none, empty where there is.
    validation : DataFrame
        A row a cell and person held out: ``combination``, ``group``, ``fold``, ``seed``,
        ``role`` (``"source_validation"`` or ``"target_validation"``), ``subject``, ``score``.
    test : DataFrame
        The same of the test people; ``role`` is ``"test"``.
    """

    cells: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


def read_scores(plan: Plan, n_combinations: int, store: ArtifactStore) -> Scores:
    """Read what was stored of a search; folds on which the method cannot run are left out.

    Parameters
    ----------
    plan : Plan
        Of `plan_search`.
    n_combinations : int
    store : ArtifactStore

    Returns
    -------
    Scores
        Of the task's primary metric. People whose labels are withheld have no row, and those
        scored to have one stage no score where the metric says little of them.
    """
    n_cells = len(plan.grid) // n_combinations
    able = {(cell.fold, cell.seed) for cell in plan.grid if cell.key is not None}
    cells: list[dict[str, Any]] = []
    people: list[dict[str, Any]] = []
    for k, cell in enumerate(plan.grid):
        if (cell.fold, cell.seed) not in able:
            continue
        where = dict(zip(_ROW, (k // n_cells, cell.group, cell.fold, cell.seed), strict=True))
        fit_time = score_time = np.nan
        reason = cell.skipped or ""
        if cell.key is not None and store.has_cell(cell.key):
            counted, facts = store.read_cell(cell.key)
            fit_time, score_time = facts["fit_seconds"], facts["predict_seconds"]
            job = plan.cells[cell.key]
            roles, scoring = job.fold.validation, job.data.task.scoring
            for subject, score in _scores(counted, facts["scheme"], scoring).items():
                role = roles.get(str(subject), "test")
                people.append({**where, "role": role, "subject": subject, "score": score})
        elif cell.key is not None:
            reason = store.failure(cell.key) or "it has not been computed"
        times = {"fit_time": fit_time, "score_time": score_time}
        cells.append({**where, **times, "reason": reason})
    rows = pd.DataFrame(people, columns=[*_ROW, "role", "subject", "score"])
    test = rows["role"] == "test"
    return Scores(pd.DataFrame(cells), rows[~test], rows[test])


def _scores(counted: list[dict[str, Any]], scheme: str, scoring: Any) -> pd.Series:
    """The primary metric of each person who has labels."""
    rows = [
        {
            "subject": person["subject"],
            "nll": person["nll"],
            **person_figures(np.array(person["confusion"]), scheme, scoring.scheme),
        }
        for person in counted
        if person["confusion"] is not None
    ]
    if not rows:
        return pd.Series(dtype=float)
    return per_person(pd.DataFrame(rows))[scoring.primary]
