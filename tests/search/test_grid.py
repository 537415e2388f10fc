"""The combinations of a grid, and what a search may not try."""

from __future__ import annotations

import pytest

from sleepshift.errors import TaskError
from sleepshift.methods import METHODS
from sleepshift.protocol import load_task
from sleepshift.search import combine


def test_combinations_are_the_product_of_the_values(toy_views_task):
    grid = {"temperature": [1, 2, 4], "alpha": [0.3, 0.7]}
    combinations = combine(load_task(toy_views_task), METHODS["kd-softmax"], grid)
    assert combinations == [
        {"alpha": alpha, "temperature": t} for alpha in (0.3, 0.7) for t in (1, 2, 4)
    ]


@pytest.mark.parametrize(
    ("grid", "overrides", "reason"),
    [
        ({}, {}, "nothing to search"),
        ({"lr": []}, {}, "--grid lr: it has no values"),
        ({"warmth": [1]}, {}, "--grid warmth: no chosen method has it"),
        ({"temperature": [1, 0]}, {}, "temperature is above 0, not 0"),
        ({"alpha": [0.5, 1.5]}, {"lr": 0.1}, "--grid alpha, lr: alpha is the teacher's share"),
        ({"max_epochs": [2, 0]}, {}, "--grid max_epochs: Input should be greater than"),
        ({"loss": ["x"]}, {}, "--grid loss: it says what a method is or is given; it stays"),
        ({"channels": [("ECG",)]}, {}, "--grid channels: .* it stays"),
        ({"random_state": [0, 1]}, {}, "--grid random_state: .* it stays"),
        ({"student__max_epochs": [1]}, {}, "one budget holds for all; set max_epochs"),
        ({"model": ["chambon2018", "nonsense"]}, {}, "unknown model 'nonsense'"),
        ({"lr": [0.1, 0.2]}, {"lr": 0.3}, "lr is in --grid and in --set"),
        ({"lr": [0.1]}, {"warmth": 3}, "--set warmth: no chosen method has it"),
        (
            {"temperature": [1], "loss__temperature": [2]},
            {},
            "temperature and loss__temperature set the same parameter",
        ),
        ({"temperature": [1]}, {"loss__temperature": 2}, "set the same parameter"),
    ],
)
def test_what_cannot_be_tried_is_one_line(toy_views_task, grid, overrides, reason):
    with pytest.raises(TaskError, match=reason) as error:
        combine(load_task(toy_views_task), METHODS["kd-softmax"], grid, overrides)
    assert "\n" not in str(error.value)


def test_values_may_depend_on_each_other(toy_views_task):
    grid = {"model": ["sequence-student"], "sequence_length": [2, 4]}
    task, method = load_task(toy_views_task), METHODS["student-only"]
    assert len(combine(task, method, grid)) == 2
    assert len(combine(task, method, {"sequence_length": [2]}, {"model": "sequence-student"})) == 1


def test_a_method_chosen_on_the_test_people_is_not_searched(toy_task) -> None:
    with pytest.raises(TaskError, match="attnsleep@published keeps the training pass that is best"):
        combine(load_task(toy_task), METHODS["attnsleep@published"], {"lr": [0.1, 0.2]})
