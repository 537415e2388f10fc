"""Tracking, with the real wandb offline, and with ones that fail in every way there is."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sleepshift.errors import TaskError
from sleepshift.estimators import FineTuner, SleepStager
from sleepshift.estimators.training import watchers
from sleepshift.runner import tracking
from sleepshift.runner.tracking import Tracker, TrackingWarning

KEY = "0123456789abcdef0123456789abcdef01234567"
FACTS: dict[str, Any] = {
    "key": "ab" * 10,
    "kind": "fit",
    "name": "toy · one · source-only",
    "task": "toy",
    "config": {"estimator": {"lr": 0.001}},
}


def train(estimator: Any = None) -> Any:
    X = np.random.default_rng(0).normal(size=(8, 1, 300)).astype(np.float32)
    stager = SleepStager(model="mlp", max_epochs=2, batch_size=4, valid_size=0)
    return (estimator or stager).fit(X.reshape(8, 1, 300), np.arange(8) % 2)


class FakeRun:
    def __init__(self, wandb: FakeWandb, facts: dict[str, Any]) -> None:
        self.wandb, self.facts, self.rows = wandb, facts, []
        self.summary: dict[str, Any] = {}
        self.exit_code: int | None = None

    def log(self, row: dict[str, Any]) -> None:
        self.wandb.meet("log")
        self.rows.append(row)

    def finish(self, exit_code: int = 0) -> None:
        self.wandb.meet("finish")
        self.exit_code = exit_code


class FakeWandb:
    """A wandb that remembers, and fails or hangs where it is told to."""

    class Settings:
        model_fields = dict.fromkeys(["silent", "console", "finish_timeout"])

        def __init__(self, **values: object) -> None:
            assert set(values) <= set(self.model_fields)

    class Table:
        def __init__(self, dataframe: pd.DataFrame, allow_mixed_types: bool) -> None:
            self.rows = dataframe

    def __init__(self) -> None:
        self.runs: list[FakeRun] = []
        self.run, self.mode, self.logged_in, self.prompted = None, "online", True, False
        self.fails = self.hangs = ""
        self.torn_down = threading.Event()

    def meet(self, step: str) -> None:
        if step == self.fails:
            raise RuntimeError(f"no {step}\nat all")
        if step == self.hangs:
            time.sleep(3600)

    def setup(self, settings: object = None) -> SimpleNamespace:
        return SimpleNamespace(settings=SimpleNamespace(mode=self.mode))

    def login(self, *, prompt: bool, verify: bool) -> bool:
        self.meet("login")
        self.prompted |= prompt or verify
        return self.logged_in

    def init(self, **facts: Any) -> FakeRun:
        self.meet("init")
        self.runs.append(FakeRun(self, facts))
        return self.runs[-1]

    def teardown(self, exit_code: int) -> None:
        self.torn_down.set()


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Any:
    tracking._desk.cache_clear()
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(tracking, "PATIENCE", 0.5)
    yield fake
    tracking._desk.cache_clear()


def test_a_job_is_one_run_whose_steps_go_on_over_its_trainings(wandb, tmp_path) -> None:
    with Tracker("sleep", tmp_path).job(**FACTS):
        train()
        train()
    (run,) = wandb.runs
    assert run.facts["group"] == "toy"
    assert run.facts["job_type"] == "fit"
    assert (run.facts["id"], run.facts["name"]) == (FACTS["key"], FACTS["name"])
    assert run.facts["config"] == FACTS["config"]
    assert (run.facts["project"], run.facts["dir"]) == ("sleep", tmp_path)
    assert [(row["training"], row["epoch"]) for row in run.rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(np.isfinite(row["train_loss"]) for row in run.rows)
    assert run.exit_code == 0


def test_phases_that_validate_are_logged_too(wandb, tmp_path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 1, 300)).astype(np.float32), np.arange(40) % 2
    base = SleepStager(model="mlp", max_epochs=1, batch_size=4, valid_size=0.25)
    with Tracker("sleep", tmp_path).job(**FACTS):
        FineTuner(base, max_epochs=1).fit(X, y, X_target_labeled=X, y_target_labeled=y)
    (run,) = wandb.runs
    assert {row["training"] for row in run.rows} == {1, 2}
    assert "valid_loss" in run.rows[0]


def test_a_job_without_training_leaves_no_run(wandb, tmp_path) -> None:
    with Tracker("sleep", tmp_path).job(**FACTS):
        pass
    assert wandb.runs == []


def test_training_after_the_job_is_not_tracked(wandb, tmp_path) -> None:
    with Tracker("sleep", tmp_path).job(**FACTS):
        train()
    train()
    assert len(wandb.runs[0].rows) == 2
    assert watchers.get() == ()


def test_a_failing_job_is_marked_and_its_error_passes(wandb, tmp_path) -> None:
    def fail() -> None:
        with Tracker("sleep", tmp_path).job(**FACTS):
            train()
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    assert wandb.runs[0].exit_code == 1


@pytest.mark.parametrize("step", ["login", "init", "log", "finish"])
@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_whatever_wandb_does_the_job_is_done_and_one_line_said(wandb, tmp_path, step, how) -> None:
    setattr(wandb, how, step)
    tracker, start = Tracker("sleep", tmp_path), time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with tracker.job(**FACTS):
                assert train().history_
        tracker.summary("toy", config={}, tables={}, figures={})
    assert time.perf_counter() - start < 5
    (said,) = [w for w in caught if issubclass(w.category, TrackingWarning)]
    assert "\n" not in str(said.message)
    assert "tracking with wandb is off" in str(said.message)
    assert (f"RuntimeError: no {step} at all" in str(said.message)) == (how == "fails")
    assert wandb.torn_down.wait(1) == (how == "hangs")


def test_a_wandb_that_cannot_be_imported_fails_no_job(wandb, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    warned = pytest.warns(TrackingWarning, match="ModuleNotFoundError")
    with warned, Tracker("sleep", tmp_path).job(**FACTS):
        train()


@pytest.mark.parametrize(
    ("mode", "logged_in", "used"),
    [
        ("online", True, None),
        ("online", False, "offline"),
        ("offline", True, "offline"),
        ("disabled", True, "disabled"),
    ],
)
def test_nobody_is_asked_for_a_key(wandb, tmp_path, mode, logged_in, used) -> None:
    wandb.mode, wandb.logged_in = mode, logged_in
    with Tracker("sleep", tmp_path).job(**FACTS):
        train()
    assert wandb.runs[0].facts["mode"] == used
    assert not wandb.prompted


def test_a_job_done_again_replaces_its_files_and_no_others(wandb, tmp_path) -> None:
    old = tmp_path / "wandb" / f"offline-run-20260101_000000-{FACTS['key']}"
    other = tmp_path / "wandb" / "offline-run-20260101_000000-other"
    elsewhere = tmp_path / "elsewhere"
    link = tmp_path / "wandb" / f"run-20260102_000000-{FACTS['key']}"
    for folder in (old, other, elsewhere):
        folder.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with Tracker("sleep", tmp_path).job(**FACTS):
        train()
    assert not old.exists()
    assert other.exists()
    assert elsewhere.exists()
    assert link.is_symlink()


def test_a_summary_has_the_tables_and_the_same_name_every_time(wandb, tmp_path) -> None:
    frame = pd.DataFrame({"method": ["a"], "macro_f1": [0.5]})
    for _ in range(2):
        Tracker("sleep", tmp_path).summary(
            "toy", config={"x": 1}, tables={"leaderboard": frame}, figures={"one/a": 0.5}
        )
    first, second = wandb.runs
    assert first.facts["id"] == second.facts["id"]
    assert (first.facts["group"], first.facts["job_type"]) == ("toy", "summary")
    assert first.rows[0]["leaderboard"].rows.to_dict("list") == frame.to_dict("list")
    assert (first.summary, first.exit_code) == ({"one/a": 0.5}, 0)


def test_without_a_project_nothing_happens_and_wandb_is_not_loaded(tmp_path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from sleepshift.runner.tracking import Tracker\n"
        "tracker = Tracker(None, Path('none'))\n"
        f"with tracker.job(**{FACTS!r}): pass\n"
        "tracker.summary('toy', config={}, tables={}, figures={})\n"
        "assert tracker.hint() is None\n"
        "print('wandb' in sys.modules, Path('none').exists())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "50%", "what?", "x" * 129])
def test_a_name_that_wandb_would_refuse_is_refused_at_once(tmp_path, name) -> None:
    with pytest.raises(TaskError, match="--wandb") as caught:
        Tracker(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_tracker_can_be_sent_to_another_process(tmp_path) -> None:
    tracker = Tracker("sleep", tmp_path)
    assert pickle.loads(pickle.dumps(tracker)) == tracker  # noqa: S301


# ---------------------------------------------------------------------- the real one


REAL = f"""
import sys
import numpy as np, pandas as pd
from pathlib import Path
from sleepshift.estimators import SleepStager
from sleepshift.runner.tracking import Tracker

