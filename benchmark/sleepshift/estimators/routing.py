"""Hand target windows to the estimators whose ``fit`` names them."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["route"]


def route(estimator: Any, **roles: Any) -> dict[str, Any]:
    """Of the roles that are there, those that an estimator's ``fit`` asks for by name.

    Parameters
    ----------
    estimator : estimator
    **roles
        ``X_target_labeled``, ``y_target_labeled``, ``X_target_unlabeled``: MOABB's names;
        None stands for a role that is not there.

    Examples
    --------
    >>> from sleepshift.estimators import RelativePositioning
    >>> route(RelativePositioning(), X_target_labeled=1, X_target_unlabeled=2)
    {'X_target_unlabeled': 2}
    """
    asked = inspect.signature(estimator.fit).parameters
    return {name: value for name, value in roles.items() if value is not None and name in asked}
