"""One group of people: its rows, its best methods, and what is said of them in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from sleepshift.leaderboard.marks import MARKS, kinds
from sleepshift.leaderboard.page.cells import Cell, interval

if TYPE_CHECKING:
    from sleepshift.leaderboard.page.figures import Look
    from sleepshift.leaderboard.results import Results

__all__ = ["Group"]

#: So many of the best methods are shown at once, the others on demand.
N_BEST = 4


class Group:
    """A task and a group of its people, with what belongs to them of every table.

    Parameters
    ----------
    results : Results
    task, group : str
    style : mapping of str to (colour, marker)
        By method.
    """

    def __init__(self, results: Results, task: str, group: str, style: Mapping[str, Look]) -> None:
        self.task, self.group, self.style = task, group, style
        self.facts: dict[str, Any] = results.tasks[task]
        self.methods: dict[str, Any] = results.methods
        self.primary: str = self.facts["scoring"]["primary"]
        self.results = results
        self.table = self.own(results.table)
        rows = self.own(results.rows)
        self.rows = rows[rows["status"] == "ok"]
        ranked = self.table[self.table["rank"].notna()]["method"].tolist()
        #: The best ranked methods; others where there are none.
        self.best: list[str] = (ranked or self.table["method"].tolist())[:N_BEST]

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of a table that belong to the group."""
        if frame.empty:
            return frame
        return frame[(frame["task"] == self.task) & (frame["group"] == self.group)]

    def of(self, method: str) -> dict[str, Any]:
        """A method's row of the leaderboard."""
        return self.table[self.table["method"] == method].iloc[0].to_dict()

    @property
    def n_people(self) -> int:
        """People tested."""
        return int(self.table["n_people"].max())

    @property
    def n_seeds(self) -> int:
        """Model seeds, averaged in each person."""
        return int(self.table["n_seeds"].max())

    @property
    def n_one_stage(self) -> int:
        """People scored to have one stage only."""
        return int(self.table["n_one_stage"].max())

    @property
    def n_labeled(self) -> int:
        """Target people whose labels are given."""
        return int(self.table["n_labeled"].max())

    @cached_property
    def human(self) -> dict[str, Any] | None:
        """Agreement of a second scorer with the first."""
        own = self.own(self.results.human)
        return None if own.empty else own.iloc[0].to_dict()

    def human_score(self) -> Cell | None:
        """The same in the primary metric."""
        return interval(self.human, self.primary) if self.human else None

    def headline(self) -> dict[str, Any]:
        """The best ranked method, and how many of the others differ from it."""
        first = self.of(self.best[0])
        found = {"method": first["method"], "score": interval(first, self.primary)}
        found |= {"ranked": not pd.isna(first["rank"]), "others": 0}
        pairs = self.own(self.results.pairs)
        if len(pairs):
            # Of each pair the better is named first, so the best is never the other.
            ranked = self.table[self.table["rank"].notna()]["method"]
            fair = pairs[(pairs["method"] == self.best[0]) & pairs["other"].isin(ranked)]
            found |= {"others": len(fair), "differ": int((fair["p_holm"] < 0.05).sum())}
        return found

    def adapted(self) -> list[str]:
        """Methods that learned from the test people's own unlabelled signals."""
        if self.group not in self.facts["transductive"]:
            return []
        return [m for m in self.table["method"] if self.methods[m]["unlabeled"]]

    def marks(self, method: str) -> list[str]:
        """Kinds of `MARKS` that a method has, and ``target`` where it used labels of the target."""
        row = self.of(method)
        return kinds(row["flag"]) + (["target"] if "target" in row["labels"].split() else [])

    def all_marks(self) -> list[str]:
        """Kinds of marks that any method has."""
        there = {kind for method in self.table["method"] for kind in self.marks(method)}
        return [kind for kind in (*MARKS, "target") if kind in there]
