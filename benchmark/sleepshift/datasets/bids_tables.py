"""BIDS folders: which recordings they hold, of whom, and how they were scored."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.datasets.scorings import check_contiguous, check_stages
from sleepshift.datasets.tables import UNKNOWN, age_of, one_line_of, read_table, sex_of
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS

if TYPE_CHECKING:
    import mne
    import pandas as pd

__all__ = [
    "BidsFile",
    "Participant",
    "check_length",
    "find_files",
    "read_bids_people",
    "read_events",
]


@dataclass(frozen=True, kw_only=True)
class BidsFile:
    """A file and what its name says.

    Parameters
    ----------
    path : Path
    subject, session, acquisition : str
        Labels, without ``sub-``, ``ses-`` and ``acq-``; "" where the name has none.
    """

    path: Path
    subject: str
    session: str
    acquisition: str

    def beside(self, ending: str, acquisition: str | None = None) -> Path:
        """Where a file of the same session and task would be.

        Parameters
        ----------
        ending : str
            What follows the last underscore, such as ``events.tsv``.
        acquisition : str, optional
            Label in place of this file's; "" for none.
        """
        stem = self.path.name.rpartition("_")[0]
        if acquisition is not None:
            stem = re.sub(r"_acq-[^_]*", "", stem)
            # Entities come in a fixed order: after the acquisition only these may be there.
            head, tail = re.fullmatch(r"(.*?)((?:_(?:run|rec)-[^_]*)*)", stem).groups()  # type: ignore[union-attr]
            stem = f"{head}_acq-{acquisition}{tail}" if acquisition else stem
        return self.path.with_name(f"{stem}_{ending}")


@dataclass(frozen=True)
class Participant:
    """A row of ``participants.tsv``."""

    name: str
    age: float | None = None
    sex: str | None = None


def find_files(
    folder: Path,
    endings: Collection[str],
    *,
    task: str | None = None,
    acquisition: str | None = None,
    datatype: str = "eeg",
) -> list[BidsFile]:
    """List files of the raw data of a BIDS folder, by name; derivatives are not looked at.

    Parameters
    ----------
    folder : Path
        Its folders are ``sub-<label>/[ses-<label>/]<datatype>``.
    endings : collection of str
        What may follow the last underscore, such as ``eeg.edf``.
    task, acquisition : str, optional
        Labels the names must have; any, for None, and "" for none.
    datatype : str

    Raises
    ------
    DataError
        If a name is not one of BIDS, or of another person than its folder.
    """
    patterns = (f"sub-*/{datatype}/*", f"sub-*/ses-*/{datatype}/*")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    paths = [path for path in paths if path.name.rpartition("_")[2] in endings]
    if not paths:
        return []

    from mne_bids import get_entities_from_fname  # imports MNE, which takes a while

    found = []
    for path in paths:
        try:
            entities = get_entities_from_fname(path.name)
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{path} is no name of BIDS ({one_line(error, 200)}); rename or remove it"
            ) from None
        file = BidsFile(
            path=path,
            subject=entities["subject"] or "",
            session=entities["session"] or "",
            acquisition=entities["acquisition"] or "",
        )
        if f"sub-{file.subject}" != path.relative_to(folder).parts[0]:
            raise DataError(f"{path} lies in the folder of another person; move or remove it")
        if (
            task in (None, entities["task"] or "")
            and acquisition in (None, file.acquisition)
            and entities["description"] is None
        ):
            found.append(file)
    return found


def read_bids_people(folder: Path, column: str | None = None) -> dict[str, Participant]:
    """Read ``participants.tsv``: label of ``sub-<label>`` -> who that is.

    Parameters
    ----------
    folder : Path
    column : str, optional
        Column that says which person a row is of, where several rows may be of one. By
        default each row is a person, and the table may be missing.

    Raises
    ------
    DataError
        Naming the row, if the table makes no sense.
    """
    path = folder / "participants.tsv"
    if column is None and not path.exists():
        return {}
    table = read_table(path, ["participant_id", *([] if column is None else [column])])
    people: dict[str, Participant] = {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        where = f"{path.name}, row {number}"
        label = row["participant_id"].removeprefix("sub-")
        if not re.fullmatch(r"[A-Za-z0-9+]+", label):
            raise DataError(
                f"{where}: {one_line_of(label, 40)!r} is no participant_id; correct the table"
            )
        if label in people:
            raise DataError(f"{where}: sub-{label} has a row already; keep one")
        name = label if column is None else row[column]
        if name.lower() in UNKNOWN or not name.isprintable():
            raise DataError(f"{where}: {column} does not say who sub-{label} is; fill it in")
        sex = sex_of(row.get("sex", row.get("gender", "")), where)
        people[label] = Participant(name, age_of(row.get("age", ""), where), sex)
    return people


def read_events(
    path: Path,
    column: str,
    stage_codes: Mapping[str, str | None],
    *,
    contiguous: bool = True,
) -> mne.Annotations:
    """Read the stages of an events table.

    Parameters
    ----------
    path : Path
    column : str
        Column of the stage. Rows that have "n/a" there are of something else and left out.
    stage_codes : mapping
        The dataset's; any other text is an error. "2.0" is taken as "2".
    contiguous : bool
        Whether each stage must begin where the one before it ends, so that a damaged onset
        or a lost row cannot lose a window.

    Returns
    -------
    annotations : mne.Annotations
        In the order of the table. A duration of 0 or "n/a" is one epoch of 30 s.

    Raises
    ------
    DataError
        If a stage is unknown, an onset or duration is no number of seconds, or stages overlap.
    """
    import mne

    table = read_table(path, ["onset", "duration", column])
    table = table[table[column] != "n/a"]
    if table.empty:
        raise DataError(f"{path.name} has no stage in column {column}; {ADVICE}")
    durations = table["duration"].replace("n/a", "0")
    onset, duration = (_seconds(cells, path.name) for cells in (table["onset"], durations))
    duration = np.where(duration == 0, WINDOW_SECONDS, duration)
    texts = [_plain(text, stage_codes) for text in table[column]]
    if unknown := [text for text in texts if text not in stage_codes]:
        raise DataError(
            f"{path.name} has the unknown stage {one_line_of(unknown[0], 40)!r} in column "
            f"{column}; known are {', '.join(stage_codes)}; correct the file or use --skip-bad"
        )
    if (np.diff(onset) <= 0).any():
        raise DataError(f"{path.name} does not list stages by onset, each once; {ADVICE}")
    annotations = mne.Annotations(onset, duration, texts)
    check_stages(annotations, stage_codes, path.name)
    if contiguous:
        check_contiguous(annotations, path.name)
    return annotations


def _seconds(cells: pd.Series, name: str) -> np.ndarray:
    import pandas as pd

    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float)
    wrong = ~((values >= 0) & (values < 1e6))  # a million seconds are eleven days
    if wrong.any():
        cell = one_line_of(str(cells.iloc[int(wrong.argmax())]), 40)
        raise DataError(f"{name} has {cell!r} where seconds must be; {ADVICE}")
    return values


def _plain(text: str, stage_codes: Mapping[str, str | None]) -> str:
    """A code that a program wrote as a decimal number, as the whole number it is."""
    whole = re.fullmatch(r"(-?\d+)\.0+", text)
    return whole[1] if whole and text not in stage_codes else text


def check_length(n_epochs: int, seconds: float, name: str, what: str) -> None:
    """Refuse a scoring that is a whole epoch longer or shorter than what was scored.

    Parameters
    ----------
    n_epochs : int
    seconds : float
        How long that was; a rest shorter than an epoch may be scored or not.
    name, what : str
        File of the scoring, and what it should cover, for the error.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_length(3, 95.0, "a.tsv", "the night")
    >>> check_length(2, 95.0, "a.tsv", "the night")
    Traceback (most recent call last):
    sleepshift.errors.DataError: a.tsv scores 2 epochs where the night has 3.16667; download it \
again, or leave it out with --skip-bad
    """
    epochs = seconds / WINDOW_SECONDS
    if not np.floor(epochs + 1e-3) <= n_epochs <= np.ceil(epochs - 1e-3):
        raise DataError(f"{name} scores {n_epochs} epochs where {what} has {epochs:.6g}; {ADVICE}")
