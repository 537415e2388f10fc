"""Named recipes by family: (settings of a task) -> estimator."""

from __future__ import annotations

from sleepshift.errors import TaskError
from sleepshift.methods import (
    adaptation,
    distillation,
    floors,
    mixup,
    published,
    selfsupervised,
    transfer,
)
from sleepshift.methods.base import Method, Settings

__all__ = ["METHODS", "Method", "Settings", "get_methods"]

#: All methods by name, in the order of tables.
METHODS: dict[str, Method] = {
    method.name: method
    for family in (floors, transfer, adaptation, selfsupervised, published, mixup, distillation)
    for method in family.METHODS
}


def get_methods(names: list[str] | None = None) -> list[Method]:
    """Methods by name, in the order of tables; None is all.

    Raises
    ------
    TaskError
        If a name is unknown.
    """
    if names is None:
        return list(METHODS.values())
    if unknown := [name for name in names if name not in METHODS]:
        raise TaskError(f"unknown method {unknown[0]!r}; use some of {', '.join(METHODS)}")
    return [method for method in METHODS.values() if method.name in names]
