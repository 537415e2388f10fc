from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from sleepshift.leaderboard.page import figures, night_figures
from sleepshift.leaderboard.page.figures import Look
from sleepshift.leaderboard.page.overview import overview
from sleepshift.leaderboard.page.svg import INK, PAPER, Album, inlined, written
from sleepshift.leaderboard.results import Results

METHODS = ["features-logreg-pooled-target", "source-only", "$\\frac$ <b>", "majority"]
FAMILIES = ("floor", "transfer", "distillation", "self-supervised")
STYLE = dict(zip(METHODS, map(Look, figures.COLOURS, "sDo^", FAMILIES), strict=True))


def table(**changed: Any) -> pd.DataFrame:
    made = pd.DataFrame({"method": METHODS, "kappa": [0.61, 0.6, 0.59, 0.0]})
    made["kappa_low"], made["kappa_high"] = made["kappa"] - 0.1, made["kappa"] + 0.1
    made["fit_seconds"], made["rank"] = [3.0, 40.0, 41.0, 0.0], [1, 2, 3, 4]
    return made.assign(**changed)


def people(values: pd.DataFrame) -> dict[str, np.ndarray]:
    return {m: k + np.linspace(-0.2, 0.2, 9) for m, k in values[["method", "kappa"]].to_numpy()}


def strip() -> Figure:
    human = {"kappa": 0.7, "kappa_low": 0.65, "kappa_high": 0.75}
    return figures.strip(table(), people(table()), "kappa", STYLE, human)


def cost() -> Figure:
    return figures.cost(table(), "kappa", STYLE)


def budgets() -> Figure:
    parts = [table(n_labeled=n).assign(kappa=lambda t, n=n: t["kappa"] + n / 40) for n in (1, 2, 8)]
    return figures.budgets(pd.concat(parts), "kappa")


def critical_difference() -> Figure:
    ranks = pd.DataFrame({"method": METHODS, "mean_rank": [1.2, 1.9, 2.9, 4.0]})
    ranks.attrs["critical_difference"] = 1.1
    return figures.critical_difference(ranks, STYLE)


def reliability() -> Figure:
    bins = np.zeros((15, 3))
    bins[5:] = [[10, k, 10 * (k + 5.5) / 15] for k in range(10)]
    return figures.reliability(bins, METHODS[0])


def night(n: int = 300, **changed: Any) -> dict[str, Any]:
    codes = np.repeat(np.arange(n // 10) % 5, 10).tolist()
    shares = [[100 if k == code else 0 for k in range(5)] for code in codes]
    made = {"stages": ["W", "N1", "N2", "N3", "R"], "scored": codes, "predicted": codes}
    return made | {"probability": shares} | changed


def hypnogram() -> Figure:
    return night_figures.hypnogram(night())


def bland_altman() -> Figure:
    scored = np.linspace(300, 480, 20)
    summary = {"bias": 4.0, "limit_low": -30.0, "limit_high": 38.0}
    return night_figures.bland_altman(scored, scored + 4, summary, "Wake after sleep onset", "min")


ALL = [strip, cost, budgets, critical_difference, reliability, hypnogram, bland_altman]
DRAWN = pytest.mark.parametrize("draw", ALL, ids=lambda draw: draw.__name__)


@DRAWN
def test_no_word_is_cut_off(draw: Callable[[], Figure]) -> None:
    figure = draw()
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) > -0.02
    assert drawn.x1 < width + 0.02
    assert drawn.y1 < height + 0.02


@DRAWN
def test_drawings_are_alike_every_time_and_undated(draw: Callable[[], Figure]) -> None:
    for kind in ("svg", "png"):
        first = written(draw(), kind)
        assert written(draw(), kind) == first
        assert b"matplotlib" not in first.lower() or kind == "svg"
        assert b"dc:date" not in first


@DRAWN
def test_a_drawing_in_a_page_follows_the_page(draw: Callable[[], Figure]) -> None:
    svg = written(draw(), "svg").decode()
    assert INK in svg
    assert PAPER in svg
    page = str(inlined(svg, prefix="f7-", label='of "all"'))
    ElementTree.fromstring(page)
    assert INK not in page
    assert PAPER not in page
    assert "currentColor" in page
    assert 'aria-label="of &#34;all&#34;"' in page
    assert "<style" not in page
    assert "font-family" not in page
    names = re.findall(r' id="([^"]*)"', page)
    assert len(set(names)) == len(names)
    assert all(name.startswith("f7-") for name in names)
    used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', page)
    assert {a or b for a, b in used} == set(names)
    assert len(page) < len(svg)


@pytest.mark.parametrize("draw", [strip, cost, budgets, critical_difference])
def test_a_figure_fits_a_telephone(draw: Callable[[], Figure]) -> None:
    page = str(inlined(written(draw(), "svg").decode(), prefix="f", label=""))
    assert int(re.search(r'width="(\d+)"', page)[1]) <= 366  # type: ignore[index]


def test_text_stays_text_and_is_escaped() -> None:
    page = str(inlined(written(strip(), "svg").decode(), prefix="f", label=""))
    words = ["".join(node.itertext()) for node in ElementTree.fromstring(page).iter("text")]
    assert "$\\frac$ <b>" in words
    assert "features-logreg-pooled-…" in words
    assert "second scorer" in words


def test_the_strip_shows_every_person_mean_and_interval() -> None:
    axis = strip().axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()][-1].startswith("features")
    lines = [line.get_xdata() for line in axis.get_lines()]
    shown = table()
    for row in shown.to_dict("records"):
        assert any(np.allclose(x, people(shown)[row["method"]]) for x in lines if len(x) == 9)
        ends = [row["kappa_low"], row["kappa_high"]]
        assert any(np.allclose(x, ends) for x in lines if len(x) == 2)
        assert any(np.allclose(x, row["kappa"]) for x in lines if len(x) == 1)
    assert any(np.allclose(x, [0.7, 0.7]) for x in lines if len(x) == 2)


