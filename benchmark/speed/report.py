"""The table, the machine it was measured on, and what was compared."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from speed.measure import Figure, Measured, cores

__all__ = ["machine", "page", "table"]

_LIBRARIES = ("torch", "braindecode", "skorch", "mne", "scikit-learn", "numpy", "pandas")
_SETTINGS = ("OMP_", "MKL_", "OPENBLAS_", "MALLOC_", "CUDA_VISIBLE", "PYTHONMALLOC")


def machine() -> dict[str, str]:
    """What the figures were measured on; call it before anything is measured."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    import torch

    from sleepshift.runner.work import tune_allocator
    from sleepshift.windows.store import library_versions

    names = [name for name in sorted(os.environ) if name.startswith(_SETTINGS)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{_processor()}, {cores()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in (*_LIBRARIES, "distributed")),
        "sleepshift": library_versions()["sleepshift"],
        "threads of torch": str(torch.get_num_threads()),
        "allocator": "large buffers kept" if tune_allocator() else "as it comes",
        "environment": ", ".join(f"{name}={os.environ[name]}" for name in names) or "nothing set",
        "load average before": load,
    }


def _processor() -> str:
    """The model's name, as the kernel has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(measured: Mapping[str, Measured]) -> str:
    """A line for each figure, in Markdown.

    Examples
    --------
    >>> figure = Figure("sums", "s", 2.0, 1.0, (0.5, 0.4, 0.6), goal=0.9)
    >>> print(table({"sums": Measured([figure], "")}).splitlines()[-1])
    | sums | 2 s | 1 s | 0.50 (0.40-0.60) | 3 | >= 0.90 | **no** |
    """
    lines = [
        "| what | ours | the other | ratio (range) | rounds | goal | met? |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for name, found in measured.items():
        lines += [_line(figure) for figure in found.figures]
        if not found.figures:
            lines.append(f"| {name} | - | - | - | 0 | - | **did not finish** |")
    return "\n".join(lines)


def _line(figure: Figure) -> str:
    ours, other = (f"{_rounded(value)} {figure.unit}" for value in (figure.ours, figure.other))
    ratio = f"{figure.ratio:.2f} ({min(figure.ratios):.2f}-{max(figure.ratios):.2f})"
    goal = "-" if figure.goal is None else f">= {figure.goal:.2f}"
    met = {None: "-", True: "yes", False: "**no**"}[figure.met]
    other = f"limit {other}" if figure.limit else other
    return f"| {figure.what} | {ours} | {other} | {ratio} | {len(figure.ratios)} | {goal} | {met} |"


def _rounded(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def page(measured: Mapping[str, Measured], on: Mapping[str, str]) -> str:
    """The whole of ``speed.md``."""
    missed = [f.what for found in measured.values() for f in found.figures if f.met is False]
    missed += [name for name, found in measured.items() if not found.figures]
    verdict = f"Not reached: {'; '.join(missed)}." if missed else "All goals are reached."
    parts: Iterable[str] = (
        "# What the machinery costs",
        "Written by `make speed`, which measures everything again. Every figure is a ratio of two "
        "things measured on the same machine in alternating order; above 1 ours is faster (or "
        "smaller, or below a limit). It is the median over rounds, beside the lowest and the "
        "highest; other columns are medians. Data are simulated or noise; all is "
        "computed on the CPU.",
        verdict,
        table(measured),
        "## The machine",
        "\n".join(f"- {name}: {value}" for name, value in on.items()),
        "## What was compared",
        *(f"**{name}.** {found.words.strip()}" for name, found in measured.items()),
    )
    return "\n\n".join(parts) + "\n"
