"""Metrics of one person as functions of the confusion matrix (rows are the truth).

They follow scikit-learn: `accuracy_score`, `balanced_accuracy_score`, `f1_score` with
``average="macro"`` and ``"weighted"`` over the stages that occur in truth or prediction, and
`cohen_kappa_score`. ``g_mean`` is the geometric mean of a stage's sensitivity and specificity,
averaged over the stages of the truth (MGm in the sleep-staging literature). Where there is
nothing to divide by, the value is NaN.
"""

from __future__ import annotations

import numpy as np

from sleepshift.errors import TaskError
from sleepshift.stages import get_scheme, merge_map

__all__ = [
    "METRICS",
    "calibration_error",
    "f1_per_stage",
    "merge_confusion",
    "metrics",
    "recall_per_stage",
]

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "kappa", "g_mean")


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
    """F1 of each stage, shape (n_stages,); NaN where it occurs in neither.

    Parameters
    ----------
    confusion : ndarray, shape (n_stages, n_stages)
        Rows are the truth.
    """
    hits = np.diag(confusion)
    return _ratio(2.0 * hits, confusion.sum(axis=0) + confusion.sum(axis=1))


def recall_per_stage(confusion: np.ndarray) -> np.ndarray:
    """Recall (sensitivity) of each stage, shape (n_stages,); NaN where the truth lacks it.

    Parameters
    ----------
    confusion : ndarray, shape (n_stages, n_stages)
        Rows are the truth.
    """
    return _ratio(np.diag(confusion).astype(float), confusion.sum(axis=1))


def calibration_error(bins: np.ndarray) -> float:
    """Expected calibration error: how far confidence is from accuracy, on average.

    ``sum_b n_b / n |hits_b / n_b - confidence_b / n_b|`` over bins of the highest probability
    (Naeini et al. 2015; Guo et al. 2017).

    Parameters
    ----------
    bins : ndarray, shape (n_bins, 3)
        Windows, right ones among them, and the sum of their highest probabilities.

    Examples
    --------
    >>> calibration_error(np.array([[10, 5, 9.0], [10, 10, 10.0]]))
    0.2
    """
    n = bins[:, 0].sum()
    return float(_ratio(np.abs(bins[:, 1] - bins[:, 2]).sum(), n))


def metrics(confusion: np.ndarray) -> dict[str, float]:
    """All of `METRICS` for one confusion matrix.

    Parameters
    ----------
    confusion : ndarray, shape (n_stages, n_stages)
        Rows are the truth.

    Examples
    --------
    >>> metrics(np.array([[3, 1], [0, 4]]))["accuracy"]
    0.875
    """
    confusion = np.asarray(confusion, dtype=float)
    n, hits = confusion.sum(), np.diag(confusion)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    recall = recall_per_stage(confusion)[truth > 0]
    specificity = _ratio(n - truth - predicted + hits, n - truth)[truth > 0]
    f1 = f1_per_stage(confusion)
    present = truth + predicted > 0
    chance = (truth * predicted).sum() / n**2 if n else np.nan
    return {
        "accuracy": float(_ratio(hits.sum(), n)),
        "balanced_accuracy": float(recall.mean()) if len(recall) else float("nan"),
        "macro_f1": float(f1[present].mean()) if present.any() else float("nan"),
        "weighted_f1": float(_ratio((np.nan_to_num(f1) * truth).sum(), n)),
        "kappa": float(_ratio(_ratio(hits.sum(), n) - chance, 1 - chance)),
        "g_mean": float(np.sqrt(recall * specificity).mean()) if len(recall) else float("nan"),
    }
