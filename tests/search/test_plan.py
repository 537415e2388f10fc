"""A search as jobs: what is shared, who is held out, and what is written first."""

from __future__ import annotations

import json

import pytest

from sleepshift import runner
from sleepshift.errors import TaskError
from sleepshift.methods import METHODS
from sleepshift.search import combine, plan_search, record_search

TEMPERATURES = [{"temperature": 1.0}, {"temperature": 4.0}]


@pytest.fixture
def views(open_task, toy_views_task):
    return open_task(toy_views_task)


@pytest.fixture
def toy(open_task, toy_task):
    return open_task(toy_task)


def test_combinations_share_the_teacher_and_nothing_else(views):
    plan = plan_search(views, METHODS["kd-softmax"], TEMPERATURES, folds=["0"], seeds=[0, 1])
    names = [job.name for job in plan.fits.values()]
    assert len([name for name in names if name.endswith("teacher")]) == 2  # one a seed
    assert len(plan.cells) == len(names) - 2 == 4
    assert [cell.settings for cell in plan.grid] == [
        "data_seed=0 temperature=1.0", "data_seed=0 temperature=1.0",
        "data_seed=0 temperature=4.0", "data_seed=0 temperature=4.0",
    ]  # fmt: skip


def test_the_same_search_is_the_same_plan_and_no_run_shares_its_models(views):
    method = METHODS["kd-softmax"]
    once, again = (plan_search(views, method, TEMPERATURES) for _ in range(2))
    assert list(once.fits) == list(again.fits)
    assert once.grid == again.grid
    other = plan_search(views, method, TEMPERATURES, data_seed=1)
    plain = runner.plan([views], [method], overrides=TEMPERATURES[0])
    for plan in (other, plain):
        assert not set(once.fits) & set(plan.fits)
        assert not set(once.cells) & set(plan.cells)


def test_what_is_fitted_has_seen_nobody_who_is_asked(toy):
    plan = plan_search(toy, METHODS["finetune-head"], [{"finetune_lr": 1e-3}])
    for job in [*plan.fits.values(), *plan.cells.values()]:
        asked = set(job.fold.test.subjects)
        for part in (job.fold.source, job.fold.target_labeled, job.fold.target_unlabeled):
            assert part is None or not asked & set(part.subjects)
    own = {fold.name: set(fold.test.subjects) for fold in toy.folds}
    for cell in plan.cells.values():
        held = set(cell.fold.validation)
        assert set(cell.test.subjects) == own[cell.fold.name] | held
        assert len(held) == 2
        assert not held & own[cell.fold.name]


def test_who_is_held_out_follows_the_data_seed(toy):
    drawn = set()
    for seed in range(6):
        plan = plan_search(toy, METHODS["majority"], [{"constant": None}], data_seed=seed)
        drawn |= {cell.fold.source_validation for cell in plan.cells.values()}
    assert len(drawn) > 1


def test_a_fold_named_twice_is_searched_once(toy):
    method, combinations = METHODS["features-logreg"], [{"C": 0.1}, {"C": 1.0}]
    plan = plan_search(toy, method, combinations, folds=["one", "0"])
    assert len(plan.grid) == len(plan.cells) == 2


@pytest.mark.parametrize(
    ("method", "grid", "options", "reason"),
    [
        ("kd-softmax", {"pretext_epochs": [1, 2]}, {}, "pretext_epochs: it changes nothing of kd"),
        ("kd-softmax", {"lr": [0.1, 0.2], "n_pairs": [8, 9]}, {}, "n_pairs: it changes nothing"),
        ("kd-softmax", {"lr": [0.1]}, {"folds": ["9"]}, "toy-views has no fold '9'"),
        ("sleepkd", {"lr": [0.1]}, {}, "sleepkd cannot run on toy-views: the task's network"),
    ],
)
def test_a_search_of_nothing_is_refused(views, method, grid, options, reason):
    combinations = combine(views.task, METHODS[method], grid)
    with pytest.raises(TaskError, match=reason):
        plan_search(views, METHODS[method], combinations, **options)


def test_a_parameter_that_matters_for_one_network_only_may_be_searched(views):
    grid = {"model": ["chambon2018", "sequence-student"], "sequence_length": [None, 4]}
    combinations = [
        {"model": "chambon2018", "lr": 0.1},
        {"model": "chambon2018", "lr": 0.2},
    ]
    plan = plan_search(views, METHODS["student-only"], combinations, folds=["0"])
    assert len(plan.cells) == 2
    with pytest.raises(TaskError, match="leave out sequence_length"):
        combine(views.task, METHODS["student-only"], grid)


def test_the_record_says_what_the_search_stands_on(views, tmp_path):
    plan = plan_search(views, METHODS["kd-softmax"], TEMPERATURES, seeds=[0, 1])
    folder = record_search(tmp_path, plan, TEMPERATURES, command="sleepshift search ...")
    assert folder == record_search(tmp_path, plan, TEMPERATURES, command="typed otherwise")
    record = json.loads((folder / "record.json").read_text())
    assert [path.name for path in folder.iterdir()] == ["record.json"]
    assert folder.parent == tmp_path / "search"
    assert folder.name.startswith("toy-views-kd-softmax-")
    assert record["combinations"] == TEMPERATURES
    assert record["windows"] == views.windows.name
    assert set(record["artifacts"]) == set(plan.fits)
    assert {cell["key"] for cell in record["cells"]} == set(plan.cells)
    for cell in record["cells"]:
        job = plan.cells[cell["key"]]
        assert job.fold.name == cell["fold"]
        temperature = job.estimator.get_params()["loss__temperature"]
        assert temperature == TEMPERATURES[cell["combination"]]["temperature"]
        assert record["held_out"][cell["fold"]]["source_validation"] == list(
            job.fold.source_validation
        )
    assert record["task"]["definition"] == views.task.definition
    other = plan_search(views, METHODS["kd-softmax"], TEMPERATURES, seeds=[0])
    assert record_search(tmp_path, other, TEMPERATURES) != folder
