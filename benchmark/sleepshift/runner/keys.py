"""Keys: what a fitted thing depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sleepshift import __version__
from sleepshift.digest import digest
from sleepshift.estimators.routing import route
from sleepshift.protocol.fold import Fold
from sleepshift.windows.windows import Windows

__all__ = ["describe", "fit_key", "target_roles"]

#: Parameters that change how fast or how loudly something is fitted, not what comes out.
NOT_IN_KEYS = frozenset({"device", "verbose", "n_jobs", "memory", "cache", "copy", "copy_X"})


def describe(value: Any) -> Any:
    """Reduce an estimator or a parameter to plain values.

    Raises
    ------
    TypeError
        If a parameter has no stable form (a function, an open file).

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> describe(StandardScaler(with_std=False))["params"]["with_std"]
    False
    """
    if hasattr(value, "get_params") and not isinstance(value, type):
        params = value.get_params(deep=False)
        kept = {k: describe(v) for k, v in sorted(params.items()) if k not in NOT_IN_KEYS}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "params": kept}
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float, np.generic, np.ndarray)):
        return value
    raise TypeError(f"parameter {value!r} has no stable form; use plain values and estimators")


def target_roles(fold: Fold) -> dict[str, Any]:
    """What a fold has of its target, by MOABB's routing names."""
    labeled = fold.target_labeled
    return {
        "X_target_labeled": labeled,
        "y_target_labeled": None if labeled is None else labeled.y,
        "X_target_unlabeled": fold.target_unlabeled,
    }


def fit_key(estimator: Any, fold: Fold, needs: Mapping[str, str] | None = None) -> str:
    """Key of an estimator fitted on a fold.

    It does not depend on roles that the estimator does not ask for: a source model is one
    artifact however many target groups there are.

    Parameters
    ----------
    estimator : estimator
        Its parameters, nested ones included.
    fold : Fold
        The windows that its `fit` asks for.
    needs : mapping or None
        Keys of its prerequisites, which may have seen more of the fold than it asks for.
    """
    data = {"source": fold.source.fingerprint}
    for name, value in route(estimator, **target_roles(fold)).items():
        if isinstance(value, Windows):
            data[name] = value.fingerprint
    return digest([__version__, describe(estimator), data, dict(needs or {})])