out = Path(sys.argv[1])
tracker = Tracker("sleep", out)
X = np.random.default_rng(0).normal(size=(8, 1, 300)).astype(np.float32)
for k, task in enumerate(["toy", "toy", "other"]):
    facts = {FACTS!r} | {{"key": str(k) * 20, "task": task}}
    with tracker.job(**facts):
        SleepStager(model="mlp", max_epochs=2, valid_size=0).fit(X, np.arange(8) % 2)
frame = pd.DataFrame({{"method": ["a", "b"], "kappa": [0.5, float("nan")], "flag": ["", None]}})
frame["rank"] = pd.array([1, None], dtype="Int64")
tracker.summary("toy", config={{}}, tables={{"leaderboard": frame}}, figures={{"one/a": 0.5}})
print(tracker.hint())
"""


def run_offline(out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REAL, str(out)],
        env={**kept, "HOME": str(out.parent / "home"), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that was tracked offline, and what was printed."""
    out = tmp_path_factory.mktemp("tracked") / "runs"
    done = run_offline(out, WANDB_MODE="offline", WANDB_API_KEY=KEY)
    return out, done.stdout + done.stderr


def records(file: Path) -> list[Any]:
    """Records of a ``.wandb`` file: chunks in blocks of 32 KiB, as LevelDB writes its log."""
    from wandb.proto import wandb_internal_pb2

    content, place, parts, found = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            found.append(wandb_internal_pb2.Record())
            found[-1].ParseFromString(parts)
            parts = b""
    return found


