"""From the competition's files to a submission and its score, on the command line."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.frame import UNSCORED
from sleepshift.protocol import load_task, task_files


def one_line_error(result: tuple[int, str, str]) -> str:
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def answers_in(path: Path) -> list[int]:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["answer.txt"]
        return [int(line) for line in archive.read("answer.txt").decode().split("\n")[:-1]]


@pytest.fixture
def tasks(beetl, tmp_path):
    """Both phases' tasks, asking about the few windows that the test's files have."""
    n_test = {"leaderboard": range(6, 18), "testing": range(5, 14)}
    made = {}
    for name, prefix in (("beetl-leaderboard", "leaderboard"), ("beetl-final", "testing")):
        people = n_test[prefix]
        n = sum(len(beetl[1][f"{prefix}_s{k}", night]) for k in people for night in (1, 2))
        text = task_files()[name].read_text()
        official = load_task(name).submission.n_lines
        assert f"n_lines = {official}" in text
        made[name] = tmp_path / f"{name}.toml"
        made[name].write_text(text.replace(f"n_lines = {official}", f"n_lines = {n}"))
    return made


# ---------------------------------------------------------------------- BEETL


def test_the_tasks_are_those_of_the_competition():
    leaderboard, final = load_task("beetl-leaderboard"), load_task("beetl-final")
    assert (leaderboard.submission.n_lines, final.submission.n_lines) == (25748, 25756)
    for task in (leaderboard, final):
        form = task.submission
        assert (form.file, form.format, task.answer_scheme) == ("answer.txt", "codes", "rk6")
        (fold,) = task.protocol.folds
        assert fold.unlabeled == "test"
        learned = {*task.protocol.source.subjects, *fold.labeled.subjects}
        assert not learned & set(fold.test.subjects)
        assert {f"source-{k}" for k in range(39)} <= learned
    assert leaderboard.protocol.folds[0].test.subjects == tuple(
        f"leaderboard-{k}" for k in range(6, 18)
    )
    assert final.protocol.folds[0].test.subjects == tuple(f"final-{k}" for k in range(5, 14))
    assert {f"leaderboard-{k}" for k in range(6)} <= set(final.protocol.source.subjects)


def test_the_final_phase_from_files_to_score(sleepshift, beetl, tasks, tmp_path):
    folder, stages = beetl
    task, runs, out = tasks["beetl-final"], tmp_path / "runs", tmp_path / "out" / "answer.zip"
    common = ("--data", folder, "--runs", runs)
    code, text, _ = sleepshift("prepare", task, "--data", folder, "--out", runs)
    assert (code, "not public" in text) == (0, False)
    methods = "majority,features-logreg,rp-linear"
    arguments = ("--methods", methods, "--data", folder, "--out", runs)
    code, text, _ = sleepshift("run", task, *arguments)
    assert code == 0
    assert "skipped, the windows have lost their order in the night: rp-linear" in text
    rows = json.loads((runs / "grid.json").read_text())

    code, text, _ = sleepshift("submit", task, "features-logreg", "--out", out, *common)
    assert code == 0
    assert "0 jobs done, 1 kept" in text  # what was run is not run again
    assert json.loads((runs / "grid.json").read_text()) == rows
    truth = [
        stage for k in range(5, 14) for night in (1, 2) for stage in stages[f"testing_s{k}", night]
    ]
    answers = answers_in(out)
    assert len(answers) == len(truth)
    assert np.mean(np.array(answers) == truth) > 0.95  # in any other order it would be a sixth

    code, text, _ = sleepshift("validate", out, task)
    assert code == 0
    assert f"valid, {len(truth)} windows (W {answers.count(0)}, S1 {answers.count(1)}," in text
    code, text, _ = sleepshift("score", out, folder / "final_sleep_label.txt")
    assert code == 0
    recalls = [np.mean([a == t for a, t in zip(answers, truth, strict=True) if t == k])
               for k in range(6)]  # fmt: skip
    assert f"official score: {100 * np.mean(recalls):.2f} " in text
    assert "S3 and S4 merged: macro f1 " in text

    first = out.read_bytes()
    assert sleepshift("submit", task, "features-logreg", "--out", out, *common)[0] == 0
    assert out.read_bytes() == first
    wake = tmp_path / "wake.zip"
    sleepshift("submit", task, "majority", "--out", wake, *common)
    assert (
        "official score: 16.67 " in sleepshift("score", wake, folder / "final_sleep_label.txt")[1]
    )


def test_the_leaderboard_phase_is_answered_and_not_scored(sleepshift, beetl, tasks, tmp_path):
    folder, stages = beetl
    task, runs, out = tasks["beetl-leaderboard"], tmp_path / "runs", tmp_path / "answer.zip"
    common = ("--data", folder, "--runs", runs)
    code, text, _ = sleepshift("prepare", task, "--data", folder, "--out", runs)
    assert "whose labels are not public" in " ".join(text.split())
    arguments = ("--methods", "majority", "--data", folder, "--out", runs)
    code, text, _ = sleepshift("run", task, *arguments)
    assert code == 0
    assert "make a file with sleepshift submit" in " ".join(text.split())
    assert UNSCORED in one_line_error(sleepshift("report", runs))
    stored = list((runs / "cells").rglob("predictions.npz"))
    with np.load(stored[0]) as arrays:
        assert set(arrays["truth"]) == {-1}
    code, text, _ = sleepshift("submit", task, "features-logreg", "--out", out, *common)
    assert (code, "1 jobs done, 0 kept" in text) == (0, True)
    truth = [s for k in range(6, 18) for n in (1, 2) for s in stages[f"leaderboard_s{k}", n]]
    assert np.mean(np.array(answers_in(out)) == truth) > 0.95
    assert sleepshift("validate", out, task)[0] == 0
    code, _, err = sleepshift("validate", out, "beetl-leaderboard")
    assert code == 2
    assert f"it has {len(truth)} lines, 25748 expected" in err


def test_test_people_with_labels_are_scored_beside_those_without(
    sleepshift, beetl, tasks, tmp_path
):
    """As when someone has labels of their own for two of the twelve."""
    folder = tmp_path / "data"
    for path in beetl[0].rglob("*.npy"):
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    for person in (7, 9):
        for night in (1, 2):
            y = np.array(beetl[1][f"leaderboard_s{person}", night])
            y_path = folder / f"leaderboard_s{person}r{night}y.npy"
            y_path.write_bytes(pickle.dumps(y))
    runs = tmp_path / "runs"
    arguments = ("--methods", "features-logreg,majority", "--data", folder, "--out", runs)
    code, text, _ = sleepshift("run", tasks["beetl-leaderboard"], *arguments)
    assert code == 0
    assert "(n=2)" in text
    assert f"beetl-leaderboard: {UNSCORED}" in text.replace("\n", " ")
    assert sleepshift("report", runs)[0] == 0
    rows = pd.read_csv(runs / "leaderboard" / "results.csv")
    status = rows[rows["method"] == "majority"].set_index("subject")["status"]
    assert sorted(status.index[status == "ok"]) == ["leaderboard-7", "leaderboard-9"]
    assert (status[status != "ok"] == UNSCORED).all()
    assert len(status) == 12
    assert UNSCORED in (runs / "leaderboard" / "leaderboard.md").read_text()
    assert sleepshift("report", runs / "leaderboard", "--check")[0] == 0


def test_a_folder_that_is_not_whole_is_refused_before_anything_is_fitted(
    sleepshift, beetl, tmp_path
):
    out, runs = tmp_path / "answer.zip", tmp_path / "runs"
    arguments = ("beetl-final", "majority", "--out", out, "--data", beetl[0], "--runs", runs)
    text = one_line_error(sleepshift("submit", *arguments))
    assert "beetl-final asks about 25756 windows, the data at hand have " in text
    assert not out.exists()
    assert not (runs / "cells").exists()


# ---------------------------------------------------------------------- any task


def test_any_task_has_a_table_of_answers(sleepshift, toy_task, tmp_path):
    out, runs = tmp_path / "answer.csv", tmp_path / "runs"
    code, text, _ = sleepshift("submit", toy_task, "majority", "--out", out, "--runs", runs)
    assert code == 0
    table = pd.read_csv(out, dtype={"subject": str})
    assert list(table) == ["subject", "session", "onset", "stage"]
    assert table["subject"].unique().tolist() == ["3", "4", "6", "7"]  # each by its own fold
    assert (table.groupby("subject")["onset"].diff().dropna() > 0).all()
    assert "2 jobs done" in text
    code, text, _ = sleepshift("validate", out, toy_task, "--runs", runs)
    assert (code, f"valid, {len(table)} windows" in text) == (0, True)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(line for line in lines if not line.startswith("6,")))
    code, _, err = sleepshift("validate", out, toy_task, "--runs", runs)
    assert code == 2
    first, *told = err.splitlines()
    assert first == f"invalid: {out}: 2 problems"
    assert told[1].startswith("subject 6 session 1 is missing (")
    out.write_text("".join(lines).replace(",W", ",X").replace(",N2", ",X"))
    code, _, err = sleepshift("validate", out, toy_task, "--runs", runs)
    assert code == 2
    assert len(err.splitlines()) == 7  # five of many, and how many more
    assert "line 2: 'X' is not a stage; they are W, N1, N2, N3, R" in err
    out.write_text("".join(lines))
    code, text, _ = sleepshift("score", out, out, "--scheme", "aasm5")
    assert (code, "official score: 100.00 " in text) == (0, True)
    assert "Traceback" not in text


def test_a_task_says_which_fold_and_form(sleepshift, toy_task, tmp_path):
    section = '[submission]\nfold = "two"\nfile = "a.txt"\nformat = "codes"\nscheme = "stages3"\n'
    before = load_task(toy_task)
    toy_task.write_text(toy_task.read_text() + section)
    assert load_task(toy_task).definition == before.definition
    out, runs = tmp_path / "answer.zip", tmp_path / "runs"
    arguments = ("--out", out, "--runs", runs)
    assert sleepshift("submit", toy_task, "features-logreg", *arguments)[0] == 0
    with zipfile.ZipFile(out) as archive:
        assert set(archive.read("a.txt").decode().split()) <= {"0", "1", "2"}
    assert sleepshift("validate", out, toy_task, "--runs", runs)[0] == 0
    toy_task.write_text(toy_task.read_text().replace('fold = "two"', 'fold = "three"'))
    text = one_line_error(sleepshift("submit", toy_task, "features-logreg", *arguments))
    assert "submission.fold: toy has no fold 'three'; it has one, two" in text
    toy_task.write_text(toy_task.read_text().replace("stages3", "rk6"))
    assert "submission.scheme" in one_line_error(sleepshift("validate", out, toy_task))


def test_folds_that_measure_the_source_people_are_no_part_of_the_answers(
    sleepshift, toy_task, tmp_path
):
    kind = 'kind = "cross-age"'
    toy_task.write_text(toy_task.read_text().replace(kind, f"{kind}\nin_domain_folds = 2"))
    out, runs = tmp_path / "answer.csv", tmp_path / "runs"
    method = "features-logreg-target"  # which those folds have no labels for
    assert sleepshift("submit", toy_task, method, "--out", out, "--runs", runs)[0] == 0
    people = pd.read_csv(out)["subject"].unique().tolist()
    assert people == [3, 4, 6, 7]


def test_a_person_who_is_tested_twice_needs_a_fold_named(sleepshift, toy_task, tmp_path):
    roles = "labeled = {{ subjects = {} }}\ntest = {{ subjects = {} }}"
    before, after = roles.format('["6", "7"]', '["3", "4"]'), roles.format('["4"]', '["3", "6"]')
    assert before in toy_task.read_text()
    toy_task.write_text(toy_task.read_text().replace(before, after))
    arguments = ("--out", tmp_path / "a.zip", "--runs", tmp_path / "runs")
    text = one_line_error(sleepshift("submit", toy_task, "majority", *arguments))
    assert "person 6 is tested in folds one and two" in text


# ---------------------------------------------------------------------- what goes wrong


def test_a_bound_is_no_answer(sleepshift, toy_views_task, tmp_path):
    arguments = ("--out", tmp_path / "a.zip", "--runs", tmp_path / "runs")
    text = one_line_error(sleepshift("submit", toy_views_task, "teacher", *arguments))
    assert "teacher is no competitor" in text
    assert "the teacher on its own view" in text
    assert not (tmp_path / "a.zip").exists()


def test_a_method_chosen_on_the_test_people_is_no_answer(sleepshift, toy_task, tmp_path):
    arguments = ("--out", tmp_path / "a.zip", "--runs", tmp_path / "runs")
    text = one_line_error(sleepshift("submit", toy_task, "attnsleep@published", *arguments))
    assert "its training pass is chosen on the test people" in text
    assert not (tmp_path / "runs").exists()


def test_a_method_that_cannot_answer_ends_in_one_line(sleepshift, toy_task, tmp_path):
    out = tmp_path / "answer.zip"
    arguments = ("--out", out, "--runs", tmp_path / "runs")
    assert "unknown method 'nothing'" in one_line_error(
        sleepshift("submit", toy_task, "nothing", *arguments)
    )
    assert "student-only has no answers for toy: the task has no teacher's view" in one_line_error(
        sleepshift("submit", toy_task, "student-only", *arguments)
    )
    assert "is a folder; name a file" in one_line_error(
        sleepshift("submit", toy_task, "majority", "--out", tmp_path)
    )
    assert "write it as param=value" in one_line_error(
        sleepshift("submit", toy_task, "majority", *arguments, "--set", "x")
    )
    assert not out.exists()


def test_a_fit_that_fails_leaves_no_file(sleepshift, toy_task, tmp_path):
    out = tmp_path / "answer.zip"
    arguments = ("--out", out, "--runs", tmp_path / "runs", "--set", "class_weight=odd")
    code, text, _ = sleepshift("submit", toy_task, "source-only", *arguments)
    assert code == 1
    assert "failed" in text
    assert not out.exists()


def test_an_old_submission_stays_when_a_new_one_cannot_be_made(sleepshift, toy_task, tmp_path):
    out = tmp_path / "answer.zip"
    out.write_bytes(b"old")
    toy_task.write_text(toy_task.read_text() + '[submission]\nfold = "one"\nn_lines = 3\n')
    arguments = ("--out", out, "--runs", tmp_path / "runs")
    assert "asks about 3 windows" in one_line_error(
        sleepshift("submit", toy_task, "majority", *arguments)
    )
    assert out.read_bytes() == b"old"


def test_files_that_cannot_be_scored_end_in_one_line(sleepshift, tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("0\n1\n")
    two.write_text("0\n1\n2\n")
    assert "answers 2 windows" in one_line_error(sleepshift("score", one, two))
    two.write_text("0\n[red]\n")
    assert "line 2: '[red]' is not a stage code" in one_line_error(sleepshift("score", one, two))
    assert "is not a file" in one_line_error(sleepshift("score", one, tmp_path / "no.txt"))
    assert "unknown stage scheme" in one_line_error(
        sleepshift("score", one, one, "--scheme", "aasm")
    )


def test_a_truth_with_windows_line_ends_and_gaps_is_scored(sleepshift, tmp_path):
    answers, truth = tmp_path / "a.txt", tmp_path / "t.txt"
    answers.write_text("0\n0\n5\n5\n")
    truth.write_bytes(b"\xef\xbb\xbf0.0\r\n-1\r\n5\r\n0\r\n\r\n")
    code, text, _ = sleepshift("score", answers, truth)
    assert code == 0
    assert "official score: 75.00 " in text
    assert "3 windows pooled, 1 without a label left out" in text
    assert "not in the truth" in text
