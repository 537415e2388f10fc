"""Jobs on Dask's workers: only keys travel, data and results stay on disk."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sleepshift.errors import ClusterError, SleepShiftError, one_line
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.plan import Plan
from sleepshift.runner.request import Request, planned
from sleepshift.runner.work import Done, Options, Workbench

__all__ = ["connected", "local_workers", "on_workers"]

#: A worker with a graphics card says so with this resource: ``dask worker --resources GPU=1``.
GPU = "GPU"

_CONNECT_SECONDS = 10

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

    # A worker that is killed (out of memory, say) may have had jobs queued that did it no harm.
    settings: dict[str, Any] = {"distributed.scheduler.allowed-failures": 5}
    settings["distributed.nanny.pre-spawn-environ"] = _ENVIRONMENT
    with config.set(settings), warnings.catch_warnings():
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
        (spec,) = cluster.new_worker_spec().values()
        for k in range(number):
            card, resources = _card(k)
            options = {"env": card, "resources": resources}
            cluster.worker_spec[k] = {**spec, "options": spec["options"] | options}
        cluster.sync(cluster._correct_state)
    try:
        with Client(cluster, timeout=_CONNECT_SECONDS) as client:
            yield client
    finally:
        _end(cluster)


def _card(k: int) -> tuple[dict[str, str], dict[str, float]]:
    """Environment and resources of a worker that is to use one graphics card, if there are any."""
    import torch

    count = torch.cuda.device_count()
    return ({"CUDA_VISIBLE_DEVICES": str(k % count)}, {GPU: 1}) if count else ({}, {})


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

    # A scheduler that is lost is said in one line of ours, not in Dask's tracebacks.
    for name in ("distributed", "asyncio"):
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
    client: Any, plan: Plan, root: Path, todo: dict[str, list[str]], options: Options
) -> Iterator[Done]:
    """Have jobs done by workers, each after those it needs.

    A job whose worker is lost is done again by another one; what a method itself raises is
    not tried again.

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

    Yields
    ------
    Done
        In the order in which jobs end.

    Raises
    ------
    ClusterError
        If the scheduler is lost.
    """
    from distributed import CancelledError, as_completed
    from distributed.scheduler import KilledWorker

    if plan.request is None:
        raise ValueError("workers make a plan anew from its saved request; this one has none")
    where = (str(root.resolve()), *plan.request, options)
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    cards = any(GPU in worker.get("resources", {}) for worker in workers)
    futures: dict[str, Any] = {}
    for order, (key, after) in enumerate(todo.items()):
        futures[key] = client.submit(
            _do,
            *where,
            key,
            *(futures[other] for other in after),
            key=f"{'score' if key in plan.cells else 'fit'}-{key}-{options.run}",
            pure=False,
            priority=-order,
            resources={GPU: 1} if cards and _trains(plan.job(key).estimator) else {},
        )
    keys = {future: key for key, future in futures.items()}
    try:
        for future in as_completed(list(futures.values())):
            try:
                done = future.result()
            except KilledWorker as error:
                reason = "its workers were killed again and again; do they run out of memory?"
                if error.task != future.key:
                    reason = f"a prerequisite failed: {reason}"
                key = keys[future]
                ArtifactStore(root).save_failure(key, reason, "", run=options.run)
                done = Done(key, plan.job(key).name, "failed", reason)
            except SleepShiftError:
                raise
            except (OSError, CancelledError) as error:
                raise ClusterError(
                    f"the Dask scheduler was lost ({one_line(error, 120)}); what is finished is "
                    "kept, run again for the rest"
                ) from None
            except Exception as error:
                raise ClusterError(
                    f"a worker cannot work ({type(error).__name__}: {one_line(error, 120)}); "
                    "give all machines the same versions"
                ) from error
            yield done
    finally:
        with contextlib.suppress(OSError, CancelledError, TimeoutError):
            client.cancel(list(futures.values()))


def _trains(estimator: Any) -> bool:
    """Whether an estimator computes where its ``device`` says: trains a network, that is."""
    return any(name.rpartition("__")[2] == "device" for name in estimator.get_params())


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