def test_people_without_a_figure_have_no_dot() -> None:
    nothing = {m: np.array([np.nan, 0.5]) for m in METHODS}
    alone = table(kappa_low=np.nan, kappa_high=np.nan)
    axis = figures.strip(alone, nothing, "kappa", STYLE).axes[0]
    dots = [line for line in axis.get_lines() if line.get_alpha() == 0.4]
    assert [len(line.get_xdata()) for line in dots] == [1] * len(METHODS)


def test_hypnogram_shows_where_scorer_and_method_differ() -> None:
    example = night()
    example["predicted"] = [4 if k in (50, 51, 120) else v for k, v in enumerate(example["scored"])]
    example["scored"] = [None if k == 120 else v for k, v in enumerate(example["scored"])]
    _, marks, _, _ = night_figures.hypnogram(example).axes
    (bars,) = marks.collections
    spans = [path.get_extents() for path in bars.get_paths()]
    differing = [k for k in (50, 51) if example["scored"][k] != 4]
    assert len(spans) == 1
    assert spans[0].x0 == pytest.approx(differing[0] * 30 / 3600)
    assert spans[0].x1 == pytest.approx(52 * 30 / 3600)


def test_hypnogram_has_wake_on_top_then_rem_then_deeper_sleep() -> None:
    axes = hypnogram().axes
    for axis in (axes[0], axes[2]):
        assert [t.get_text() for t in axis.get_yticklabels()] == ["W", "R", "N1", "N2", "N3"]
        low, high = axis.get_ylim()
        assert low > high
    tops = [max(patch.get_data()[0]) for patch in axes[3].patches]
    assert tops[0] == pytest.approx(1)


@pytest.mark.parametrize("n", [10, 960, 2650])
def test_a_long_night_is_averaged_and_keeps_its_gaps(n: int) -> None:
    example = night(n)
    for name in ("scored", "predicted", "probability"):
        example[name][n // 2 : n // 2 + 5] = [None] * 5
    figure = night_figures.hypnogram(example)
    values, edges, _ = figure.axes[3].patches[0].get_data()
    assert len(values) <= 480
    assert edges[-1] >= len(example["scored"]) * 30 / 3600
    assert np.isin(values.round(6), (0, 1)).all()
    assert values.max() == pytest.approx(1)


def test_names_beside_lines_do_not_lie_on_each_other() -> None:
    names = [f"method-{k}" for k in range(16)]
    crowded = pd.DataFrame({"method": names, "kappa": [0.6 + 1e-4 * k for k in range(15)] + [0.1]})
    crowded = crowded.assign(fit_seconds=5.0)
    look = dict.fromkeys(names, Look("#0072B2", "o", "one"))
    figure = figures.cost(crowded, "kappa", look)
    figure.draw_without_rendering()
    texts = [t for t in figure.axes[0].texts if t.get_text().strip() in names]
    heights = sorted((t.get_window_extent().y0, t.get_window_extent().y1) for t in texts)
    assert len(heights) == 16
    assert all(below[1] <= above[0] + 1 for below, above in pairwise(heights))


def test_limits_that_are_unknown_are_not_drawn() -> None:
    summary = {"bias": 1.0, "limit_low": np.nan, "limit_high": np.nan}
    one = np.array([400.0, np.nan])
    figure = night_figures.bland_altman(one, one + 1, summary, "Total sleep time", "min")
    assert [t.get_text() for t in figure.axes[0].texts] == ["+1.0"]


def test_families_beyond_the_colours_take_them_again() -> None:
    looks = figures.looks({f"m{k}": {"family": f"family {k}"} for k in range(9)})
    assert looks["m7"][:2] == looks["m0"][:2]
    assert len({look[:2] for look in looks.values()}) == 7


def test_drawings_with_one_name_are_kept_apart() -> None:
    album = Album()
    first, second = (album.add("80 +", reliability(), "x") for _ in range(2))
    assert sorted(album.files) == ["80-2.png", "80-2.svg", "80.png", "80.svg"]
    assert first != second


def test_the_overview_has_a_panel_for_each_group(everything: Results) -> None:
    figure = overview(everything)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == len(everything.table.groupby(["task", "group"]))
    assert "few: 1 labelled\nsimulated data" in titles
