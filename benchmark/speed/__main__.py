"""Measure, print, and write ``leaderboards/speed.md``: ``python -m speed [--quick] [NAME...]``."""

from __future__ import annotations

import argparse
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from speed import grid, machinery, memory, report, runs
from speed.measure import Measured

__all__ = ["MEASUREMENTS", "main"]

MEASUREMENTS: dict[str, Callable[[bool], Measured]] = {
    "training": machinery.training,
    "distilling": machinery.distilling,
    "reading": machinery.reading,
    "packing": machinery.packing,
    "grid": grid.grid,
    "workers": runs.workers,
    "finished": runs.finished,
    "planning": runs.planning,
    "memory": memory.memory,
}
PAGE = Path(__file__).parents[2] / "leaderboards" / "speed.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 1 if a goal is missed or a measurement did not finish."""
    parser = argparse.ArgumentParser(prog="python -m speed", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MEASUREMENTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does the harness work?")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in MEASUREMENTS]:
        parser.error(f"no measurement {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    _quiet()
    on = report.machine()
    measured: dict[str, Measured] = {}
    for name in asked.names or MEASUREMENTS:
        measured[name] = _measure(name, asked.quick)
        sys.stdout.write(f"{report.table({name: measured[name]})}\n")
        sys.stdout.flush()
    text = report.page(measured, on)
    sys.stdout.write(text)
    if not asked.quick and not asked.names:
        PAGE.write_text(text, encoding="utf-8")
    whole = all(found.figures for found in measured.values())
    figures = [figure for found in measured.values() for figure in found.figures]
    # Tiny sizes say nothing of the goals.
    met = asked.quick or all(figure.met is not False for figure in figures)
    return 0 if whole and met else 1


def _measure(name: str, quick: bool) -> Measured:
    """What was found; a measurement that fails is shown as such, and the others go on."""
    try:
        return MEASUREMENTS[name](quick)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        last = (str(error).splitlines() or [""])[-1]
        return Measured([], f"It did not finish: {type(error).__name__}: {last}")


def _quiet() -> None:
    import mne

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    mne.set_log_level("ERROR")


if __name__ == "__main__":
    sys.exit(main())
