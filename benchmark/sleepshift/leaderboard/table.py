"""The leaderboard: a pure function of the tidy frame and what the tasks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.errors import GridError
from sleepshift.leaderboard.gains import distilled, gains, recovery
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.statistics import bootstrap_interval, groups, one_stage, per_person

__all__ = ["check_grid", "leaderboard", "to_markdown"]


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
        Name -> facts with ``deep``, ``floor``, ``labels`` and ``privileged``.

    Returns
    -------
    DataFrame
        Means over people of the means over seeds, 95 % bootstrap intervals over people,
        rank by the task's primary metric, a flag for deep methods below a feature floor
        that learned from no more labels, and the share of the gap to the teacher that is
        recovered where there is one. Methods tested on the teacher's view are bounds and
        have no rank.
    """
    ranked = []
    for (task, group), part in groups(frame, tasks):
        primary = tasks[task]["scoring"]["primary"]
        rows = [
            {"task": task, "group": group, "method": method} | _summary(own)
            for method, own in part.groupby("method", sort=False)
        ]
        table = _rank(pd.DataFrame(rows), primary, methods)
        if shares := recovery(part[part["method"].isin(distilled(methods))], primary):
            names = ("recovery", "recovery_low", "recovery_high")
            figures = [shares.get(method, (np.nan,) * 3) for method in table["method"]]
            table[list(names)] = pd.DataFrame(figures, index=table.index, dtype=float)
        ranked.append(table)
    return pd.concat(ranked, ignore_index=True) if ranked else pd.DataFrame()


def _summary(part: pd.DataFrame) -> dict[str, Any]:
    people = per_person(part)
    single = one_stage(part)
    row: dict[str, Any] = {"n_people": len(people), "n_one_stage": int(single.sum())}
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
    bound = part["method"].map(lambda name: bool(methods[name].get("privileged"))).astype(bool)
    part.insert(3, "rank", (~bound).cumsum().where(~bound).astype("Int64"))
    scores = dict(zip(part["method"], part[primary], strict=True))
    fair = {m: score for m, score in scores.items() if not methods[m].get("privileged")}
    part["flag"] = [
        "bound: the teacher on its own view"
        if m not in fair
        else "below feature floor"
        if _below_floor(m, fair, methods)
        else ""
        for m in scores
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
    parts, found = [f"**{note}**" for note in notes], gains(frame, tasks, methods)
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
        parts += _gains_section(found, str(task), str(group), primary)
    parts += _left_out(frame, tasks)
    return "\n\n".join(parts) + "\n"


def _markdown_table(part: pd.DataFrame) -> str:
    recovered = "recovery" in part and part["recovery"].notna().any()
    header = ["rank", "method", "macro F1", "balanced accuracy", "kappa", "accuracy"]
    header += [*(["recovery"] if recovered else []), "fit s", ""]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in part.to_dict("records"):
        cells = ["-" if pd.isna(row["rank"]) else str(row["rank"]), row["method"]]
        cells += [_interval(row, name) for name in ("macro_f1", "balanced_accuracy", "kappa")]
        cells += [f"{row['accuracy']:.3f}"]
        cells += [_interval(row, "recovery", 2)] if recovered else []
        cells += [f"{row['fit_seconds']:.1f}", row["flag"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gains_section(found: pd.DataFrame, task: str, group: str, primary: str) -> list[str]:
    """What each method gained over the controls, paired over people."""
    if found.empty:
        return []
    part = found[(found["task"] == task) & (found["group"] == group)]
    references = list(dict.fromkeys(part["reference"]))
    if not references:
        return []
    lines = ["| method | " + " | ".join(f"over {name}" for name in references) + " |"]
    lines.append("|" + "---|" * (1 + len(references)))
    for method in dict.fromkeys(part["method"]):
        own = part[part["method"] == method].set_index("reference")
        cells = [_gain(own.loc[name]) if name in own.index else "" for name in references]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    text = (
        f"Gain in {primary} over the controls: mean over people of the paired difference [95 % "
        "bootstrap interval over people], p of Wilcoxon's signed-rank test, Holm-corrected in "
        "each column."
    )
    return [text, "\n".join(lines)]


def _gain(row: pd.Series) -> str:
    if np.isnan(row["gain_low"]):
        return ""
    interval = f"[{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]"
    return f"{row['gain']:+.3f} {interval}, p = {row['p_holm']:.2g}"


def _interval(row: Mapping[str, Any], name: str, digits: int = 3) -> str:
    if np.isnan(row[name]):
        return ""
    value, low, high = (f"{row[name + end]:.{digits}f}" for end in ("", "_low", "_high"))
    return value if np.isnan(row[f"{name}_low"]) else f"{value} [{low}, {high}]"


def _left_out(frame: pd.DataFrame, tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    absent = frame[frame["status"] != "ok"].drop_duplicates(["task", "method", "status"])
    lines = [
        f"- {task}: {', '.join(part['method'])}: {status}"
        for (task, status), part in absent.groupby(["task", "status"], sort=False)
    ]
    for name, facts in tasks.items():
        for bad in facts["skipped_recordings"]:
            lines.append(f"- {name}, recording left out: {bad['reason']}")
    return ["## Left out", "\n".join(lines)] if lines else []
