"""Metrics of one person as functions of the confusion matrix (rows are the truth).

They follow scikit-learn: `accuracy_score`, `balanced_accuracy_score`, `f1_score` with
``average="macro"`` and ``"weighted"`` over the stages that occur in truth or prediction, and
`cohen_kappa_score`. Where scikit-learn divides by zero the value is NaN.
"""

from __future__ import annotations

import numpy as np

from sleepshift.errors import TaskError
from sleepshift.stages import get_scheme, merge_map

__all__ = ["METRICS", "f1_per_stage", "merge_confusion", "metrics"]

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "kappa")


def _ratio(numerator: np.ndarray | float, denominator: np.ndarray | float) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.divide(numerator, denominator)


def merge_confusion(confusion: np.ndarray, source: str, target: str) -> np.ndarray:
    """Counts in a coarser scheme.

    Parameters
    ----------
    confusion : ndarray of int, shape (n_stages of source, n_stages of source)
    source, target : str
        Names of stage schemes.

    Raises
    ------
    TaskError
        If `target` has no place for a stage of `source`.
    """
    codes, n = merge_map(source, target), len(get_scheme(target))
    if (codes < 0).any():
        raise TaskError(f"counts in {source!r} cannot be merged: {target!r} leaves stages out")
    merged = np.zeros((n, n), dtype=confusion.dtype)
    np.add.at(merged, (codes[:, None], codes[None, :]), confusion)
    return merged


def f1_per_stage(confusion: np.ndarray) -> np.ndarray:
    """F1 of each stage, shape (n_stages,); NaN where it occurs in neither."""
    hits = np.diag(confusion)
    return _ratio(2.0 * hits, confusion.sum(axis=0) + confusion.sum(axis=1))


def metrics(confusion: np.ndarray) -> dict[str, float]:
    """All of `METRICS` for one confusion matrix.

    Examples
    --------
    >>> metrics(np.array([[3, 1], [0, 4]]))["accuracy"]
    0.875
    """
    confusion = np.asarray(confusion, dtype=float)
    n, hits = confusion.sum(), np.diag(confusion)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = _ratio(hits, truth)[truth > 0]
    f1 = f1_per_stage(confusion)
    present = truth + predicted > 0
    chance = (truth * predicted).sum() / n**2 if n else np.nan
    return {
        "accuracy": float(_ratio(hits.sum(), n)),
        "balanced_accuracy": float(recall.mean()) if len(recall) else float("nan"),
        "macro_f1": float(f1[present].mean()) if present.any() else float("nan"),
        "weighted_f1": float(_ratio((np.nan_to_num(f1) * truth).sum(), n)),
        "kappa": float(_ratio(_ratio(hits.sum(), n) - chance, 1 - chance)),
    }
