"""The leaderboard as one picture: a panel for each group of people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from sleepshift.leaderboard.page.figures import draw_strip, legend, looks
from sleepshift.leaderboard.page.svg import STYLE
from sleepshift.leaderboard.statistics import scores

if TYPE_CHECKING:
    from sleepshift.leaderboard.results import Results

__all__ = ["overview"]

_COLUMNS = 3


@rc_context(STYLE)
def overview(results: Results) -> Figure:
    """Every person a dot, every method a mean with its interval, every group a panel."""
    panels = list(results.table.groupby(["task", "group"], sort=False))
    n_columns = min(_COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    tallest = max(len(part) for _, part in panels)
    size = (max(6.0, 5.0 * n_columns), n_rows * (1.0 + 0.3 * tallest) + 0.4)
    figure, style = Figure(figsize=size, layout="constrained"), looks(results.methods)
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axis, ((task, group), part) in zip(axes, panels, strict=False):
        facts, rows = results.tasks[str(task)], results.rows
        own = rows[(rows["task"] == task) & (rows["group"] == group) & (rows["status"] == "ok")]
        primary = facts["scoring"]["primary"]
        values = scores(own, primary)
        draw_strip(axis, part, {m: values[m].to_numpy(float) for m in values}, primary, style)
        label = "\nsimulated data" if facts["simulated"] else ""
        axis.set_title(f"{task}: {group}{label}")
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    legend(figure, (style[method] for method in results.table["method"]))
    return figure
