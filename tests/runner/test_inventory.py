"""What a run's folder holds, and that pruning takes what nothing needs and not a byte more."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sleepshift.errors import GridError
from sleepshift.runner.inventory import shared_models, take_stock

HOST = socket.gethostname()
METHODS = ["majority", "source-only", "finetune-head", "rp-linear"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one fold, whose cells say what they were made from."""
    from tests.conftest import TOY_TASK
    from tests.runner.conftest import Grid

    folder = tmp_path_factory.mktemp("inventory")
    task = folder / "toy.toml"
    task.write_text(TOY_TASK)
    grid = Grid(task, folder / "runs")
    assert grid.run(METHODS, folds=["one"]).failed == {}
    record = json.loads((grid.out / "grid.json").read_text())
    plan = grid.plan(METHODS, folds=["one"])
    for cell in record["cells"]:
        job = plan.cells[cell["key"]]
        change(grid.out / "cells" / job.key / "manifest.json", artifact=job.artifact)
    shutil.rmtree(grid.out / "outputs", ignore_errors=True)
    return grid.out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def folder(path: Path, *, content: str = "x" * 100, age: float = 0) -> Path:
    """A folder with a file, as if it had been written `age` seconds ago."""
    path.mkdir(parents=True)
    (path / "content").write_text(content)
    then = time.time() - age
    for item in (path / "content", path):
        os.utime(item, (then, then))
    return path


def files(root: Path) -> dict[Path, bytes]:
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def orphans(run: Path) -> list[Path]:
    """One of everything that nothing needs."""
    return [
        folder(run / "cells" / ("0" * 20)),
        folder(run / "artifacts" / ("1" * 20)),
        folder(run / "outputs" / ("2" * 20)),
        folder(run / "windows" / ("3" * 20), age=2 * 86400),
        folder(run / "cells" / ".damaged-abc-0"),
        folder(run / "artifacts" / ".damaged-abc-1"),
        folder(run / "cells" / f".tmp-999999999-{HOST}-~x"),
        folder(run / "windows" / ".tmp-1-elsewhere-~x", age=2 * 86400),
    ]


def test_a_finished_run_needs_all_it_holds(run) -> None:
    before = files(run)
    found = take_stock(run)
    assert vars(found.tasks["toy"]) == {"stored": 4, "missing": 0, "failed": 0, "skipped": 0}
    assert all(item.needed for item in found.items)
    assert found.notes == []
    counts = [item.kind for item in found.items]
    assert {kind: counts.count(kind) for kind in counts} == {
        "cells": 4,
        "shared models": 2,
        "window stores": 1,
    }
    assert found.prune() == []
    assert files(run) == before


def test_sizes_and_times_are_those_of_the_files(run) -> None:
    (store,) = (item for item in take_stock(run).items if item.kind == "window stores")
    inside = [path for path in store.path.rglob("*") if path.is_file()]
    assert store.size == sum(path.stat().st_size for path in inside)
    assert store.changed == max(p.stat().st_mtime for p in [store.path, *inside])
    assert store.used >= store.changed
    then = time.time() + 5000
    os.utime(store.path / "labels.npy", (then, store.changed))
    (store,) = (item for item in take_stock(run).items if item.kind == "window stores")
    assert store.used == pytest.approx(then)


def test_pruning_takes_the_orphans_and_not_a_byte_more(run) -> None:
    before = files(run)
    made = orphans(run)
    found = take_stock(run)
    assert {item.path for item in found.items if not item.needed} == set(made)
    removed = found.prune()
    assert {item.path for item in removed} == set(made)
    assert sum(item.size for item in removed) == 100 * len(made)
    assert files(run) == before
    assert not list(run.rglob(".tmp-*"))
    assert take_stock(run).prune() == []


def test_a_missing_cell_keeps_cached_outputs(run) -> None:
    made = folder(run / "outputs" / ("2" * 20))
    cell = json.loads((run / "grid.json").read_text())["cells"][0]
    shutil.rmtree(run / "cells" / cell["key"])
    (run / "failures").mkdir(exist_ok=True)
    (run / "failures" / f"{cell['key']}.json").write_text("{}")
    found = take_stock(run)
    assert vars(found.tasks["toy"]) == {"stored": 3, "missing": 1, "failed": 1, "skipped": 0}
    found.prune()
    assert made.exists()


