"""Hold people out of a fold, to choose settings on them and never on test people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sleepshift.errors import TaskError
from sleepshift.protocol.fold import Fold
from sleepshift.windows.windows import Windows

__all__ = ["hold_out"]

#: Share of the source people who are held out.
SHARE = 0.2


def hold_out(fold: Fold, *, data_seed: int = 0) -> Fold:
    """Move some people from those who teach to those who are asked.

    A fifth of the source people (at least one; two stay where there are three) and, where
    two or more target people have labels, one of them. Nothing is learned from them: they are
    predicted together with the test people, in the same view, their labels withheld. The same
    people to learn from give the same draw, so that folds which share a source model still do.

    Parameters
    ----------
    fold : Fold
    data_seed : int
        Seed of the draw.

    Returns
    -------
    Fold
        Audited. Its ``test`` and ``privileged`` are the fold's own and the people held out,
        who are named by ``source_validation`` and ``target_validation``.

    Raises
    ------
    TaskError
        If there is one source person only.
    LeakageError
        If someone held out has windows that are copied elsewhere.
    """
    n_source = len(set(_subjects(fold.source)))
    if n_source < 2:
        raise TaskError(
            f"fold {fold.name} has one source person, who cannot teach and be held out too; "
            "a search needs two"
        )
    n_held = min(max(1, round(SHARE * n_source)), max(1, n_source - 2))
    source_people = _draw(fold.source, n_held, data_seed)
    source, asked = _parted(fold.source, source_people)
    held, labeled = [asked], fold.target_labeled
    target_people: tuple[str, ...] = ()
    if labeled is not None and fold.n_labeled > 1:
        target_people = _draw(labeled, 1, data_seed)
        labeled, asked = _parted(labeled, target_people)
        held.append(asked)
    changed = replace(
        fold,
        source=source,
        target_labeled=labeled,
        test=_joined(fold.test, held),
        privileged=None if fold.privileged is None else _joined(fold.privileged, held),
        source_validation=source_people,
        target_validation=target_people,
    )
    changed.audit()
    return changed


def _subjects(windows: Windows) -> np.ndarray:
    assert windows.subjects is not None
    return windows.subjects


def _draw(windows: Windows, n: int, seed: int) -> tuple[str, ...]:
    people = sorted(set(_subjects(windows)))
    drawn = np.random.default_rng(seed).choice(people, n, replace=False)
    return tuple(sorted(drawn.tolist()))


def _parted(windows: Windows, people: tuple[str, ...]) -> tuple[Windows, Windows]:
    """Windows of all others, and of these people."""
    theirs = np.isin(_subjects(windows), people)
    return windows[~theirs], windows[theirs]


def _joined(test: Windows, held: list[Windows]) -> Windows:
    """Test windows and those of the people held out, as the test people are shown."""
    return Windows.concat([test, *(part.without_labels().pick(test.ch_names) for part in held)])
