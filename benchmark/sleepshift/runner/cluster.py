"""Jobs on Dask's workers: only keys travel, data and results stay on disk."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from sleepshift.errors import ClusterError, SleepShiftError, one_line
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.jobs import device_of
from sleepshift.runner.plan import Plan
from sleepshift.runner.request import Request, planned
from sleepshift.runner.work import Done, Options, Workbench

__all__ = ["connected", "local_workers", "on_workers"]

#: A worker with a graphics card says so with this resource: ``dask worker --resources GPU=1``.
GPU = "GPU"

_CONNECT_SECONDS = 10

#: Seconds between looks at the workers while no job ends, and until those of this machine, all
#: gone, are given up.
_LOOK, _GONE = 5.0, 120.0

# Idle threads that spin starve the other workers; Braindecode warns of MNE's plans when imported.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore::FutureWarning"}


@contextlib.contextmanager
def local_workers(number: int) -> Iterator[Any]:
    """A Dask cluster on this machine, a process a worker, which ends with the block.

    Parameters
    ----------
    number : int
        Workers; with CUDA each is given one card, in turns.

    Yields
    ------
    client : dask.distributed.Client
    """
    from dask import config
    from distributed import Client, LocalCluster

    settings = {
        "distributed.nanny.pre-spawn-environ": _ENVIRONMENT,
        # Nannies start lost workers again; Dask would give those up that need longer than this.
        "distributed.deploy.lost-worker-timeout": "1000 days",
    }
    with config.set(settings):
        with _interrupts_held(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a dashboard's port that another one has
            cluster = LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:8787",
                # Memory-mapped windows count as a worker's memory, and are none it could free.
                memory_limit=0,
                silence_logs=50,
            )
        try:
            (spec,) = cluster.new_worker_spec().values()
            for k in range(number):
                card, resources = _card(k)
                options = {"env": card, "resources": resources}
                cluster.worker_spec[k] = {**spec, "options": spec["options"] | options}
            cluster.sync(cluster._correct_state)
            with Client(cluster, timeout=_CONNECT_SECONDS) as client:
                yield client
        finally:
            _end(cluster)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let threads that are started now, and the workers they start, never see Ctrl-C.

    A terminal sends it to workers too, and one that is only starting would say so at length.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whoever starts it later lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _card(k: int) -> tuple[dict[str, str], dict[str, float]]:
    """Environment and resources of a worker that is to use one graphics card, if there are any."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        return {}, {}
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = named.split(",")[:count] if named else [str(card) for card in range(count)]
    return {"CUDA_VISIBLE_DEVICES": cards[k % len(cards)].strip()}, {GPU: 1}