def test_rows_of_older_versions_keep_every_shared_model(run) -> None:
    made = folder(run / "artifacts" / ("1" * 20))
    for path in run.glob("cells/*/manifest.json"):
        facts = json.loads(path.read_text())
        del facts["artifact"]
        path.write_text(json.dumps(facts))
    grid = json.loads((run / "grid.json").read_text())
    for cell in grid["cells"]:
        cell.pop("artifacts", None)
    (run / "grid.json").write_text(json.dumps(grid))
    found = take_stock(run)
    assert any("all shared models are kept" in note for note in found.notes)
    assert found.prune() == []
    assert made.exists()


def test_cells_that_were_replaced_take_their_models_with_them(run) -> None:
    record = json.loads((run / "grid.json").read_text())
    record["cells"] = [cell for cell in record["cells"] if cell["method"] == "majority"]
    (run / "grid.json").write_text(json.dumps(record))
    removed = [item.kind for item in take_stock(run).prune()]
    assert sorted(removed) == ["cells"] * 3 + ["shared models"] * 2
    assert vars(take_stock(run).tasks["toy"])["stored"] == 1


@pytest.mark.parametrize("named", [True, False])
def test_models_that_a_needed_model_was_made_from_are_needed(run, named) -> None:
    first, second = folder(run / "artifacts" / ("1" * 20)), folder(run / "artifacts" / ("2" * 20))
    record = json.loads((run / "grid.json").read_text())
    record["cells"] = [c for c in record["cells"] if c["method"] == "finetune-head"]
    (own,) = shared_models(run, {**record["cells"][0], "artifacts": None}) or ()
    record["cells"][0]["artifacts"] = [own] if named else None
    (run / "grid.json").write_text(json.dumps(record))
    change(run / "artifacts" / own / "manifest.json", needs={"base": first.name})
    (first / "manifest.json").write_text(json.dumps({"needs": {"base": second.name}}))
    (second / "manifest.json").write_text(json.dumps({"needs": {"base": first.name}}))
    take_stock(run).prune()
    assert {path.name for path in (run / "artifacts").iterdir()} == {own, first.name, second.name}


@pytest.mark.parametrize("keyed", [True, False])
def test_what_a_search_refers_to_is_needed(run, keyed) -> None:
    made = orphans(run)[:4]
    cells = [{"key": "0" * 20, "fold": "one"}] if keyed else ["0" * 20]
    record = {"cells": cells, "artifacts": ["1" * 20], "windows": "3" * 20}
    folder(run / "search" / "mine")
    (run / "search" / "mine" / "record.json").write_text(json.dumps(record))
    found = take_stock(run)
    assert next(item for item in found.items if item.kind == "searches").needed
    found.prune()
    assert [path.exists() for path in made] == [True, True, keyed and False, True]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"cells": 3}', '{"cells": [[1]]}'])
def test_a_search_that_cannot_be_read_keeps_all_it_might_need(run, content) -> None:
    made = orphans(run)
    folder(run / "search" / "mine")
    if content is not None:
        (run / "search" / "mine" / "record.json").write_text(content)
    found = take_stock(run)
    assert any("search/mine" in note for note in found.notes)
    found.prune()
    assert [path.exists() for path in made] == [True] * 4 + [False] * 4


def test_a_search_alone_is_something_to_list(run) -> None:
    (run / "grid.json").unlink()
    folder(run / "search" / "mine")
    found = take_stock(run)
    assert found.tasks == {}
    assert found.prune() == []


def test_temporary_folders_of_who_may_live_are_left_alone(run) -> None:
    mine = folder(run / "cells" / f".tmp-{os.getpid()}-{HOST}-~x", age=9 * 86400)
    theirs = folder(run / "artifacts" / ".tmp-999999999-elsewhere-~x", age=3600)
    odd = folder(run / "outputs" / f".tmp-{10**40}-{HOST}-~x", age=9 * 86400)
    fresh = run / ".tmp-grid.json-abc"
    fresh.write_text("half")
    assert take_stock(run).prune() == []
    assert all(path.exists() for path in (mine, theirs, odd, fresh))
    then = time.time() - 2 * 86400
    os.utime(fresh, (then, then))
    assert [item.path for item in take_stock(run).prune()] == [fresh]


