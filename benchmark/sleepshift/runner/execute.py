"""Execute a plan: what is missing, in order, in this process."""

from __future__ import annotations

import ctypes
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.jobs import run_cell, run_fit
from sleepshift.runner.plan import CellJob, FitJob, Plan

__all__ = ["Outcome", "execute"]

#: Called as ``report(event, name)``: "start" of any job, "failed" job, "cell" done with.
Report = Callable[[str, str], None]


@dataclass
class Outcome:
    """What a run did.

    Parameters
    ----------
    fitted, scored : list of str
        Names of the jobs that were run, in order.
    kept : int
        Cells that were there already.
    failed : dict of str to str
        Key of a job -> one line of why.
    """

    fitted: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def execute(plan: Plan, store: ArtifactStore, *, report: Report | None = None) -> Outcome:
    """Run the jobs of a plan that are not stored yet.

    A failing job is recorded with its traceback; cells that need it say which
    prerequisite failed; all others go on.

    Parameters
    ----------
    plan : Plan
    store : ArtifactStore
    report : callable or None
        Told of every job, for progress bars.

    Returns
    -------
    Outcome
    """
    tune_allocator()
    outcome = Outcome()
    say = report or (lambda event, name: None)
    with _quiet():
        for key, job in plan.cells.items():
            if store.has_cell(key):
                outcome.kept += 1
                say("cell", job.name)
                continue
            wanted = [job.artifact] if job.artifact else list(job.needs.values())
            broken = [need for need in wanted if not _ensure(need, plan, store, outcome, say)]
            if broken:
                reason = f"prerequisite {plan.fits[broken[0]].name} failed: "
                _fail(key, reason + outcome.failed[broken[0]], "", store, outcome)
                say("failed", job.name)
            elif _attempt(job, plan, store, outcome, say):
                outcome.scored.append(job.name)
            say("cell", job.name)
    return outcome


def _ensure(key: str, plan: Plan, store: ArtifactStore, outcome: Outcome, say: Report) -> bool:
    """Have an artifact and all it needs; False if it could not be fitted in this run."""
    if key in outcome.failed:
        return False
    if store.has_artifact(key):
        return True
    job = plan.fits[key]
    for need in job.needs.values():
        if not _ensure(need, plan, store, outcome, say):
            outcome.failed[key] = f"prerequisite {plan.fits[need].name}: {outcome.failed[need]}"
            return False
    if _attempt(job, plan, store, outcome, say):
        outcome.fitted.append(job.name)
        return True
    return False


def _attempt(
    job: FitJob | CellJob, plan: Plan, store: ArtifactStore, outcome: Outcome, say: Report
) -> bool:
    say("start", job.name)
    try:
        if isinstance(job, FitJob):
            run_fit(job, plan, store)
        else:
            run_cell(job, plan, store)
    # A method may fail in any way; the grid goes on and the table says so.
    except Exception as error:  # noqa: BLE001
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
        _fail(job.key, reason, traceback.format_exc(), store, outcome)
        say("failed", job.name)
        return False
    return True


def _fail(key: str, reason: str, trace: str, store: ArtifactStore, outcome: Outcome) -> None:
    outcome.failed[key] = reason
    store.save_failure(key, reason, trace)


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings of libraries about their own internals would drown the progress bars."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # Whoever runs this method has been told so in its summary.
        warnings.filterwarnings("ignore", message="raw_feature_kl")
        logging.getLogger("braindecode").setLevel(logging.ERROR)
        yield


def tune_allocator() -> bool:
    """Keep large buffers in the process between training steps, where libc is glibc.

    Otherwise every step gives them back to the kernel and takes page faults to get them
    again, which costs 1.25 to 1.5 times the training time on a CPU. Returns whether it
    took effect.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(m_mmap_threshold, 2**30) and mallopt(m_trim_threshold, 2**31 - 1))
