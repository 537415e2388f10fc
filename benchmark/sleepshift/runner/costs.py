"""What a job costs: time, memory, energy, and on what it ran."""

from __future__ import annotations

import ctypes
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from sleepshift.estimators.devices import resolve_device

__all__ = ["Cost", "measured"]

_MB = 1e6

#: Seconds between looks at a process whose kernel does not keep its peak.
_LOOK = 0.02

#: Nothing is asked of a network, written or printed. The intensity only spares codecarbon to
#: look up that of a country: energy does not depend on it.
_ENERGY = {
    "country_iso_code": "FRA",
    "force_carbon_intensity_g_co2e_kwh": 0.0,
    "tracking_mode": "process",
    "output_methods": [],
    "emissions_endpoint": None,
    "allow_multiple_runs": True,
    "log_level": "critical",
}


@dataclass
class Cost:
    """What was measured of a block; None is what could not be, or has not been yet.

    Parameters
    ----------
    device : str
        What ``"auto"`` came down to.
    threads : int
        Threads of torch on the CPU.
    gpu : str or None
        Name of the CUDA device.
    wall_seconds : float
    cpu_seconds : float
        Of all threads of the process.
    peak_memory_mb : float
        Highest resident memory of the process inside the block, in megabytes (10^6 bytes),
        what was resident before included.
    peak_gpu_memory_mb : float or None
        Highest memory of torch's tensors on the CUDA device, in megabytes.
    energy_kwh : float or None
        codecarbon's estimate for this process; None where it is not installed.
    """

    device: str
    threads: int
    gpu: str | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_mb: float | None = None
    peak_gpu_memory_mb: float | None = None
    energy_kwh: float | None = None

    def facts(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


@contextmanager
def measured(device: str = "auto") -> Iterator[Cost]:
    """Measure what a block costs; blocks of one process follow each other and do not nest.

    The peak of memory is the kernel's own (``VmHWM``), set back at the start of the block.
    Where the kernel has no such thing the process is looked at every 20 ms instead, which
    misses what is shorter.

    Parameters
    ----------
    device : str
        Where the block computes; ``"auto"`` is what estimators make of it.

    Yields
    ------
    Cost
        Complete when the block is over.

    Examples
    --------
    >>> with measured("cpu") as cost:
    ...     _ = sum(range(1000))
    >>> cost.facts()["wall_seconds"] < 60
    True
    """
    cost = Cost(device=resolve_device(device), threads=torch.get_num_threads())
    on_gpu = cost.device.startswith("cuda")
    if on_gpu:
        cost.gpu = torch.cuda.get_device_name(cost.device)
        torch.cuda.reset_peak_memory_stats(cost.device)
    energy, memory = _energy(), _peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield cost
    finally:
        cost.wall_seconds = time.perf_counter() - wall
        cost.cpu_seconds = time.process_time() - cpu
        cost.peak_memory_mb = memory()
        cost.energy_kwh = energy()
        if on_gpu:
            cost.peak_gpu_memory_mb = torch.cuda.max_memory_allocated(cost.device) / _MB


def _peak_memory() -> Callable[[], float]:
    """Start to watch the resident memory; the function that is returned tells its peak."""
    _give_back()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        _high_water()
    except (OSError, LookupError):
        return _sampled_memory()
    return _high_water


def _high_water() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    if kilobytes is None:
        raise LookupError("this kernel does not keep the peak of resident memory")
    return int(kilobytes) * 1024 / _MB


def _sampled_memory() -> Callable[[], float]:
    from psutil import Process

    def resident() -> float:
        return Process().memory_info().rss / _MB

    peak, over = resident(), threading.Event()

    def look() -> None:
        nonlocal peak
        while not over.wait(_LOOK):
            peak = max(peak, resident())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()

    def stop() -> float:
        over.set()
        watcher.join()
        return max(peak, resident())

    return stop


def _give_back() -> None:
    """Return freed memory to the kernel, or the block would be charged with what others freed.

    The allocator is told to keep it between training steps; see `tune_allocator`.
    """
    with suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _energy() -> Callable[[], float | None]:
    """Start to estimate energy; the function that is returned tells kWh, if codecarbon can."""
    if find_spec("codecarbon") is None:
        return lambda: None
    tracker: Any = None
    # Whatever fails in it, an estimate is not worth a job.
    with suppress(Exception):
        from codecarbon import OfflineEmissionsTracker

        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # it talks before it is told
        made = OfflineEmissionsTracker(**_ENERGY)
        made.start()
        tracker = made

    def stop() -> float | None:
        with suppress(Exception):
            tracker.stop()
            energy = float(tracker.final_emissions_data.energy_consumed)
            return energy if math.isfinite(energy) else None
        return None

    return stop
