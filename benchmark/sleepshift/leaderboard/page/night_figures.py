"""Figures of nights: a hypnogram as scored and as predicted, and agreement over nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sleepshift.leaderboard.page.figures import panel
from sleepshift.leaderboard.page.svg import INK, PAPER, STYLE
from sleepshift.stages import WINDOW_SECONDS

__all__ = ["STAGE_COLOURS", "bland_altman", "hypnogram"]

# A step beside Okabe and Ito's blue, which follows the page and would come near to N1's there.
_BLUE = "#0073b3"

#: Okabe and Ito's colours by stage; coarser schemes use those of the stages they merge.
STAGE_COLOURS = {
    "W": "#E69F00",
    "R": "#D55E00",
    "N1": "#56B4E9",
    "S1": "#56B4E9",
    "Light": "#56B4E9",
    "NREM": _BLUE,
    "N2": _BLUE,
    "S2": _BLUE,
    "N3": "#009E73",
    "S3": "#009E73",
    "Deep": "#009E73",
    "S4": "#CC79A7",
}

#: A night is drawn with no more areas than this; longer ones are averaged.
_MAX_COLUMNS = 480


@rc_context(STYLE)
def hypnogram(example: Mapping[str, Any]) -> Figure:
    """Scored and predicted stages of a night, where they differ, and the probabilities.

    Parameters
    ----------
    example : mapping
        ``stages``, and per 30-s slot ``scored``, ``predicted`` (codes or None) and
        ``probability`` (percent by stage, or None).
    """
    stages = list(example["stages"])
    order = _top_down(stages)
    hours = np.arange(len(example["scored"]) + 1) * WINDOW_SECONDS / 3600
    scored, predicted = _codes(example["scored"]), _codes(example["predicted"])
    figure = Figure(figsize=(11.5, 3.3), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.02)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(1, 0.09, 1, 0.8))
    for axis, codes, title in ((axes[0], scored, "scored"), (axes[2], predicted, "predicted")):
        _steps(axis, hours, codes, stages, order)
        axis.set_ylabel(title)
    _differences(axes[1], hours, scored, predicted)
    _areas(axes[3], example["probability"], stages, order)
    axes[3].set_xlim(0, hours[-1])
    axes[3].set_xlabel("hours from the first window")
    return figure


def _top_down(stages: Sequence[str]) -> list[int]:
    """Codes in a hypnogram's order: wake on top, then REM, then deeper and deeper."""
    first = {"W": 0, "R": 1}
    return sorted(range(len(stages)), key=lambda k: (first.get(stages[k], 2), k))


def _codes(slots: Sequence[int | None]) -> np.ndarray:
    """Codes as floats, NaN where there is none."""
    return np.array([np.nan if code is None else code for code in slots], dtype=float)


def _steps(
    axis: Axes, hours: np.ndarray, codes: np.ndarray, stages: Sequence[str], order: Sequence[int]
) -> None:
    heights = np.full(len(codes), np.nan)
    for height, code in enumerate(order):
        heights[codes == code] = height
    axis.step(hours, np.append(heights, heights[-1]), where="post", color=INK, lw=0.6)
    for height, code in enumerate(order):
        bouts = np.append(np.where(heights == height, height, np.nan), np.nan)
        colour = STAGE_COLOURS.get(stages[code], INK)
        axis.step(hours, bouts, where="post", color=colour, lw=3.4, solid_capstyle="butt")
    axis.set_yticks(range(len(order)), [stages[code] for code in order])
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="y")


def _differences(axis: Axes, hours: np.ndarray, scored: np.ndarray, predicted: np.ndarray) -> None:
    """A mark for every slot that was scored and predicted, and not alike."""
    both = np.isfinite(scored) & np.isfinite(predicted)
    wrong = both & (scored != predicted)
    starts = np.flatnonzero(np.diff(np.r_[0, wrong.astype(int)]) == 1)
    ends = np.flatnonzero(np.diff(np.r_[wrong.astype(int), 0]) == -1) + 1
    spans = [(hours[a], hours[b] - hours[a]) for a, b in zip(starts, ends, strict=True)]
    axis.broken_barh(spans, (0, 1), color=INK, lw=0)
    axis.set_ylim(0, 1)
    axis.set_yticks([0.5], ["differ"])
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)


def _areas(
    axis: Axes,
    probability: Sequence[Sequence[float] | None],
    stages: Sequence[str],
    order: Sequence[int],
) -> None:
    """Probabilities stacked in the order of the hypnogram, the deepest stage at the bottom."""
    rows = np.array(
        [[np.nan] * len(stages) if row is None else row for row in probability], dtype=float
    ).reshape(-1, len(stages))
    size = -(-len(rows) // _MAX_COLUMNS)
    rows = np.pad(rows, ((0, -len(rows) % size), (0, 0)), constant_values=np.nan)
    blocks = rows.reshape(-1, size, len(stages))
    there = np.isfinite(blocks[:, :, 0]).sum(axis=1)
    means = np.nansum(blocks, axis=1) / 100 / np.maximum(there, 1)[:, None]
    edges = np.arange(len(means) + 1) * size * WINDOW_SECONDS / 3600
    # From the whole to the bottom area, each drawn over the one before: one edge an area.
    stacked = np.cumsum(means[:, list(order)[::-1]], axis=1)
    for k in range(len(order) - 1, -1, -1):
        colour = STAGE_COLOURS.get(stages[order[::-1][k]], INK)
        axis.stairs(stacked[:, k], edges, fill=True, color=colour, lw=0)
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 1], ["0", "1"])
    axis.set_ylabel("probability")


@rc_context(STYLE)
def bland_altman(
    scored: np.ndarray, predicted: np.ndarray, summary: Mapping[str, Any], statistic: str, unit: str
) -> Figure:
    """Differences of nights against their means, with bias and limits of agreement.

    Parameters
    ----------
    scored, predicted : ndarray, shape (n_nights,)
    summary : mapping
        ``bias``, ``limit_low`` and ``limit_high``.
    statistic, unit : str
        For the title and the axes.
    """
    figure, axis = panel(2.9, 2.35)
    there = np.isfinite(scored) & np.isfinite(predicted)
    mean, difference = (scored + predicted)[there] / 2, (predicted - scored)[there]
    axis.axhline(0, color=INK, lw=0.6, alpha=0.5)
    axis.plot(mean, difference, "o", color="#0072B2", alpha=0.65, ms=3.6, mew=0)
    for name, line in (("bias", "-"), ("limit_low", "--"), ("limit_high", "--")):
        if np.isfinite(summary[name]):
            axis.axhline(summary[name], color="#D55E00", lw=1.1, ls=line)
            text, at = f"{summary[name]:+.1f}", (1, summary[name])
            place = axis.get_yaxis_transform()
            label = axis.annotate(text, at, xycoords=place, va="bottom", ha="right", fontsize=7.5)
            label.set_bbox({"facecolor": PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.4})
    axis.margins(y=0.14)
    axis.set_title(statistic, loc="left")
    axis.set(xlabel=f"mean of both ({unit})", ylabel=f"difference ({unit})")
    axis.grid()
    axis.set_axisbelow(True)
    return figure
