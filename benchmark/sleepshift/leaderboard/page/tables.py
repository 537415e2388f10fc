"""Tables of one group of people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sleepshift.leaderboard.marks import inflated
from sleepshift.leaderboard.page.cells import (
    Cell,
    Column,
    Row,
    Table,
    count,
    interval,
    number,
    p_value,
    words,
)
from sleepshift.leaderboard.page.group import Group
from sleepshift.leaderboard.pairs import smallest_p
from sleepshift.stages import get_scheme

__all__ = ["gains", "gaps", "leaderboard", "night_words", "pairs", "sleep", "unit"]

_METRICS = ("macro_f1", "balanced_accuracy", "kappa", "accuracy", "g_mean")

_MEANING = {
    "macro_f1": "mean of the stages' F1",
    "balanced_accuracy": "mean of the stages' recall",
    "kappa": "Cohen's kappa: agreement beyond chance",
    "accuracy": "share of windows staged as the scorer did",
    "g_mean": "geometric mean of a stage's sensitivity and specificity, mean over stages",
    "nll": "negative log-likelihood: mean surprise of the true stage, in nats, in the stages that "
    "methods work in; lower is better",
    "ece": "expected calibration error (windows of all people, 15 bins) in the stages that methods "
    "work in; lower is better",
    "recovery": "share of the gap between student and teacher that is closed",
}


def leaderboard(group: Group) -> Table:
    """The main table, as the leaderboard is sorted; columns without a value are left out."""
    table = group.table
    stages = [f"f1_{s}" for s in get_scheme(group.facts["scoring"]["scheme"]).stages]
    metrics = [group.primary, *(m for m in _METRICS if m != group.primary)]
    columns = [
        Column("rank", falling=False, sort="ascending"),
        *(Column(words(m), _MEANING.get(m, "")) for m in metrics),
        *(Column(words(c), "F1 of this stage, mean over people") for c in stages),
        *(Column(words(c), _MEANING[c], falling=False) for c in ("nll", "ece")),
        Column("recovery", _MEANING["recovery"]),
        Column("labels", "whose labels it learned from (target people)", numeric=False),
        Column("fit, s", "seconds of fitting, mean over folds and seeds", falling=False),
        Column("parameters", "weights that are fitted", falling=False),
        Column("remarks", numeric=False),
    ]
    rows = [
        Row(
            row["method"],
            [
                count(row["rank"]),
                *(interval(row, m) for m in metrics),
                *(interval(row, c, 2) for c in stages),
                *(interval(row, c) for c in ("nll", "ece")),
                interval(row, "recovery", 2),
                Cell(_labels(row)),
                interval(row, "fit_seconds", 1),
                count(row["n_parameters"]),
                Cell(str(row["flag"])),
            ],
            group.marks(row["method"]),
        )
        for row in table.to_dict("records")
    ]
    caption = f"Mean over people [95 % interval], best first by {words(group.primary)}"
    return Table(caption, columns, rows).without_empty_columns()


def _labels(row: Mapping[Any, Any]) -> str:
    """Whose labels, and of how many target people."""
    if "target" not in row["labels"].split():
        return row["labels"]
    return f"{row['labels'].replace(' ', ' + ')} ({int(row['n_labeled'])})"


def pairs(group: Group) -> dict[str, Any] | None:
    """Differences by method (rows) and method (columns), with what is printed of each."""
    own = group.own(group.results.pairs)
    if own.empty:
        return None
    cells = {}
    for pair in own.to_dict("records"):
        for key, sign in (
            ((pair["method"], pair["other"]), 1),
            ((pair["other"], pair["method"]), -1),
        ):
            ends = sorted(sign * pair[f"difference_{end}"] for end in ("low", "high"))
            cells[key] = {
                "difference": number(sign * pair["difference"], sign=True),
                "interval": f"[{', '.join(number(end, sign=True) for end in ends)}]",
                "smd": number(sign * pair["smd"], 2, sign=True),
                "p": p_value(pair["p_holm"]),
                "differs": bool(pair["p_holm"] < 0.05),
                "better": sign * pair["difference"] > 0,
            }
    named = {method for key in cells for method in key}
    order = [method for method in group.table["method"] if method in named]
    n_people = int(own["n_people"].max())
    least = smallest_p(n_people, int(own["p"].notna().sum()))
    return {
        "methods": order,
        "inflated": {m: [k for k in group.marks(m) if inflated([k])] for m in order},
        "cells": cells,
        "n_people": n_people,
        "least_p": p_value(least) if least > 0.001 else None,
    }


def _ranked(group: Group, rows: list[Row]) -> list[Row]:
    """Rows in the order of the leaderboard."""
    place = {method: k for k, method in enumerate(group.table["method"])}
    return sorted(rows, key=lambda row: place[row.method])


def sleep(group: Group) -> Table | None:
    """Bias and limits of agreement of every method and statistic."""
    own = group.own(group.results.sleep)
    if own.empty:
        return None
    deviations = "1.96 standard deviations of the difference of one night"
    columns = [
        Column("statistic", numeric=False),
        Column("scored", "mean over people, by the scorer"),
        Column("bias", "predicted minus scored, mean over people [95 % interval]"),
        Column("lower limit", f"bias − {deviations}"),
        Column("upper limit", f"bias + {deviations}"),
        Column("people"),
        Column("nights"),
    ]
    rows = []
    for row in own.to_dict("records"):
        name = f"{night_words(row['statistic'])}, {unit(row['statistic'])}"
        cells = [
            Cell(name),
            interval(row, "scored", 1),
            interval(row, "bias", 1, sign=True),
            *(interval(row, f"limit_{end}", 1, sign=True) for end in ("low", "high")),
            *(count(row[f"n_{of}"]) for of in ("people", "nights")),
        ]
        rows.append(Row(row["method"], cells, chosen_by={"statistic": name}))
    return Table("Sleep statistics, predicted against scored", columns, _ranked(group, rows))


def gaps(group: Group) -> Table | None:
    """What is lost from the source's own people to the group."""
    own = group.own(group.results.gaps)
    if own.empty:
        return None
    metric = words(group.primary)
    columns = [
        Column("source's people", f"{metric} on people of the source"),
        Column("this group", f"{metric} on this group"),
        Column("gap", "source's people minus this group [95 % interval]", falling=False),
        Column("held against", "whose score on the source's people", numeric=False),
    ]
    rows = [
        Row(
            row["method"],
            [
                interval(row, "in_domain"),
                interval(row, "score"),
                interval(row, "gap", sign=True),
                Cell("itself" if row["in_domain_of"] == row["method"] else row["in_domain_of"]),
            ],
            group.marks(row["method"]),
        )
        for row in own.to_dict("records")
    ]
    return Table(f"Transfer gap in {metric}", columns, _ranked(group, rows))


