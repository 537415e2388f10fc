"""The tidy frame: a row per task, fold, method, seed and person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.metrics import METRICS, f1_per_stage, merge_confusion, metrics
from sleepshift.runner import ArtifactStore, read_grid
from sleepshift.stages import get_scheme

__all__ = ["COLUMNS", "person_figures", "read_confusion", "results_frame"]

COLUMNS = (
    "task",
    "revision",
    "fold",
    "method",
    "seed",
    "subject",
    "age",
    "sex",
    "status",
    "n_windows",
    "n_stages",
    *METRICS,
    "nll",
    "fit_seconds",
    "predict_seconds",
    "n_parameters",
    "scheme",
    "confusion",
    "definition",
    "settings",
    "windows",
    "versions",
)


def results_frame(root: Path) -> pd.DataFrame:
    """Assemble all rows of a run; cells without people have one row that says why.

    Returns
    -------
    DataFrame
        Columns `COLUMNS` plus ``f1_<stage>``. ``status`` is ``"ok"``, ``"skipped: ..."``,
        ``"failed: ..."`` or ``"missing"``. Figures are in the task's scoring scheme;
        ``confusion`` counts are in the scheme the methods worked in, rows of the truth
        separated by ``;``.
    """
    grid, store = read_grid(root), ArtifactStore(root)
    rows: list[dict[str, Any]] = []
    for cell in grid["cells"]:
        task = grid["tasks"][cell["task"]]
        names = ("task", "revision", "definition", "fold", "method", "seed", "settings")
        identity = {k: cell[k] for k in names}
        if cell["skipped"] is not None:
            rows.append({**identity, "status": f"skipped: {cell['skipped']}"})
        elif store.has_cell(cell["key"]):
            people, facts = store.read_cell(cell["key"])
            rows += [{**identity, **_person_row(person, facts, task)} for person in people]
        else:
            reason = store.failure(cell["key"])
            rows.append({**identity, "status": f"failed: {reason}" if reason else "missing"})
    stages = [f"f1_{s}" for t in grid["tasks"].values() for s in _scored_stages(t)]
    return pd.DataFrame(rows, columns=[*COLUMNS, *dict.fromkeys(stages)])


def _scored_stages(task: dict[str, Any]) -> tuple[str, ...]:
    return get_scheme(task["scoring"]["scheme"]).stages


def _person_row(
    person: dict[str, Any], facts: dict[str, Any], task: dict[str, Any]
) -> dict[str, Any]:
    counts = np.array(person["confusion"])
    return {
        "subject": person["subject"],
        "age": person["age"],
        "sex": person["sex"],
        "status": "ok",
        **person_figures(counts, facts["scheme"], task["scoring"]["scheme"]),
        "nll": person["nll"],
        "fit_seconds": round(facts["fit_seconds"], 3),
        "predict_seconds": round(facts["predict_seconds"], 3),
        "n_parameters": facts["n_parameters"],
        "scheme": facts["scheme"],
        "confusion": ";".join(" ".join(map(str, row)) for row in counts),
        "windows": facts["windows"],
        "versions": " ".join(f"{k}={v}" for k, v in facts["versions"].items()),
    }


def person_figures(counts: np.ndarray, scheme: str, scored: str) -> dict[str, float]:
    """All figures that follow from a person's confusion matrix.

    Parameters
    ----------
    counts : ndarray of int, shape (n_stages, n_stages)
        In `scheme`; rows are the truth.
    scheme, scored : str
        Scheme of the counts, and the one that figures are computed in.

    Returns
    -------
    dict
        ``n_windows``, ``n_stages`` that the person was scored to have, the metrics, and
        ``f1_<stage>``.
    """
    merged = merge_confusion(counts, scheme, scored)
    f1 = zip(get_scheme(scored).stages, f1_per_stage(merged), strict=True)
    per_stage = {f"f1_{stage}": float(value) for stage, value in f1}
    n_stages = int((merged.sum(axis=1) > 0).sum())
    return {"n_windows": int(counts.sum()), "n_stages": n_stages, **metrics(merged), **per_stage}


def read_confusion(text: str) -> np.ndarray:
    """Counts from the ``confusion`` column.

    Examples
    --------
    >>> read_confusion("3 1;0 4").tolist()
    [[3, 1], [0, 4]]
    """
    return np.array([[int(n) for n in row.split()] for row in text.split(";")])
