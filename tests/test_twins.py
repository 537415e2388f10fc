"""Every simulated task, made small, from its file to its table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from sleepshift.protocol import load_task

TWINS = sorted((Path(__file__).parents[1] / "tasks").glob("*-simulated.toml"))
TOY = ("max_epochs", "target_epochs", "finetune_epochs", "pretext_epochs")
KINDS = {"cross-age", "cross-dataset", "cross-modality", "label-budget", "leave-subjects-out"}


def methods_for(task) -> list[str]:
    """A floor, what each role of the protocol is for, and the heart of each family."""
    if "teacher" in task.windows.views:
        return ["majority", "features-logreg", "teacher", "student-only", "kd-softmax"]
    chosen = ["majority", "features-logreg", "source-only"]
    adapts = task.protocol.kind in ("cross-age", "cross-dataset", "label-budget")
    return [*chosen, *(["features-logreg-target", "finetune-head", "rp-linear"] if adapts else [])]


def test_every_protocol_has_a_simulated_task():
    assert {load_task(path).protocol.kind for path in TWINS} == KINDS


@pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)
def test_a_simulated_task_runs_from_its_file_to_its_table(path, tmp_path, sleepshift):
    toy = tmp_path / path.name
    toy.write_text(re.sub(r"hours = [\d.]+", "hours = 0.5", path.read_text()))
    task = load_task(toy)
    assert task.simulated
    methods = methods_for(task)
    run = ["run", toy, "--methods", ",".join(methods), "--out", tmp_path / "runs"]
    for name in TOY:
        run += ["--set", f"{name}=1"]
    first = {"label-budget": "1-draw-0", "cross-modality": "0", "leave-subjects-out": "0"}
    run += ["--folds", first.get(task.protocol.kind) or task.protocol.folds[0].name]
    code, _, error = sleepshift(*run, "--set", "n_pairs=32")
    assert code == 0, error
    code, _, error = sleepshift("report", tmp_path / "runs", "--partial")
    assert code == 0, error
    rows = pd.read_csv(tmp_path / "runs" / "leaderboard" / "results.csv")
    assert (rows["status"] == "ok").all()
    assert set(rows["method"]) == set(methods)
    assert rows["macro_f1"].between(0, 1).any()
    assert "simulated" in (tmp_path / "runs" / "leaderboard" / "leaderboard.md").read_text()
