"""Keys: what a fitted thing depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from sleepshift import __version__
from sleepshift.digest import digest
from sleepshift.estimators.routing import route
from sleepshift.estimators.stored import StoredNetwork
from sleepshift.models.pretrained import weights_hash
from sleepshift.protocol.fold import Fold
from sleepshift.windows.windows import Windows

__all__ = ["Keyed", "describe", "target_roles"]

#: Parameters that change how fast or how loudly something is fitted, not what comes out.
NOT_IN_KEYS = frozenset({"device", "verbose", "n_jobs", "memory", "cache", "copy", "copy_X"})

#: Target windows and labels, by MOABB's routing names.
ROLES = ("X_target_labeled", "y_target_labeled", "X_target_unlabeled")


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
        if isinstance(value, StoredNetwork) and params.get("weights") is not None:
            params["weights"] = weights_hash(params["weights"])  # wherever the file lies
        kept = {k: describe(v) for k, v in sorted(params.items()) if k not in NOT_IN_KEYS}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", "params": kept}
    if isinstance(value, dict):
        return {k if isinstance(k, str) else repr(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if value is None or isinstance(value, (str, bool, int, float, np.generic, np.ndarray)):
        return value
    raise TypeError(f"parameter {value!r} has no stable form; use plain values and estimators")


def target_roles(fold: Fold) -> dict[str, Any]:
    """What a fold has of its target, by `ROLES`."""
    labeled = fold.target_labeled
    there = (labeled, None if labeled is None else labeled.y, fold.target_unlabeled)
    return dict(zip(ROLES, there, strict=True))


class Keyed:
    """An estimator whose keys are asked for again and again.

    Parameters
    ----------
    estimator : estimator
        Its parameters, nested ones included, are in its keys.

    Examples
    --------
    >>> from sleepshift.estimators import FineTuner, SleepStager
    >>> list(Keyed(FineTuner(SleepStager())).prerequisites)
    ['base']
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    @cached_property
    def description(self) -> str:
        """Hash of what it is."""
        return digest([__version__, describe(self.estimator)])

    @cached_property
    def prerequisites(self) -> dict[str, Keyed]:
        """What it builds on, by parameter."""
        bases: dict[str, Any] = getattr(self.estimator, "prerequisites", dict)()
        return {parameter: Keyed(base) for parameter, base in bases.items()}

    @cached_property
    def _asks_for(self) -> set[str]:
        return set(route(self.estimator, **dict.fromkeys(ROLES, True)))

    def key(self, fold: Fold, needs: Mapping[str, str] | None = None) -> str:
        """Key of the estimator fitted on a fold.

        It does not depend on roles that the estimator does not ask for: a source model is
        one artifact however many target groups there are.

        Parameters
        ----------
        fold : Fold
            The windows that its `fit` asks for.
        needs : mapping or None
            Keys of its prerequisites, which may have seen more of the fold than it asks for.
        """
        data = {"source": fold.source.fingerprint}
        for name, value in target_roles(fold).items():
            if isinstance(value, Windows) and name in self._asks_for:
                data[name] = value.fingerprint
        return digest([self.description, data, dict(needs or {})])
