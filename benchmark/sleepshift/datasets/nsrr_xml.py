"""Stages in the two XML formats of the National Sleep Research Resource (NSRR).

A Profusion export of Compumedics has one code an epoch; the NSRR's own format lists bouts
among all other events of the night.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from sleepshift.datasets.edf_header import ADVICE
from sleepshift.errors import DataError, one_line
from sleepshift.stages import WINDOW_SECONDS

__all__ = ["CONCEPTS", "parse_xml", "read_nsrr", "read_profusion"]

#: Code of a Profusion export -> what the NSRR calls it.
CONCEPTS: dict[str, str] = {
    "0": "Wake|0",
    "1": "Stage 1 sleep|1",
    "2": "Stage 2 sleep|2",
    "3": "Stage 3 sleep|3",
    "4": "Stage 4 sleep|4",
    "5": "REM sleep|5",
    "6": "Movement|6",
    "9": "Unscored|9",
}

_MAX_BYTES = 4 * 2**20  # the files have a few hundred kilobytes
_MAX_DEPTH = 50
_MAX_EPOCHS = 10_000  # three and a half days
# float() would take "30_0", and digits of other scripts.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def parse_xml(content: bytes) -> Element:
    """Parse XML that may be hostile: what declares entities is refused before it can expand.

    Raises
    ------
    ValueError
        If it is not well-formed, has a document type, or is nested absurdly.

    Examples
    --------
    >>> parse_xml(b"<night><stage>2</stage></night>").findtext("stage")
    '2'
    """
    builder = TreeBuilder()
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type, which could hold entities")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError(f"it nests more than {_MAX_DEPTH} elements")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise ValueError(one_line(error)) from None
    return builder.close()


def read_profusion(path: Path) -> list[str]:
    """Read the stages of a Profusion export.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of str
        Of every epoch of 30 s, as `CONCEPTS` calls it.

    Raises
    ------
    DataError
        If the file is damaged, has no or other epochs, or a code that is not known.
    """
    root = _open(path, "CMPStudyConfig")
    _check_epochs(root.findall("EpochLength"), path)
    lists = root.findall("SleepStages")
    if len(lists) != 1 or any(stage.tag != "SleepStage" for stage in lists[0]):
        raise DataError(f"{path.name} has no single list of SleepStages; {ADVICE}")
    codes = [(stage.text or "").strip() for stage in lists[0]]
    if unknown := [code for code in codes if code not in CONCEPTS]:
        raise DataError(_unknown(path, unknown[0], CONCEPTS))
    return _some([CONCEPTS[code] for code in codes], path)


def read_nsrr(path: Path) -> list[str]:
    """Read the stages of a file in the NSRR's format.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of str
        Of every epoch of 30 s, as `CONCEPTS` calls it.

    Raises
    ------
    DataError
        If the file is damaged, has no or other epochs, a stage that is not known, or stages
        that do not follow each other from the first second on.
    """
    root = _open(path, "PSGAnnotation")
    if lengths := root.findall("EpochLength"):
        _check_epochs(lengths, path)
    epochs: list[str] = []
    for event in root.findall("ScoredEvents/ScoredEvent"):
        if (event.findtext("EventType") or "").strip() != "Stages|Stages":
            continue
        concept = (event.findtext("EventConcept") or "").strip()
        if concept not in CONCEPTS.values():
            raise DataError(_unknown(path, concept, CONCEPTS.values()))
        start, count = (_epochs(event.findtext(key), path) for key in ("Start", "Duration"))
        if start != len(epochs) or not 1 <= count <= _MAX_EPOCHS - start:
            raise DataError(
                f"{path.name} scores one stage after the other from the first second on, but not "
                f"the one at {start * WINDOW_SECONDS:.6g} s; {ADVICE}"
            )
        epochs += [concept] * round(count)
    return _some(epochs, path)


def _open(path: Path, tag: str) -> Element:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES >> 20} MB")
        root = parse_xml(path.read_bytes())
        if root.tag != tag:
            raise ValueError(f"its root is {root.tag!r:.80}, not {tag!r}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read ({one_line(error)}); {ADVICE}") from error
    return root


def _check_epochs(lengths: list[Element], path: Path) -> None:
    if [(length.text or "").strip() for length in lengths] != [str(WINDOW_SECONDS)]:
        raise DataError(
            f"{path.name} does not say that its epochs have {WINDOW_SECONDS} s; {ADVICE}"
        )


def _some(epochs: list[str], path: Path) -> list[str]:
    if not epochs:
        raise DataError(f"{path.name} has no stages; {ADVICE}")
    return epochs


def _epochs(text: str | None, path: Path) -> float:
    """A time of the file in epochs, which must be whole; NaN is none."""
    number = (text or "").strip()
    epochs = float(number if _NUMBER.fullmatch(number) else "nan") / WINDOW_SECONDS
    if not epochs.is_integer():
        raise DataError(
            f"{path.name} has a stage at or of {text!r:.80} s, which is no whole number of epochs "
            f"of {WINDOW_SECONDS} s; {ADVICE}"
        )
    return epochs


def _unknown(path: Path, text: str, known: Iterable[str]) -> str:
    return f"{path.name} has the unknown stage {text!r:.80}; known are {', '.join(known)}; {ADVICE}"
