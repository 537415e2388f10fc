"""Stage codes written one a line, as competitions exchange them."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["MAX_KEPT", "MAX_PROBLEMS", "few", "read_codes", "split_lines"]

#: So many problems of a file are told one by one.
MAX_PROBLEMS = 5
#: After so many it is some other file, which is not read on.
MAX_KEPT = 1000

# "3", "3.0", and "3.000000000000000000e+00" as numpy.savetxt writes it unless told otherwise.
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?")
_EXACT = re.compile(r"[0-9]")
_BOM = "\ufeff"


def split_lines(text: str) -> list[str]:
    """Lines of a file from any system, empty ones at its end left out.

    Examples
    --------
    >>> split_lines("0\\r\\n5\\r\\n\\r\\n")
    ['0', '5']
    """
    lines = re.split(r"\r\n|\n|\r", text)
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def read_codes(
    text: str, n_stages: int, *, exact: bool = False, withheld: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Codes and everything that is wrong with them.

    Parameters
    ----------
    text : str
        Any line ends, with or without empty lines at the end or a byte-order mark.
    n_stages : int
        Codes lie in 0 to `n_stages` - 1.
    exact : bool
        Take nothing but single digits, for a file that another program will read; otherwise
        ``3.0`` is 3.
    withheld : bool
        Let -1 stand for a label that is not public.

    Returns
    -------
    codes : ndarray of int64
        One a line; -1 where a line has none.
    problems : list of str
        One for every line that holds no code, with its number.

    Examples
    --------
    >>> read_codes("0\\n3.0\\nW\\n7\\n", 6)[1]
    ["line 3: 'W' is not a stage code from 0 to 5", "line 4: '7' is not a stage code from 0 to 5"]
    """
    problems = []
    if exact and text.startswith(_BOM):
        problems.append("line 1 begins with a byte-order mark; save the file as plain UTF-8")
    lines = split_lines(text.removeprefix(_BOM))
    codes = np.full(len(lines), -1, dtype=np.int64)
    lowest = -1 if withheld else 0
    for k, line in enumerate(lines):
        if len(problems) >= MAX_KEPT:
            break
        code = _code(line, exact=exact)
        if code is not None and lowest <= code < n_stages:
            codes[k] = code
        elif not line.strip():
            problems.append(f"line {k + 1} is empty")
        else:
            shown = ascii(line if len(line) <= 40 else f"{line[:40]}...")
            problems.append(f"line {k + 1}: {shown} is not a stage code from 0 to {n_stages - 1}")
    return codes, problems


def _code(line: str, *, exact: bool) -> int | None:
    if exact:
        return int(line) if _EXACT.fullmatch(line) else None
    text = line.strip()
    value = float(text) if _WHOLE.fullmatch(text) else 0.5
    return int(value) if value.is_integer() else None


def few(problems: list[str]) -> list[str]:
    """The first problems, and how many more there are.

    Examples
    --------
    >>> few([f"line {k}" for k in range(7)])[-1]
    '... and 2 more'
    """
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return problems
    least = "at least " if len(problems) >= MAX_KEPT else ""
    return [*problems[:MAX_PROBLEMS], f"... and {least}{more} more"]
