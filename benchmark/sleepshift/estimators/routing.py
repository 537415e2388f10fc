"""Hand target windows to the estimators that ask for them, through scikit-learn's routing."""

from __future__ import annotations

import inspect
from typing import Any

from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import get_routing_for_object

__all__ = ["fit_routed", "fitted_base", "route", "unfitted"]


def route(estimator: Any, **roles: Any) -> dict[str, Any]:
    """Of the roles that are there, those that an estimator asks for.

    It asks by naming them in its own ``fit``, or by scikit-learn's metadata requests, so a
    `Pipeline` asks for what its steps ask for.

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
    there = {name: value for name, value in roles.items() if value is not None}
    asked = set(inspect.signature(estimator.fit).parameters)
    with config_context(enable_metadata_routing=True):
        asked |= set(get_routing_for_object(estimator).consumes("fit", set(there)))
    return {name: value for name, value in there.items() if name in asked}


def fit_routed(estimator: Any, X: Any, y: Any, **roles: Any) -> Any:
    """Fit an estimator on (X, y) and the roles it asks for."""
    with config_context(enable_metadata_routing=True):
        return estimator.fit(X, y, **route(estimator, **roles))


def unfitted(**bases: Any) -> dict[str, Any]:
    """Those of an estimator's bases that do not come fitted: its prerequisites."""
    return {name: base for name, base in bases.items() if not isinstance(base, FrozenEstimator)}


def fitted_base(base: Any, X: Any, y: Any, **roles: Any) -> Any:
    """A base that comes fitted in a `FrozenEstimator` as it is; any other cloned and fitted."""
    if isinstance(base, FrozenEstimator):
        return base
    return fit_routed(clone(base), X, y, **roles)
