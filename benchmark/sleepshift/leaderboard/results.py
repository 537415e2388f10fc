"""`Results`: the rows of a leaderboard, and every table that follows from them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sleepshift.atomic import read_json
from sleepshift.digest import digest
from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import COLUMNS
from sleepshift.leaderboard.gains import gains
from sleepshift.leaderboard.gaps import gaps
from sleepshift.leaderboard.human import human_agreement
from sleepshift.leaderboard.pairs import pairs
from sleepshift.leaderboard.pooled import pooled
from sleepshift.leaderboard.ranks import average_ranks
from sleepshift.leaderboard.sleep import agreement
from sleepshift.leaderboard.table import leaderboard

__all__ = ["ROWS", "Results", "parse_results", "read_results"]

#: Files that hold what was measured; everything else in a leaderboard folder follows from them.
ROWS = {"rows": "results.csv", "nights": "nights.csv", "hypnograms": "hypnograms.json"}


@dataclass(frozen=True)
class Results:
    """What was measured, and what follows from it.

    Parameters
    ----------
    rows : DataFrame
        Of `results_frame`: a row per task, fold, method, seed and person.
    nights : DataFrame
        Of `nights_frame`; empty where no night has an order.
    hypnograms : list of dict
        Of `example_nights`.
    manifest : dict
        ``tasks`` and ``methods`` with their facts, and ``notes`` on what is amiss.
    """

    rows: pd.DataFrame
    nights: pd.DataFrame
    hypnograms: list[dict[str, Any]]
    manifest: dict[str, Any]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """Facts of each task."""
        return self.manifest["tasks"]

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Facts of each method."""
        return self.manifest["methods"]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The leaderboard."""
        return leaderboard(self.rows, self.tasks, self.methods)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Every two methods compared over people."""
        return pairs(self.rows, self.tasks, self.methods)

    @cached_property
    def pooled(self) -> pd.DataFrame:
        """Figures of all predictions of a group together."""
        return pooled(self.rows, self.tasks, self.methods)

    @cached_property
    def gains(self) -> pd.DataFrame:
        """Distilled students against their controls."""
        return gains(self.pairs, self.methods)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Transfer gaps."""
        return gaps(self.rows, self.tasks, self.methods)

    @cached_property
    def sleep(self) -> pd.DataFrame:
        """Bias and limits of agreement of sleep statistics."""
        return agreement(self.nights)

    @cached_property
    def human(self) -> pd.DataFrame:
        """Agreement of a second human scorer with the first."""
        return human_agreement(self.rows, self.tasks)

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """Mean ranks over tasks."""
        primary = {name: facts["scoring"]["primary"] for name, facts in self.tasks.items()}
        return average_ranks(self.table, primary)


def read_results(folder: Path) -> Results:
    """Read what was measured from a leaderboard folder.

    Parameters
    ----------
    folder : Path
        Of a leaderboard.

    Raises
    ------
    GridError
        If it is not one, or a file is not the one that was reported.
    """
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict) or not {"tasks", "methods", "notes", *ROWS} <= set(manifest):
        raise GridError(f"{folder} is not a leaderboard: manifest.json is missing or damaged")
    try:
        texts = {part: (folder / name).read_text("utf-8") for part, name in ROWS.items()}
        for part, text in texts.items():
            if digest(text) != manifest[part]:
                path = folder / ROWS[part]
                raise GridError(f"{path} is not the one that was reported; report again")
        results = parse_results(texts, manifest)
    except (OSError, ValueError) as error:
        raise GridError(f"{folder} is not a leaderboard: {error}") from None
    rows = results.rows
    if missing := [name for name in COLUMNS if name not in rows]:
        raise GridError(f"{folder / ROWS['rows']} has no column {missing[0]!r}")
    return results


def parse_results(texts: Mapping[str, str], manifest: dict[str, Any]) -> Results:
    """Results out of the texts of the files in `ROWS`.

    Parameters
    ----------
    texts : mapping
        Part -> text.
    manifest : dict
    """
    rows, nights = _table(texts["rows"]), _table(texts["nights"])
    return Results(rows, nights, json.loads(texts["hypnograms"]), manifest)


def _table(csv: str) -> pd.DataFrame:
    """Rows of a CSV file; names stay names, whatever they look like."""
    text = ("task", "fold", "group", "method", "subject", "session", "sex", "status")
    types = dict.fromkeys((*text, "settings", "definition", "confusion", "reliability"), str)
    if not csv.strip():
        return pd.DataFrame()
    return pd.read_csv(io.StringIO(csv), dtype=types, keep_default_na=False, na_values=[""])
