"""The leaderboard: a pure function of the tidy frame and what the tasks are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import pooled_bins
from sleepshift.leaderboard.gains import distilled, recovery
from sleepshift.leaderboard.marks import fair, marks, words
from sleepshift.leaderboard.metrics import METRICS, calibration_error
from sleepshift.leaderboard.statistics import bootstrap_interval, groups, one_stage, per_person

__all__ = ["check_grid", "leaderboard", "left_out"]


def check_grid(
    frame: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    *,
    partial: bool = False,
    mixed: bool = False,
) -> list[str]:
    """Refuse a grid that is incomplete or whose rows do not belong together.

    Parameters
    ----------
    frame : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with the names of all ``folds``.
    partial, mixed : bool
        Allow missing cells, or rows that do not belong together.

    Returns
    -------
    list of str
        What is amiss and was allowed; it belongs under the table.

    Raises
    ------
    GridError
        Naming the cells that are missing, or the column that differs.
    """
    notes = []
    if cells := _absent_cells(frame, tasks):
        text = f"{len(cells)} cells are missing: {', '.join(cells[:5])}"
        text += ", ..." if len(cells) > 5 else ""
        if not partial:
            raise GridError(f"{text}; run again to complete the grid, or pass --partial")
        notes.append(f"PARTIAL: {text}")
    scored = frame[frame["status"] == "ok"]
    for column in ("revision", "definition", "settings", "windows", "versions"):
        differing = scored.groupby("task")[column].nunique()
        for task in differing.index[differing > 1]:
            text = f"{task} mixes rows of different {column}"
            if not mixed:
                raise GridError(f"{text}; run it into a fresh folder, or pass --mixed")
            notes.append(f"MIXED: {text}")
    return notes


def _absent_cells(frame: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Cells without rows: failed, missing, or never asked for while others of their task were."""
    keys = ["task", "fold", "method", "seed"]
    tried = frame[~frame["status"].str.startswith("skipped")]
    folds = pd.DataFrame(
        [(task, fold) for task in frame["task"].unique() for fold in tasks[task]["folds"]],
        columns=["task", "fold"],
    )
    whole = folds
    for column in ("method", "seed"):
        whole = whole.merge(tried[["task", column]].drop_duplicates(), on="task")
    done = frame["status"].str.startswith(("ok", "skipped", "unscored"))
    there = frame.loc[done, keys].drop_duplicates()
    found = whole.merge(there, on=keys, how="left", indicator=True)
    absent = found[found["_merge"] == "left_only"]
    return [f"{r.task}/{r.fold}/{r.method}/seed {r.seed}" for r in absent.itertuples()]


def leaderboard(
    frame: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """One row per task, group of people and method.

    Parameters
    ----------
    frame : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with ``scoring.primary``.
    methods : mapping
        Name -> facts with ``deep``, ``floor`` and ``labels``, and those that
        `sleepshift.leaderboard.marks.marks` takes.

    Returns
    -------
    DataFrame
        Means over people of the means over seeds, 95 % bootstrap intervals over people,
        rank by the task's primary metric, whose labels a method learned from and how many
        target people have some, a flag with the method's marks, among them that a deep method
        lies below a feature floor that learned from no more labels, and the share of the gap
        to the teacher that is recovered where there is one. What is no competitor has no rank.
    """
    ranked = []
    for (task, group), part in groups(frame):
        primary = tasks[task]["scoring"]["primary"]
        rows = [
            {"task": task, "group": group, "method": method}
            | _summary(own)
            | {"labels": _labels(methods[str(method)], own)}
            for method, own in part.groupby("method", sort=False)
        ]
        marked = {str(m): marks(methods[str(m)], own) for m, own in part.groupby("method")}
        table = _rank(pd.DataFrame(rows), primary, methods, marked)
        if shares := recovery(part[part["method"].isin(distilled(methods))], primary):
            names = ("recovery", "recovery_low", "recovery_high")
            figures = [shares.get(method, (np.nan,) * 3) for method in table["method"]]
            table[list(names)] = pd.DataFrame(figures, index=table.index, dtype=float)
        ranked.append(table)
    return pd.concat(ranked, ignore_index=True) if ranked else pd.DataFrame()


def _labels(method: Mapping[str, Any], part: pd.DataFrame) -> str:
    """Whose labels a method learned from: the source's, where the target gave none."""
    given = ["source", *(["target"] if part["n_labeled"].max() > 0 else [])]
    return " ".join(whose for whose in given if whose in method["labels"]) or "source"


def _summary(part: pd.DataFrame) -> dict[str, Any]:
    people = per_person(part)
    single = one_stage(part)
    row: dict[str, Any] = {"n_people": len(people), "n_one_stage": int(single.sum())}
    row["n_seeds"] = part["seed"].nunique()
    row["n_labeled"] = int(part["n_labeled"].max())
    for name in METRICS:
        low, high = bootstrap_interval(people[name].to_numpy(dtype=float))
        row |= {name: people[name].mean(), f"{name}_low": low, f"{name}_high": high}
    row |= {name: people[name].mean() for name in people if name not in METRICS}
    row["ece"] = calibration_error(pooled_bins(part))
    fits = part.drop_duplicates(["fold", "seed"])
    row["fit_seconds"] = fits["fit_seconds"].mean()
    row["n_parameters"] = part["n_parameters"].iloc[0]
    return row


def _rank(
    part: pd.DataFrame,
    primary: str,
    methods: Mapping[str, Mapping[str, Any]],
    marked: Mapping[str, list[str]],
) -> pd.DataFrame:
    """Sort one group by the primary metric and flag what lies below the feature floor."""
    part = part.sort_values(primary, ascending=False, kind="stable").copy()
    competes = part["method"].map(lambda name: fair(marked[name])).astype(bool)
    part.insert(3, "rank", competes.cumsum().where(competes).astype("Int64"))
    scores = dict(part.loc[competes, ["method", primary]].itertuples(index=False))
    below = {name for name in scores if _below_floor(name, scores, methods)}
    part["flag"] = [words([*marked[m], *(["floor"] if m in below else [])]) for m in part["method"]]
    return part


def _below_floor(
    name: str, scores: Mapping[str, float], methods: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Whether a deep method does worse than the best feature floor with no more labels."""
    own = methods[name]
    floors = {m: facts for m, facts in methods.items() if facts["floor"] and m in scores}
    fair = [m for m, facts in floors.items() if set(facts["labels"]) <= set(own["labels"])]
    return own["deep"] and any(scores[m] > scores[name] for m in fair or floors)


def left_out(
    frame: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, str]]:
    """Cells without a score and recordings that were not used, with the reasons.

    Parameters
    ----------
    frame : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with ``skipped_recordings``.

    Yields
    ------
    dict of str to str
        ``task``; ``groups`` and ``what`` (methods, or the recording); ``kind`` ("skipped",
        "failed", ...) and ``reason``.
    """
    absent = frame[frame["status"] != "ok"].drop_duplicates(["task", "group", "method", "status"])
    for (task, status), part in absent.groupby(["task", "status"], sort=False):
        kind, _, reason = str(status).partition(": ")
        methods = part.groupby("group", sort=False)["method"].agg(", ".join)
        for what, own in methods.groupby(methods.to_numpy(), sort=False):
            whose = ", ".join(map(str, own.index))
            found = {"task": str(task), "groups": whose, "what": str(what)}
            yield found | {"kind": kind, "reason": reason}
    for name, facts in tasks.items():
        for bad in facts["skipped_recordings"]:
            found = {"task": name, "groups": "", "what": bad.get("recording", "recording")}
            yield found | {"kind": "recording left out", "reason": bad["reason"]}
