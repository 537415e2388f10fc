"""The combinations of a grid, each one that the method takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sklearn.model_selection import ParameterGrid

from sleepshift.errors import TaskError
from sleepshift.methods import Method
from sleepshift.protocol.task import Task
from sleepshift.runner import check_overrides

__all__ = ["check_searchable", "combine"]


def check_searchable(method: Method) -> None:
    """Refuse a method that keeps the pass that is best on whoever it is scored on.

    Parameters
    ----------
    method : Method

    Raises
    ------
    TaskError
        Since people held out could then not tell settings apart fairly.
    """
    if method.selected_on_test:
        raise TaskError(
            f"{method.name} keeps the training pass that is best on the people it is scored on; "
            "search the settings of another method"
        )


def combine(
    task: Task,
    method: Method,
    grid: Mapping[str, Sequence[Any]],
    overrides: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """All combinations of a grid, in the order of scikit-learn's `ParameterGrid`.

    Parameters
    ----------
    task : Task
    method : Method
    grid : mapping of str to sequence
        Values to try by parameter: a training setting of the task, or a parameter of the
        method's estimators.
    overrides : mapping or None
        What holds for all combinations.

    Raises
    ------
    TaskError
        If a parameter or a value is not one that a search may try, before anything is
        computed.

    Examples
    --------
    >>> from sleepshift.methods import METHODS
    >>> from sleepshift.protocol import load_task
    >>> task = load_task("cross-age-simulated")
    >>> combine(task, METHODS["features-logreg"], {"C": [0.1, 1.0]})
    [{'C': 0.1}, {'C': 1.0}]
    """
    check_searchable(method)
    overrides = dict(overrides or {})
    if not grid:
        raise TaskError("there is nothing to search; say --grid param=value,value")
    names = [*grid, *overrides]
    for name in names:
        last = name.rpartition("__")[2]
        if last != name and last in names:
            raise TaskError(f"{last} and {name} set the same parameter; leave one of them out")
    for name, values in grid.items():
        if not len(values):
            raise TaskError(f"--grid {name}: it has no values")
        if name in overrides:
            raise TaskError(f"{name} is in --grid and in --set; leave one of them out")
    combinations = list(ParameterGrid(dict(grid)))
    for combination in combinations:
        try:
            check_overrides([task], [method], {**combination, **overrides})
        except TaskError as error:
            said = str(error)
            if any(said.startswith(f"--set {name}") for name in grid):
                said = said.replace("--set", "--grid", 1)
            raise TaskError(said) from None
    return combinations
