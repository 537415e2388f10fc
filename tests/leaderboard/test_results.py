"""What is read from a leaderboard folder is what was written, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sleepshift.errors import GridError
from sleepshift.leaderboard.frame import COLUMNS, results_frame
from sleepshift.leaderboard.nights import nights_frame
from sleepshift.leaderboard.report import write_report
from sleepshift.leaderboard.results import ROWS, read_results

pytestmark = pytest.mark.usefixtures("without_page")


def refused(folder: Path) -> str:
    with pytest.raises(GridError) as caught:
        read_results(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_rows_are_read_as_they_were_measured(reported, whole_run) -> None:
    found = read_results(reported)
    expected = results_frame(whole_run)
    assert list(found.rows)[: len(COLUMNS)] == list(COLUMNS)
    # Nine digits are kept.
    pd.testing.assert_frame_equal(
        found.rows, expected[list(found.rows)], check_dtype=False, rtol=1e-8
    )
    nights = nights_frame(whole_run, list(found.tasks))
    pd.testing.assert_frame_equal(found.nights, nights, check_dtype=False, rtol=1e-8)
    assert {night["which"] for night in found.hypnograms} == {"median", "worst"}


def test_names_stay_names_whatever_they_look_like(run, night, tmp_path) -> None:
    run.add_task("1e5")
    people = ["007", "NA", "nan", "1.50", "None", "a,b\"c'"]
    nights = [night(name, [0, 1, 2, 3, 4, 2], session="01") for name in people]
    run.add_cell("1e5", "majority", pd.concat(nights), fold="00", group="65-79", settings="1")
    write_report(run.root, tmp_path / "out")
    found = read_results(tmp_path / "out")
    assert found.rows["subject"].tolist() == people
    assert set(found.rows[["task", "fold", "group", "settings"]].to_numpy().ravel()) == {
        "1e5", "00", "65-79", "1",
    }  # fmt: skip
    assert found.nights["subject"].unique().tolist() == people
    assert set(found.nights["session"]) == {"01"}


def test_tables_are_made_once(reported) -> None:
    found = read_results(reported)
    for name in ("table", "pairs", "gains", "gaps", "sleep", "human", "ranks"):
        table = getattr(found, name)
        assert getattr(found, name) is table
        assert len(table), name


@pytest.mark.parametrize("name", ROWS.values())
@pytest.mark.parametrize("how", ["changed", "cut", "lost", "binary"])
def test_a_measured_file_that_is_not_the_one_that_was_reported_is_refused(
    name: str, how: str, reported: Path
) -> None:
    path = reported / name
    text = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        end = {"changed": text[:-3] + b"9" + text[-2:], "cut": text[:-40], "binary": b"\xff\xfe"}
        path.write_bytes(end[how])
    assert name in refused(reported) or "not a leaderboard" in refused(reported)


@pytest.mark.parametrize("lost", ["tasks", "methods", "notes", *ROWS])
def test_a_manifest_that_lacks_a_field_is_refused(lost: str, reported: Path) -> None:
    path = reported / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest[lost]
    path.write_text(json.dumps(manifest))
    assert "not a leaderboard" in refused(reported)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"tasks": {}', "tasks", '"tasks"', "\x00"])
def test_a_manifest_that_is_none_is_refused(text: str, reported: Path) -> None:
    (reported / "manifest.json").write_text(text)
    assert "not a leaderboard" in refused(reported)


def test_a_folder_that_is_no_leaderboard_is_refused(tmp_path: Path) -> None:
    assert "not a leaderboard" in refused(tmp_path)
    assert "not a leaderboard" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "not a leaderboard" in refused(tmp_path / "file")


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_is_lost_is_named(name: str, reported: Path, forge) -> None:
    forge(reported, "rows", lambda rows: rows.drop(columns=name))
    assert refused(reported).endswith(f"has no column {name!r}")
