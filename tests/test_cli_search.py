"""``sleepshift search``: what is typed, printed and written."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pandas as pd
import pytest

from sleepshift.cli_search import parse_grid
from sleepshift.errors import SleepShiftError


def _one_line_error(result):
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def _folder(out):
    (folder,) = (out / "search").iterdir()
    return folder


def _words(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("words", "grid"),
    [
        (["a=1,2", "b=x"], {"a": [1, 2], "b": ["x"]}),
        (["a=1,2 b=x"], {"a": [1, 2], "b": ["x"]}),
        (["lr=1e-3,None,True"], {"lr": [0.001, None, True]}),
        (["monitor=loss,macro_f1"], {"monitor": ["loss", "macro_f1"]}),
        (["class_weight=None,balanced"], {"class_weight": [None, "balanced"]}),
        (["p={'n':8,'m':1},{}"], {"p": [{"n": 8, "m": 1}, {}]}),
        (["sizes=(8,16),(4,)"], {"sizes": [(8, 16), (4,)]}),
        (["name='a,b','c'"], {"name": ["a,b", "c"]}),
        ([], {}),
    ],
)
def test_values_are_parted_by_commas_and_written_as_settings_are(words, grid):
    assert parse_grid(words) == grid


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["a"], "--grid a: write it as param=value,value"),
        (["=1,2"], "--grid =1,2: write it as"),
        (["a="], "--grid a=: a value is missing"),
        (["a=1,,2"], "--grid a=1,,2: a value is missing"),
        (["a=1,"], "--grid a=1,: a value is missing"),
        (["a=1", "a=2"], "--grid a: it is given twice"),
        (["a=1,2,1"], "--grid a: 1 is listed twice"),
        (["a=x,x"], "--grid a: x is listed twice"),
        (["a=(1,2"], "close brackets and quotes"),
        (["a={'n': 8}"], "close brackets and quotes"),
    ],
)
def test_a_grid_that_makes_no_sense_is_one_line(words, reason):
    with pytest.raises(SleepShiftError) as error:
        parse_grid(words)
    assert reason in str(error.value)


def test_a_search_prints_three_rules_and_what_to_run(sleepshift, toy_task, tmp_path) -> None:
    out = tmp_path / "runs"
    arguments = ["search", toy_task, "features-logreg", "--out", out, "--seeds", 2]
    code, text, _ = sleepshift(*arguments, "--grid", "C=0.001,1", "class_weight=None,balanced")
    assert code == 0
    said = _words(text)
    assert "features-logreg on toy (simulated data): macro_f1" in said
    heads = "C class_weight source validation target validation oracle"
    assert heads in said
    assert "fold source validation target validation oracle" in said
    assert "oracle: chosen on the test people, an upper bound" in said

    folder = _folder(out)
    assert {path.name for path in folder.iterdir()} == {
        "cv_results.csv", "record.json", "selected.csv",
    }  # fmt: skip
    results = pd.read_csv(folder / "cv_results.csv")
    assert len(results) == 4
    assert "split3_test_oracle" in results
    assert "split4_test_oracle" not in results
    selected = pd.read_csv(folder / "selected.csv")
    assert selected.groupby("rule").size().to_dict() == dict.fromkeys(
        ("source_validation", "target_validation", "oracle"), 2
    )
    assert not (out / "grid.json").exists()

    # The same in its other spellings is the same search, of which nothing is left to do.
    record = json.loads((folder / "record.json").read_text())
    cells = {cell["key"] for cell in record["cells"]}
    assert cells == {path.name for path in (out / "cells").iterdir()}
    times = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    for grid in (["C=0.001,1 class_weight=None,balanced"],
                 ["C=0.001,1", "--grid", "class_weight=None,balanced"]):  # fmt: skip
        code, again, _ = sleepshift(*arguments, "--grid", *grid)
        assert code == 0
        assert _words(again).partition("(rank)")[2] == said.partition("(rank)")[2]
    assert _folder(out) == folder
    assert times == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}

    # What it says to run, runs, and is what was chosen.
    command = next(line for line in text.splitlines() if line.startswith("sleepshift run"))
    code, _, _ = sleepshift(*shlex.split(command)[1:])
    assert code == 0
    grid = json.loads((out / "grid.json").read_text())
    first = selected.loc[selected["rule"] == "source_validation", "params"].iloc[0]
    assert grid["cells"][0]["settings"] == "C={C} class_weight={class_weight} data_seed=0".format(
        **eval(first)
    )
    assert not cells & {cell["key"] for cell in grid["cells"]}


def test_teachers_are_fitted_once_for_all_temperatures(
    sleepshift, toy_views_task, tmp_path
) -> None:
    out = tmp_path / "runs"
    code, text, _ = sleepshift(
        "search", toy_views_task, "kd-softmax", "--grid", "temperature=1,4",
        "--folds", "0", "--set", "max_epochs=1", "--out", out,
    )  # fmt: skip
    assert code == 0
    assert len(list((out / "artifacts").iterdir())) == 3
    assert "no target validation: it takes two labelled target people" in _words(text)
    record = json.loads((_folder(out) / "record.json").read_text())
    assert set(record["artifacts"]) == {path.name for path in (out / "artifacts").iterdir()}
    assert record["command"].startswith(f"sleepshift search {toy_views_task} kd-softmax --grid")
    assert "--set max_epochs=1 --folds 0 --set temperature=" in _words(text)


def test_a_combination_that_fails_is_told_and_the_exit_code_is_1(
    sleepshift, toy_task, tmp_path
) -> None:
    out = tmp_path / "runs"
    arguments = ["search", toy_task, "features-logreg", "--out", out, "--folds", "one"]
    code, text, _ = sleepshift(*arguments, "--grid", "C=-1,1")
    assert code == 1
    assert "features-logreg (C=-1 data_seed=0): InvalidParameterError" in _words(text)
    results = pd.read_csv(_folder(out) / "cv_results.csv", index_col="param_C")
    assert results["mean_test_oracle"].isna().to_dict() == {-1: True, 1: False}
    assert "--folds one --set C=1" in _words(text)
    code, text, _ = sleepshift(*arguments, "--grid", "C=-1,-2")
    assert code == 1
    assert "sleepshift run" not in text


def test_folds_without_labelled_target_people_are_told(sleepshift, toy_task, tmp_path) -> None:
    text = toy_task.read_text().replace('["3", "4"] }\nunlabeled', '["3"] }\nunlabeled')
    toy_task.write_text(text)
    arguments = ["--grid", "C=0.1,1", "--out", tmp_path / "runs"]
    code, text, _ = sleepshift("search", toy_task, "features-logreg", *arguments)
    assert code == 0
    assert "no target validation in one: it takes two labelled target people" in _words(text)


def test_a_method_may_learn_from_unlabelled_test_people_and_it_is_told(
    sleepshift, toy_task, tmp_path
) -> None:
    text = toy_task.read_text()
    toy_task.write_text(text.replace('unlabeled = { subjects = ["5"] }', 'unlabeled = "test"'))
    code, text, _ = sleepshift(
        "search", toy_task, "rp-linear", "--grid", "n_pairs=16,32", "--folds", "one",
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert code == 0
    assert "it learns from the test people's own unlabelled signals" in _words(text)


def test_a_search_that_is_stopped_keeps_what_is_finished(
    sleepshift, toy_task, tmp_path, monkeypatch
) -> None:
    from sleepshift.runner import ArtifactStore

    out, save, saved = tmp_path / "runs", ArtifactStore.save_cell, []

    def save_two(*args):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(save(*args))

    arguments = ["search", toy_task, "features-logreg", "--grid", "C=0.1,1", "--out", out]
    with monkeypatch.context() as patch:
        patch.setattr(ArtifactStore, "save_cell", save_two)
        code, text, _ = sleepshift(*arguments)
    assert (code, "stopped; what is finished is kept" in text) == (130, True)
    assert [path.name for path in _folder(out).iterdir()] == ["record.json"]
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert len(kept) == 2
    assert sleepshift(*arguments)[0] == 0
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert len(pd.read_csv(_folder(out) / "cv_results.csv")) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no-such-task", "majority", "--grid", "lr=1"], "no task 'no-such-task'"),
        (["{task}", "nonsense", "--grid", "lr=1"], "unknown method 'nonsense'"),
        (["{task}", "pooled,target-only", "--grid", "lr=1"], "a search is of one method"),
        (["{task}", "pooled", "target-only", "--grid", "lr=1"], "target-only: write it as param="),
        (["{task}", "pooled"], "there is nothing to search; say --grid param=value,value"),
        (["{task}", "pooled", "--grid", "lr="], "--grid lr=: a value is missing"),
        (["{task}", "pooled", "--grid", "lr=1", "lr=2"], "--grid lr: it is given twice"),
        (["{task}", "pooled", "--grid", "warmth=1"], "--grid warmth: no chosen method has it"),
        (["{task}", "pooled", "--grid", "lr=1,cold"], "--grid lr: Input should be a valid number"),
        (["{task}", "pooled", "--grid", "domain=source"], "--grid domain: it says what a method"),
        (["{task}", "pooled", "--grid", "lr=1", "--set", "lr=2"], "lr is in --grid and in --set"),
        (["{task}", "pooled", "--grid", "lr=1", "--set", "x=2"], "--set x: no chosen method"),
        (["{task}", "pooled", "--grid", "lr=1", "--device", "gpu"], "use auto, cpu"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_computed(
    sleepshift, toy_task, tmp_path, arguments, reason
) -> None:
    out = tmp_path / "runs"
    filled = [toy_task if word == "{task}" else word for word in arguments]
    assert reason in _one_line_error(sleepshift("search", *filled, "--out", out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["majority", "--grid", "lr=0.1,0.2"], "--grid lr: it changes nothing of majority"),
        (["features-logreg", "--grid", "C=1", "--folds", "three"], "toy has no fold 'three'"),
        (["teacher", "--grid", "lr=1"], "teacher cannot run on toy: the task has no teacher's"),
    ],
)
def test_mistakes_that_the_windows_show_end_in_one_line_too(
    sleepshift, toy_task, tmp_path, arguments, reason
) -> None:
    out = tmp_path / "runs"
    assert reason in _one_line_error(sleepshift("search", toy_task, *arguments, "--out", out))
    assert {path.name for path in out.iterdir()} == {"windows"}


def test_help_says_how_to_write_a_grid_without_the_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from sleepshift.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "print('loaded:', sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "search", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.rstrip().endswith("loaded: []")
    for piece in ("--grid", "PARAM=VALUES", "in quotes"):
        assert piece in done.stdout
