"""What is counted of a cell's predictions, person by person."""

from __future__ import annotations

from typing import Any

import numpy as np

from sleepshift.windows import Windows

__all__ = ["N_BINS", "person_counts", "reliability"]

#: Bins of confidence, as many as Guo et al. (2017) take.
N_BINS = 15


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[list[float]]:
    """How often a prediction is right, by how sure it is.

    Parameters
    ----------
    truth : ndarray of int, shape (n_windows,)
    probabilities : ndarray, shape (n_windows, n_stages)

    Returns
    -------
    list of [n, hits, confidence]
        For each of `N_BINS` bins of equal width of the highest probability, open below and
        closed above: windows, right ones among them, and the sum of their highest
        probabilities.

    Examples
    --------
    >>> reliability(np.array([0, 0]), np.array([[1.0, 0.0], [0.0, 1.0]]))[-1]
    [2, 1, 2.0]
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    place = np.ceil(confidence * N_BINS).astype(int).clip(1, N_BINS) - 1
    n = np.bincount(place, minlength=N_BINS)
    hits = np.bincount(place, right, N_BINS).astype(int)
    total = np.bincount(place, confidence, N_BINS).round(4)
    return [list(row) for row in zip(n.tolist(), hits.tolist(), total.tolist(), strict=True)]


def person_counts(
    test: Windows, truth: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    """Counts of each test person; rows of the confusion matrix are the truth.

    Parameters
    ----------
    test : Windows
        Whose `metadata` say who is who.
    truth : ndarray of int, shape (n_windows,)
        -1 where the dataset withholds the label; such windows are not counted.
    probabilities : ndarray, shape (n_windows, n_stages)

    Returns
    -------
    list of dict
        ``subject, age, sex, confusion, nll, reliability``; ``nll`` is the mean surprise in
        nats. The last three are None for a person without any label.
    """
    frame, n = test.metadata, probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    surprise = -np.log(probabilities[np.arange(len(truth)), truth].clip(1e-12))
    people = []
    for subject, rows in frame.groupby("subject", sort=False).indices.items():
        first, rows = frame.iloc[rows[0]], rows[truth[rows] >= 0]
        confusion = np.zeros((n, n), dtype=int)
        np.add.at(confusion, (truth[rows], predicted[rows]), 1)
        people.append(
            {
                "subject": str(subject),
                "age": None if np.isnan(first["age"]) else float(first["age"]),
                "sex": first["sex"],
                "confusion": confusion.tolist() if len(rows) else None,
                "nll": float(surprise[rows].mean()) if len(rows) else None,
                "reliability": reliability(truth[rows], probabilities[rows]) if len(rows) else None,
            }
        )
    return people
