"""Rules of choice against scikit-learn's own table, and that test people decide nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold

from sleepshift.errors import LeakageError
from sleepshift.search import RULES, Scores, cv_results, oracle, select, selections, write_tables

WHERE = ["combination", "group", "fold", "seed"]


def make_scores(rows):
    """Scores from (combination, fold, seed, role, subject, score)."""
    columns = ["combination", "fold", "seed", "role", "subject", "score"]
    frame = pd.DataFrame(rows, columns=columns).assign(group="all")
    cells = frame[WHERE].drop_duplicates().assign(fit_time=1.0, score_time=0.5, reason="")
    test = frame["role"] == "test"
    return Scores(cells, frame[~test], frame[test])


def table_of(matrices):
    """Scores of one person a role, from role -> matrix (combinations, folds)."""
    rows = [
        (k, str(fold), 0, role, f"{role}{fold}", score)
        for role, matrix in matrices.items()
        for k, scores in enumerate(matrix)
        for fold, score in enumerate(scores)
    ]
    return make_scores(rows)


@pytest.fixture(scope="module")
def sklearn_search():
    """A search by scikit-learn with three scorers, of which one combination fails."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 4)), rng.integers(0, 3, 80)
    X[:, 0] += y
    scorers = dict(zip(RULES, ("accuracy", "f1_macro", "balanced_accuracy"), strict=True))
    grid = {"C": [0.01, 1.0, -1.0], "class_weight": [None, "balanced"]}
    search = GridSearchCV(LogisticRegression(), grid, scoring=scorers, refit=False, cv=KFold(4))
    with pytest.warns(match="failed|non-finite"):
        return search.fit(X, y).cv_results_


def test_columns_and_figures_are_those_of_scikit_learn(sklearn_search):
    matrices = {
        "test" if rule == "oracle" else rule: np.stack(
            [sklearn_search[f"split{k}_test_{rule}"] for k in range(4)], axis=1
        )
        for rule in RULES
    }
    ours = cv_results(sklearn_search["params"], table_of(matrices))
    theirs = pd.DataFrame(sklearn_search)
    assert list(ours) == list(theirs)
    for name in theirs:
        if name.endswith("_time"):
            continue
        if name.startswith("param"):
            assert ours[name].tolist() == list(np.ma.getdata(sklearn_search[name]))
        else:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-15)
            assert ours[name].dtype == theirs[name].dtype
    assert (ours["rank_test_oracle"][ours["param_C"] < 0] == 5).all()


def test_equal_means_share_the_better_rank():
    scores = table_of({"source_validation": [[0.5], [0.7], [0.7], [0.1]]})
    results = cv_results([{"lr": k} for k in range(4)], scores)
    assert results["rank_test_source_validation"].tolist() == [3, 1, 1, 4]


def test_splits_are_folds_then_seeds_and_scores_are_means_over_people():
    rows = [
        (0, fold, seed, "source_validation", person, 10 * k + seed + person)
        for seed in (0, 1)
        for k, fold in enumerate(("b", "a"))
        for person in (0, 2)
    ]
    results = cv_results([{"lr": 1}], make_scores(rows))
    splits = results.filter(like="split").iloc[0]
    assert splits.tolist() == [1, 2, 11, 12]
    assert list(splits.index)[1] == "split1_test_source_validation"
    assert results["mean_fit_time"].tolist() == [1.0]


def test_a_rule_without_anyone_to_choose_on_has_no_columns():
    scores = table_of({"source_validation": [[0.5, 0.6]], "test": [[0.1, 0.2]]})
    results = cv_results([{"lr": 1}], scores)
    assert not list(results.filter(like="target_validation"))
    assert set(selections([{"lr": 1}], scores)["rule"]) == {"source_validation", "oracle"}


def test_a_split_without_a_rule_is_left_out_of_its_mean_and_a_failure_is_not():
    nan = np.nan
    scores = table_of({"target_validation": [[nan, 0.4, 0.6], [nan, 0.9, nan]]})
    results = cv_results([{"lr": 1}, {"lr": 2}], scores)
    np.testing.assert_allclose(results["mean_test_target_validation"], [0.5, nan])
    assert results["rank_test_target_validation"].tolist() == [1, 2]
    assert results["split0_test_target_validation"].isna().all()


