"""Whether what was measured agrees with itself: figures with counts, nights with both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import person_figures, read_confusion, read_reliability
from sleepshift.leaderboard.metrics import merge_confusion
from sleepshift.leaderboard.results import ROWS, Results
from sleepshift.leaderboard.sleep import SCORED, covers_the_night, sleep_statistics
from sleepshift.leaderboard.table import check_grid
from sleepshift.stages import WINDOW_SECONDS, get_scheme

__all__ = ["check_measured"]

_PERSON = ["task", "fold", "group", "subject"]
_CELL = [*_PERSON, "method", "seed"]


def check_measured(results: Results, folder: Path) -> int:
    """Recompute what follows from something else that was measured.

    Figures of a person follow from the counts, minutes of the person's nights must be those
    of the counts, an example's figures those of its night, and notes say what is amiss.
    Nothing vouches for the counts themselves, the surprise (``nll``) and times.

    Parameters
    ----------
    results : Results
        As read from `folder`.
    folder : Path
        Named in errors.

    Returns
    -------
    int
        Number of rows checked.

    Raises
    ------
    GridError
        Naming the first figure that differs.
    """
    notes = check_grid(results.rows, results.tasks, partial=True, mixed=True)
    if notes != results.manifest["notes"]:
        raise GridError(f"{folder}/manifest.json: notes do not say what is amiss with the rows")
    scored = results.rows[results.rows["status"] == "ok"]
    if len(twice := scored[scored.duplicated(_CELL)]):
        raise GridError(f"{folder}/{ROWS['rows']}: {_who(twice.iloc[0])} is there twice")
    for row in scored.to_dict("records"):
        _check_figures(row, results.tasks[row["task"]]["scoring"]["scheme"], folder)
    _check_nights(results, scored, folder)
    for example in results.hypnograms:
        _check_example(example, results, folder)
    return len(scored)


def _who(row: Any) -> str:
    return f"{row['task']}, {row['method']}, person {row['subject']}"


def _same(value: Any, expected: Any) -> bool:
    return bool(np.isclose(value, expected, rtol=1e-7, equal_nan=True))


def _check_figures(row: dict[Any, Any], scheme: str, folder: Path) -> None:
    counts, bins = read_confusion(row["confusion"]), read_reliability(row["reliability"])
    figures = person_figures(counts, row["scheme"], scheme)
    for name, value in figures.items():
        # A stage that nobody has gets no column.
        if not _same(row.get(name, np.nan), value):
            raise GridError(
                f"{folder}/{ROWS['rows']}: {_who(row)}: {name} is {row.get(name)}, its counts "
                f"give {value}"
            )
    n, hits, confidence = bins.T
    possible = (hits >= 0) & (hits <= n) & (confidence >= 0) & (confidence <= n + 1e-3)
    if (n.sum(), hits.sum()) != (counts.sum(), np.trace(counts)) or not possible.all():
        raise GridError(
            f"{folder}/{ROWS['rows']}: {_who(row)}: reliability is not that of its counts"
        )


def _check_nights(results: Results, scored: pd.DataFrame, folder: Path) -> None:
    """Minutes of each stage in a person's nights must be those of the confusion counts."""
    schemes = {name: facts["scoring"]["scheme"] for name, facts in results.tasks.items()}
    rows = scored[[covers_the_night(schemes[task]) for task in scored["task"]]]
    path, nights = folder / ROWS["nights"], results.nights
    if rows.empty and nights.empty:
        return
    minutes = [c for c in nights if c.startswith("minutes_")]
    asleep = nights[minutes].sum(axis=1) - nights["minutes_W"]
    efficiency = 100 * asleep / nights["time_in_bed"]
    for name, value in {"total_sleep_time": asleep, "sleep_efficiency": efficiency}.items():
        if not np.allclose(nights[name], value, rtol=1e-7):
            raise GridError(f"{path}: {name} is not that of the minutes")
    by_scorer = nights["method"] == SCORED
    truth = nights[by_scorer].groupby(_PERSON)[minutes].sum().to_dict("index")
    guess = nights[~by_scorer].astype({"seed": int}).groupby(_CELL)[minutes].sum().to_dict("index")
    if set(guess) != set(rows[_CELL].itertuples(index=False, name=None)):
        raise GridError(f"{path} has not the nights of the people of {ROWS['rows']}")
    for row in rows.to_dict("records"):
        counts = merge_confusion(
            read_confusion(row["confusion"]), row["scheme"], schemes[row["task"]]
        )
        person, cell = (tuple(row[key] for key in keys) for keys in (_PERSON, _CELL))
        names = [f"minutes_{stage}" for stage in get_scheme(schemes[row["task"]]).stages]
        for found, n in ((truth[person], counts.sum(axis=1)), (guess[cell], counts.sum(axis=0))):
            if not np.allclose([found[name] for name in names], n * WINDOW_SECONDS / 60):
                raise GridError(
                    f"{path}: {_who(row)}: minutes of stages are not those of {ROWS['rows']}"
                )


def _check_example(example: dict[str, Any], results: Results, folder: Path) -> None:
    """The figures of a night that is shown must be those of the same night in the table."""
    where = f"{folder}/{ROWS['hypnograms']}: {_who(example)}"
    facts, nights, rows = results.tasks[example["task"]], results.nights, results.rows
    names = get_scheme(facts["scoring"]["scheme"]).stages
    own = nights[_of(nights, example, [*_PERSON, "session"])]
    for part, keys in {"scored": ["method"], "predicted": ["method", "seed"]}.items():
        wanted = example | ({"method": SCORED} if part == "scored" else {})
        row = own[_of(own, wanted, keys)].iloc[0]
        stages = np.array([-1 if stage is None else stage for stage in example[part]])
        figures = sleep_statistics(stages, names)
        if any(not _same(row[name], value) for name, value in figures.items()):
            raise GridError(f"{where}: the {part} night is not that of {ROWS['nights']}")
    of_cell = rows[_of(rows, example, _CELL)]
    if not _same(of_cell[facts["scoring"]["primary"]].mean(), example["score"]):
        raise GridError(f"{where}: the score is not that of {ROWS['rows']}")


def _of(table: pd.DataFrame, wanted: dict[str, Any], keys: list[str]) -> pd.Series:
    return pd.Series(
        np.logical_and.reduce([table[key] == wanted[key] for key in keys]), table.index
    )
