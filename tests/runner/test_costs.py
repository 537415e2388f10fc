"""Costs of hand-made loads, and of a codecarbon that is made up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sleepshift.runner import costs
from sleepshift.runner.costs import measured


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        sum(range(1000))


def test_sleeping_takes_time_and_computing_takes_the_processor_too() -> None:
    with measured("cpu") as asleep:
        time.sleep(0.3)
    with measured("cpu") as busy:
        spin(0.3)
    assert asleep.wall_seconds >= 0.3
    assert asleep.cpu_seconds < 0.15
    assert 0.3 <= busy.cpu_seconds < 0.6


def test_all_threads_of_a_block_are_counted() -> None:
    with measured("cpu") as cost:
        threads = [threading.Thread(target=spin, args=(0.2,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    # `spin` looks at the time of the whole process, so two of them share what one would take.
    assert cost.cpu_seconds >= 0.2


def peaks() -> tuple[float, float, float]:
    """Peaks of a block, of one that holds 300 MB for a moment, and of the one after it."""
    found = []
    for n_bytes in (0, 300_000_000, 0):
        with measured("cpu") as cost:
            load = np.ones(n_bytes, dtype=np.uint8)
            time.sleep(0.1)
            del load
        found.append(cost.peak_memory_mb)
    return found[0], found[1], found[2]


def test_the_peak_is_that_of_the_block_and_not_of_the_process() -> None:
    before, during, after = peaks()
    assert 290 < during - before < 330
    assert after - before < 30


def test_the_peak_is_seen_where_the_kernel_does_not_keep_it(monkeypatch) -> None:
    def no_such_file() -> float:
        raise LookupError

    monkeypatch.setattr(costs, "_high_water", no_such_file)
    before, during, after = peaks()
    assert 290 < during - before < 330
    assert after - before < 30


def test_memory_that_the_allocator_was_told_to_keep_is_not_charged_to_the_next_job() -> None:
    code = (
        "import json, ctypes\n"
        "libc = ctypes.CDLL('libc.so.6')\n"
        "assert libc.mallopt(-3, 2**30) and libc.mallopt(-1, 2**31 - 1)\n"
        "import torch\n"
        "from sleepshift.runner.costs import measured\n"
        "peaks = []\n"
        "for n in (0, 300_000_000, 0):\n"
        "    with measured('cpu') as cost:\n"
        "        load = torch.ones(n, dtype=torch.uint8); del load\n"
        "    peaks.append(cost.peak_memory_mb)\n"
        "print(json.dumps(peaks))\n"
    )
    if not sys.platform.startswith("linux"):
        pytest.skip("of glibc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, during, after = json.loads(done.stdout)
    assert during - before > 290
    assert after - before < 50


def test_facts_are_plain_and_say_on_what_it_ran() -> None:
    with measured("cpu") as cost:
        pass
    facts = json.loads(json.dumps(cost.facts()))
    assert facts == cost.facts()
    assert (facts["device"], facts["threads"]) == ("cpu", torch.get_num_threads())
    assert (facts["gpu"], facts["peak_gpu_memory_mb"]) == (None, None)
    assert min(facts["wall_seconds"], facts["cpu_seconds"]) >= 0
    assert facts["peak_memory_mb"] > 10


def test_a_block_that_fails_is_measured_and_its_error_passes() -> None:
    with pytest.raises(ZeroDivisionError), measured("cpu") as cost:
        1 / 0  # noqa: B018
    assert cost.wall_seconds is not None


def test_auto_is_what_it_comes_down_to_and_a_gpu_has_a_name_and_a_peak(monkeypatch) -> None:
    reset = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"big {device}")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7_000_000)
    with measured("auto") as cost:
        assert reset == ["cuda"]
    assert (cost.device, cost.gpu, cost.peak_gpu_memory_mb) == ("cuda", "big cuda", 7.0)


# ---------------------------------------------------------------------- energy


@pytest.fixture
def codecarbon(monkeypatch: pytest.MonkeyPatch):
    """A codecarbon in place of the real one: what its tracker is given, and does."""
    seen = SimpleNamespace(arguments=None, calls=[], energy=0.25, fails="")

    class OfflineEmissionsTracker:
        def __init__(self, **arguments: object) -> None:
            self._say("init")
            seen.arguments = arguments
            self.final_emissions_data = SimpleNamespace(energy_consumed=seen.energy)

        def _say(self, what: str) -> None:
            seen.calls.append(what)
            if what == seen.fails:
                raise RuntimeError(what)

        def start(self) -> None:
            self._say("start")

        def stop(self) -> None:
            self._say("stop")

    module = SimpleNamespace(OfflineEmissionsTracker=OfflineEmissionsTracker, __spec__=object())
    monkeypatch.setitem(sys.modules, "codecarbon", module)
    return seen


def test_energy_is_what_codecarbon_says_which_writes_and_sends_nothing(codecarbon) -> None:
    with measured("cpu") as cost:
        codecarbon.calls.append("block")
    assert codecarbon.calls == ["init", "start", "block", "stop"]
    assert cost.facts()["energy_kwh"] == 0.25
    assert codecarbon.arguments["output_methods"] == []
    assert codecarbon.arguments["emissions_endpoint"] is None


@pytest.mark.parametrize("step", ["init", "start", "stop"])
def test_a_codecarbon_that_fails_fails_no_job(codecarbon, step) -> None:
    codecarbon.fails = step
    with measured("cpu") as cost:
        spin(0.01)
    assert cost.energy_kwh is None
    assert cost.cpu_seconds >= 0.01


@pytest.mark.parametrize("energy", [float("nan"), float("inf"), None, "much"])
def test_an_energy_that_is_no_number_is_none(codecarbon, energy) -> None:
    codecarbon.energy = energy
    with measured("cpu") as cost:
        pass
    assert cost.energy_kwh is None


def test_without_codecarbon_there_is_no_energy(monkeypatch) -> None:
    monkeypatch.setattr(costs, "find_spec", lambda name: None)
    with measured("cpu") as cost:
        pass
    assert cost.facts()["energy_kwh"] is None


def test_the_real_codecarbon_estimates_a_plausible_power_in_silence(
    tmp_path: Path, monkeypatch, capfd
) -> None:
    pytest.importorskip("codecarbon")
    monkeypatch.chdir(tmp_path)
    with measured("cpu") as cost:
        spin(2.0)
    watts = cost.energy_kwh * 3.6e6 / cost.wall_seconds
    assert 0.5 < watts < 1000
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
