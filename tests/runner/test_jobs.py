"""The pass that the runner chooses on the test people, and who has a part in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from sleepshift import runner
from sleepshift.errors import TaskError
from sleepshift.estimators import EveryPass
from sleepshift.leaderboard.page import Page
from sleepshift.leaderboard.report import check_report, write_report
from sleepshift.leaderboard.results import read_results
from sleepshift.methods import METHODS, Method, Settings
from sleepshift.methods.transfer import stager
from sleepshift.search.plan import plan_search


def _make(settings: Settings) -> Any:
    normed = replace(settings, model="chambon2018-bn", max_epochs=4, lr=5e-3)
    return EveryPass(stager(normed).set_params(valid_size=0.0))


#: The mechanism of attnsleep@published with a network that trains in a blink.
CHOSEN = replace(METHODS["attnsleep@published"], name="chosen", make=_make, needs=(), model=None)
PLAIN = replace(
    METHODS["attnsleep"], name="plain", make=lambda s: _make(s).estimator, needs=(), model=None
)


def cell(grid: Any, method: Method, fold: str = "one") -> tuple[dict[str, Any], dict[str, Any]]:
    """Predictions and manifest of a method's cell."""
    (found,) = grid.plan([method], folds=[fold]).grid
    names = ("truth", "predicted", "probability", "row")
    return grid.store.read_predictions(found.key, *names), grid.store.read_cell(found.key)[1]


def test_the_pass_is_the_most_accurate_on_all_test_windows_of_the_fold(grid) -> None:
    assert grid.run([CHOSEN]).failed == {}
    for fold in grid.data.folds:
        arrays, facts = cell(grid, CHOSEN, fold.name)
        every = grid.plan([CHOSEN], folds=[fold.name]).grid[0].key
        estimator = grid.plan([CHOSEN]).cells[every].estimator
        outputs = list(estimator.fit(fold.source).predict_proba_by_pass(fold.test))
        scores = [accuracy_score(arrays["truth"], proba.argmax(axis=1)) for proba in outputs]
        assert max(scores) > scores[0]
        assert facts["chosen_pass"] == np.argmax(scores) + 1
        best = outputs[facts["chosen_pass"] - 1]
        np.testing.assert_allclose(arrays["probability"], best, atol=1e-6)


def test_of_equally_good_passes_it_is_the_first(grid, monkeypatch) -> None:
    def constant(self: EveryPass, X: Any) -> Iterator[np.ndarray]:
        for stage in (4, 2, 2):
            yield np.tile(np.eye(5)[stage], (len(X), 1))

    monkeypatch.setattr(EveryPass, "predict_proba_by_pass", constant)
    grid.run([CHOSEN], folds=["one"])
    arrays, facts = cell(grid, CHOSEN)
    assert (arrays["truth"] == 2).sum() > (arrays["truth"] == 4).sum()
    assert facts["chosen_pass"] == 2


def test_what_is_fitted_and_asked_is_never_given_test_labels(grid, monkeypatch) -> None:
    seen: list[Any] = []
    for name in ("fit", "predict_proba_by_pass"):
        original = getattr(EveryPass, name)

        def spied(self: EveryPass, *given: Any, _original: Any = original) -> Any:
            seen.append(given)
            return _original(self, *given)

        monkeypatch.setattr(EveryPass, name, spied)
    grid.run([CHOSEN], folds=["one"])
    fold = grid.data.folds[0]
    (X, y), (asked,) = seen
    np.testing.assert_array_equal(y, fold.source.y)
    assert not set(X.subjects) & set(fold.test.subjects)
    assert not asked.has_labels
    assert asked.fingerprint == fold.test.fingerprint


def _other_truth(grid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffle the labels that the runner scores by, and them alone."""
    windows = type(grid.data.windows)
    original = windows.labels_of

    def shuffled(self: Any, view: Any) -> np.ndarray:
        return np.random.default_rng(0).permutation(original(self, view))

    monkeypatch.setattr(windows, "labels_of", shuffled)


def test_test_labels_move_the_choice_and_no_sound_prediction(
    grid, make_grid, toy_task, tmp_path, monkeypatch
) -> None:
    other = make_grid(toy_task, tmp_path / "other")
    sound = METHODS["attnsleep"]
    grid.run([CHOSEN, sound], folds=["one"])
    _other_truth(grid, monkeypatch)
    other.run([CHOSEN, sound], folds=["one"])
    before, facts = cell(grid, sound)
    after, _ = cell(other, sound)
    assert facts["chosen_pass"] is None
    assert not np.array_equal(before["truth"], after["truth"])
    np.testing.assert_array_equal(before["probability"], after["probability"])
    first, second = (cell(which, CHOSEN)[1]["chosen_pass"] for which in (grid, other))
    assert first != second


def test_a_chosen_cell_is_not_the_cell_of_the_same_network_unchosen(grid) -> None:
    unchosen = replace(CHOSEN, selected_on_test=False, name="unchosen")
    plan = grid.plan([CHOSEN, unchosen], folds=["one"])
    assert len({found.key for found in plan.grid}) == 2
    assert plan.fits == {}
    grid.run([CHOSEN], folds=["one"])
    outcome = runner.execute(plan, grid.store)
    assert (outcome.kept, len(outcome.scored)) == (1, 1)
    assert cell(grid, unchosen)[1]["chosen_pass"] is None


def test_where_test_labels_are_withheld_it_is_skipped(grid, monkeypatch) -> None:
    windows = type(grid.data.windows)
    monkeypatch.setattr(windows, "labels_of", lambda self, view: np.full(len(view), -1))
    (found,) = grid.plan([CHOSEN], folds=["one"]).grid
    assert found.skipped == "its pass is chosen by labels that are not public"
    (plain,) = grid.plan([PLAIN], folds=["one"]).grid
    assert plain.skipped is None


def test_a_search_refuses_it_before_anything_is_planned(grid) -> None:
    with pytest.raises(TaskError, match="best on the people it is scored on"):
        plan_search(grid.data, CHOSEN, [{"lr": 1e-3}])


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have a page of one word: pictures take seconds."""
    monkeypatch.setattr("sleepshift.leaderboard.report.render_page", lambda _: Page("page", {}))


def test_the_report_says_which_pass_and_ranks_it_not(grid, no_page: None) -> None:
    grid.run([CHOSEN, PLAIN, "features-logreg"])
    results = write_report(grid.out, grid.out / "board")
    assert check_report(grid.out / "board")
    rows = read_results(grid.out / "board").rows
    assert rows.loc[rows["method"] == CHOSEN.name, "chosen_pass"].between(1, 4).all()
    assert rows.loc[rows["method"] != CHOSEN.name, "chosen_pass"].isna().all()
    table = results.table[results.table["method"] == CHOSEN.name]
    assert table["rank"].isna().all()
    assert table["flag"].str.startswith("optimistic").all()
    text = (grid.out / "board" / "leaderboard.md").read_text()
    assert f"so it has no rank: {CHOSEN.name}." in text


def test_a_run_without_such_a_method_has_no_column_for_it(grid, no_page: None) -> None:
    grid.run(["majority"])
    write_report(grid.out, grid.out / "board")
    assert "chosen_pass" not in read_results(grid.out / "board").rows
