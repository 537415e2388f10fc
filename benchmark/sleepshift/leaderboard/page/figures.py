"""Figures of methods and of people, as functions of small frames; nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sleepshift.leaderboard.page.cells import words
from sleepshift.leaderboard.page.svg import INK, PAPER, STYLE

__all__ = [
    "COLOURS",
    "WIDTH",
    "Look",
    "budgets",
    "cost",
    "critical_difference",
    "legend",
    "looks",
    "panel",
    "reliability",
    "short",
    "strip",
]

#: Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
_MARKERS = "sDo^vPX"

#: Inches: a figure fits a telephone at its natural size.
WIDTH = 3.8


class Look(NamedTuple):
    """What a method is drawn with: colour and marker of its family."""

    colour: str
    marker: str
    family: str


def looks(methods: Mapping[str, Mapping[str, Any]]) -> dict[str, Look]:
    """Each method's look; families take the colours in the order they come.

    Examples
    --------
    >>> looks({"majority": {"family": "floor"}, "pooled": {"family": "transfer"}})["pooled"]
    Look(colour='#D55E00', marker='D', family='transfer')
    """
    families = dict.fromkeys(str(facts["family"]) for facts in methods.values())
    drawn = dict(zip(families, cycle(zip(COLOURS, _MARKERS, strict=True)), strict=False))
    return {
        name: Look(*drawn[str(facts["family"])], str(facts["family"]))
        for name, facts in methods.items()
    }


def short(name: str, length: int = 24) -> str:
    """A name that fits beside an axis.

    Examples
    --------
    >>> short("features-logreg-pooled-and-then-some")
    'features-logreg-pooled-…'
    """
    shown = "".join(c if c.isprintable() else "�" for c in name)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes, sized in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def legend(figure: Figure, shown: Iterable[Look]) -> None:
    """Marks of the families at the foot of a figure, where there are several."""
    families = list(dict.fromkeys(shown))
    if len(families) > 1:
        handles = [
            Line2D([], [], color=colour, marker=marker, ls="", mec=PAPER, label=short(family))
            for colour, marker, family in families
        ]
        figure.legend(
            handles=handles,
            loc="outside lower left",
            ncols=4 if len(families) < 5 else 3,
            handletextpad=0.1,
            columnspacing=1.0,
            borderpad=0.1,
        )


@rc_context(STYLE)
def strip(
    table: pd.DataFrame,
    people: Mapping[str, np.ndarray],
    primary: str,
    style: Mapping[str, Look],
    human: Mapping[str, Any] | None = None,
) -> Figure:
    """Every person a dot, every method the mean with its interval.

    Parameters
    ----------
    table : DataFrame
        Rows of the leaderboard for one group, in the order to show.
    people : mapping of str to ndarray
        Values of the people, by method.
    primary : str
        Metric.
    style : mapping of str to Look
        By method.
    human : mapping or None
        Agreement of a second scorer with the first, in the same metric.
    """
    figure, axis = panel(WIDTH, 0.95 + 0.235 * len(table))
    draw_strip(axis, table, people, primary, style)
    legend(figure, (style[method] for method in table["method"]))
    if human is not None and np.isfinite(human[primary]):
        axis.axvspan(human[f"{primary}_low"], human[f"{primary}_high"], color=INK, alpha=0.1, lw=0)
        axis.axvline(human[primary], color=INK, lw=1, ls="--")
        above = (human[primary], len(table) - 0.45)
        axis.annotate("second scorer", above, ha="right", va="bottom", fontsize=7.5)
    return figure


def draw_strip(
    axis: Axes,
    table: pd.DataFrame,
    people: Mapping[str, np.ndarray],
    primary: str,
    style: Mapping[str, Look],
) -> None:
    """One panel of people's dots and methods' means."""
    jitter = np.random.default_rng(0)
    for height, row in enumerate(table.iloc[::-1].to_dict("records")):
        colour, marker, _ = style[row["method"]]
        values = people[row["method"]]
        values = values[np.isfinite(values)]
        spread = height + jitter.uniform(-0.26, 0.26, len(values))
        axis.plot(values, spread, "o", color=colour, alpha=0.4, ms=2.8, mew=0)
        ends = [row[f"{primary}_low"], row[f"{primary}_high"]]
        axis.plot(ends, [height] * 2, color=PAPER, lw=4.4, solid_capstyle="butt")
        axis.plot(ends, [height] * 2, color=colour, lw=2.6, solid_capstyle="butt")
        axis.plot(row[primary], height, marker, color=colour, ms=5, mec=PAPER, mew=0.8)
    names = [short(method) for method in table["method"].iloc[::-1]]
    axis.set_yticks(range(len(table)), names)
    axis.set_ylim(-0.6, len(table) - 0.4)
    axis.set_xlabel(words(primary))
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x")
    axis.set_axisbelow(True)


@rc_context(STYLE)
def reliability(bins: np.ndarray, title: str) -> Figure:
    """How often windows predicted with a given probability are right.

    Bins with fewer than one in a thousand of the windows are left out: their share is chance.

    Parameters
    ----------
    bins : ndarray, shape (n_bins, 3)
        Windows, hits and sum of the highest probability in each bin.
    title : str
        Name of the method.
    """
    figure, axis = panel(2.35, 2.45)
    n, hits, confidence = bins[bins[:, 0] > bins[:, 0].sum() / 1000].T
    edge = 1 / len(bins)
    axis.plot([0, 1], [0, 1], color=INK, lw=0.7, ls=(0, (3, 3)), alpha=0.6)
    # Bars say how many windows there are, on the same axis of shares.
    centres = (np.arange(len(bins)) + 0.5) / len(bins)
    axis.bar(centres, bins[:, 0] / bins[:, 0].sum(), edge * 0.86, color=INK, alpha=0.16, lw=0)
    axis.plot(confidence / n, hits / n, color=COLOURS[0], lw=1, alpha=0.55)
    # Few windows, small mark.
    area = 3 + 60 * n / n.sum()
    axis.scatter(confidence / n, hits / n, area, color=COLOURS[0], ec=PAPER, lw=0.5, zorder=3)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="highest probability", ylabel="share right")
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_aspect("equal")
    axis.set_title(short(title), loc="left")
    axis.grid()
    axis.set_axisbelow(True)
    return figure


@rc_context(STYLE)
def budgets(table: pd.DataFrame, primary: str) -> Figure:
    """The primary metric against the number of labelled people, a line a method.

    Parameters
    ----------
    table : DataFrame
        Rows of the leaderboard for one task, with ``n_labeled`` (one or more).
    primary : str
        Metric.
    """
    lines = [(str(m), part) for m, part in table.groupby("method", sort=False)]
    figure, axis = panel(WIDTH, max(2.8, 0.6 + 0.19 * len(lines)))
    last = {}
    for k, (method, part) in enumerate(lines):
        # Here each method has a colour: lines of a family would be hard to follow.
        colour, marker = COLOURS[k % len(COLOURS)], _MARKERS[(k + k // 7) % len(_MARKERS)]
        own = part.sort_values("n_labeled")
        x, y = np.log2(own["n_labeled"].to_numpy(dtype=float)), own[primary].to_numpy(dtype=float)
        axis.plot(x, y, marker + "-", color=colour, lw=1.2, ms=4.5, mec=PAPER, mew=0.6)
        axis.fill_between(
            x, own[f"{primary}_low"], own[f"{primary}_high"], color=colour, alpha=0.08, lw=0
        )
        last[method] = (x[-1], y[-1])
    levels = np.unique(table["n_labeled"])
    ticks = np.log2(levels)
    axis.set_xticks(ticks, [f"{level:.0f}" for level in levels])
    axis.set(xlabel="labelled people of the target", ylabel=words(primary))
    axis.grid()
    _end_labels(axis, last, ticks.max() + 0.04 * np.ptp(ticks))
    return figure


def _end_labels(axis: Axes, last: Mapping[str, tuple[float, float]], right: float) -> None:
    """Names beside the axes with a line to each mark, pushed apart until they can be read."""
    placed = {m: xy for m, xy in last.items() if np.isfinite(xy).all()}
    if not placed:
        return
    low, high = axis.get_ylim()
    left = axis.get_xlim()[0]
    order = sorted(placed, key=lambda method: placed[method][1])
    heights = np.array([placed[method][1] for method in order])
    gap = (high - low) / max(18, len(order))
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    heights[-1] = min(heights[-1], high)
    for i in range(len(heights) - 1, 0, -1):
        heights[i - 1] = min(heights[i - 1], heights[i] - gap)
    for method, height in zip(order, heights, strict=True):
        x, y = placed[method]
        at = right + 0.07 * (right - left)
        axis.plot([x, right, at], [y, y, height], color=INK, lw=0.4, alpha=0.45, clip_on=False)
        name = f" {short(method)}"
        axis.annotate(name, (at, height), va="center", fontsize=7, annotation_clip=False)
    axis.set(xlim=(left, right), ylim=(low, high))


@rc_context(STYLE)
def cost(table: pd.DataFrame, primary: str, style: Mapping[str, Look]) -> Figure:
    """The primary metric against the seconds of fitting, a mark a method.

    Parameters
    ----------
    table : DataFrame
        Rows of the leaderboard for one group.
    primary : str
        Metric.
    style : mapping of str to Look
        By method.
    """
    figure, axis = panel(WIDTH, max(2.8, 0.95 + 0.19 * len(table)))
    seconds = np.log10(table["fit_seconds"].to_numpy(dtype=float).clip(min=1e-2))
    value = table[primary].to_numpy(dtype=float)
    places = dict(zip(table["method"], zip(seconds, value, strict=True), strict=True))
    for method, (x, y) in places.items():
        colour, marker, _ = style[method]
        axis.plot(x, y, marker, color=colour, ms=6, mec=PAPER, mew=0.7)
    # A logarithmic axis by hand: its own labels would be formulas.
    finite = seconds[np.isfinite(seconds)]
    low, high = (np.floor(finite.min()), np.ceil(finite.max())) if len(finite) else (0, 1)
    powers = np.arange(low, max(high, low + 1) + 1)
    axis.set_xticks(powers, [f"{10.0**power:g}" for power in powers])
    axis.set_xlim(powers[0] - 0.15, powers[-1] + 0.15)
    axis.set(xlabel="seconds of fitting", ylabel=words(primary))
    # Never so close that a difference of nothing looks like one.
    if np.isfinite(value).any():
        low, high = np.nanmin(value), np.nanmax(value)
        spare = 0.01 + max(0.0, 0.1 - (high - low)) / 2
        axis.set_ylim(low - spare, high + spare)
    axis.grid()
    axis.set_axisbelow(True)
    _end_labels(axis, places, powers[-1] + 0.15)
    legend(figure, (style[method] for method in table["method"]))
    return figure


@rc_context(STYLE)
def critical_difference(ranks: pd.DataFrame, style: Mapping[str, Look]) -> Figure:
    """Mean ranks over tasks; bars join methods that cannot be told apart.

    Parameters
    ----------
    ranks : DataFrame
        ``method`` and ``mean_rank``, best first, and ``attrs["critical_difference"]``.
    style : mapping of str to Look
        By method.
    """
    values = ranks["mean_rank"].to_numpy(dtype=float)
    bars = _cliques(values, float(ranks.attrs.get("critical_difference", np.nan)))
    figure, axis = panel(WIDTH, 1.0 + 0.235 * len(ranks))
    for height, (method, value) in enumerate(zip(ranks["method"], values, strict=True)):
        colour, marker, _ = style[method]
        axis.plot([0, value], [height] * 2, color=INK, lw=0.5, alpha=0.25)
        axis.plot(value, height, marker, color=colour, ms=6.5, mec=PAPER, mew=0.8)
    for k, (first, final) in enumerate(bars):
        at = values.max() + (0.06 + 0.045 * k) * values.max()
        axis.plot([at, at], [first - 0.25, final + 0.25], color=INK, lw=2.2)
    axis.set_yticks(range(len(ranks)), [short(method) for method in ranks["method"]])
    axis.set_ylim(len(ranks) - 0.4, -0.6)
    axis.set_xlim(0.7, None)
    axis.set_xlabel("mean rank over tasks (1 is best)")
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    legend(figure, (style[method] for method in ranks["method"]))
    return figure


def _cliques(values: np.ndarray, width: float) -> list[tuple[int, int]]:
    """First and last place of every longest run of sorted ranks no wider than `width`.

    Examples
    --------
    >>> _cliques(np.array([1.0, 1.5, 2.2, 4.0]), 1.0)
    [(0, 1), (1, 2)]
    """
    runs: list[tuple[int, int]] = []
    for first in range(len(values)):
        final = int(np.flatnonzero(values - values[first] <= width).max(initial=first))
        if final > first and (not runs or final > runs[-1][1]):
            runs.append((first, final))
    return runs
