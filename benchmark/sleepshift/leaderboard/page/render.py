"""The page: everything a leaderboard holds, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sleepshift.atomic import write_bytes, write_text
from sleepshift.leaderboard.page import figures, pictures, tables
from sleepshift.leaderboard.page.cells import Cell, Column, Row, Table, count, number, words
from sleepshift.leaderboard.page.figures import Look
from sleepshift.leaderboard.page.group import N_BEST, Group
from sleepshift.leaderboard.page.overview import overview
from sleepshift.leaderboard.page.pictures import Picture
from sleepshift.leaderboard.page.svg import Album, written
from sleepshift.leaderboard.table import left_out
from sleepshift.leaderboard.text import FEW_PEOPLE, INTERVALS_OF_FEW, PAIRED_TEST

if TYPE_CHECKING:
    from sleepshift.leaderboard.results import Results

__all__ = ["OVERVIEW", "Page", "render_page", "write_page"]

FIGURES = "figures"
#: Everyone in one picture.
OVERVIEW = "leaderboard.png"

#: Parts of a group that the contents name.
_PART_NAMES = {
    "table": "methods",
    "people": "people and cost",
    "pairs": "pairs",
    "gaps": "transfer gap",
    "gains": "gains",
    "confusion": "confusion",
    "calibration": "calibration",
    "nights": "nights",
    "sleep": "sleep statistics",
}


class Page(NamedTuple):
    """A page, and its pictures as files: PNG and SVG, by their path beside it."""

    html: str
    drawings: dict[str, bytes]


def write_page(page: Page, out: Path) -> None:
    """Write ``index.html``, its figures as PNG and as SVG, and ``leaderboard.png``.

    Parameters
    ----------
    page : Page
        Of `render_page`.
    out : Path
        Folder of a leaderboard. Drawings in its folder ``figures`` that do not belong to the
        page are removed; everything else is left alone.
    """
    for name, data in page.drawings.items():
        write_bytes(out / name, data)
    for path in sorted((out / FIGURES).glob("*.*")):
        if path.suffix in (".png", ".svg") and f"{FIGURES}/{path.name}" not in page.drawings:
            path.unlink()
    write_text(out / "index.html", page.html)


def render_page(results: Results) -> Page:
    """The page and its figures; the same results give the same bytes.

    Parameters
    ----------
    results : Results
        What was measured.
    """
    album = Album()
    style = figures.looks(results.methods)
    tasks = [
        _task(results, name, k, album, style)
        for k, name in enumerate(dict.fromkeys(results.table["task"]), start=1)
    ]
    page = (
        _environment()
        .get_template("page.html")
        .render(
            results=results,
            tasks=tasks,
            titles=list(dict.fromkeys(task["facts"]["title"] for task in tasks)),
            simulated=[task["facts"]["title"] for task in tasks if task["facts"]["simulated"]],
            n_tasks=len(tasks),
            n_views=sum(len(task["groups"]) for task in tasks),
            part_names=_PART_NAMES,
            ranks=_ranks(results, album, style),
            left_out=list(left_out(results.rows, results.tasks)),
            n_best=N_BEST,
            paired_test=PAIRED_TEST,
            few_people=FEW_PEOPLE,
            intervals_of_few=INTERVALS_OF_FEW,
        )
    )
    drawings = {f"{FIGURES}/{name}": data for name, data in album.files.items()}
    return Page(page, drawings | {OVERVIEW: written(overview(results), "png")})


def _task(
    results: Results, name: str, place: int, album: Album, style: Mapping[str, Look]
) -> dict[str, Any]:
    """What the template needs of a task and of each of its groups."""
    own = results.table[results.table["task"] == name]
    groups = [Group(results, name, group, style) for group in dict.fromkeys(own["group"])]
    settings = results.rows[results.rows["task"] == name]["settings"].dropna()
    return {
        "name": name,
        "id": f"t{place}",
        "facts": results.tasks[name],
        "settings": list(dict.fromkeys(settings)),
        "groups": [
            {"id": f"t{place}g{k}", "group": group, "parts": _parts(group, album)}
            for k, group in enumerate(groups, start=1)
        ],
        "budgets": _budgets(own, results.tasks[name], name, album),
    }


def _parts(group: Group, album: Album) -> dict[str, Any]:
    """What there is to show of a group, in the page's order; the rest is left out."""
    parts = {
        "table": tables.leaderboard(group),
        "people": pictures.strip(group, album),
        "pairs": tables.pairs(group),
        "gaps": tables.gaps(group),
        "gains": tables.gains(group),
        "confusion": pictures.confusions(group),
        "calibration": pictures.reliability(group, album),
        "nights": pictures.hypnograms(group, album),
        "sleep": tables.sleep(group),
        "agreement": pictures.bland_altman(group, album),
        "cost": pictures.cost(group, album),
    }
    return {name: part for name, part in parts.items() if part}


def _budgets(
    table: pd.DataFrame, facts: Mapping[str, Any], name: str, album: Album
) -> Picture | None:
    """Curves over the number of labelled people, of several budgets."""
    if facts["protocol"] != "label-budget" or table["n_labeled"].nunique() < 2:
        return None
    primary = facts["scoring"]["primary"]
    drawn = figures.budgets(table, primary)
    caption = (
        f"Mean {words(primary)} over people against the number of labelled people of the target; "
        "bands are 95 % intervals."
    )
    label = f"{words(primary)} against the number of labelled people"
    return Picture(album.add(f"{name} budgets", drawn, label), caption)


def _ranks(results: Results, album: Album, style: Mapping[str, Look]) -> dict[str, Any] | None:
    """Mean ranks over tasks."""
    ranks = results.ranks
    if ranks.empty:
        return None
    drawn = figures.critical_difference(ranks, style)
    difference = float(ranks.attrs["critical_difference"])
    caption = (
        "Mean rank over tasks. Bars join methods that lie less than the critical difference "
        f"({number(difference, 2)}) apart: they cannot be told apart."
    )
    columns = [Column("mean rank", falling=False, sort="ascending"), Column("tasks")]
    rows = [
        Row(r["method"], [Cell(number(r["mean_rank"], 2), r["mean_rank"]), count(r["n_tasks"])])
        for r in ranks.to_dict("records")
    ]
    return {
        "picture": Picture(album.add("ranks", drawn, "Mean ranks over tasks"), caption),
        "table": Table("Mean rank over tasks", columns, rows),
        "difference": number(difference, 2),
        "p": number(ranks.attrs["friedman_p"], 3),
        "n_tasks": int(ranks["n_tasks"].max()),
    }


@cache
def _environment() -> Environment:
    """Templates; whatever is put into them is escaped."""
    found = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found.globals |= {
        "css": Markup(_source("page.css")),
        "script": Markup(script),
        "script_hash": digest,
    }
    found.filters |= {"words": words, "number": number, "spaced": _spaced}
    return found


def _source(name: str) -> str:
    folder = resources.files(__package__) / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _spaced(value: float) -> str:
    """A whole number, thousands apart."""
    return count(value).text
