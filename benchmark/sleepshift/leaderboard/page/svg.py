"""Figures as files, and as text inside a page that takes on the page's colours."""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["INK", "PAPER", "STYLE", "Album", "inlined", "written"]

#: Text, axes and grids have this colour; in a page they take the colour of its text.
INK = "#1b1d20"
#: Edges that set a mark off from its ground; in a page they take the colour of its ground.
PAPER = "#fdfdfb"

#: What colours become in a page; one of Okabe and Ito's is too dark for a dark ground.
_FOLLOWING = {INK: "currentColor", PAPER: "var(--paper)", "#0072b2": "var(--blue)"}

#: Settings that figures are drawn and written with: text stays text, names are never
#: formulas, and the same figure gives the same bytes.
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sleepshift",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}

_DPI = 180


@dataclass
class Album:
    """Figures of a page: each becomes two files, and text to put into the page.

    Attributes
    ----------
    files : dict of str to bytes
        By file name, ``NAME.png`` and ``NAME.svg``.
    """

    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, figure: Figure, label: str) -> Markup:
        """Keep a figure under a name that is not taken yet, and give it as inline SVG."""
        stem, n = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80] or "figure", 1
        while (unique := stem if n == 1 else f"{stem}-{n}") + ".svg" in self.files:
            n += 1
        drawn = {kind: written(figure, kind) for kind in ("png", "svg")}
        self.files |= {f"{unique}.{kind}": data for kind, data in drawn.items()}
        prefix = f"f{len(self.files) // 2}-"
        return inlined(drawn["svg"].decode(), prefix=prefix, label=label)


def written(figure: Figure, kind: str) -> bytes:
    """A figure as a PNG or SVG file, without date or version."""
    stream = io.BytesIO()
    unsaid = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
    with rc_context(STYLE), warnings.catch_warnings():
        # Names may be in any script; the page's own fonts have the letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(stream, format=kind, dpi=_DPI, metadata=unsaid[kind])
    return stream.getvalue()


def inlined(svg: str, *, prefix: str, label: str) -> Markup:
    """An SVG file of matplotlib's as an element of an HTML page.

    `INK` and `PAPER` follow the page, the ground is left out, text has the page's font, and
    names inside the drawing begin with `prefix`, so that two drawings share a page. Figures
    are rounded and lines written short, which takes two thirds off the size.

    Parameters
    ----------
    svg : str
        File drawn with `STYLE`.
    prefix : str
        Differs between the drawings of a page.
    label : str
        What the drawing shows, for those who cannot see it.

    Examples
    --------
    >>> drawn = '<?xml?><svg width="9pt" height="9pt" viewBox="0 0 9 9"><g/></svg>'
    >>> print(inlined(drawn, prefix="f1-", label="3 < 4"))
    <svg role="img" aria-label="3 &lt; 4" width="12" height="12" viewBox="0 0 9 9"><g/></svg>
    """
    body = svg[svg.index("<svg") :]
    for unwanted in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r"<!--.*?-->"):
        body = re.sub(unwanted, "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="patch_1">.*?</g>', "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"<[^>]*>", lambda tag: _adapted(tag[0]), body)
    body = re.sub(r"<g[^>]*(?<!/)></g>", "", re.sub(r">\s+<", "><", body))
    body = _renamed(_shared_styles(body), prefix)
    width, height = (
        round(float(re.search(rf'{side}="([\d.]+)pt"', body)[1]) * 4 / 3)  # type: ignore[index]
        for side in ("width", "height")
    )
    view = re.search(r'viewBox="[^"]*"', body)[0]  # type: ignore[index]
    head = f'<svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" {view}>'
    return Markup(re.sub(r"^<svg[^>]*>", lambda _: head, body).strip())


def _adapted(tag: str) -> str:
    """One tag: colours that follow the page, the page's font, rounded figures."""
    for drawn, shown in _FOLLOWING.items():
        tag = tag.replace(drawn, shown)
    tag = re.sub(r" ?font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r' transform="rotate\(-?0(\.0)? [^"]*"', "", tag)
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r"-?\d+\.\d+", lambda number: f"{round(float(number[0]), 2):g}", tag)
    return re.sub(r' d="([^"]*)"', lambda path: f' d="{_shortened(path[1])}"', tag)


def _shortened(path: str) -> str:
    """A path with its steps written as steps.

    Examples
    --------
    >>> _shortened("M 0 1 \\nL 5 1 \\nL 5 3 \\nL 6 4 \\nz")
    'M0 1H5V3L6 4z'
    """
    short, last = "", ["", ""]
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        to = numbers.split()
        if command == "L" and to[0] == last[0]:
            short += f"V{to[1]}"
        elif command == "L" and to[1] == last[1]:
            short += f"H{to[0]}"
        else:
            short += command + " ".join(to)
        last = to[-2:] or ["", ""]
    return short


def _shared_styles(body: str) -> str:
    """Marks of one style in a row have it from their group."""

    def hoisted(found: re.Match[str]) -> str:
        styles = set(re.findall(r'style="([^"]*)"', found[2]))
        if len(styles) != 1 or "style=" in found[1]:
            return found[0]
        return f'<g{found[1]} style="{styles.pop()}">' + re.sub(r' style="[^"]*"', "", found[2])

    return re.sub(r"<g([^>]*)>((?:\s*<use [^>]*/>)+)", hoisted, body)


def _renamed(body: str, prefix: str) -> str:
    """The names inside a drawing, short and its own; those nobody refers to are dropped."""
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', body))
    names = {old: f"{prefix}{n}" for n, old in enumerate(sorted(used), start=1)}
    body = re.sub(r' id="([^"]*)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", body)
    return re.sub(r'(url\(#|href="#)([^")]+)', lambda m: m[1] + names[m[2]], body)
