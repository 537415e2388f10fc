"""What is lost from the source's own people to a target group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from sleepshift.leaderboard.marks import marks, words
from sleepshift.leaderboard.statistics import BOOTSTRAP_SEED, N_RESAMPLES, groups, scores
from sleepshift.protocol.protocols import IN_DOMAIN

__all__ = ["COLUMNS", "gaps"]

_FIGURES = ("in_domain", "score", "gap", "gap_low", "gap_high")
COLUMNS = ("task", "group", "method", "in_domain_of", *_FIGURES, "flag")
_UNADAPTED, _UNADAPTED_FEATURES = "source-only", "features-logreg"


def gaps(
    rows: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Transfer gap of every method to every target group, in the primary metric.

    The gap is the score on people of the source domain (each tested by models of the other
    source people) minus the score on the target group. A method that learned from labels of
    the target, or was not tested on the source's people, is held against what learned from
    the source alone, ``source-only`` or ``features-logreg``, so that its gap is what adaptation
    has left of that method's. Models of the other source people have learned from fewer
    people, so gaps are rather too small.

    Parameters
    ----------
    rows : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with ``scoring.primary``.
    methods : mapping
        Name -> facts with ``labels`` and ``deep``, and those that
        `sleepshift.leaderboard.marks.marks` takes.

    Returns
    -------
    DataFrame
        `COLUMNS`; the 95 % interval resamples the people of both groups; ``flag`` has the
        marks of a method. Empty where no task tests people of its source.
    """
    parts = dict(groups(rows))
    found = []
    for (task, group), part in parts.items():
        home = parts.get((task, IN_DOMAIN))
        if home is None or group == IN_DOMAIN:
            continue
        primary = tasks[task]["scoring"]["primary"]
        source, target = scores(home, primary), scores(part, primary)
        for method in target:
            facts, given = methods[method], part["n_labeled"].max() > 0
            adapted = given and "target" in facts["labels"]
            unadapted = _UNADAPTED if facts["deep"] else _UNADAPTED_FEATURES
            of = unadapted if adapted or method not in source else method
            if of in source:
                gap = _gap(source[of].dropna().to_numpy(), target[method].dropna().to_numpy())
                own = part[part["method"] == method]
                whose = {"task": task, "group": group, "method": method, "in_domain_of": of}
                found.append(whose | gap | {"flag": words(marks(facts, own))})
    return pd.DataFrame(found, columns=list(COLUMNS))


def _gap(source: np.ndarray, target: np.ndarray) -> dict[str, float]:
    if not len(source) or not len(target):
        return dict.fromkeys(_FIGURES, np.nan)
    low, high = np.nan, np.nan
    if min(len(source), len(target)) > 1:

        def gap(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
            return a.mean(axis=axis) - b.mean(axis=axis)

        low, high = bootstrap(
            (source, target),
            gap,
            n_resamples=N_RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(BOOTSTRAP_SEED),
        ).confidence_interval
    figures = (source.mean(), target.mean(), source.mean() - target.mean(), low, high)
    return dict(zip(_FIGURES, map(float, figures), strict=True))
