"""The leaderboard as a picture: every person a dot, every method a mean with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.statistics import per_person

__all__ = ["plot_leaderboard"]

# Okabe and Ito's colours, which colour-blind people can tell apart.
_COLOURS = ("#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def plot_leaderboard(
    table: pd.DataFrame,
    frame: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    """Write one panel per group of people, methods sorted by the primary metric.

    Parameters
    ----------
    table, frame : DataFrame
        As `leaderboard` and `results_frame` make them.
    tasks : mapping
        Facts of the tasks.
    methods : mapping
        Facts of the methods; each family has a colour.
    path : Path
        PNG or SVG file.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    families = dict.fromkeys(facts["family"] for facts in methods.values())
    by_family = dict(zip(families, cycle(_COLOURS), strict=False))
    colours = {name: by_family[facts["family"]] for name, facts in methods.items()}
    panels = list(table.groupby(["task", "group"], sort=False))
    n_methods = max(len(part) for _, part in panels)
    figure = Figure(
        figsize=(max(6.0, 5.0 * len(panels)), 1.6 + 0.34 * n_methods), layout="constrained"
    )
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for axis, ((task, group), part) in zip(axes, panels, strict=True):
        facts = tasks[str(task)]
        rows = frame[(frame["task"] == task) & (frame["status"] == "ok")]
        if not facts["pool_folds"]:
            rows = rows[rows["fold"].astype(str) == group]
        _panel(axis, part, rows, facts["scoring"]["primary"], colours)
        label = "\nsimulated data" if facts["simulated"] else ""
        axis.set_title(f"{task}: {group}{label}", fontsize=10)
    marks = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=family)
        for family, colour in by_family.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    figure.savefig(path, dpi=150)


def _panel(
    axis: Any, part: pd.DataFrame, rows: pd.DataFrame, primary: str, colours: Mapping[str, str]
) -> None:
    jitter = np.random.default_rng(0)
    for height, row in enumerate(part.iloc[::-1].to_dict("records")):
        colour = colours[row["method"]]
        people = per_person(rows[rows["method"] == row["method"]])[primary].dropna()
        spread = height + jitter.uniform(-0.16, 0.16, len(people))
        axis.plot(people, spread, "o", color=colour, alpha=0.35, markersize=3.5, markeredgewidth=0)
        axis.plot([row[f"{primary}_low"], row[f"{primary}_high"]], [height] * 2, color=colour, lw=2)
        axis.plot(row[primary], height, "o", color=colour, markersize=7, markeredgecolor="white")
    axis.set_yticks(range(len(part)), part["method"].iloc[::-1], fontsize=8.5)
    axis.set_xlabel(f"{primary.replace('_', ' ')} (dots: people; bars: 95 % interval of the mean)")
    axis.xaxis.label.set_fontsize(8.5)
    axis.grid(axis="x", alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
