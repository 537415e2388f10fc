"""The leaderboard: a pure function of the tidy frame and what the tasks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sleepshift.errors import GridError
from sleepshift.leaderboard.metrics import METRICS

__all__ = ["bootstrap_interval", "check_grid", "leaderboard", "to_markdown"]

N_RESAMPLES = 2000
BOOTSTRAP_SEED = 20240229


def bootstrap_interval(
    values: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = BOOTSTRAP_SEED
) -> tuple[float, float]:
    """95 % percentile interval of the mean over people, resampling people.

    Parameters
    ----------
    values : ndarray, shape (n_people,)
        One figure a person, NaN left out.

    Returns
    -------
    low, high : float
        NaN with fewer than two people.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or np.ptp(values) == 0:
        edge = float(values[0]) if len(values) > 1 else float("nan")
        return edge, edge
    rng = np.random.default_rng(seed)
    found = bootstrap((values,), np.mean, n_resamples=n_resamples, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return float(low), float(high)


def check_grid(frame: pd.DataFrame, *, partial: bool = False, mixed: bool = False) -> list[str]:
    """Refuse a grid that is incomplete or whose rows do not belong together.

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
    if cells := _absent_cells(frame):
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


def _absent_cells(frame: pd.DataFrame) -> list[str]:
    """Cells without rows: failed, missing, or never asked for while others of their task were."""
    asked = frame[["task", "fold", "seed"]].drop_duplicates()
    whole = asked.merge(frame[["task", "method"]].drop_duplicates(), on="task")
    keys = ["task", "fold", "method", "seed"]
    there = frame[frame["status"].str.startswith(("ok", "skipped"))][keys].drop_duplicates()
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
        Name -> facts with ``scoring.primary`` and ``pool_folds``: a group is a fold, or all
        folds together where each person is tested once.
    methods : mapping
        Name -> facts with ``deep``, ``floor`` and ``labels``.

    Returns
    -------
    DataFrame
        Means over people of the means over seeds, 95 % bootstrap intervals over people,
        rank by the task's primary metric, and a flag for deep methods below a feature
        floor that learned from no more labels.
    """
    scored = frame[frame["status"] == "ok"].copy()
    pooled = scored["task"].map(lambda name: bool(tasks[name]["pool_folds"]))
    scored["group"] = scored["fold"].astype(str).where(~pooled, "all")
    rows = []
    for keys, part in scored.groupby(["task", "group", "method"], sort=False):
        rows.append(dict(zip(("task", "group", "method"), keys, strict=True)) | _summary(part))
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    ranked = [
        _rank(part, tasks[str(task)]["scoring"]["primary"], methods)
        for (task, _), part in table.groupby(["task", "group"], sort=False)
    ]
    return pd.concat(ranked, ignore_index=True)


def _one_stage(part: pd.DataFrame) -> pd.Series:
    """Whether each person was scored to have one stage only."""
    return part.groupby("subject", sort=False)["n_stages"].max() < 2


def per_person(part: pd.DataFrame) -> pd.DataFrame:
    """Figures of each person, seeds averaged, from rows of one method.

    Of a person scored to have one stage, macro F1 and kappa say little: a perfect prediction
    has no kappa, and a single error halves macro F1. They are NaN for every method alike.
    """
    figures = [*METRICS, "nll", *[c for c in part if c.startswith("f1_")]]
    people = part.groupby("subject", sort=False)[figures].mean()
    one_stage = _one_stage(part)
    people.loc[one_stage, ["macro_f1", "kappa"]] = np.nan
    return people


def _summary(part: pd.DataFrame) -> dict[str, Any]:
    people = per_person(part)
    one_stage = _one_stage(part)
    row: dict[str, Any] = {"n_people": len(people), "n_one_stage": int(one_stage.sum())}
    row["n_seeds"] = part["seed"].nunique()
    for name in METRICS:
        low, high = bootstrap_interval(people[name].to_numpy(dtype=float))
        row |= {name: people[name].mean(), f"{name}_low": low, f"{name}_high": high}
    row |= {name: people[name].mean() for name in people if name not in METRICS}
    fits = part.drop_duplicates(["fold", "seed"])
    row["fit_seconds"] = fits["fit_seconds"].mean()
    row["n_parameters"] = part["n_parameters"].iloc[0]
    return row


def _rank(
    part: pd.DataFrame, primary: str, methods: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Sort one group by the primary metric and flag what lies below the feature floor."""
    part = part.sort_values(primary, ascending=False, kind="stable").copy()
    part.insert(3, "rank", np.arange(1, len(part) + 1))
    scores = dict(zip(part["method"], part[primary], strict=True))
    part["flag"] = [
        "below feature floor" if _below_floor(m, scores, methods) else "" for m in scores
    ]
    return part


def _below_floor(
    name: str, scores: Mapping[str, float], methods: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Whether a deep method does worse than the best feature floor with no more labels."""
    own = methods[name]
    floors = {m: facts for m, facts in methods.items() if facts["floor"] and m in scores}
    fair = [m for m, facts in floors.items() if set(facts["labels"]) <= set(own["labels"])]
    return own["deep"] and any(scores[m] > scores[name] for m in fair or floors)


def to_markdown(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
    notes: list[str],
) -> str:
    """The leaderboard as Markdown: one table per task and group, and what it leaves out."""
    parts = [f"**{note}**" for note in notes]
    for (task, group), part in table.groupby(["task", "group"], sort=False):
        facts = tasks[str(task)]
        label = " (simulated data)" if facts["simulated"] else ""
        primary = facts["scoring"]["primary"]
        people, seeds = int(part["n_people"].max()), int(part["n_seeds"].max())
        plural = "s" if seeds > 1 else ""
        parts.append(f"## {facts['title']}: {group}{label}")
        parts.append(
            f"Mean over {people} people [95 % bootstrap interval over people], {seeds} model "
            f"seed{plural} averaged in each person; sorted by {primary}."
        )
        if one_stage := int(part["n_one_stage"].max()):
            parts.append(
                f"{one_stage} of them with one scored stage only: not in macro F1 and kappa."
            )
        adapted = [m for m in part["method"] if methods[m]["unlabeled"]]
        if adapted and (
            group in facts["transductive"] or (facts["pool_folds"] and facts["transductive"])
        ):
            parts.append(
                "Learned from the test people's own unlabelled signals (their labels stay "
                f"withheld): {', '.join(adapted)}."
            )
        parts.append(_markdown_table(part))
    parts += _left_out(frame, tasks)
    return "\n\n".join(parts) + "\n"


def _markdown_table(part: pd.DataFrame) -> str:
    header = ["rank", "method", "macro F1", "balanced accuracy", "kappa", "accuracy", "fit s", ""]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in part.to_dict("records"):
        cells = [str(row["rank"]), row["method"]]
        cells += [_interval(row, name) for name in ("macro_f1", "balanced_accuracy", "kappa")]
        cells += [f"{row['accuracy']:.3f}", f"{row['fit_seconds']:.1f}", row["flag"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[name + '_low']:.3f}, {row[name + '_high']:.3f}]"


def _left_out(frame: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = []
    absent = frame[frame["status"] != "ok"].drop_duplicates(["task", "method", "status"])
    for row in absent.to_dict("records"):
        lines.append(f"- {row['task']}, {row['method']}: {row['status']}")
    for name, facts in tasks.items():
        for bad in facts["skipped_recordings"]:
            lines.append(f"- {name}, recording left out: {bad['reason']}")
    return ["## Left out", "\n".join(lines)] if lines else []
