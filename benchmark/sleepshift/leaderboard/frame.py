"""The tidy frame: a row per task, fold, method, seed and person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.marks import start_facts
from sleepshift.leaderboard.metrics import (
    METRICS,
    f1_per_stage,
    merge_confusion,
    metrics,
)
from sleepshift.runner import ArtifactStore, read_grid
from sleepshift.stages import get_scheme

__all__ = [
    "COLUMNS",
    "SOMETIMES",
    "person_figures",
    "pooled_bins",
    "read_confusion",
    "read_reliability",
    "results_frame",
]

COLUMNS = (
    "task",
    "revision",
    "fold",
    "group",
    "n_labeled",
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
    "reliability",
    "definition",
    "settings",
    "windows",
    "versions",
)


#: Columns that are left out of files where no row says anything.
SOMETIMES = ("chosen_pass", "pretrained", "pretrained_saw")

_IDENTITY = (
    "task",
    "revision",
    "definition",
    "fold",
    "group",
    "n_labeled",
    "method",
    "seed",
    "settings",
)


#: Status of a person whose labels the dataset withholds.
UNSCORED = (
    "unscored: the labels of the test people are not public; make a file with sleepshift submit"
)


def results_frame(root: Path) -> pd.DataFrame:
    """Assemble all rows of a run; cells without people have one row that says why.

    Parameters
    ----------
    root : Path
        Folder of a run.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, `SOMETIMES` and ``f1_<stage>``. ``status`` is
        ``"ok"``, ``"skipped: ..."``, ``"failed: ..."``, ``"unscored: ..."`` or ``"missing"``.
        Figures are in the task's scoring scheme; ``confusion`` counts are in the scheme the
        methods worked in, rows of the truth separated by ``;``; ``reliability`` has windows,
        right ones and summed confidence for bins of confidence. Folds of one ``group`` are
        pooled; ``n_labeled`` counts the target people whose labels the fold gives.
        ``chosen_pass`` is the training pass that was kept since it is the best on the test
        people, if one was; ``pretrained`` names the weights that a network started from, and
        what they were trained on; ``pretrained_saw`` says whether the task's dataset is among
        that: "yes", "no" or "unknown".
    """
    grid, store = read_grid(root), ArtifactStore(root)
    rows: list[dict[str, Any]] = []
    for cell in grid["cells"]:
        task = grid["tasks"][cell["task"]]
        identity = {k: cell[k] for k in _IDENTITY}
        if cell["skipped"] is not None:
            rows.append({**identity, "status": f"skipped: {cell['skipped']}"})
        elif store.has_cell(cell["key"]):
            people, facts = store.read_cell(cell["key"])
            known = identity | _starts(facts, task)
            rows += [{**known, **_person_row(person, facts, task)} for person in people]
        else:
            reason = store.failure(cell["key"])
            rows.append({**identity, "status": f"failed: {reason}" if reason else "missing"})
    stages = [f"f1_{s}" for t in grid["tasks"].values() for s in _scored_stages(t)]
    return pd.DataFrame(rows, columns=[*COLUMNS, *SOMETIMES, *dict.fromkeys(stages)])


def _scored_stages(task: dict[str, Any]) -> tuple[str, ...]:
    return get_scheme(task["scoring"]["scheme"]).stages


def _person_row(
    person: dict[str, Any], facts: dict[str, Any], task: dict[str, Any]
) -> dict[str, Any]:
    if person["confusion"] is None:
        return {name: person[name] for name in ("subject", "age", "sex")} | {"status": UNSCORED}
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
        "chosen_pass": facts.get("chosen_pass"),
        "scheme": facts["scheme"],
        "confusion": _write_rows(counts.tolist()),
        "reliability": _write_rows(person["reliability"]),
        "windows": facts["windows"],
        "versions": " ".join(f"{k}={v}" for k, v in facts["versions"].items()),
    }


def _starts(facts: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """What is said of the weights that networks began with."""
    if facts.get("pretrained") is not None:  # an older version's own words and answer
        saw = "yes" if facts.get("pretrained_saw") == "yes" else "unknown"
        return {"pretrained": facts["pretrained"], "pretrained_saw": saw}
    return start_facts(facts.get("starts", ()), task.get("sources", [task["dataset"]]))


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


def _write_rows(rows: list[list[float]]) -> str:
    return ";".join(" ".join(f"{value:.10g}" for value in row) for row in rows)


def read_reliability(text: str) -> np.ndarray:
    """Bins from the ``reliability`` column, shape (n_bins, 3).

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> read_reliability("3 1 1.5;4 4 3.75").tolist()
    [[3.0, 1.0, 1.5], [4.0, 4.0, 3.75]]
    """
    return np.array([[float(n) for n in row.split()] for row in text.split(";")])


def pooled_bins(rows: pd.DataFrame) -> np.ndarray:
    """Bins of confidence summed over rows: of few windows alone, calibration looks too bad.

    Parameters
    ----------
    rows : DataFrame
        With a ``reliability`` column.
    """
    return np.sum([read_reliability(text) for text in rows["reliability"]], axis=0)


def read_confusion(text: str) -> np.ndarray:
    """Counts from the ``confusion`` column.

    Parameters
    ----------
    text : str

    Examples
    --------
    >>> read_confusion("3 1;0 4").tolist()
    [[3, 1], [0, 4]]
    """
    return np.array([[int(n) for n in row.split()] for row in text.split(";")])
