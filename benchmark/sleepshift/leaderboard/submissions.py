"""Submissions: a method's answers to a task, written for others to score, and checked."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sleepshift.errors import AnswerError, TaskError
from sleepshift.leaderboard.answers import COLUMNS, Answers, read_answers
from sleepshift.protocol.fold import Fold
from sleepshift.protocol.submission import SubmissionSection
from sleepshift.stages import convert, get_scheme

__all__ = ["Checked", "answer_bytes", "answer_frame", "check_answer", "expected_windows"]


@dataclass(frozen=True)
class Checked:
    """What a submission holds, and what is wrong with it (nothing, if it is valid)."""

    n_windows: int
    counts: dict[str, int]
    problems: list[str]


def _natural(text: str) -> list[str | int]:
    """Sort "final-2" before "final-10"."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]


def _in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """By subject, then session, then as the rows lie."""
    ranks = []
    for column in ("session", "subject"):
        names = sorted(frame[column].unique(), key=_natural)
        ranks.append(frame[column].map({name: k for k, name in enumerate(names)}).to_numpy())
    return frame.iloc[np.lexsort([np.arange(len(frame)), *ranks])].reset_index(drop=True)


def expected_windows(folds: Sequence[Fold]) -> pd.DataFrame:
    """Windows that a submission answers, in its order.

    Parameters
    ----------
    folds : sequence of Fold
        Whose test people are asked about.

    Returns
    -------
    DataFrame
        Columns subject, session and onset.

    Raises
    ------
    TaskError
        If two folds test the same person.
    """
    tested: dict[str, str] = {}
    for fold in folds:
        for subject in fold.test.metadata["subject"].unique():
            if subject in tested:
                raise TaskError(
                    f"person {subject} is tested in folds {tested[subject]} and {fold.name}; a "
                    "submission has one answer a window: name one fold in [submission]"
                )
            tested[subject] = fold.name
    parts = [fold.test.metadata[["subject", "session", "onset"]] for fold in folds]
    return _in_order(pd.concat(parts, ignore_index=True))


def answer_frame(
    predictions: Sequence[Mapping[str, np.ndarray]], scheme: str, written: str
) -> pd.DataFrame:
    """Answers in the order of a submission.

    Parameters
    ----------
    predictions : sequence of mapping
        Of each fold: ``subject``, ``session``, ``onset`` and ``predicted``, codes of `scheme`.
    scheme, written : str
        Stages that were predicted, and those to write.

    Returns
    -------
    DataFrame
        Columns subject, session, onset and stage (codes of `written`).
    """
    frames = [pd.DataFrame({name: part[name] for name in COLUMNS[:3]}) for part in predictions]
    for frame, part in zip(frames, predictions, strict=True):
        frame["stage"] = convert(part["predicted"], scheme, written)
    return _in_order(pd.concat(frames, ignore_index=True))


def answer_bytes(frame: pd.DataFrame, form: SubmissionSection, scheme: str, suffix: str) -> bytes:
    """A submission file: a zip archive where the suffix is ``.zip``, otherwise the text alone.

    The same answers give the same bytes.

    Parameters
    ----------
    frame : DataFrame
        Of `answer_frame`.
    form : SubmissionSection
    scheme : str
        Of the stages in `frame`.
    suffix : str
        Of the file's name.

    Examples
    --------
    >>> frame = pd.DataFrame({"subject": ["a"], "session": ["1"], "onset": [30.0], "stage": [2]})
    >>> answer_bytes(frame, SubmissionSection(), "aasm5", ".csv")
    b'subject,session,onset,stage\\na,1,30,N2\\n'
    """
    if form.format == "codes":
        text = "".join(f"{code}\n" for code in frame["stage"])
    else:
        stages, lines = get_scheme(scheme).stages, io.StringIO()
        table = csv.writer(lines, lineterminator="\n")
        table.writerow(COLUMNS)
        for subject, session, onset, code in frame[list(COLUMNS)].itertuples(index=False):
            table.writerow([subject, session, _seconds(onset), stages[code]])
        text = lines.getvalue()
    if suffix.lower() != ".zip":
        return text.encode("utf-8")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo(form.file, date_time=(1980, 1, 1, 0, 0, 0))
        member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
        member.external_attr = 0o644 << 16
        archive.writestr(member, text)
    return packed.getvalue()


def _seconds(onset: float) -> str:
    return "" if np.isnan(onset) else f"{onset:.10g}"


def check_answer(
    path: Path, form: SubmissionSection, scheme: str, expected: pd.DataFrame | None = None
) -> Checked:
    """Say exactly what is wrong with a submission.

    Parameters
    ----------
    path : Path
        Text, or a zip archive of it.
    form : SubmissionSection
    scheme : str
        Of the stages that are written.
    expected : DataFrame or None
        Of `expected_windows`; None checks against the form's ``n_lines`` only.

    Returns
    -------
    Checked
    """
    table = form.format == "csv"
    try:
        answers = read_answers(path, scheme, file=form.file, table=table, exact=True)
    except AnswerError as error:
        return Checked(0, {}, [str(error)])
    problems = list(answers.problems)
    n_expected = form.n_lines or (None if expected is None else len(expected))
    n_found = len(answers.codes)
    if n_expected is not None and n_found != n_expected:
        lines = "rows" if table else "lines"
        problems.insert(0, f"it has {n_found} {lines}, {n_expected} expected")
    if expected is not None and table:
        problems += _misplaced(answers, expected)
    stages = get_scheme(scheme).stages
    counts = np.bincount(answers.codes[answers.codes >= 0], minlength=len(stages))
    return Checked(n_found, dict(zip(stages, counts.tolist(), strict=True)), problems)


def _misplaced(answers: Answers, expected: pd.DataFrame) -> list[str]:
    """Nights that are missing, unknown or of another length; else the first row out of place."""
    assert answers.windows is not None
    nights = expected.groupby(["subject", "session"], sort=False).size().to_dict()
    found: dict[tuple[str, str], int] = {}
    problems = []
    for line, subject, session, _ in answers.windows:
        if (subject, session) not in nights and (subject, session) not in found:
            shown = f"subject {ascii(subject)[1:-1]} session {ascii(session)[1:-1]}"
            problems.append(f"line {line}: {shown} is not asked about")
        found[subject, session] = found.get((subject, session), 0) + 1
    for (subject, session), n in nights.items():
        n_there = found.get((subject, session), 0)
        if not n_there:
            problems.append(f"subject {subject} session {session} is missing ({n} windows)")
        elif n_there != n:
            problems.append(f"subject {subject} session {session} has {n_there} windows, not {n}")
    if problems:
        return problems
    for (line, *place), row in zip(answers.windows, expected.itertuples(index=False), strict=True):
        right = [str(row.subject), str(row.session), _seconds(float(str(row.onset)))]
        if place != right:
            there, wanted = (ascii(" ".join(where))[1:-1] for where in (place, right))
            return [f"line {line} is about {there}; by order it must be about {wanted}"]
    return []
