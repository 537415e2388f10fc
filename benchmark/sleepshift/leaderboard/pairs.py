"""Every pair of methods compared over the same people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.marks import inflated, marks, words
from sleepshift.leaderboard.statistics import (
    BOOTSTRAP_SEED,
    bootstrap_interval,
    groups,
    holm,
    scores,
)

__all__ = ["COLUMNS", "paired", "pairs", "smallest_p"]

_DIFFERENCE = ("difference", "difference_low", "difference_high", "smd", "p", "p_holm")
COLUMNS = ("task", "group", "method", "other", "n_people", *_DIFFERENCE, "flag")

#: From so many people on Wilcoxon's test takes the place of permutations, as in MOABB.
PERMUTATION_CUTOFF = 20
#: Up to so many people MOABB flips all signs in turn, above so often at random.
N_EXACT, N_FLIPS = 13, 10_000


def pairs(
    rows: pd.DataFrame,
    tasks: Mapping[str, Mapping[str, Any]],
    methods: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Paired differences in the primary metric, of every two methods of a group of people.

    Tests and effect sizes are those of `moabb.analysis`: below 20 people a permutation test
    that flips the signs of people's differences (all flips up to 13 people, 10,000 random
    ones, seeded, above), from 20 on Wilcoxon's signed-rank test.

    Parameters
    ----------
    rows : DataFrame
        Rows of `results_frame`.
    tasks : mapping
        Name -> facts with ``scoring.primary``.
    methods : mapping or None
        Name -> facts that `sleepshift.leaderboard.marks.marks` takes; None marks nothing.

    Returns
    -------
    DataFrame
        `COLUMNS`: each two methods once, `method` the one with the higher mean. The mean
        difference over the people that all methods of the group were scored on, seeds
        averaged in each; its 95 % bootstrap interval; the mean divided by the standard
        deviation of the differences (``smd``); two-sided p-values, and the same corrected
        by Holm's method for all pairs of the group. Where one of the two scores more than it
        would on others (its pass is chosen on the test people, its weights saw the dataset)
        there is the difference, and no p-value; ``flag`` says which and why.
    """
    found, empty = [], pd.DataFrame(columns=list(COLUMNS))
    for (task, group), part in groups(rows):
        people = scores(part, tasks[task]["scoring"]["primary"]).dropna()
        if len(people) < 2 or people.shape[1] < 2:
            continue
        order = people.mean().sort_values(ascending=False, kind="stable").index
        of_group = _without_tests(paired(people[order]), _inflated(part, methods or {}))
        of_group["p_holm"] = holm(of_group["p"].to_numpy())
        found.append(of_group.assign(task=task, group=group))
    return pd.concat(found, ignore_index=True)[list(COLUMNS)] if found else empty


def _inflated(part: pd.DataFrame, methods: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Methods that score more than they would on others, and why."""
    marked = {m: marks(methods[m], own) for m, own in part.groupby("method") if m in methods}
    return {m: f"{m}: {words(found)}" for m, found in marked.items() if inflated(found)}


def _without_tests(of_group: pd.DataFrame, why: Mapping[str, str]) -> pd.DataFrame:
    """A group's pairs with their flags; those that have one without a p-value."""
    both = zip(of_group["method"], of_group["other"], strict=True)
    flags = ["; ".join(why[m] for m in pair if m in why) for pair in both]
    tested = np.array([not flag for flag in flags])
    return of_group.assign(p=of_group["p"].where(tested), flag=flags)


def smallest_p(n_people: int, n_pairs: int) -> float:
    """The lowest corrected p-value that so few people can give, however large the difference.

    Parameters
    ----------
    n_people : int
        People compared.
    n_pairs : int
        Pairs that are corrected for.

    Examples
    --------
    >>> smallest_p(8, 10)
    0.078125
    """
    drawn = N_EXACT < n_people < PERMUTATION_CUTOFF
    flips = N_FLIPS if drawn else 2**n_people
    return min(1.0, n_pairs * 2 / flips)


def paired(people: pd.DataFrame) -> pd.DataFrame:
    """Differences between the columns of a table of people, each pair once.

    Parameters
    ----------
    people : DataFrame
        A row a person, a column a method, no NaN.
    """
    p, effect = _tests(people)
    found = []
    for i, method in enumerate(people):
        for j, other in list(enumerate(people))[i + 1 :]:
            difference = (people[method] - people[other]).to_numpy()
            low, high = bootstrap_interval(difference)
            found.append(
                {
                    "method": method,
                    "other": other,
                    "n_people": len(people),
                    "difference": difference.mean(),
                    "difference_low": low,
                    "difference_high": high,
                    "smd": effect[i, j],
                    "p": min(1.0, 2 * p[i, j], 2 * p[j, i]),
                }
            )
    return pd.DataFrame(found)


def _tests(people: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p-values that a row is better than a column, and standardised differences."""
    from moabb.analysis import meta_analysis as moabb

    if len(people) < PERMUTATION_CUTOFF:
        p = moabb.compute_pvals_perm(people, seed=BOOTSTRAP_SEED)
    else:
        p = moabb.compute_pvals_wilcoxon(people)
    return p, moabb.compute_effect(people)
