"""Killing a run at any moment loses at most the job in flight."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from sleepshift.leaderboard.frame import results_frame

METHODS = "majority,features-logreg,source-only,target-only,finetune-all,finetune-head,rp-linear"
TIMES = ["fit_seconds", "predict_seconds"]


def _start(task: Path, out: Path) -> subprocess.Popen[bytes]:
    code = "from sleepshift.cli import main; main()"
    arguments = ["run", str(task), "--methods", METHODS, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _finished(out: Path) -> dict[Path, int]:
    """Manifests of finished jobs with the time they were written."""
    found = [*out.glob("cells/[!.]*/manifest.json"), *out.glob("artifacts/[!.]*/manifest.json")]
    return {path: path.stat().st_mtime_ns for path in found}


def _kill_when(process: subprocess.Popen[bytes], out: Path, n_finished: int, pause: float) -> None:
    while process.poll() is None and len(_finished(out)) < n_finished:
        time.sleep(0.01)
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_run_killed_three_times_ends_with_the_table_of_an_undisturbed_one(
    toy_task: Path, tmp_path: Path
) -> None:
    dice = random.Random(11)
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    kept: dict[Path, int] = {}
    for _ in range(3):
        process = _start(toy_task, killed)
        _kill_when(process, killed, len(kept) + dice.randint(1, 3), dice.uniform(0, 0.4))
        assert process.returncode == -signal.SIGKILL
        now = _finished(killed)
        assert kept.items() <= now.items(), "a finished job was run again"
        kept = now
    last, whole = _start(toy_task, killed), _start(toy_task, calm)
    for process in (last, whole):
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr.decode()
    assert kept.items() <= _finished(killed).items()
    left, right = (results_frame(out).drop(columns=TIMES) for out in (killed, calm))
    pd.testing.assert_frame_equal(left, right)
    assert not list(killed.glob("cells/.damaged*"))
