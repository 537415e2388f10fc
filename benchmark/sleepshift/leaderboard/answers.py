"""Stages out of a file that somebody sends: plain or zipped, codes or a table."""

from __future__ import annotations

import csv
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sleepshift.codes import MAX_KEPT, read_codes, split_lines
from sleepshift.errors import AnswerError, one_line
from sleepshift.stages import get_scheme

__all__ = ["COLUMNS", "MAX_BYTES", "Answers", "read_answers"]

#: Columns of a table of answers.
COLUMNS = ("subject", "session", "onset", "stage")

#: Largest text that is read: several times a table of all nights of Sleep-EDF.
MAX_BYTES = 2**24

#: Other compressions exist that few programs can read.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass
class Answers:
    """What a file says.

    Parameters
    ----------
    codes : ndarray of int64
        A stage code a window, -1 where the file has none.
    windows : list of (line, subject, session, onset), or None
        Whose windows they are and on which lines, as a table says; codes alone do not.
    problems : list of str
        What is wrong, with the number of the line.
    """

    codes: np.ndarray
    windows: list[tuple[int, str, str, str]] | None = None
    problems: list[str] = field(default_factory=list)


def read_answers(
    path: Path,
    scheme: str,
    *,
    file: str | None = None,
    table: bool | None = None,
    exact: bool = False,
    withheld: bool = False,
) -> Answers:
    """Read a file of answers, or the truth.

    Parameters
    ----------
    path : Path
        Text, or a zip archive with one file of text.
    scheme : str
        Stage scheme of the codes, or of the names in a table.
    file : str, optional
        Name that the file in an archive must have.
    table : bool, optional
        Whether it must be a table of `COLUMNS`; by default it is one if it begins like one.
    exact : bool
        Take codes only as other programs read them for sure; see `read_codes`.
    withheld : bool
        Let the code -1 stand for a label that is not public.

    Returns
    -------
    Answers

    Raises
    ------
    AnswerError
        If no text can be had from the file.
    """
    text = _text(path, file)
    if table is None:
        table = text.removeprefix("\ufeff").startswith(f"{COLUMNS[0]},")
    if table:
        return _read_table(text.removeprefix("\ufeff"), get_scheme(scheme).stages)
    codes, problems = read_codes(text, len(get_scheme(scheme)), exact=exact, withheld=withheld)
    return Answers(codes, problems=problems)


def _text(path: Path, file: str | None) -> str:
    if not path.is_file():
        raise AnswerError(f"{path} is not a file; name a text file or a zip archive")
    with path.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise AnswerError(f"{path} has more than {MAX_BYTES // 2**20} MiB; it is no such file")
    name = str(path)
    if path.suffix.lower() == ".zip" or content.startswith(b"PK\x03\x04"):
        content, name = _unzip(path, file)
    try:
        text = content.decode("utf-8")
        if not split_lines(text.removeprefix("\ufeff")):
            raise AnswerError(f"{name} is empty")
        return text
    except UnicodeDecodeError as error:
        raise AnswerError(
            f"{name} is not UTF-8 text (byte {content[error.start]:#04x} at {error.start})"
        ) from None


def _unzip(path: Path, file: str | None) -> tuple[bytes, str]:
    """The one file in an archive, and what to call it."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if _is_content(member)]
            names = [ascii(member.filename)[1:-1] for member in members]
            held = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") or "nothing"
            if file is not None and file not in [member.filename for member in members]:
                raise AnswerError(f"{path} has no file {file} at its top; it holds {held}")
            if len(members) != 1:
                raise AnswerError(f"{path} must hold one file; it holds {held}")
            (member,) = members
            if member.flag_bits & 1 or member.compress_type not in _COMPRESSIONS:
                raise AnswerError(f"{path} is encrypted or packed in an unusual way; zip it anew")
            if member.file_size > MAX_BYTES:
                raise AnswerError(
                    f"{path} claims to unpack to {member.file_size / 2**20:.0f} MiB; at most "
                    f"{MAX_BYTES // 2**20} are read"
                )
            with archive.open(member) as stream:  # no more than asked for, whatever it claims
                return stream.read(member.file_size + 1), f"{names[0]} in {path}"
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise AnswerError(f"{path} is no readable zip archive ({one_line(error, 120)})") from None


def _is_content(member: zipfile.ZipInfo) -> bool:
    """Neither a folder nor what macOS adds to every archive."""
    return not member.is_dir() and not member.filename.startswith("__MACOSX/")


def _read_table(text: str, stages: tuple[str, ...]) -> Answers:
    lines = split_lines(text)
    answers = Answers(np.empty(0, dtype=np.int64), windows=[])
    assert answers.windows is not None
    if lines[0] != ",".join(COLUMNS):
        answers.problems.append(f"line 1 is not the header {','.join(COLUMNS)}")
        return answers
    codes = []
    for number, line in enumerate(lines[1:], start=2):
        if len(answers.problems) >= MAX_KEPT:
            break
        try:
            (row,) = csv.reader([line], strict=True)
        except (csv.Error, ValueError):
            row = []
        if len(row) != len(COLUMNS):
            answers.problems.append(
                f"line {number} has {len(row)} columns, not {len(COLUMNS)}"
                if line.strip()
                else f"line {number} is empty"
            )
            continue
        subject, session, onset, stage = row
        if stage not in stages:
            shown = ascii(stage[:40])
            answers.problems.append(
                f"line {number}: {shown} is not a stage; they are {', '.join(stages)}"
            )
        codes.append(stages.index(stage) if stage in stages else -1)
        answers.windows.append((number, subject, session, onset))
    answers.codes = np.array(codes, dtype=np.int64)
    return answers
