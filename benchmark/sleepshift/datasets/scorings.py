"""Scorings: from one stage an epoch, or an EDF+ file, to annotations of a raw."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sleepshift.datasets.edf import UNREADABLE
from sleepshift.datasets.edf_header import ADVICE, check_annotations
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne

__all__ = ["attach", "check_contiguous", "epoch_annotations", "read_edf_scoring"]


def epoch_annotations(
    texts: Sequence[str], *, seconds: float = WINDOW_SECONDS, onset: float = 0.0
) -> mne.Annotations:
    """One annotation an epoch, one epoch after the other.

    Parameters
    ----------
    texts : sequence of str
        Stage of every epoch, as in the dataset's `stage_codes`.
    seconds : float
        Length of an epoch.
    onset : float
        Second of the recording at which the first begins.

    Examples
    --------
    >>> epoch_annotations(["W", "N1"], onset=5.0).onset
    array([ 5., 35.])
    """
    import mne

    starts = onset + seconds * np.arange(len(texts))
    return mne.Annotations(starts, np.full(len(texts), float(seconds)), list(texts))


def read_edf_scoring(
    path: Path,
    stage_codes: Mapping[str, str | None],
    *,
    aside: re.Pattern[str] | None = None,
    overlap: float = 1e-6,
) -> mne.Annotations:
    """Read an EDF+ hypnogram, and refuse one from which a stage would vanish or be doubled.

    Parameters
    ----------
    path : Path
    stage_codes : mapping
        The dataset's; any other text is an error.
    aside : pattern, optional
        Texts that are no stages and are left out, whatever their length.
    overlap : float
        Seconds by which a stage may begin before the end of the one before it.

    Raises
    ------
    DataError
        If the file is damaged, has a text that is not known, or stages that overlap, have no
        length or begin before the recording.
    """
    check_annotations(path)

    import mne

    try:
        annotations = mne.read_annotations(path)
    except UNREADABLE as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error, 200)}); {ADVICE}") from error
    if aside is not None:
        annotations.delete([k for k, t in enumerate(annotations.description) if aside.fullmatch(t)])
    check_stages(annotations, stage_codes, path.name, overlap=overlap)
    return annotations


def check_stages(
    annotations: mne.Annotations,
    stage_codes: Mapping[str, str | None],
    name: str,
    *,
    overlap: float = 1e-6,
) -> None:
    """Refuse unknown texts, and stages that overlap or have no length.

    Raises
    ------
    DataError
    """
    for text in annotations.description:
        if text not in stage_codes:
            raise DataError(
                f"{name} has the unknown annotation {str(text)!r}; known are "
                f"{', '.join(stage_codes)}; correct the file or use --skip-bad"
            )
    ends = annotations.onset + annotations.duration
    if (annotations.onset < 0).any() or (annotations.duration <= 0).any():
        raise DataError(f"{name} has a stage before the start or without length; {ADVICE}")
    if (annotations.onset[1:] < ends[:-1] - overlap).any():
        raise DataError(f"{name} scores the same time twice; {ADVICE}")


def check_contiguous(
    annotations: mne.Annotations,
    name: str,
    *,
    seconds: float | None = None,
    end: float | None = None,
    tolerance: float = 1e-3,
) -> None:
    """Refuse stages that do not follow each other: a damaged time would lose a window silently.

    Parameters
    ----------
    annotations : mne.Annotations
        Stages by onset, unknown ones among them.
    name : str
        File of the scoring, for the error.
    seconds : float, optional
        Length that every stage must have.
    end : float, optional
        Where the signals end: a last stage that is shorter than `seconds` must end there.
    tolerance : float
        Seconds by which a time may be off.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_contiguous(epoch_annotations(["W", "N1"], onset=5.0), "a.edf", seconds=30)
    """
    onset, duration = annotations.onset, annotations.duration
    gaps = onset[1:] - onset[:-1] - duration[:-1]
    if (apart := np.abs(gaps) > tolerance).any():
        k = int(apart.argmax())
        raise DataError(
            f"{name} scores one stage after the other, but the one at {onset[k + 1]:.6g} s begins "
            f"{abs(gaps[k]):.3g} s too {'late' if gaps[k] > 0 else 'early'}; {ADVICE}"
        )
    if seconds is None or not len(annotations):
        return
    wrong = np.abs(duration - seconds) > tolerance
    if end is not None and duration[-1] < seconds - tolerance:
        wrong[-1] = abs(onset[-1] + duration[-1] - end) > tolerance
    if wrong.any():
        k = int(wrong.argmax())
        raise DataError(
            f"{name} has a stage of {duration[k]:.6g} s at {onset[k]:.6g} s, where all have "
            f"{seconds:g} s; {ADVICE}"
        )


def attach(
    raw: mne.io.BaseRaw,
    annotations: mne.Annotations,
    stage_codes: Mapping[str, str | None],
    name: str,
) -> mne.io.BaseRaw:
    """Give a raw its stages; what reaches past the last sample is cut there.

    Parameters
    ----------
    raw : mne.io.BaseRaw
    annotations : mne.Annotations
    stage_codes : mapping
    name : str
        File of the scoring, for the error.

    Raises
    ------
    DataError
        If nothing is scored within the raw.
    """
    # A hypnogram may end with hours of "?" past the last sample: MNE would warn each time.
    raw.set_annotations(annotations, emit_warning=False, verbose="ERROR")
    # MNE keeps, with no length, what begins just after the last sample.
    raw.annotations.delete(raw.annotations.duration <= 0)
    if not any(stage_codes[text] for text in raw.annotations.description):
        raise DataError(
            f"{name} scores nothing within the {raw.duration:.0f} s of the recording; "
            "check that the two belong together"
        )
    return raw