def test_real_runs_are_on_disk_and_nothing_is_printed_but_the_hint(offline) -> None:
    out, said = offline
    runs = {path.name.rpartition("-")[2] for path in (out / "wandb").iterdir()}
    assert runs > {"0" * 20, "1" * 20, "2" * 20}
    assert len(runs) == 4
    assert said == f"tracked offline; send it with: wandb sync {out}/wandb/offline-run-*\n"


def test_real_runs_are_grouped_by_task_and_hold_the_curves(offline) -> None:
    groups, losses = {}, {}
    for file in (offline[0] / "wandb").glob("*/*.wandb"):
        for record in records(file):
            if record.HasField("run"):
                run = record.run
                groups[run.run_id] = (run.project, run.run_group, run.job_type)
            if record.HasField("history"):
                items = {i.key or i.nested_key[0]: i.value_json for i in record.history.item}
                losses.setdefault(file.parent.name[-20:], []).append(items)
    assert groups["0" * 20] == groups["1" * 20] == ("sleep", "toy", "fit")
    assert groups["2" * 20] == ("sleep", "other", "fit")
    assert sorted(kind for _, _, kind in groups.values()) == ["fit", "fit", "fit", "summary"]
    assert [json.loads(row["epoch"]) for row in losses["0" * 20]] == [1, 2]
    assert all(json.loads(row["train_loss"]) > 0 for row in losses["0" * 20])


def test_the_table_can_be_read_back(offline) -> None:
    (file,) = (offline[0] / "wandb").glob("*/files/media/table/*.table.json")
    table = json.loads(file.read_text())
    assert table["columns"] == ["method", "kappa", "flag", "rank"]
    assert table["data"] == [["a", 0.5, "", 1], ["b", None, None, None]]


def test_neither_the_key_nor_the_machine_is_in_any_file(offline) -> None:
    out, _ = offline
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
    assert {file.suffix for file in files} == {".wandb", ".json", ".log"}
    (summary,) = out.glob("wandb/*/files/media/table/*.json")
    for file in out.glob("wandb/*/*.wandb"):
        described = [record.run for record in records(file) if record.HasField("run")]
        assert [run.host for run in described] == [""] * len(described)
        assert not any(run.HasField("git") for run in described)
        if file.parent not in summary.parents:  # where wandb names the file of the table
            content = file.read_bytes()
            for private in (out.parent, Path.home(), sys.executable):
                assert str(private).encode() not in content


def test_without_a_key_nobody_is_asked_and_files_are_written(tmp_path) -> None:
    done = run_offline(tmp_path / "runs")
    assert done.stdout.startswith("tracked offline; send it with: wandb sync")
    assert done.stderr == ""
    assert len(list((tmp_path / "runs" / "wandb").glob("offline-run-*"))) == 4


def test_a_server_that_is_not_there_ends_tracking_and_nothing_else(tmp_path) -> None:
    code = REAL.replace("from pathlib", "import sleepshift.runner.tracking as t\nfrom pathlib", 1)
    code = code.replace("out = ", "t._SETTINGS |= {'init_timeout': 1, 'finish_timeout': 1}\nout = ")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "runs")],
        env={**kept, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr.count("tracking with wandb is off") == 1
    assert time.perf_counter() - start < 60
