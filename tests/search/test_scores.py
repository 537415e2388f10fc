"""What a search scores, against its stored predictions and scikit-learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from sleepshift.search import RULES, cv_results, select, selections

COMBINATIONS = [{"C": 0.001}, {"C": 1.0}, {"C": 100.0}]


@pytest.fixture
def toy(open_task, toy_task):
    return open_task(toy_task)


def test_scores_are_those_of_the_predictions_person_by_person(toy, run_search):
    search = run_search(toy, "features-logreg", COMBINATIONS)
    rows: dict[str, list[float]] = {rule: [] for rule in RULES}
    for cell in search.plan.grid:
        stored = search.store.read_predictions(cell.key, "subject", "truth", "predicted")
        roles = search.plan.cells[cell.key].fold.validation
        scores: dict[str, list[float]] = {}
        for person in dict.fromkeys(stored["subject"].tolist()):
            theirs = stored["subject"] == person
            f1 = f1_score(stored["truth"][theirs], stored["predicted"][theirs], average="macro")
            scores.setdefault(roles.get(person, "oracle"), []).append(f1)
        for rule in rows:
            rows[rule].append(np.mean(scores[rule]))
    results = cv_results(COMBINATIONS, search.scores)
    for rule, means in rows.items():
        splits = results[[f"split{k}_test_{rule}" for k in range(2)]]
        np.testing.assert_allclose(splits.to_numpy().ravel(), means)
    assert (results["mean_fit_time"] > 0).all()
    assert (search.scores.cells["reason"] == "").all()
    assert set(search.scores.test["subject"]) == {"3", "4", "6", "7"}


def test_other_labels_of_the_test_people_choose_the_same(toy, run_search):
    """All else equal; what is said to be the oracle's follows them."""
    y, own = toy.windows.y, np.isin(toy.windows.subjects, ["6", "7"])
    y[own] = (y[own] + 2) % 5
    fold = toy.folds[0]
    lied = replace(toy, windows=toy.windows.with_labels(y), folds=[fold])
    honest = run_search(replace(toy, folds=[fold]), "features-logreg", COMBINATIONS).scores
    fooled = run_search(lied, "features-logreg", COMBINATIONS, out="others").scores
    assert select(honest.validation).equals(select(fooled.validation))
    chosen = [selections(COMBINATIONS, scores) for scores in (honest, fooled)]
    assert not chosen[0]["test_score"].equals(chosen[1]["test_score"])


def test_a_combination_that_fails_says_why_and_the_others_are_ranked(toy, run_search):
    combinations = [{"C": -1.0}, {"C": 1.0}]
    search = run_search(toy, "features-logreg", combinations, folds=["one"], seeds=[0, 1])
    assert len(search.outcome.failed) > 0
    cells = search.scores.cells
    assert cells.loc[cells["combination"] == 0, "reason"].str.contains("'C' parameter").all()
    results = cv_results(combinations, search.scores)
    assert results["mean_test_oracle"].isna().tolist() == [True, False]
    assert results["rank_test_source_validation"].tolist() == [2, 1]
    assert (selections(combinations, search.scores)["combination"] == 1).all()


def test_when_all_fail_nothing_is_chosen(toy, run_search):
    combinations = [{"C": -1.0}, {"C": -2.0}]
    scores = run_search(toy, "features-logreg", combinations).scores
    assert selections(combinations, scores).empty
    results = cv_results(combinations, scores)
    assert list(results)[-1] == "params"
    assert results["mean_fit_time"].isna().all()


def test_folds_on_which_the_method_cannot_run_are_no_splits(open_task, toy_task, run_search):
    text = toy_task.read_text().replace(
        'kind = "cross-age"', 'kind = "cross-age"\nin_domain_folds = 2'
    )
    toy_task.write_text(text.replace('subjects = ["0-2"]', 'subjects = ["0-2", "5"]').replace(
        'unlabeled = { subjects = ["5"] }', ""))  # fmt: skip
    combinations = [{"C": 0.1}, {"C": 1.0}]
    search = run_search(open_task(toy_task), "features-logreg-target", combinations)
    assert set(search.scores.cells["fold"]) == {"one", "two"}
    search = run_search(open_task(toy_task), "features-logreg", combinations)
    assert set(search.scores.cells["fold"]) == {"one", "two", "in-domain-0", "in-domain-1"}
    target = search.scores.validation.query("role == 'target_validation'")
    assert set(target["fold"]) == {"one", "two"}
    assert set(search.scores.validation.query("role == 'source_validation'")["fold"]) == set(
        search.scores.cells["fold"]
    )


def test_withheld_labels_of_test_people_leave_no_oracle(toy, run_search):
    y = toy.windows.y
    y[np.isin(toy.windows.subjects, ["6", "7"])] = -1
    hidden = replace(toy, windows=toy.windows.with_labels(y), folds=toy.folds[:1])
    scores = run_search(hidden, "features-logreg", COMBINATIONS).scores
    assert scores.test.empty
    selected = selections(COMBINATIONS, scores)
    assert set(selected["rule"]) == {"source_validation", "target_validation"}
    assert selected["test_score"].isna().all()
    assert not list(cv_results(COMBINATIONS, scores).filter(like="oracle"))