def test_windows_that_were_packed_just_now_are_left_alone(run) -> None:
    packed = folder(run / "windows" / ("3" * 20), age=60)
    take_stock(run).prune()
    assert packed.exists()


def test_weights_that_no_row_and_no_search_names_are_removed_after_a_day(run) -> None:
    weights = run / "weights"
    weights.mkdir()
    names = ("named@00000000", "searched@11111111", "old@22222222", "new@33333333")
    for name in names:
        (weights / f"{name}.safetensors").write_text("x")
        then = time.time() - (0 if name.startswith("new") else 2 * 86400)
        os.utime(weights / f"{name}.safetensors", (then, then))
    record = json.loads((run / "grid.json").read_text())
    record["cells"][0]["settings"] += " weights=named@00000000.safetensors"
    (run / "grid.json").write_text(json.dumps(record))
    search = folder(run / "search" / "s")
    path = str(weights / "searched@11111111.safetensors")
    facts = {"cells": [], "artifacts": [], "windows": [], "combinations": [{"weights": path}]}
    (search / "record.json").write_text(json.dumps(facts))
    broken = folder(run / "search" / "broken")
    (broken / "record.json").write_text("{")
    assert take_stock(run).prune() == []  # it may need them all
    shutil.rmtree(broken)
    removed = take_stock(run).prune()
    assert [item.path.name for item in removed] == ["old@22222222.safetensors"]
    assert len(list(weights.iterdir())) == 3


def test_nothing_behind_a_link_is_counted_or_removed(run, tmp_path) -> None:
    outside = folder(tmp_path / "outside" / ("4" * 20), age=9 * 86400)
    (run / "cells" / ("5" * 20)).symlink_to(outside)
    (run / "cells" / ".damaged-x-0").symlink_to(outside)
    (run / "outputs").symlink_to(outside.parent)
    orphan = folder(run / "artifacts" / ("1" * 20))
    (orphan / "link").symlink_to(outside)
    removed = take_stock(run).prune()
    assert [item.path for item in removed] == [orphan]
    assert files(outside) == {Path("content"): b"x" * 100}
    assert (run / "cells" / ("5" * 20)).is_symlink()


def test_what_disappears_meanwhile_is_no_error(run) -> None:
    made = orphans(run)
    found = take_stock(run)
    shutil.rmtree(made[0])
    assert {item.path for item in found.prune()} == set(made[1:])


@pytest.mark.parametrize(
    "needs", [{"base": "../../../outside"}, {"base": ["x"]}, ["a"], "a", None, {"base": None}]
)
def test_names_that_lead_elsewhere_lead_nowhere(run, tmp_path, needs) -> None:
    outside = folder(tmp_path / "outside")
    before = files(run)
    for path in run.glob("artifacts/*/manifest.json"):
        change(path, needs=needs)
    folder(run / "cells" / ("0" * 20))
    (removed,) = (item for item in take_stock(run).prune() if item.kind == "cells")
    assert removed.path.name == "0" * 20
    assert outside.exists()
    assert len(files(run)) == len(before)


def test_a_folder_without_a_run_is_told_so(tmp_path) -> None:
    (tmp_path / "windows").mkdir()
    with pytest.raises(GridError, match="holds no run; start one with: sleepshift run"):
        take_stock(tmp_path)
    (tmp_path / "grid.json").write_text("[" * 100_000)
    with pytest.raises(GridError, match="damaged"):
        take_stock(tmp_path)


def test_damage_anywhere_never_costs_what_is_needed(run) -> None:
    """Whatever is written over one of the JSON files, needed content survives a pruning."""
    dice = random.Random(5)
    texts = ["", "{", "null", "[]", "3", '{"needs": 3}', "[" * 100_000, "\ufffd", '{"cells": null}']
    needed = {p for p in files(run) if p.suffix != ".json"}
    targets = sorted(run.rglob("*.json"))
    for _ in range(40):
        target = dice.choice(targets)
        content = target.read_text()
        target.write_text(dice.choice([*texts, content[: dice.randrange(len(content))]]))
        if target.name == "grid.json":
            with pytest.raises(GridError, match=r"^[^\n]*$"):
                take_stock(run).prune()
        else:
            take_stock(run).prune()
        assert needed <= set(files(run)), target
        target.write_text(content)
