"""Figures of one group of people, drawn and put into the page's album."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from sleepshift.leaderboard.frame import pooled_bins, read_confusion
from sleepshift.leaderboard.metrics import merge_confusion
from sleepshift.leaderboard.page import figures, night_figures
from sleepshift.leaderboard.page.cells import interval, number, words
from sleepshift.leaderboard.page.group import Group
from sleepshift.leaderboard.page.svg import Album
from sleepshift.leaderboard.page.tables import night_words, unit
from sleepshift.leaderboard.sleep import SCORED
from sleepshift.leaderboard.statistics import scores
from sleepshift.stages import get_scheme

__all__ = [
    "Confusion",
    "Picture",
    "bland_altman",
    "confusions",
    "cost",
    "hypnograms",
    "reliability",
    "strip",
]

#: Nights' figures with a plot of their own.
PLOTTED = ("total_sleep_time", "sleep_efficiency", "sleep_latency", "waso")


@dataclass(frozen=True)
class Picture:
    """A figure of the page, its caption, and facts that the template puts in words."""

    drawing: Markup
    caption: str = ""
    facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Confusion:
    """Windows of one method by scored (rows) and predicted stage."""

    method: str
    stages: tuple[str, ...]
    counts: np.ndarray

    def rows(self) -> list[tuple[str, int, list[tuple[int, float]]]]:
        """Of each scored stage: its windows, and windows and percent by predicted stage.

        Examples
        --------
        >>> Confusion("m", ("W", "R"), np.array([[3, 1], [0, 0]])).rows()
        [('W', 4, [(3, 75.0), (1, 25.0)]), ('R', 0, [(0, 0.0), (0, 0.0)])]
        """
        totals = self.counts.sum(axis=1)
        percent = 100 * self.counts / np.maximum(totals, 1)[:, None]
        return [
            (stage, total, list(zip(n, p, strict=True)))
            for stage, total, n, p in zip(
                self.stages, totals.tolist(), self.counts.tolist(), percent.tolist(), strict=True
            )
        ]


def _add(album: Album, group: Group, what: str, figure: Figure, label: str) -> Markup:
    return album.add(f"{group.task} {group.group} {what}", figure, label)


def strip(group: Group, album: Album) -> Picture:
    """Every person a dot, by method."""
    values = scores(group.rows, group.primary)
    people = {str(m): values[m].to_numpy(dtype=float) for m in values}
    figure = figures.strip(group.table, people, group.primary, group.style, group.human)
    metric = words(group.primary)
    caption = (
        f"{metric[:1].upper()}{metric[1:]} of every person (small dots, seeds averaged), the mean "
        "over people (large marks) and its 95 % interval (bars)."
    )
    if group.human:
        caption += " The dashed line is how well a second human scorer agrees with the first."
    return Picture(_add(album, group, "people", figure, f"{metric} of every person"), caption)


def confusions(group: Group) -> list[Confusion]:
    """Of every method, the best first; summed over people and seeds, in the scoring scheme."""
    scheme, found = group.facts["scoring"]["scheme"], []
    for method in dict.fromkeys([*group.best, *group.table["method"]]):
        own = group.rows[group.rows["method"] == method]
        counts = [
            merge_confusion(read_confusion(row["confusion"]), row["scheme"], scheme)
            for row in own.to_dict("records")
        ]
        found.append(Confusion(method, get_scheme(scheme).stages, np.sum(counts, axis=0)))
    return found


def hypnograms(group: Group, album: Album) -> list[Picture]:
    """Example nights; the facts say whose."""
    found = []
    for night in group.results.hypnograms:
        if (night["task"], night["group"]) == (group.task, group.group):
            what = f"night of the {night['which']} person"
            drawn = _add(album, group, what, night_figures.hypnogram(night), f"Hypnogram: {what}")
            found.append(Picture(drawn, facts=night))
    return found


def reliability(group: Group, album: Album) -> list[Picture]:
    """Reliability diagrams of the best methods."""
    found = []
    for method in group.best:
        bins = pooled_bins(group.rows[group.rows["method"] == method])
        row, figure = group.of(method), figures.reliability(bins, method)
        drawn = _add(album, group, f"reliability {method}", figure, f"Reliability of {method}")
        caption = f"ECE {number(row['ece'])}, NLL {number(row['nll'])}"
        found.append(Picture(drawn, caption))
    return found


def bland_altman(group: Group, album: Album) -> list[Picture]:
    """Agreement over nights of the best ranked method."""
    own, nights = group.own(group.results.sleep), group.own(group.results.nights)
    if own.empty or nights.empty:
        return []
    method, found = group.best[0], []
    own = own[own["method"] == method].set_index("statistic")
    guess = nights[nights["method"] == method]
    truth = nights[nights["method"] == SCORED]
    both = guess.merge(truth, on=["fold", "subject", "session"], suffixes=("", "_scored"))
    for name in (name for name in PLOTTED if name in own.index):
        scored, predicted = both[f"{name}_scored"].to_numpy(), both[name].to_numpy()
        what = night_words(name)
        title = what[:1].upper() + what[1:]
        figure = night_figures.bland_altman(
            scored, predicted, own.loc[name].to_dict(), title, unit(name)
        )
        label = f"Bland-Altman plot of {what} by {method}"
        drawn = _add(album, group, f"agreement {name}", figure, label)
        found.append(Picture(drawn, _agreement(own.loc[name].to_dict(), unit(name))))
    return found


def _agreement(row: Mapping[Any, Any], unit: str) -> str:
    bias = interval(row, "bias", 1, sign=True)
    limits = " to ".join(number(row[f"limit_{end}"], 1, sign=True) for end in ("low", "high"))
    return f"Bias {bias.text} {bias.note}, limits {limits} {unit}"


def cost(group: Group, album: Album) -> Picture:
    """Seconds of fitting against the primary metric."""
    score = group.table[group.primary]
    # A method at chance would leave the others no room.
    far = score < score.max() / 2
    figure = figures.cost(group.table[~far], group.primary, group.style)
    label = f"Seconds of fitting against {words(group.primary)}"
    caption = "What fitting costs: mean seconds of one fit (logarithmic), over folds and seeds."
    if far.any():
        left_out = ", ".join(group.table.loc[far, "method"])
        caption += f" Left out, with less than half the best score: {left_out}."
    return Picture(_add(album, group, "cost", figure, label), caption)
