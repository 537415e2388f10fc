"""A page in a folder is held against the one that its rows give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sleepshift.errors import GridError
from sleepshift.leaderboard.page import Page, differing_page, plotting
from sleepshift.leaderboard.report import check_report, write_report


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, _once: Path) -> Path:
    out = tmp_path_factory.mktemp("page") / "out"
    write_report(_once / "runs", out)
    assert check_report(out)
    return out


@pytest.mark.parametrize("kind", ["another picture", "no picture", "a mark that moved", "a word"])
def test_what_does_not_follow_from_the_rows_is_noticed(kind: str, written: Path) -> None:
    picture, page = written / "leaderboard.png", written / "index.html"
    before = picture.read_bytes(), page.read_bytes()
    if kind == "another picture":
        picture.write_bytes(next((written / "figures").glob("*.png")).read_bytes())
    elif kind == "no picture":
        picture.unlink()
    elif kind == "a word":
        page.write_text(page.read_text().replace("ranks first", "ranks last", 1))
    else:
        html = page.read_text()
        place = re.compile(r"<use [^>]*x=\"(\d+)").search(html)
        assert place is not None
        page.write_text(html[: place.start(1)] + str(int(place[1]) + 9) + html[place.end(1) :])
    try:
        with pytest.raises(GridError, match="does not follow from the rows beside it"):
            check_report(written)
    finally:
        picture.write_bytes(before[0])
        page.write_bytes(before[1])


def test_drawings_may_differ_where_another_version_drew_them(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text('<p>0.5</p><svg><path d="M 1 2"/></svg>')
    for drawing, same in (('d="M 1.004 2"', True), ('d="M 1.5 2"', False), ('d="L 1 2"', False)):
        page = Page(f"<p>0.5</p><svg><path {drawing}/></svg>", {})
        assert (differing_page(tmp_path, page, plotting()) is None) == same
        assert differing_page(tmp_path, page, "matplotlib 1.0") is None
    other = Page('<p>0.6</p><svg><path d="M 1 2"/></svg>', {})
    assert differing_page(tmp_path, other, "matplotlib 1.0") == path
