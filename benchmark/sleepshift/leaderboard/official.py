"""The score of a submission as the BEETL competition gave it, and fairer figures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sleepshift.codes import few
from sleepshift.errors import AnswerError
from sleepshift.leaderboard.answers import Answers, read_answers
from sleepshift.leaderboard.metrics import merge_confusion, metrics
from sleepshift.stages import get_scheme

__all__ = ["Score", "score_answer", "score_codes"]


@dataclass(frozen=True)
class Score:
    """Figures of pooled windows.

    Parameters
    ----------
    official : float
        100 times the mean recall over the stages that occur in the truth, to two decimals.
    recalls : dict of str to (float, int)
        Recall of each stage (NaN where it does not occur), and its windows in the truth.
    scheme : str
        Stages of `merged`.
    merged : dict of str to float
        All metrics in that scheme.
    n_windows, n_withheld : int
        Windows scored, and those left out because the truth has no label for them.
    """

    official: float
    recalls: dict[str, tuple[float, int]]
    scheme: str
    merged: dict[str, float]
    n_windows: int
    n_withheld: int


def score_codes(truth: np.ndarray, predicted: np.ndarray, scheme: str = "rk6") -> Score:
    """Score answers against the truth.

    The competition weighted a window of stage k by 100 / (K n_k), with K stages and n_k windows
    of that stage in the truth, and summed the weights of those that were right. Each stage
    counts the same, however rare: S4 with 41 windows as much as wake with 10,268. S3 and S4
    are therefore merged for the other figures.

    Parameters
    ----------
    truth, predicted : ndarray of int, shape (n_windows,)
        Codes of `scheme`; -1 in the truth where there is no label.
    scheme : str

    Returns
    -------
    Score

    Raises
    ------
    AnswerError
        If there is nothing to score.

    Examples
    --------
    >>> score_codes(np.array([0, 0, 5, 5]), np.array([0, 0, 5, 0])).official
    75.0
    """
    known = truth >= 0
    if not known.any():
        raise AnswerError("the truth has no label at all")
    stages = get_scheme(scheme).stages
    confusion = np.zeros((len(stages), len(stages)), dtype=int)
    np.add.at(confusion, (truth[known], predicted[known]), 1)
    n_truth = confusion.sum(axis=1)
    recalls = {
        stage: (float(hits / n) if n else float("nan"), int(n))
        for stage, hits, n in zip(stages, np.diag(confusion), n_truth, strict=True)
    }
    coarse = "aasm5" if scheme == "rk6" else scheme
    return Score(
        official=round(100 * metrics(confusion)["balanced_accuracy"], 2),
        recalls=recalls,
        scheme=coarse,
        merged=metrics(merge_confusion(confusion, scheme, coarse)),
        n_windows=int(known.sum()),
        n_withheld=int((~known).sum()),
    )


def score_answer(path: Path, truth: Path, scheme: str = "rk6") -> Score:
    """Score a submission against a file with the truth, each plain or zipped.

    Any line ends are understood, empty lines at the end, a byte-order mark, ``3.0`` for 3, and
    -1 in the truth for a window without a label.

    Parameters
    ----------
    path, truth : Path
        A submission, and what is true.
    scheme : str
        Stages of both.

    Raises
    ------
    AnswerError
        If a file cannot be read, a line holds no stage, or they do not answer the same
        windows.
    """
    answers, labels = (
        _clean(file, read_answers(file, scheme, withheld=withheld))
        for file, withheld in ((path, False), (truth, True))
    )
    if len(answers.codes) != len(labels.codes):
        raise AnswerError(
            f"{path} answers {len(answers.codes)} windows, {truth} has {len(labels.codes)}; "
            "they must be the same"
        )
    if answers.windows is not None and labels.windows is not None:
        for (line, *ours), (_, *theirs) in zip(answers.windows, labels.windows, strict=True):
            if ours != theirs:
                raise AnswerError(
                    f"{path}, line {line} is about {' '.join(ours)!a}, {truth} about "
                    f"{' '.join(theirs)!a}; they must be in the same order"
                )
    return score_codes(labels.codes, answers.codes, scheme)


def _clean(path: Path, answers: Answers) -> Answers:
    if answers.problems:
        raise AnswerError(f"{path}: {'; '.join(few(answers.problems))}")
    return answers
