"""A leaderboard is written whole, and no figure in it can be changed without being noticed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sleepshift.errors import GridError
from sleepshift.leaderboard.collect import collect
from sleepshift.leaderboard.frame import results_frame
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.report import check_report, write_report
from sleepshift.leaderboard.results import ROWS, read_results

TABLES = ("leaderboard", "pairs", "gains", "gaps", "sleep", "ranks", "human")
DERIVED = (*(f"{name}.csv" for name in TABLES), "leaderboard.md", "leaderboard.tex")

pytestmark = pytest.mark.usefixtures("without_page")


def noticed(folder: Path) -> str:
    with pytest.raises(GridError) as caught:
        check_report(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------- writing


def test_a_report_has_every_file_and_follows_from_its_rows(reported, whole_run) -> None:
    written = {path.name for path in reported.iterdir()}
    assert {*DERIVED, *ROWS.values(), "manifest.json", "README.md"} <= written
    frame = results_frame(whole_run)
    assert check_report(reported) == (frame["status"] == "ok").sum() == 100


def test_reporting_again_changes_nothing(reported, whole_run) -> None:
    names = (*DERIVED, *ROWS.values(), "manifest.json", "README.md")
    before = {name: (reported / name).read_bytes() for name in names}
    write_report(whole_run, reported)
    assert {name: (reported / name).read_bytes() for name in names} == before


def test_tables_are_those_of_what_was_written(reported) -> None:
    results = read_results(reported)
    for name in TABLES:
        table = getattr(results, "table" if name == "leaderboard" else name)
        written = pd.read_csv(reported / f"{name}.csv")
        assert len(written) == len(table)
        assert list(written) == list(table)


def test_what_is_left_of_an_earlier_report_does_not_stay(reported, whole_run) -> None:
    """Tables of two tasks are not those of one."""
    write_report(whole_run, reported, tasks=["ages"])
    left = {path.name for path in reported.iterdir()}
    assert not {"gains.csv", "ranks.csv"} & left
    assert {"gaps.csv", "human.csv", "README.md"} <= left
    assert check_report(reported) == 64
    (reported / "ranks.csv").write_text("method,mean_rank\nmajority,1\n")
    assert "ranks.csv does not follow" in noticed(reported)


def test_some_tasks_can_be_reported(whole_run, tmp_path) -> None:
    found = write_report(whole_run, tmp_path / "out", tasks=["eog"])
    assert set(found.rows["task"]) == set(found.tasks) == {"eog"}
    assert "finetune-all" not in found.methods
    assert check_report(tmp_path / "out") == 36
    with pytest.raises(GridError, match="holds no task 'ears'; it has ages, eog"):
        write_report(whole_run, tmp_path / "out", tasks=["eog", "ears"])


def test_what_was_scored_so_far_is_what_is_reported_nights_aside(reported, whole_run) -> None:
    found, written = collect(whole_run), read_results(reported)
    assert found.nights.empty
    assert found.hypnograms == []
    figures = ["kappa", "kappa_low", "rank"]
    pd.testing.assert_frame_equal(found.table[figures], written.table[figures], rtol=1e-7)


@pytest.fixture
def partial(run, drawn_night):
    """A run in which one method was scored on one of two folds."""
    run.add_task("t")
    for k in range(2):
        nights = pd.concat([drawn_night(f"{k}{name}", "aasm5") for name in "abc"])
        run.add_cell("t", "majority", nights, fold=str(k), skill=0.2)
        scored = nights if not k else None
        run.add_cell("t", "pooled", scored, fold=str(k), failed=None if scored is not None else "x")
    run.add_cell("t", "takd", skipped="no teacher's view", fold="0")
    run.add_cell("t", "takd", skipped="no teacher's view", fold="1")
    return run


def test_a_partial_grid_is_marked(partial, tmp_path) -> None:
    out = tmp_path / "out"
    with pytest.raises(GridError, match="1 cells are missing: t/1/pooled/seed 0"):
        write_report(partial.root, out)
    assert not out.exists()
    found = write_report(partial.root, out, partial=True)
    assert found.manifest["notes"] == ["PARTIAL: 1 cells are missing: t/1/pooled/seed 0"]
    assert found.table.set_index("method")["n_people"].to_dict() == {"pooled": 3, "majority": 6}
    assert found.pairs["n_people"].tolist() == [3]
    for name in ("leaderboard.md", "leaderboard.tex"):
        assert "PARTIAL: 1 cells are missing" in (out / name).read_text()
    assert check_report(out) == 9


def test_mixed_rows_are_marked(partial, drawn_night, tmp_path) -> None:
    nights = pd.concat([drawn_night(f"1{name}", "aasm5") for name in "abc"])
    partial.grid["cells"] = [
        c for c in partial.grid["cells"] if (c["fold"], c["method"]) != ("1", "pooled")
    ]
    partial.add_cell("t", "pooled", nights, fold="1", settings="max_epochs=1")
    with pytest.raises(GridError, match="t mixes rows of different settings"):
        write_report(partial.root, tmp_path / "out")
    write_report(partial.root, tmp_path / "out", mixed=True)
    assert "**MIXED: t mixes" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert check_report(tmp_path / "out") == 12


def test_nothing_scored_is_nothing_to_report(run, drawn_night, tmp_path) -> None:
    with pytest.raises(GridError, match="holds no run"):
        write_report(run.root, tmp_path / "out")
    run.add_task("t")
    run.add_cell("t", "pooled", failed="RuntimeError: out of luck")
    with pytest.raises(GridError, match="no cell has been scored; the first one is failed: Run"):
        write_report(run.root, tmp_path / "out", partial=True)
    hidden = drawn_night("a", "aasm5").assign(truth=-1)
    run.add_cell("t", "majority", hidden)
    with pytest.raises(GridError, match="no cell has been scored"):
        write_report(run.root, tmp_path / "out", partial=True)
    assert not (tmp_path / "out").exists()


def test_unscored_people_stay_in_the_rows_and_out_of_the_tables(run, drawn_night, tmp_path) -> None:
    run.add_task("t")
    hidden = drawn_night("b", "aasm5").assign(truth=-1)
    run.add_cell("t", "majority", pd.concat([drawn_night("a", "aasm5"), hidden]))
    found = write_report(run.root, tmp_path / "out")
    assert len(found.rows) == 2
    assert found.table["n_people"].tolist() == [1]
    assert check_report(tmp_path / "out") == 1
    assert "majority: unscored: " in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("scheme", "truth"),
    [("wake-deep", [0, 1, 1]), ("aasm5", [2, 2, 2]), ("aasm5", [2])],
    ids=["no nights", "one stage", "one window"],
)
def test_little_is_enough_for_a_report(scheme, truth, run, night, tmp_path) -> None:
    run.add_task("t", scheme=scheme, scoring={"scheme": scheme, "primary": "kappa"})
    run.add_cell("t", "majority", night("a", truth))
    found = write_report(run.root, tmp_path / "out")
    assert check_report(tmp_path / "out") == 1
    assert found.nights.empty == (scheme == "wake-deep")
    assert not (tmp_path / "out" / "pairs.csv").exists()


# ---------------------------------------------------------------------- careless changes


def test_a_table_that_was_edited_is_noticed(reported: Path, monkeypatch) -> None:
    results = read_results(reported)  # whose tables are made once for all that follows
    monkeypatch.setattr("sleepshift.leaderboard.report.read_results", lambda _: results)
    for name in DERIVED:
        path = reported / name
        text = path.read_text()
        digit = max(text.rfind(d) for d in "0123456789")
        other = text[:digit] + str((int(text[digit]) + 1) % 10) + text[digit + 1 :]
        for changed in (other, text[: text.rstrip().rindex("\n") + 1], text + " ", "", None):
            if changed is None:
                path.unlink()
            else:
                path.write_text(changed)
            assert f"{name} does not follow" in noticed(reported)
        path.write_text(text)
    assert check_report(reported)


@pytest.mark.parametrize("name", ROWS.values())
def test_a_measured_file_that_was_edited_is_noticed(name: str, reported: Path) -> None:
    path = reported / name
    path.write_text(path.read_text() + " ")
    assert "is not the one that was reported" in noticed(reported)


def test_a_readme_may_be_edited(reported: Path) -> None:
    (reported / "README.md").write_text("something else")
    assert check_report(reported)


def test_a_page_that_was_edited_is_noticed(reported: Path) -> None:
    (reported / "index.html").write_text("page, edited")
    assert "index.html does not follow" in noticed(reported)


# ---------------------------------------------------------------------- forgeries
#
# The digests in the manifest are made anew. Tables are not, since what was measured is held
# against itself before them: the messages tell that it was that which was noticed.

_NUMBERS = ("n_windows", "n_stages", *METRICS, "f1_W", "f1_N1", "f1_N2", "f1_N3", "f1_R")


def assign(**changed: Any) -> Callable[[pd.DataFrame], None]:
    """Change the third row."""

    def change(rows: pd.DataFrame) -> None:
        for name, value in changed.items():
            rows.loc[2, name] = value

    return change


@pytest.mark.parametrize("name", _NUMBERS)
def test_a_figure_that_does_not_follow_from_the_counts_is_noticed(
    name: str, reported: Path, forge
) -> None:
    forge(reported, "rows", assign(**{name: "0.123"}))
    assert f"{name} is 0.123" in noticed(reported)


@pytest.mark.parametrize("value", ["", "inf", "-inf", "1e308", "1e999", "-1"])
def test_figures_that_are_none_are_noticed(value: str, reported: Path, forge) -> None:
    forge(reported, "rows", assign(macro_f1=value))
    assert "macro_f1 is " in noticed(reported)


def test_a_figure_that_is_a_little_better_is_noticed(reported: Path, forge) -> None:
    def change(rows: pd.DataFrame) -> None:
        rows.loc[2, "kappa"] = str(float(rows.loc[2, "kappa"]) + 2e-6)

    forge(reported, "rows", change)
    assert "kappa is " in noticed(reported)


def test_a_column_of_figures_that_is_taken_out_is_noticed(reported: Path, forge) -> None:
    forge(reported, "rows", lambda rows: rows.drop(columns="f1_N3"))
    assert "f1_N3 is None" in noticed(reported)


BAD_CELLS = {
    "words": {"kappa": "good"},
    "words for counts": {"confusion": "many"},
    "no counts": {"confusion": ""},
    "ragged": {"confusion": "3 1;0"},
    "few stages": {"confusion": "3 1;0 4"},
    "half a window": {"confusion": "0.5 1;0 4"},
    "not a number": {"confusion": "nan 1;0 4"},
    "huge": {"confusion": ";".join([" ".join(["9" * 40] * 6)] * 6)},
    "no bins": {"reliability": ""},
    "words for bins": {"reliability": "a b c"},
    "two numbers a bin": {"reliability": "3 1;2 2"},
    "bins of nan": {"reliability": "nan nan nan"},
    "bins of inf": {"reliability": "inf 1 1"},
    "bins of others": {"reliability": "10 5 7;3 2 2.5"},
    "unknown scheme": {"scheme": "aasm6"},
    "other scheme": {"scheme": "stages3"},
    "unknown task": {"task": "ears"},
    "unknown method": {"method": "magic"},
    "no seed": {"seed": ""},
    "half a seed": {"seed": "0.5"},
    "other seed": {"seed": "5"},
    "other person": {"subject": "stranger"},
    "other group": {"group": "young"},
    "other fold": {"fold": "elsewhere"},
    "not scored": {"status": "missing"},
    "failed": {"status": "failed: x"},
}


@pytest.mark.parametrize("changed", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_row_that_cannot_be_is_one_line(changed: dict, reported: Path, forge) -> None:
    forge(reported, "rows", assign(**changed))
    noticed(reported)


def test_counts_that_were_changed_with_all_that_follows_do_not_fit_the_nights(
    reported: Path, forge
) -> None:
    """Three errors of a person become hits: counts, bins and all figures agree."""
    from sleepshift.leaderboard.frame import (
        _write_rows,
        person_figures,
        read_confusion,
        read_reliability,
    )

    def change(rows: pd.DataFrame) -> None:
        counts = read_confusion(rows.loc[2, "confusion"])
        bins = read_reliability(rows.loc[2, "reliability"])
        wrong = np.argwhere((counts > 0) & ~np.eye(len(counts), dtype=bool))
        stage, said = wrong[np.argmax(wrong[:, 1] - wrong[:, 0])]
        counts[stage, said] -= 1
        counts[stage, stage] += 1
        bins[np.flatnonzero(bins[:, 1] < bins[:, 0])[0], 1] += 1
        figures = person_figures(counts, "rk6", "aasm5")
        rows.loc[2, list(figures)] = [f"{value:.9g}" for value in figures.values()]
        rows.loc[2, "confusion"] = _write_rows(counts.tolist())
        rows.loc[2, "reliability"] = _write_rows(bins.tolist())

    forge(reported, "rows", change)
    assert "minutes of stages are not those of results.csv" in noticed(reported)


@pytest.mark.parametrize("how", ["hits", "windows", "confidence"])
def test_bins_that_are_not_those_of_the_counts_are_noticed(how: str, reported: Path, forge) -> None:
    """Better calibrated than it was."""
    from sleepshift.leaderboard.frame import _write_rows, read_reliability

    def change(rows: pd.DataFrame) -> None:
        bins = read_reliability(rows.loc[2, "reliability"])
        k = np.flatnonzero((bins[:, 0] > 1) & (bins[:, 1] < bins[:, 0]))[0]
        if how == "confidence":
            bins[k, 2] = bins[k, 0] + 1
        else:
            bins[k, {"hits": 1, "windows": 0}[how]] += 1
        rows.loc[2, "reliability"] = _write_rows(bins.tolist())

    forge(reported, "rows", change)
    assert "reliability is not that of its counts" in noticed(reported)


@pytest.mark.parametrize("kept", [0, 1])
def test_rows_that_are_there_twice_are_noticed(kept: int, reported: Path, forge) -> None:
    """A person who counts twice would pull the mean of the seeds."""
    forge(reported, "rows", lambda rows: pd.concat([rows, rows[3 : 4 + kept]]))
    assert "is there twice" in noticed(reported)


def test_rows_that_were_taken_out_leave_their_nights(reported: Path, forge) -> None:
    forge(reported, "rows", lambda rows: rows[rows["subject"] != "o3"])
    assert "nights.csv" in noticed(reported)


@pytest.mark.parametrize(
    "change",
    [
        lambda nights: nights.drop(index=1),
        lambda nights: nights.drop(index=0),
        lambda nights: nights[nights["method"] != "majority"],
        lambda nights: nights[nights["subject"] != "o1"],
        lambda nights: nights[nights["task"] != "eog"],
        lambda nights: nights[:0],
        lambda nights: pd.concat([nights, nights[:1]]),
        lambda nights: pd.concat([nights, nights[1:2]]),
        lambda nights: nights.assign(group="young"),
        lambda nights: nights.drop(columns="minutes_R"),
        lambda nights: nights.drop(columns="minutes_W"),
    ],
)
def test_nights_that_were_taken_out_or_put_in_are_noticed(change, reported: Path, forge) -> None:
    forge(reported, "nights", change)
    noticed(reported)


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("name", ["minutes_R", "minutes_W", "total_sleep_time", "sleep_efficiency"])
@pytest.mark.parametrize("value", ["0.5", "inf"])
def test_figures_of_nights_that_contradict_the_counts_are_noticed(
    row: int, name: str, value: str, reported: Path, forge
) -> None:
    def change(nights: pd.DataFrame) -> None:
        nights.loc[row, name] = value

    forge(reported, "nights", change)
    noticed(reported)


@pytest.mark.parametrize("value", ["", "-1e300", "much"])
def test_figures_of_nights_that_are_none_are_noticed(value: str, reported: Path, forge) -> None:
    def change(nights: pd.DataFrame) -> None:
        nights.loc[1, "total_sleep_time"] = value

    forge(reported, "nights", change)
    noticed(reported)


def test_minutes_that_moved_between_stages_of_scorer_and_method_are_noticed(
    reported: Path, forge
) -> None:
    for row in (0, 1):

        def change(nights: pd.DataFrame, row: int = row) -> None:
            for name, step in (("minutes_N1", 0.5), ("minutes_N2", -0.5)):
                nights.loc[row, name] = str(float(nights.loc[row, name]) + step)

        forge(reported, "nights", change)
        assert "minutes of stages are not those of results.csv" in noticed(reported)


@pytest.mark.parametrize(
    "change",
    [
        lambda nights: nights[0]["scored"].reverse(),
        lambda nights: nights[1]["predicted"].reverse(),
        lambda nights: nights[0].update(predicted=nights[0]["scored"]),
        lambda nights: nights[0].update(score=0.99),
        lambda nights: nights[0].update(subject="o4"),
        lambda nights: nights[0].update(subject="stranger"),
        lambda nights: nights[0].update(session="9"),
        lambda nights: nights[0].update(method="majority"),
        lambda nights: nights[0].update(seed=1),
        lambda nights: nights[0].update(seed=None),
        lambda nights: nights[0].update(task="ears"),
        lambda nights: nights[0].pop("score"),
        lambda nights: nights[0].update(scored=[]),
        lambda nights: nights[0].update(scored=["W"]),
        lambda nights: nights[0].update(predicted=None),
        lambda nights: {"nights": nights},
        lambda nights: ["night"],
        lambda nights: [None],
    ],
)
def test_nights_that_are_shown_are_those_of_the_table(change, reported: Path, forge) -> None:
    forge(reported, "hypnograms", change)
    noticed(reported)


@pytest.mark.parametrize("examples", [3, "W", [[]], [float("nan")], [None], [{}]])
def test_examples_that_are_none_are_noticed(examples: Any, reported: Path, forge) -> None:
    forge(reported, "hypnograms", lambda _: examples)
    noticed(reported)


def change_manifest(folder: Path, change: Callable[[dict], Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(notes=["PARTIAL: 1 cells are missing"]),
        lambda m: m.update(notes=[]) or m.update(tasks={}),
        lambda m: m.update(tasks=[]),
        lambda m: m.update(tasks=None),
        lambda m: m.update(methods={}),
        lambda m: m.update(methods=None),
        lambda m: m["methods"].pop("majority"),
        lambda m: m["methods"]["majority"].pop("labels"),
        lambda m: m["methods"]["majority"].pop("floor"),
        lambda m: m["tasks"].pop("eog"),
        lambda m: m["tasks"]["eog"].pop("scoring"),
        lambda m: m["tasks"]["eog"].pop("title"),
        lambda m: m["tasks"]["eog"].pop("second_scorer"),
        lambda m: m["tasks"]["eog"]["scoring"].update(primary="macro_f1"),
        lambda m: m["tasks"]["eog"]["scoring"].update(primary="luck"),
        lambda m: m["tasks"]["eog"]["scoring"].update(scheme="stages3"),
        lambda m: m["tasks"]["eog"]["scoring"].update(scheme="aasm6"),
        lambda m: m["tasks"]["eog"].update(simulated=True),
        lambda m: m["tasks"]["eog"].update(title="Another"),
        lambda m: m["tasks"]["ages"].update(skipped_recordings=[]),
        lambda m: m["tasks"]["ages"]["second_scorer"]["counts"].pop("o1"),
        lambda m: m["methods"]["teacher"].update(privileged=False),
    ],
)
def test_a_manifest_that_says_otherwise_is_noticed(change, reported: Path) -> None:
    change_manifest(reported, change)
    noticed(reported)


@pytest.mark.parametrize("kind", ["PARTIAL", "MIXED"])
def test_a_note_cannot_be_taken_out(kind: str, partial, drawn_night, tmp_path) -> None:
    if kind == "MIXED":
        nights = pd.concat([drawn_night(f"1{name}", "aasm5") for name in "abc"])
        partial.grid["cells"] = [
            c for c in partial.grid["cells"] if (c["fold"], c["method"]) != ("1", "pooled")
        ]
        partial.add_cell("t", "pooled", nights, fold="1", definition="other")
    out = tmp_path / "out"
    write_report(partial.root, out, partial=True, mixed=True)
    assert check_report(out)
    change_manifest(out, lambda m: m.update(notes=[]))
    assert "notes do not say what is amiss" in noticed(out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g["cells"][0].update(key="../../precious"), "cells.0.key"),
        (lambda g: g["cells"][0].update(key="/etc"), "cells.0.key"),
        (lambda g: g["cells"][0].pop("group"), "cells.0.group"),
        (lambda g: g.update(cells=[1]), "cells.0"),
        (lambda g: g["methods"].clear(), "nothing is said of"),
        (lambda g: g["tasks"]["ages"].pop("second_scorer"), "tasks.ages.second_scorer"),
        (lambda g: g["tasks"]["ages"].pop("description"), "tasks.ages.description"),
        (lambda g: g["tasks"]["ages"]["scoring"].pop("primary"), "scoring.primary"),
        (lambda g: g.pop("tasks"), "tasks"),
    ],
)
def test_a_record_of_another_version_or_a_forger_is_one_line(change, said, run_copy, tmp_path):
    precious = run_copy.parent / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    grid = json.loads((run_copy / "grid.json").read_text())
    change(grid)
    (run_copy / "grid.json").write_text(json.dumps(grid))
    with pytest.raises(GridError, match=re.escape(said)) as caught:
        write_report(run_copy, tmp_path / "out", partial=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert (precious / "thesis.txt").read_text() == "mine"


def test_a_folder_that_is_no_leaderboard_is_one_line(tmp_path, whole_run) -> None:
    for folder in (tmp_path, tmp_path / "nowhere", whole_run):
        assert "is not a leaderboard" in noticed(folder)