def _end(cluster: Any) -> None:
    """Close a cluster at once, whatever its workers are doing: all that is done is on disk."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        if nanny.process is not None and nanny.process.process is not None:
            nanny.process.process.kill()
    with contextlib.suppress(TimeoutError):
        cluster.close(timeout=5)


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of a running Dask scheduler.

    Parameters
    ----------
    address : str
        Such as ``tcp://10.0.0.1:8786``.

    Yields
    ------
    client : dask.distributed.Client

    Raises
    ------
    ClusterError
        If nobody answers there.
    """
    from distributed import Client

    # A scheduler that is lost is said in one line of ours, not in tracebacks as the process ends.
    for name in ("asyncio", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("asyncio", "distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {address} ({one_line(error, 120)}); start one with "
            "dask scheduler, or use --workers"
        ) from None
    try:
        yield client
    finally:
        with contextlib.suppress(OSError, TimeoutError):
            client.close(timeout=2)


def on_workers(
    client: Any,
    plan: Plan,
    root: Path,
    todo: dict[str, list[str]],
    options: Options,
    say: Callable[[str, str], None],
) -> Generator[Done]:
    """Have jobs done by workers, each after those it needs.

    Each worker is given one job at a time: of a worker that is lost no other job is lost, and
    what it was at is done again by another one. What a method itself raises is not tried again.

    Parameters
    ----------
    client : dask.distributed.Client
    plan : Plan
        Made by a `Request` that is saved in `root`.
    root : Path
        Folder of the run, which the workers see by the same absolute path.
    todo : dict of str to list of str
        As `sleepshift.runner.execute.missing` gives it.
    options : Options
    say : callable
        As the ``report`` of `sleepshift.runner.execute.execute`.

    Yields
    ------
    Done
        In the order in which jobs end.

    Raises
    ------
    ClusterError
        If the scheduler is lost, or the workers cannot work.
    """
    if plan.request is None:
        raise ValueError("workers make a plan anew from its saved request; this one has none")
    queue = _Queue(client, plan, root, todo, options)
    try:
        while queue.todo or queue.running:
            queue.refill()
            yield from queue.ended(say)
    finally:
        queue.cancel()


@dataclass
class _Queue:
    """Jobs that are left, and those that workers are at."""

    client: Any
    plan: Plan
    root: Path
    todo: dict[str, list[str]]
    options: Options
    running: dict[Any, str] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    last_seen: float = field(default_factory=time.monotonic)
    said: bool = False

    def __post_init__(self) -> None:
        self.todo = dict(self.todo)
        self.deep = {key for key in self.todo if self._trains(key)}

    def _trains(self, key: str) -> bool:
        """Whether a job may compute on a card."""
        return device_of(self.plan.job(key).estimator) != "cpu"

    def refill(self) -> None:
        """Give jobs that can be begun to workers that have none."""
        workers = self._workers()
        cards = sum(GPU in worker.get("resources", {}) for worker in workers.values())
        deep = self.deep if cards else set()
        cards -= sum(key in deep for key in self.running.values())
        # Whoever scales workers by what there is to do has to see that there is something.
        room = max(1, len(workers)) - len(self.running)
        for key, after in list(self.todo.items()):
            if room <= 0:
                break
            if key in deep and cards <= 0:
                continue
            if all(other in self.done for other in after):
                room, cards = room - 1, cards - (key in deep)
                self._submit(key, self.todo.pop(key), {GPU: 1} if key in deep else {})

    def _submit(self, key: str, after: list[str], resources: dict[str, float]) -> None:
        kind, saved = self.plan.request or (Request, "")
        future = self.client.submit(
            _do,
            str(self.root.resolve()),
            kind,
            saved,
            self.options,
            key,
            *(self.done[other] for other in after),
            key=f"{'score' if key in self.plan.cells else 'fit'}-{key}-{self.options.run}",
            pure=False,
            resources=resources,
        )
        self.running[future] = key

    def ended(self, say: Callable[[str, str], None]) -> Iterator[Done]:
        """Wait until jobs end, or for a while."""
        from distributed import CancelledError, wait

        try:
            wait(list(self.running), timeout=_LOOK, return_when="FIRST_COMPLETED")
        except TimeoutError:
            self._look(say)
            return
        except (OSError, CancelledError):
            raise ClusterError(_LOST) from None
        for future in [future for future in self.running if future.done()]:
            key = self.running.pop(future)
            self.done[key] = self._result(future, key)
            yield self.done[key]

    def _result(self, future: Any, key: str) -> Done:
        from distributed import CancelledError
        from distributed.scheduler import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            reason = (
                f"its workers were killed, {error.allowed_failures + 1} of them; out of memory?"
            )
            ArtifactStore(self.root).save_failure(key, reason, "", run=self.options.run)
            return Done(key, self.plan.job(key).name, "failed", reason)
        except SleepShiftError:
            raise
        except (CancelledError, OSError):
            raise ClusterError(_LOST) from None
        except Exception as error:
            raise ClusterError(
                f"a worker cannot work ({type(error).__name__}: {one_line(error, 120)}); give all "
                "machines the same versions"
            ) from error

    def _workers(self) -> dict[str, Any]:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if workers:
            self.last_seen, self.said = time.monotonic(), False
        return workers

    def _look(self, say: Callable[[str, str], None]) -> None:
        """Notice that nobody is left."""
        gone = time.monotonic() - self.last_seen
        if self._workers() or gone < 2 * _LOOK:
            return
        if self.client.cluster is not None and gone > _GONE:
            raise ClusterError("all workers are gone, and none comes back; run again for the rest")
        if not self.said:
            say("note", "no worker is there; waiting for one")
        self.said = True

    def cancel(self) -> None:
        """Take back what has not ended."""
        from distributed import CancelledError

        with contextlib.suppress(OSError, CancelledError, TimeoutError):
            self.client.cancel(list(self.running))


_LOST = "the Dask scheduler was lost; what is finished is kept, run again for the rest"


def _do(
    root: str, kind: type[Request], name: str, options: Options, key: str, *before: Done
) -> Done:
    """Runs on a worker."""
    from distributed import get_worker

    if get_worker().state.nthreads > 1:
        raise ClusterError("a job sets the threads of its process; start workers with --nthreads 1")
    plan = planned(Path(root), kind, name)
    if key not in plan.cells and key not in plan.fits:
        raise ClusterError(
            "a worker plans other jobs than this process; give all machines the same versions"
        )
    return Workbench(plan, ArtifactStore(Path(root)), options, in_worker=True).do(key, before)
