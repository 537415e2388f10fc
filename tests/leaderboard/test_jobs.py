"""What jobs cost, from the manifests of a run to one row each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sleepshift.leaderboard.jobs import COLUMNS, jobs_frame
from sleepshift.runner import read_grid

COST = {
    "wall_seconds": 2.5,
    "cpu_seconds": 2.0,
    "peak_memory_mb": 700.0,
    "peak_gpu_memory_mb": None,
    "threads": 1,
    "energy_kwh": 0.001,
    "device": "cpu",
    "gpu": None,
}


def say(folder: Path, **facts: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "manifest.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **facts}))


@pytest.fixture
def costly(run_copy: Path) -> Path:
    """A run whose deep cells share one model, with costs."""
    cells = [cell for cell in read_grid(run_copy)["cells"] if cell["key"] is not None]
    for k, cell in enumerate(cells):
        model = "a" * 20 if k < 2 else None
        cost = {**COST, "wall_seconds": float(k)}
        name = f"cell {k}"
        say(run_copy / "cells" / cell["key"], artifact=model, needs={}, cost=cost, name=name)
    say(run_copy / "artifacts" / ("a" * 20), cost=COST, name="base", machine="x86_64, 2 cores")
    return run_copy


def test_every_stored_job_of_the_grid_has_one_row(costly) -> None:
    cells = [cell for cell in read_grid(costly)["cells"] if cell["key"] is not None]
    frame = jobs_frame(costly)
    assert tuple(frame.columns) == COLUMNS
    stored = [c["key"] for c in cells if (costly / "cells" / c["key"] / "people.json").exists()]
    assert frame["key"].tolist()[0] == "a" * 20
    assert set(stored) <= set(frame["key"])
    assert frame["key"].is_unique
    assert frame["kind"].tolist() == ["fit"] + ["cell"] * (len(frame) - 1)
    first = frame.iloc[0]
    assert (first["name"], first["machine"]) == ("base", "x86_64, 2 cores")
    assert {name: first[name] for name in COST if COST[name] is not None} == {
        name: value for name, value in COST.items() if value is not None
    }
    assert frame["wall_seconds"].tolist()[1:] == list(range(len(frame) - 1))


def test_a_shared_model_names_all_that_share_it(costly) -> None:
    cells = [cell for cell in read_grid(costly)["cells"] if cell["key"] is not None][:2]
    frame = jobs_frame(costly).set_index("key")
    assert frame.loc["a" * 20, "methods"] == ",".join(dict.fromkeys(c["method"] for c in cells))


def test_tasks_can_be_chosen(costly) -> None:
    names = list(read_grid(costly)["tasks"])
    assert len(jobs_frame(costly, names)) == len(jobs_frame(costly))
    assert jobs_frame(costly, ["none"]).empty
    assert tuple(jobs_frame(costly, ["none"]).columns) == COLUMNS


def test_older_runs_have_no_costs(run_copy) -> None:
    frame = jobs_frame(run_copy)
    assert len(frame)
    assert (frame["kind"] == "cell").all()
    numbers = ["wall_seconds", "cpu_seconds", "peak_memory_mb", "energy_kwh", "threads"]
    assert frame[numbers].isna().all(axis=None)


@pytest.mark.parametrize(
    "facts",
    [
        {"cost": 3},
        {"cost": [1]},
        {"cost": None},
        {"cost": {"wall_seconds": "long", "nonsense": 1, "key": "other", "kind": "odd"}},
        {"artifact": "../../..", "needs": {"base": ["x"]}},
        {"artifact": 3, "needs": 3},
    ],
)
def test_damaged_manifests_cost_their_figures_and_no_more(costly, facts) -> None:
    whole = jobs_frame(costly)
    key = whole["key"].iloc[-1]
    say(costly / "cells" / key, **facts)
    frame = jobs_frame(costly)
    assert frame["key"].tolist() == whole["key"].tolist()
    assert tuple(frame.columns) == COLUMNS
    if "cost" in facts:
        assert frame["wall_seconds"].isna().iloc[-1]
