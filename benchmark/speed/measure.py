"""Time things in turns: absolute figures depend on the machine, ratios travel."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Figure", "Measured", "Work", "cores", "in_turns", "python", "sleepshift"]

Work = Callable[[], object]

#: Seconds after which whoever waits is told how far it is.
_LONG = 2.0


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    what, unit : str
    ours, other : float
        Medians, in `unit`.
    ratios : tuple of float
        One a round; above 1 is in our favour.
    goal : float or None
        Least median ratio; None where there is nothing to reach.
    limit : bool
        Whether `other` is a limit that was set, and not measured.
    """

    what: str
    unit: str
    ours: float
    other: float
    ratios: tuple[float, ...]
    goal: float | None = None
    limit: bool = False

    @property
    def ratio(self) -> float:
        """Median over rounds."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else self.ratio >= self.goal

    @classmethod
    def of_times(
        cls,
        what: str,
        ours: Sequence[float],
        other: Sequence[float],
        *,
        goal: float | None = None,
        unit: str = "s",
        shown: Callable[[float], float] = float,
    ) -> Figure:
        """Seconds of ours and of the other, round by round.

        Parameters
        ----------
        shown : callable
            Seconds -> what is shown, in `unit`.
        """
        ratios = tuple(b / a for a, b in zip(ours, other, strict=True))
        middle = (shown(statistics.median(ours)), shown(statistics.median(other)))
        return cls(what, unit, *middle, ratios, goal)

    @classmethod
    def within(cls, what: str, found: Sequence[float], limit: float, *, unit: str = "s") -> Figure:
        """What should stay below a limit."""
        ratios = tuple(limit / value if value else math.inf for value in found)
        return cls(what, unit, statistics.median(found), limit, ratios, goal=1.0, limit=True)


@dataclass(frozen=True)
class Measured:
    """What a measurement found, and in words what was compared (Markdown)."""

    figures: list[Figure]
    words: str


def in_turns(
    works: Mapping[str, Work], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each work in every round.

    The order alternates, so that a slow spell of the machine hits all of them.

    Parameters
    ----------
    works : mapping of str to callable
    rounds : int
    warm_up : bool
        Whether a first round is not counted.

    Examples
    --------
    >>> {name: len(s) for name, s in in_turns({"a": list, "b": dict}, 3).items()}
    {'a': 3, 'b': 3}
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for k in range(rounds + warm_up):
        for name in list(works) if k % 2 else reversed(list(works)):
            start = time.perf_counter()
            works[name]()
            took = time.perf_counter() - start
            if k >= warm_up:
                seconds[name].append(took)
            if took > _LONG:
                sys.stderr.write(f"  {name}: {took:.1f} s\n")
    return seconds


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def python(*arguments: object, cwd: Path) -> str:
    """Run a fresh interpreter that can import this package; what it printed.

    Raises
    ------
    RuntimeError
        If it failed, with the end of what it said.
    """
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    done: Any = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise RuntimeError(f"{' '.join(map(str, arguments))} failed: {said}")
    return done.stdout


def sleepshift(*arguments: object, cwd: Path) -> str:
    """Run the command line in a process of its own; what it printed."""
    return python("-m", "sleepshift.cli", *arguments, cwd=cwd)
