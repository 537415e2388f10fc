"""Nights out of stored predictions: figures of each, and examples to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sleepshift.datasets.folder import natural
from sleepshift.leaderboard.sleep import (
    SCORED,
    covers_the_night,
    hypnogram,
    sleep_statistics,
    windows_of_slots,
)
from sleepshift.leaderboard.statistics import groups, per_person
from sleepshift.runner import ArtifactStore, read_grid
from sleepshift.stages import get_scheme, merge_map

__all__ = ["example_nights", "nights_frame"]

_CELL = ("task", "fold", "group", "method", "seed")


def nights_frame(root: Path, tasks: list[str]) -> pd.DataFrame:
    """A row for each night as scored and as predicted by each method and seed.

    Parameters
    ----------
    root : Path
        Folder of a run.
    tasks : list of str
        Tasks to take, those aside whose scheme leaves stages out.

    Returns
    -------
    DataFrame
        ``task, fold, group, method, seed, subject, session`` and `sleep_statistics`, in the
        scoring scheme. The scorer's rows have the method ``"scored"`` and no seed.
    """
    grid, store = read_grid(root), ArtifactStore(root)
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in grid["cells"]:
        facts = grid["tasks"][cell["task"]]
        if cell["task"] not in tasks or not covers_the_night(facts["scoring"]["scheme"]):
            continue
        if cell["skipped"] is not None or not store.has_cell(cell["key"]):
            continue
        names = get_scheme(facts["scoring"]["scheme"]).stages
        place = {name: cell[name] for name in _CELL}
        for who, onset, truth, predicted in _nights(store, cell["key"], facts):
            scored = place | {"method": SCORED, "seed": None}
            for by, stages in ((scored, truth), (place, predicted)):
                identity = (*by.values(), *who.values())
                if identity not in rows:
                    rows[identity] = by | who | _figures(onset, stages, names)
    return pd.DataFrame(list(rows.values()))


def _nights(
    store: ArtifactStore, key: str, facts: dict[str, Any]
) -> Iterator[tuple[dict[str, str], np.ndarray, np.ndarray, np.ndarray]]:
    """Who and when, onsets, and stages in the scoring scheme, of every scored night."""
    cell = store.read_predictions(key, "subject", "session", "onset", "truth", "predicted")
    codes = merge_map(facts["scheme"], facts["scoring"]["scheme"])
    nights = pd.DataFrame({"subject": cell["subject"], "session": cell["session"]})
    for (subject, session), found in nights.groupby(
        ["subject", "session"], sort=False
    ).indices.items():
        own = found[cell["truth"][found] >= 0]
        if len(own):
            who = {"subject": str(subject), "session": str(session)}
            yield who, cell["onset"][own], codes[cell["truth"][own]], codes[cell["predicted"][own]]


def _figures(onset: np.ndarray, stages: np.ndarray, names: tuple[str, ...]) -> dict[str, float]:
    if np.isfinite(onset).all():
        return sleep_statistics(hypnogram(onset, stages), names)
    return sleep_statistics(stages, names, ordered=False)


def example_nights(root: Path, rows: pd.DataFrame, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The first night of a median and of the worst person, by the best method of each group.

    Parameters
    ----------
    root : Path
        Folder of a run.
    rows, table : DataFrame
        Of `results_frame`, and its leaderboard.

    Returns
    -------
    list of dict
        ``task, group, method, fold, seed, subject, session``, ``which`` ("median" or
        "worst") and the person's ``score`` in the primary metric in that fold with that seed,
        the first ones; ``stages`` by name; and for each 30-s slot ``scored``, ``predicted``
        (codes, None where there is no window) and ``probability`` (percent). Of nights whose
        order is known alone.
    """
    grid, store = read_grid(root), ArtifactStore(root)
    keys = {tuple(cell[name] for name in _CELL): cell["key"] for cell in grid["cells"]}
    found = []
    for (task, group), part in groups(rows):
        facts = grid["tasks"][task]
        own = table[(table["task"] == task) & (table["group"] == group) & (table["rank"] == 1)]
        if not covers_the_night(facts["scoring"]["scheme"]) or own.empty:
            continue
        method = own["method"].iloc[0]
        of_seed = part[(part["method"] == method) & (part["seed"] == part["seed"].min())]
        of_seed = of_seed.drop_duplicates("subject")  # of several draws the first
        score = per_person(of_seed)[facts["scoring"]["primary"]].dropna().sort_values()
        for which, place in {"median": (len(score) - 1) // 2, "worst": 0}.items():
            if not len(score):
                continue
            row = of_seed[of_seed["subject"] == score.index[place]].iloc[0]
            cell = {name: row[name] for name in _CELL} | {"seed": int(row["seed"])}
            night = _example(store, keys[tuple(cell.values())], str(row["subject"]), facts)
            if night is not None:
                who = {"subject": str(row["subject"]), "which": which}
                found.append(cell | who | {"score": float(score.iloc[place])} | night)
    return found


def _example(
    store: ArtifactStore, key: str, subject: str, facts: dict[str, Any]
) -> dict[str, Any] | None:
    """The first night of a person, slot by slot."""
    cell = store.read_predictions(
        key, "subject", "session", "onset", "truth", "predicted", "probability"
    )
    scheme = get_scheme(facts["scoring"]["scheme"])
    codes = merge_map(facts["scheme"], scheme.name)
    session = min(np.unique(cell["session"][cell["subject"] == subject]), key=natural)
    own = (cell["subject"] == subject) & (cell["session"] == session) & (cell["truth"] >= 0)
    onset = cell["onset"][own]
    if not np.isfinite(onset).all():
        return None
    share = np.zeros((own.sum(), len(scheme)))
    np.add.at(share.T, codes, cell["probability"][own].T)
    rows = np.rint(100 * share).astype(int).tolist()
    percent = [None if window < 0 else rows[window] for window in windows_of_slots(onset)]
    return {
        "session": str(session),
        "stages": list(scheme.stages),
        "scored": _or_none(hypnogram(onset, codes[cell["truth"][own]])),
        "predicted": _or_none(hypnogram(onset, codes[cell["predicted"][own]])),
        "probability": percent,
    }


def _or_none(grid: np.ndarray) -> list[int | None]:
    return [None if stage < 0 else int(stage) for stage in grid]
