from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sleepshift.leaderboard.page import render_page, write_page
from sleepshift.leaderboard.page.cells import number
from sleepshift.leaderboard.results import Results

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "input", "br", "link"}


class Node:
    """An element with its attributes and what is in it."""

    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag, self.attributes = tag, attributes
        self.inside: list[Node | str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes[name] or ""

    def all(self, tag: str = "", **wanted: str) -> Iterator[Node]:
        """Elements inside, depth first."""
        for item in self.inside:
            if isinstance(item, Node):
                right = all(item.attributes.get(k.strip("_")) == v for k, v in wanted.items())
                if right and item.tag == (tag or item.tag):
                    yield item
                yield from item.all(tag, **wanted)

    def one(self, tag: str = "", **wanted: str) -> Node:
        return next(self.all(tag, **wanted))

    @property
    def text(self) -> str:
        parts = (item if isinstance(item, str) else item.text for item in self.inside)
        return " ".join("".join(parts).split())


class Reader(HTMLParser):
    """Reads a page whose elements are all closed, and fails on any other."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open = [Node("", {})]
        self.feed(page)
        assert len(self.open) == 1, f"left open: {[node.tag for node in self.open]}"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].inside.append(Node(tag, dict(attrs)))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            node = self.open[-1].inside[-1]
            assert isinstance(node, Node)
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(page: str) -> Node:
    return Reader(page).open[0]


@pytest.fixture(scope="module")
def written(everything: Results) -> tuple[str, dict[str, bytes]]:
    return render_page(everything)


@pytest.fixture(scope="module")
def page(written: tuple[str, dict[str, bytes]]) -> Node:
    return read(written[0])


def views(page: Node, results: Results) -> Iterator[tuple[Node, pd.DataFrame]]:
    """Each group's section with its rows of the leaderboard."""
    sections = list(page.all("section", class_="group"))
    parts = [part for _, part in results.table.groupby(["task", "group"], sort=False)]
    assert len(sections) == len(parts)
    yield from zip(sections, parts, strict=True)


def rows_of(table: Node) -> list[dict[str, Node]]:
    """Cells of a table by heading."""
    names = [heading.text for heading in table.one("thead").all("th")]
    rows = table.one("tbody").all("tr")
    return [dict(zip(names, _cells(row), strict=True)) for row in rows]


def _cells(row: Node) -> list[Node]:
    return [item for item in row.inside if isinstance(item, Node)]


def about(expected: Any) -> Any:
    """Nine digits, as figures are written."""
    return pytest.approx(expected, rel=1e-8, abs=1e-12)


def value(cell: Node) -> float:
    return float(cell.attributes.get("data-v") or "nan")


def test_printed_figures_are_those_of_the_leaderboard(page: Node, everything: Results) -> None:
    for section, part in views(page, everything):
        shown = rows_of(next(section.all("table")))
        assert [row["method"].one("div").inside[0] for row in shown] == part["method"].tolist()
        for row, expected in zip(shown, part.to_dict("records"), strict=True):
            columns = {"macro F1": "macro_f1", "kappa": "kappa", "accuracy": "accuracy"}
            columns |= {"balanced accuracy": "balanced_accuracy", "G-mean": "g_mean"}
            for heading, name in columns.items():
                assert value(row[heading]) == about(expected[name])
                ends = (number(expected[f"{name}_{end}"]) for end in ("low", "high"))
                interval = f"{number(expected[name])} [{', '.join(ends)}]"
                assert row[heading].text == interval
            assert value(row["NLL"]) == about(expected["nll"])
            assert row["ECE"].text == number(expected["ece"])
            assert value(row["fit, s"]) == about(expected["fit_seconds"])
            rank = expected["rank"]
            assert row["rank"].text == ("–" if pd.isna(rank) else str(rank))


def test_per_stage_f1_is_in_the_order_of_the_scheme(page: Node, everything: Results) -> None:
    for section, part in views(page, everything):
        headings = [h.text for h in section.one("thead").all("th")]
        stages = [h.removeprefix("F1 ") for h in headings if h.startswith("F1 ")]
        three = part["task"].iloc[0] == "ear"
        assert stages == (["W", "NREM", "R"] if three else ["W", "N1", "N2", "N3", "R"])


def test_pairs_print_row_minus_column(page: Node, everything: Results) -> None:
    own = everything.pairs
    own = own[(own["task"] == "ages") & (own["group"] == "60-80")]
    (table,) = (t for s, p in views(page, everything) if p["group"].iloc[0] == "60-80"
                for t in s.all("table", class_="pairs"))  # fmt: skip
    rows = list(table.one("tbody").all("tr"))
    order = [row["data-method"] for row in rows]
    seen = 0
    for pair in own.to_dict("records"):
        i, j = order.index(pair["method"]), order.index(pair["other"])
        there, back = _cells(rows[i])[j + 1], _cells(rows[j])[i + 1]
        assert there.text.startswith(number(pair["difference"], sign=True))
        assert back.text.startswith(number(-pair["difference"], sign=True))
        assert ("●" in there.text) == ("differs" in there["class"]) == (pair["p_holm"] < 0.05)
        assert pair["other"] in there["title"]
        seen += 1
    assert seen == 15


def test_confusion_matrices_are_shares_of_the_scored_stage(page: Node, everything: Results) -> None:
    section, part = next(views(page, everything))
    for matrix in section.all("div", class_="matrix"):
        for row in matrix.one("tbody").all("tr"):
            _, *cells, total = _cells(row)
            shares = [float(cell["style"].removeprefix("--p:")) for cell in cells]
            assert sum(shares) == pytest.approx(100, abs=0.3)
            counts = [int(re.search(r": (\d+) of", cell["title"])[1]) for cell in cells]  # type: ignore[index]
            assert sum(counts) == int(total.text)
    assert len(list(section.all("div", class_="matrix"))) == len(part)


def test_gaps_gains_and_sleep_are_those_of_the_results(page: Node, everything: Results) -> None:
    by_caption = {}
    for table in page.all("table"):
        by_caption.setdefault(table.one("caption").text, []).append(table)
    (gaps,) = by_caption["Transfer gap in macro F1"]
    shown = {row["method"].one("div").inside[0]: value(row["gap"]) for row in rows_of(gaps)}
    assert shown == about(everything.gaps.set_index("method")["gap"].to_dict())
    (gains,) = by_caption["Gain in kappa over the controls"]
    expected = everything.gains[everything.gains["reference"] == "student-only"]
    by_method = dict(zip(expected["method"], expected["gain"], strict=True))
    for row in rows_of(gains):
        name = row["method"].one("div").inside[0]
        assert name == "student-only" or value(row["over student-only"]) == about(
            by_method[str(name)]
        )
    sleep = by_caption["Sleep statistics, predicted against scored"]
    assert sum(len(rows_of(table)) for table in sleep) == len(everything.sleep)
    biases = sorted(value(row["bias"]) for table in sleep for row in rows_of(table))
    assert biases == about(sorted(everything.sleep["bias"]))


def test_names_and_reasons_are_text_wherever_they_stand(
    written: tuple[str, dict[str, bytes]], page: Node
) -> None:
    assert len(list(page.all("script"))) == 1
    assert "alert(1)" not in page.one("script").text
    (left_out,) = page.all("table", class_="prose")
    assert [
        (row["what"].text, row["why"].text, row["reason"].text) for row in rows_of(left_out)
    ] == [
        ("ts-linear", "skipped", "no <b>order</b> of windows"),
        ("finetune-all", "failed", "ValueError: 3 < 4 & 'so'"),
        ("x.edf", "recording left out", "x.edf: <too> short"),
    ]
    assert "Old & young <people>" in page.one("h1").text
    assert f"{HOSTILE}, night 1, staged by {HOSTILE}" in page.text
    hostile = list(page.all("tr", **{"data-method": HOSTILE}))
    assert len(hostile) > 3
    assert all(HOSTILE in row.one("th").text for row in hostile)
    for drawing in (data for name, data in written[1].items() if name.endswith(".svg")):
        assert b"<script" not in drawing


def test_a_name_is_never_read_as_a_formula(maker: Any) -> None:
    make = maker()
    for name in ("$\\frac{1}{$", "睡眠", "a\x07b", "&amp;", "-->", '"quoted" onload="x"'):
        make.cell("t", "all", name, 0.5, ["a", "b", "c"])
    page = read(render_page(make.results())[0])
    names = {row["data-method"] for row in page.all("tr") if "data-method" in row.attributes}
    assert {"$\\frac{1}{$", "睡眠", "&amp;", "-->"} <= names
    assert not any("onload" in node.attributes for node in page.all())


def test_the_page_needs_nothing_but_itself(written: tuple[str, dict[str, bytes]]) -> None:
    page = read(written[0])
    for node in page.all():
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            target = node.attributes.get(name) or "#"
            assert target.startswith("#"), f"{node.tag} refers to {target}"
    assert not re.findall(r"url\((?!#)[^)]*\)|@import|https?://", written[0])
    policy = page.one("meta", **{"http-equiv": "Content-Security-Policy"})["content"]
    script = "".join(str(part) for part in page.one("script").inside)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_every_link_leads_somewhere_and_no_name_is_taken_twice(page: Node) -> None:
    names = [node["id"] for node in page.all() if "id" in node.attributes]
    assert len(names) == len(set(names))
    for node in page.all():
        for attribute in ("href", "aria-labelledby", "data-table"):
            for target in (node.attributes.get(attribute) or "").split():
                assert target.removeprefix("#") in names
        for target in re.findall(r"url\(#([^)]+)\)", " ".join(map(str, node.attributes.values()))):
            assert target in names


def test_tables_and_drawings_have_names_for_those_who_cannot_see_them(page: Node) -> None:
    for table in page.all("table"):
        assert table.one("caption").text
        assert all(heading["scope"] in ("col", "row") for heading in table.all("th"))
    for drawing in page.all("svg"):
        assert drawing["role"] == "img"
        assert drawing["aria-label"]
    for box in page.all("div", class_="scroll"):
        assert box["tabindex"] == "0"
        assert {"aria-label", "aria-labelledby"} & set(box.attributes)
    for kind in ("input", "select"):
        labelled = [field for label in page.all("label") for field in label.all(kind)]
        assert len(labelled) == len(list(page.all(kind)))
    levels = [int(node.tag[1]) for node in page.all() if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_what_must_be_known_is_said_loudly(page: Node, smallest: Results) -> None:
    loud = [node.text for node in page.all("p", class_="loud")]
    assert loud[0].startswith("Simulated data: Few labels. Nothing of it says anything")
    assert loud[1] == "PARTIAL. 1 cells are missing: ages/60-80/finetune-all/seed 0"
    assert "simulated data" in page.one("h2", id="t2").text
    assert "simulated data" not in page.one("h2", id="t1").text
    assert "signals (their labels stay withheld): rp-linear." in page.text
    assert "A second human scorer agrees with the first at" in page.text
    assert "1 of the people has one scored stage only" in page.text
    legend = " ".join(node.text for node in page.all("ul", class_="legend"))
    for words in ("below the feature floor", "a bound, not ranked", "labels of target people"):
        assert words in legend
    assert not list(read(render_page(smallest)[0]).all("p", class_="loud"))


def test_a_bound_is_marked_and_has_no_rank(page: Node, everything: Results) -> None:
    (rows,) = (
        rows_of(next(section.all("table")))
        for section, part in views(page, everything)
        if part["task"].iloc[0] == "ear"
    )
    (teacher,) = (row for row in rows if row["method"].text.startswith("teacher"))
    assert teacher["rank"].text == "–"
    assert "data-v" not in teacher["rank"].attributes
    assert "a bound" in teacher["method"].one("abbr")["title"]
    assert teacher["remarks"].text.startswith("bound")


def test_a_method_chosen_on_the_test_people_is_marked_in_every_table(maker) -> None:
    make, people = maker(), [f"p{k}" for k in range(5)]
    for method, skill in {"attnsleep@published": 0.8, "attnsleep": 0.6, "majority": 0.1}.items():
        make.cell("t", "all", method, skill, people)
    page = read(render_page(make.results())[0])
    assert "attnsleep ranks first" in page.text
    marked = [
        node.text
        for node in page.all("div", class_="name")
        for mark in node.all("abbr")
        if "chosen on the test people" in mark["title"]
    ]
    assert len(marked) == 2  # the leaderboard, and the pairs
    assert all("attnsleep@published" in text for text in marked)
    (legend,) = (node.text for node in page.all("ul", class_="legend"))
    assert "chosen on the test people, not ranked" in legend


def test_what_there_is_nothing_of_leaves_no_trace(smallest: Results) -> None:
    page = read(render_page(smallest)[0])
    headings = [node.text for node in page.all("h4")]
    assert headings == [
        "Methods",
        "People, and what fitting costs",
        "What is taken for what",
        "How sure, and how often right",
    ]
    contents = page.one("nav").text
    for word in ("pairs", "nights", "sleep", "gap", "gains", "ranks", "left out"):
        assert word not in contents
    assert not list(page.all("select"))
    assert "nan" not in page.one("main").text.lower().split()


def test_a_budget_has_a_curve_and_groups_of_another_kind_have_none(
    page: Node, everything: Results
) -> None:
    curves = [h.text for h in page.all("h3") if h.text == "What few labels are worth"]
    assert len(curves) == 1
    facts = everything.tasks["few"] | {"protocol": "cross-age"}
    manifest = everything.manifest | {"tasks": everything.tasks | {"few": facts}}
    other = render_page(dataclasses.replace(everything, manifest=manifest)).html
    assert "What few labels are worth" not in other


def test_only_who_was_given_target_labels_is_marked(maker: Any) -> None:
    make = maker()
    make.cell("t", "old", "rp-linear", 0.5, ["a", "b", "c"], labeled=2)
    make.cell("t", "in-domain", "rp-linear", 0.6, ["d", "e", "f"])
    page = read(render_page(make.results()).html)
    marked = {
        section["aria-labelledby"]: "labels of target people" in section.text
        for section in page.all("section", class_="group")
    }
    assert sorted(marked.values()) == [False, True]


def test_tasks_are_ranked_together_where_there_are_several(page: Node, everything: Results) -> None:
    table = page.one("table", id="ranks-table")
    shown = [(row["method"].text, value(row["mean rank"])) for row in rows_of(table)]
    assert [name.split()[0] for name, _ in shown] == everything.ranks["method"].tolist()
    assert [rank for _, rank in shown] == about(everything.ranks["mean_rank"].tolist())
    assert number(everything.ranks.attrs["critical_difference"], 2) in page.text


def test_nights_say_whose_they_are(page: Node, everything: Results) -> None:
    captions = [f.one("figcaption").text for f in page.all("figure", class_="wide")]
    assert len(captions) == len(everything.hypnograms)
    for caption, night in zip(captions, everything.hypnograms, strict=True):
        assert f"The {night['which']} person" in caption
        assert "macro F1 0.500" in caption
        assert f"(seed 0, fold {night['fold']})" in caption


def test_writing_twice_gives_equal_bytes_and_sweeps_old_drawings(
    maker: Any, tmp_path: Path
) -> None:
    make = maker()
    for method in ("pooled", "majority"):
        make.cell("t", "all", method, 0.5, ["a", "b", "c"])
    make.hypnogram("t", "all", "pooled", "a", "worst")
    results = make.results()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of-an-earlier-page.svg").write_text("<svg/>")
    (tmp_path / "figures" / "notes.txt").write_text("mine")
    (tmp_path / "README.md").write_text("mine")
    write_page(render_page(results), tmp_path)
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_page(render_page(dataclasses.replace(results)), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
    names = {path.name for path in first}
    assert {"index.html", "leaderboard.png", "notes.txt", "README.md"} <= names
    assert "of-an-earlier-page.svg" not in names
    drawings = {Path(name).stem for name in names if name.endswith(".svg")}
    assert all(f"{stem}.png" in names for stem in drawings)


def test_a_page_of_many_people_stays_small(maker: Any) -> None:
    make = maker()
    for k in range(16):
        make.cell("t", "all", f"method-{k}", k / 20, [f"p{n}" for n in range(78)])
    make.nights = {}
    page, _ = render_page(make.results())
    assert len(page.encode()) < 600_000
