"""Whether a page in a folder is the one that its rows give."""

from __future__ import annotations

import io
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np

from sleepshift.leaderboard.page.render import OVERVIEW, Page

__all__ = ["differing_page", "plotting"]

_DRAWING = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def plotting() -> str:
    """The plotting library and its version: another one draws another picture."""
    return f"matplotlib {version('matplotlib')}"


def differing_page(folder: Path, page: Page, drawn_by: str | None) -> Path | None:
    """The first file of a page that is not the expected one; None if all are.

    Parameters
    ----------
    folder : Path
        Of a leaderboard.
    page : Page
        As its rows give it.
    drawn_by : str or None
        What `plotting` said when the folder was written. Drawings are compared where it says
        the same now, and allow for what machines round differently.
    """
    path, same_plotting = folder / "index.html", drawn_by == plotting()
    written = path.read_text(encoding="utf-8") if path.is_file() else ""
    if _DRAWING.sub("", written) != _DRAWING.sub("", page.html):
        return path
    if same_plotting and not _same_drawings(written, page.html):
        return path
    if OVERVIEW in page.drawings:
        path = folder / OVERVIEW
        if not path.is_file():
            return path
        if same_plotting and not _same_picture(path.read_bytes(), page.drawings[OVERVIEW]):
            return path
    return None


def _same_drawings(written: str, expected: str) -> bool:
    ours, theirs = ("".join(_DRAWING.findall(html)) for html in (written, expected))
    if _NUMBER.sub("0", ours) != _NUMBER.sub("0", theirs):
        return False
    a, b = (np.array(_NUMBER.findall(text), dtype=float) for text in (ours, theirs))
    return bool(np.allclose(a, b, rtol=0, atol=0.02))


def _same_picture(written: bytes, expected: bytes) -> bool:
    from matplotlib.image import imread

    try:
        ours, theirs = (imread(io.BytesIO(data), format="png") for data in (written, expected))
    except (OSError, ValueError, SyntaxError):
        return False
    return ours.shape == theirs.shape and float(np.abs(ours - theirs).mean()) < 0.002
