"""One job of a plan, from its key to what is stored of it."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import Any
from uuid import uuid4

from sleepshift.errors import DamageWarning, SleepShiftError, StorageError, TaskError
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.jobs import run_cell, run_fit
from sleepshift.runner.keys import describe
from sleepshift.runner.plan import CellJob, FitJob, Plan
from sleepshift.runner.tracking import Tracker

__all__ = ["Done", "Options", "Workbench", "tune_allocator"]

#: How the reason of a job begins that was not tried, since one before it failed.
AFTER = "prerequisite"

_LONGEST = 400
_YEARS = 1e8


@dataclass(frozen=True)
class Options:
    """How jobs are done, which changes nothing of what comes out.

    Parameters
    ----------
    run : str
        Name of this run: a job that timed out in it is not tried again before the next.
    threads : int
        Compute threads of a job. The same number gives the same figures on one type of
        machine, however many workers there are; another number rounds differently.
    timeout : float or None
        Seconds after which a job has failed.
    wandb : str or None
        Project of Weights & Biases that follows the run.

    Raises
    ------
    TaskError
        If the timeout is none.
    """

    run: str = field(default_factory=lambda: uuid4().hex)
    threads: int = 1
    timeout: float | None = None
    wandb: str | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout <= _YEARS:
            raise TaskError(f"--timeout {self.timeout:g}: give seconds, at most {_YEARS:g}")

    def check_alarm(self) -> None:
        """Refuse a timeout where no alarm can ring.

        Raises
        ------
        SleepShiftError
            Away from the main thread, or on a system without alarms.
        """
        in_main = threading.current_thread() is threading.main_thread()
        if self.timeout is not None and not (in_main and hasattr(signal, "SIGALRM")):
            raise SleepShiftError("--timeout: here only workers can be stopped; add --workers")


@dataclass(frozen=True)
class Done:
    """What became of a job.

    Parameters
    ----------
    key, name : str
    status : {"fitted", "scored", "kept", "failed", "stopped"}
        ``"stopped"`` is the end of the whole run: nothing can be stored any more.
    reason : str
        One line of why it failed.
    notes : tuple of str
        What the user should hear besides.
    """

    key: str
    name: str
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()


class _TimeIsUp(BaseException):
    """No method's own ``except Exception`` may take it for a failure of its own."""


class Workbench:
    """Do the jobs of a plan, one at a time, in this process.

    Parameters
    ----------
    plan : Plan
    store : ArtifactStore
    options : Options or None
    in_worker : bool
        Whether the process is a worker's, which may end to stop a job.
    """

    def __init__(
        self,
        plan: Plan,
        store: ArtifactStore,
        options: Options | None = None,
        *,
        in_worker: bool = False,
    ) -> None:
        self.plan, self.store, self.options = plan, store, options or Options()
        self.in_worker = in_worker

    def do(self, key: str, before: Iterable[Done] = ()) -> Done:
        """Do a job, unless it is done, or what it needs has failed.

        A method may fail in any way: that is recorded with its traceback, and never raised.

        Parameters
        ----------
        key : str
        before : iterable of Done
            What became of the jobs it comes after.
        """
        job = self.plan.job(key)
        # Now, lest the first job that trains be charged with the time it takes.
        import_module("sleepshift.estimators.classifier")
        with _heard() as notes, compute_threads(self.options.threads):
            try:
                status, reason = self._attempt(job, list(before))
            except StorageError as error:
                status, reason = "stopped", str(error)
        return Done(key, job.name, status, reason, tuple(dict.fromkeys(notes)))

    def _attempt(self, job: FitJob, before: list[Done]) -> tuple[str, str]:
        """Status and reason; a method may fail in any way, and the grid goes on."""
        try:
            if self._stored(job):
                return "kept", ""
            if reason := self.store.failure(job.key, run=self.options.run):
                return "failed", reason
            if broken := [done for done in before if done.status in ("failed", "stopped")]:
                return self._fail(job, f"{AFTER} {broken[0].name} failed: {broken[0].reason}")
            self._run(job)
        except StorageError:
            raise
        except _TimeIsUp:
            if not self._stored(job):
                return self._fail(job, self._too_long())
        except Exception as error:  # noqa: BLE001
            lines = [line for line in str(error).splitlines() if line.strip()]
            reason = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
            return self._fail(job, reason, traceback.format_exc())
        return ("scored" if isinstance(job, CellJob) else "fitted"), ""

    def _stored(self, job: FitJob) -> bool:
        if isinstance(job, CellJob):
            return self.store.has_cell(job.key)
        return self.store.has_artifact(job.key)

    def _run(self, job: FitJob) -> None:
        """Fit or score; what it needs is read with its checksums, and made again if damaged."""
        for need in job.after:
            if not self.store.has_artifact(need):
                self._run(self.plan.fits[need])
        kind = "cell" if isinstance(job, CellJob) else "fit"
        tracker = Tracker(self.options.wandb, self.store.root)
        config = {"estimator": describe(job.estimator), "fold": job.fold.name}
        with (
            tracker.job(key=job.key, kind=kind, name=job.name, task=job.task, config=config),
            self._deadline(job),
        ):
            if isinstance(job, CellJob):
                run_cell(job, self.plan, self.store)
            else:
                run_fit(job, self.plan, self.store)

    def _fail(self, job: FitJob, reason: str, trace: str = "") -> tuple[str, str]:
        self.store.save_failure(job.key, reason, trace, run=self.options.run)
        return "failed", reason

    def _too_long(self) -> str:
        return f"it took longer than --timeout {self.options.timeout:g} s"

    @contextlib.contextmanager
    def _deadline(self, job: FitJob) -> Iterator[None]:
        """Stop a job that takes too long, wherever it is stuck.

        In this process an alarm does it, once the job is back from a library's compiled code.
        A worker's job is in another thread, which nothing can stop but the end of the process:
        the failure is written down, the process ends, its nanny starts another, and the job is
        not tried again in this run.
        """
        if self.options.timeout is None:
            yield
        elif not self.in_worker:
            with _alarm(self.options.timeout):
                yield
        else:

            def give_up() -> None:
                if self._stored(job):
                    return  # and about to say so
                try:
                    self._fail(job, self._too_long())
                finally:
                    os._exit(75)

            timer = threading.Timer(self.options.timeout, give_up)
            timer.daemon = True
            timer.start()
            try:
                yield
            finally:
                timer.cancel()


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: Any) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGALRM, ring)
    # Again and again, since Python drops what is raised while it tidies up.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def compute_threads(number: int) -> Iterator[None]:
    """Let torch, BLAS and OpenMP use so many threads inside the block.

    Parameters
    ----------
    number : int
    """
    import torch
    from threadpoolctl import threadpool_limits

    tune_allocator()
    before = torch.get_num_threads()
    with threadpool_limits(limits=number):
        torch.set_num_threads(number)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what a job warns of; what libraries say of their own internals is left out."""
    logger = logging.getLogger("braindecode")
    before = logger.level
    logger.setLevel(logging.ERROR)
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once for each line of code
        warnings.simplefilter("always", DamageWarning)
        for category in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", category)
        # Whoever runs this method has been told so in its summary.
        warnings.filterwarnings("ignore", message="raw_feature_kl")
        try:
            yield notes
        finally:
            logger.setLevel(before)
            notes += [" ".join(str(warning.message).split())[:_LONGEST] for warning in caught]


@lru_cache(maxsize=1)
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