def test_when_everything_failed_everything_ranks_first_as_in_scikit_learn():
    nan = np.nan
    results = cv_results(
        [{"lr": 1}, {"lr": 2}], table_of({"source_validation": [[nan, 0.4], [0.9, nan]]})
    )
    assert results["rank_test_source_validation"].tolist() == [1, 1]


def test_every_fold_chooses_for_itself():
    scores = table_of(
        {
            "source_validation": [[0.9, 0.1], [0.5, 0.6]],
            "target_validation": [[0.2, 0.2], [0.3, 0.1]],
            "test": [[0.3, 0.7], [0.4, 0.8]],
        }
    )
    selected = selections([{"lr": 1}, {"lr": 2}], scores)
    chosen = selected.pivot_table("combination", "rule", "fold")
    assert chosen.loc["source_validation"].tolist() == [0, 1]
    assert chosen.loc["target_validation"].tolist() == [1, 0]
    assert chosen.loc["oracle"].tolist() == [1, 1]
    scored = selected.pivot_table("test_score", "rule", "fold")
    assert scored.loc["source_validation"].tolist() == [0.3, 0.8]
    assert scored.loc["target_validation"].tolist() == [0.4, 0.7]
    assert selected["oracle"].tolist() == (selected["rule"] == "oracle").tolist()
    assert selected.loc[selected["oracle"], "chosen_on"].str.contains("upper bound").all()
    assert selected.loc[0, "params"] == {"lr": 1}


def test_seeds_are_averaged_a_failed_one_excludes_and_the_first_of_equals_is_chosen():
    by_seed = {0: (0.9, 0.1), 1: (0.6, 0.6), 2: (0.7, 0.5), 3: (1.0, None)}
    rows = [
        (k, "one", seed, "source_validation", "s", score)
        for k, scores in by_seed.items()
        for seed, score in enumerate(scores)
        if score is not None
    ]
    found = select(make_scores(rows).validation)
    assert found[["combination", "score"]].to_numpy().tolist() == [[1, 0.6]]


def test_people_without_a_score_do_not_choose():
    rows = [(k, "one", 0, "target_validation", "t", np.nan) for k in range(2)]
    assert select(make_scores(rows).validation).empty


def test_choosing_from_test_people_is_refused():
    scores = table_of({"source_validation": [[0.5]], "test": [[0.6]]})
    with pytest.raises(LeakageError, match="not chosen on test people"):
        select(scores.test)
    with pytest.raises(LeakageError, match="not chosen on test people"):
        select(pd.concat([scores.validation, scores.test]))


figures = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@settings(max_examples=25)
@given(validation=figures, test=figures, other=figures)
def test_choices_do_not_depend_on_test_people_and_none_beats_the_oracle(validation, test, other):
    combinations = [{"lr": k} for k in range(3)]
    chosen = []
    for tested in (test, other):
        matrices = {"source_validation": validation, "test": tested}
        scores = table_of({role: np.reshape(v, (3, 2)) for role, v in matrices.items()})
        selected = selections(combinations, scores)
        by_rule = selected.pivot_table("test_score", "fold", "rule")
        assert (by_rule["source_validation"] <= by_rule["oracle"]).all()
        assert by_rule["oracle"].tolist() == np.reshape(tested, (3, 2)).max(axis=0).tolist()
        assert oracle(scores.test)["score"].tolist() == by_rule["oracle"].tolist()
        chosen.append(selected.loc[~selected["oracle"], "combination"].tolist())
    assert chosen[0] == chosen[1]


def test_tables_are_read_back_as_they_were(tmp_path):
    scores = table_of({"source_validation": [[0.5], [1 / 3]], "test": [[0.1], [0.2]]})
    combinations = [{"C": 1, "class_weight": None}, {"C": 2, "class_weight": "balanced"}]
    results, selected = cv_results(combinations, scores), selections(combinations, scores)
    write_tables(tmp_path, results, selected)
    read = pd.read_csv(tmp_path / "cv_results.csv")
    assert read["mean_test_source_validation"].tolist() == [0.5, 1 / 3]
    assert read["params"].tolist() == [str(combination) for combination in combinations]
    chosen = pd.read_csv(tmp_path / "selected.csv")
    assert chosen["oracle"].tolist() == [False, True]
    assert chosen["params"].tolist() == [str(combinations[0]), str(combinations[1])]
