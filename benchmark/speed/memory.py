"""How much memory training takes on a store that is larger than what there may be."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
from pathlib import Path

from speed.measure import Figure, Measured, python

__all__ = ["memory"]

MB = 1e6
#: What a machine may have for data, and what a process may take beside it.
CAP, BESIDE = 1000 * MB, 500 * MB
STORE = 4 * CAP


def memory(quick: bool) -> Measured:
    """Peak resident memory of a process that trains on a store."""
    from speed.noise import CHANNELS, N_TIMES, noise_store

    people, rounds = 20, 1 if quick else 2
    n_windows = 8 if quick else round(STORE / (people * len(CHANNELS) * N_TIMES * 4))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = noise_store(folder, people, n_windows)
        size = (store / "signals.npy").stat().st_size / MB
        runs = [
            json.loads(python("-m", "speed.memory", store, cwd=folder).splitlines()[-1])
            for _ in range(rounds)
        ]
    peaks = [run["peak"] for run in runs]
    middle = {part: statistics.median(run[part] for run in runs) for part in runs[0]}
    limit = (CAP + BESIDE) / MB
    figure = Figure.within(f"peak memory of training on {size:.0f} MB", peaks, limit, unit="MB")
    words = f"""
`SleepStager.fit` (chambon2018, one pass, a fifth of the people set aside) on `open_store` of
{size:.0f} MB of float32 windows, in a process of its own; the most resident memory it ever had
(VmHWM), file pages included, against {CAP / MB:.0f} MB for data and {BESIDE / MB:.0f} MB beside.
After imports it had {middle["imports"]:.0f} MB; at the highest of {middle["samples"]:.0f} samples
{middle["anon"]:.0f} MB were its own (RssAnon) and {middle["file"]:.0f} MB pages of files (RssFile),
libraries included. Medians of {rounds}."""
    return Measured([figure], words)


def _status() -> dict[str, float]:
    """Memory of this process by the kernel's names, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines)
    return {k: int(v.split()[0]) * 1024 / MB for k, v in pairs if v.strip().endswith("kB")}


class _Watch:
    """Sample this process until the block ends, and keep the highest sample."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.highest = _status()
        self.n_samples = 1
        self._seconds, self._end = seconds, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self._end.wait(self._seconds):
            self.highest = max(self.highest, _status(), key=lambda status: status["VmRSS"])
            self.n_samples += 1

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()


def main() -> None:
    """Runs in the process that is measured."""
    from sleepshift.estimators import SleepStager
    from sleepshift.runner.work import tune_allocator
    from sleepshift.windows import open_store

    tune_allocator()
    imports = _status()["VmRSS"]
    with _Watch() as watch:
        SleepStager(max_epochs=1, device="cpu").fit(open_store(Path(sys.argv[1])))
    found = {
        "imports": imports,
        "peak": _status()["VmHWM"],
        "anon": watch.highest["RssAnon"],
        "file": watch.highest["RssFile"],
        "samples": watch.n_samples,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