def gains(group: Group) -> Table | None:
    """What distilled students gained over the controls, and the gap they recovered."""
    own = group.own(group.results.gains)
    if own.empty:
        return None
    references = list(dict.fromkeys(own["reference"]))
    columns = [Column(f"over {name}") for name in references]
    columns.append(Column("recovery", _MEANING["recovery"]))
    gained = {(row["method"], row["reference"]): row for row in own.to_dict("records")}
    rows = []
    for row in group.table[group.table["method"].isin(own["method"])].to_dict("records"):
        cells = [_gain(gained.get((row["method"], name), {})) for name in references]
        cells.append(interval(row, "recovery", 2))
        rows.append(Row(row["method"], cells, group.marks(row["method"])))
    caption = f"Gain in {words(group.primary)} over the controls"
    return Table(caption, columns, rows).without_empty_columns()


def _gain(row: Mapping[Any, Any]) -> Cell:
    cell = interval(row, "gain", sign=True)
    if cell.value is None:
        return cell
    differs = row["p_holm"] < 0.05
    return Cell(cell.text, cell.value, f"{cell.note} p {p_value(row['p_holm'])}", differs)


def night_words(statistic: str) -> str:
    """A night's figure for readers.

    Examples
    --------
    >>> night_words("sleep_latency"), night_words("waso"), night_words("minutes_N2")
    ('sleep latency', 'wake after sleep onset', 'time in N2')
    """
    if statistic == "waso":
        return "wake after sleep onset"
    return statistic.replace("minutes_", "time in ").replace("_", " ")


def unit(statistic: str) -> str:
    """Unit of a night's figure."""
    return "%" if statistic == "sleep_efficiency" else "min"
