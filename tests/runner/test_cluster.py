"""On Dask's workers: the same figures, whoever does the work and whoever dies meanwhile."""

from __future__ import annotations

import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client

from sleepshift import runner
from sleepshift.errors import ClusterError, DamageWarning, GridError, TaskError
from sleepshift.leaderboard.frame import results_frame
from sleepshift.methods import get_methods
from sleepshift.protocol import load_task
from sleepshift.runner import cluster, request
from sleepshift.runner.work import Done
from sleepshift.windows import read_manifest

METHODS = ["majority", "features-logreg", "source-only", "finetune-all", "finetune-head", "pooled"]
TIMES = ["fit_seconds", "predict_seconds"]
ENDLESS = {"max_epochs": 10_000, "patience": 10_000}
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "200",
    "PYTHONFAULTHANDLER": "1",
    "WANDB_MODE": "offline",
    # How long a client tries to find its scheduler again.
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s",
}


def ask(task: Path, out: Path, methods: list[str] = METHODS, **more: Any) -> runner.Plan:
    """A recorded plan that workers can make anew."""
    loaded = load_task(task)
    store = loaded.prepare(out / "windows")
    asked = runner.Request(
        tasks=[loaded.model_dump(mode="json")], stores=[store.name], methods=methods, **more
    )
    plan, opened = asked.make(out)
    manifests = {loaded.name: read_manifest(store)}
    runner.record_grid(out, plan, opened, manifests, get_methods(methods))
    return plan


def table(out: Path) -> pd.DataFrame:
    return results_frame(out).drop(columns=TIMES)


def predictions(out: Path) -> dict[str, np.ndarray]:
    cells = [path for path in (out / "cells").iterdir() if not path.name.startswith(".")]
    return {path.name: np.load(path / "predictions.npz")["probability"] for path in cells}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers of this machine."""
    with cluster.local_workers(2) as client:
        yield client


@pytest.fixture
def calm(toy_task: Path, tmp_path: Path) -> Path:
    """Folder of an undisturbed run in this process."""
    out = tmp_path / "calm"
    outcome = runner.execute(ask(toy_task, out), runner.ArtifactStore(out))
    assert outcome.failed == {}
    return out


def test_one_worker_and_two_predict_what_one_process_does(client, toy_task, tmp_path, calm):
    out = tmp_path / "two"
    plan = ask(toy_task, out)
    events: list[str] = []
    outcome = runner.execute(
        plan,
        runner.ArtifactStore(out),
        client=client,
        report=lambda event, name: events.append(event),
    )
    assert (len(outcome.scored), outcome.kept, outcome.failed) == (len(plan.cells), 0, {})
    assert len(outcome.fitted) == len(plan.fits)
    assert events.count("done") == len(plan.cells)
    with cluster.local_workers(1) as alone:
        runner.execute(
            ask(toy_task, tmp_path / "one"), runner.ArtifactStore(tmp_path / "one"), client=alone
        )
    expected = predictions(calm)
    for folder in (out, tmp_path / "one"):
        found = predictions(folder)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
    pd.testing.assert_frame_equal(table(out), table(calm))


def test_only_keys_travel(client, toy_task, tmp_path, monkeypatch):
    out = tmp_path / "runs"
    plan = ask(toy_task, out, ["majority", "source-only"])
    sent: list[tuple[Any, ...]] = []
    submit = client.submit

    def spy(function: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(arguments)
        return submit(function, *arguments, **options)

    monkeypatch.setattr(client, "submit", spy)
    runner.execute(plan, runner.ArtifactStore(out), client=client)
    assert len(sent) == len(plan.cells) + len(plan.fits)
    for root, kind, name, options, key, *before in sent:
        assert (root, kind, name) == (str(out), *plan.request)
        assert isinstance(options, runner.Options)
        assert key in plan.cells or key in plan.fits
        assert all(isinstance(done, Done) for done in before)
    assert max(len(pickle.dumps(arguments)) for arguments in sent) < 2000


def test_a_worker_killed_while_it_fits_costs_nothing_but_time(client, toy_task, tmp_path):
    out, calm = tmp_path / "runs", tmp_path / "calm"
    methods, more = ["source-only", "finetune-head"], {"max_epochs": 40, "patience": 40}
    plan = ask(toy_task, out, methods, overrides=more)
    (fit,) = plan.fits
    processes, killed = client.run(os.getpid), []

    def kill_when_at_work() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not killed:
            for address, jobs in client.processing().items():
                if any(fit in key for key in jobs):
                    time.sleep(0.5)  # into its training
                    killed.append(processes[address])
                    os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill_when_at_work)
    killer.start()
    outcome = runner.execute(plan, runner.ArtifactStore(out), client=client)
    killer.join()
    assert len(killed) == 1
    assert killed[0] not in client.run(os.getpid).values()
    # It died in the middle: its temporary folder, or nothing at all, was left of the fit.
    assert outcome.fitted == ["toy · one · source-only"]
    assert outcome.failed == {}
    runner.execute(ask(toy_task, calm, methods, overrides=more), runner.ArtifactStore(calm))
    pd.testing.assert_frame_equal(table(out), table(calm))


def test_a_method_that_fails_is_not_tried_again_and_the_others_go_on(client, toy_task, tmp_path):
    out = tmp_path / "runs"
    methods = ["majority", "source-only", "finetune-all"]
    plan = ask(toy_task, out, methods, overrides={"lr": 1e30})
    outcome = runner.execute(plan, runner.ArtifactStore(out), client=client)
    assert sorted(outcome.scored) == ["toy · one · majority", "toy · two · majority"]
    reasons = list(outcome.failed.values())
    assert (
        sum(reason.startswith("FloatingPointError: training diverged") for reason in reasons) == 1
    )
    assert sum(reason.startswith("prerequisite toy · one · source-only") for reason in reasons) == 4
    trace = (out / "failures" / f"{next(iter(plan.fits))}.json").read_text()
    assert "Traceback" in trace
    frame = results_frame(out)
    assert set(frame["status"].str.partition(":")[0]) == {"ok", "failed"}


def test_a_job_that_takes_too_long_ends_with_its_process_and_is_tried_once(
    client, toy_task, tmp_path
):
    out = tmp_path / "runs"
    methods = ["majority", "features-logreg", "source-only"]
    plan = ask(toy_task, out, methods, seeds=[0, 1, 2, 3, 4], overrides=ENDLESS)
    options = runner.Options(timeout=3)
    outcome = runner.execute(plan, runner.ArtifactStore(out), client=client, options=options)
    # Every one of five deaths costs its own job and no other.
    assert len(outcome.scored) == 2 * 2
    assert len(outcome.failed) == 5 * (1 + 2)
    (reason,) = {r for r in outcome.failed.values() if not r.startswith("prerequisite")}
    assert reason == "it took longer than --timeout 3 s"


def test_settings_that_json_does_not_know_reach_workers_as_they_are(client, toy_task, tmp_path):
    out = tmp_path / "runs"
    more = {"overrides": {"logisticregression__class_weight": {0: 1.0, 1: 9.0}}}
    plan = ask(toy_task, out, ["features-logreg"], **more)
    outcome = runner.execute(plan, runner.ArtifactStore(out), client=client)
    assert (len(outcome.scored), outcome.failed) == (2, {})
    with pytest.raises(TaskError, match="use plain values"):
        ask(toy_task, out, ["features-logreg"], overrides={"C": float("inf")})


def test_workers_that_are_all_gone_end_the_run_in_one_line(toy_task, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK", 0.2)
    monkeypatch.setattr(cluster, "_GONE", 1.5)
    out = tmp_path / "runs"
    plan = ask(toy_task, out, ["majority"])
    said: list[str] = []
    with cluster.local_workers(1) as alone:
        alone.cluster.scale(0)
        while alone.scheduler_info()["workers"]:
            time.sleep(0.05)
        with pytest.raises(ClusterError, match="all workers are gone"):
            runner.execute(
                plan,
                runner.ArtifactStore(out),
                client=alone,
                report=lambda event, text: said.append(text),
            )
    assert said == ["no worker is there; waiting for one"]


class Fake:
    """Three workers, one of them with a card, that do what they are given at once."""

    cluster = None

    def __init__(self) -> None:
        self.at_once: list[list[str]] = []
        self.resources: dict[str, dict[str, float]] = {}

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        self.at_once.append([])
        return {"workers": {"a": {"resources": {"GPU": 1}}, "b": {"resources": {}}, "c": {}}}

    def submit(self, function: Any, *arguments: Any, key: str, **options: Any) -> Any:
        job = arguments[4]
        self.resources[job] = options["resources"]
        self.at_once[-1].append(job)
        future: Future[Any] = Future()
        future.set_result(Done(job, job, "fitted"))
        return future

    def cancel(self, futures: list[Any]) -> None:
        assert not futures


def test_cards_go_to_jobs_that_train_networks_and_each_worker_has_one_job(
    toy_task, tmp_path, monkeypatch
):
    monkeypatch.setattr("distributed.wait", lambda futures, **options: None)
    out, fake = tmp_path / "runs", Fake()
    plan = ask(toy_task, out, ["majority", "features-logreg", "source-only", "rp-linear"])
    todo = runner.missing(plan, runner.ArtifactStore(out))
    done = cluster.on_workers(fake, plan, out, todo, runner.Options(), lambda event, text: None)
    order = [one.key for one in done]
    assert sorted(order) == sorted(todo)
    assert all(order.index(other) < order.index(key) for key in todo for other in todo[key])
    assert max(len(batch) for batch in fake.at_once) == 3
    name = {key: plan.job(key).name.rpartition(" ")[2] for key in todo}
    deep = {key for key, need in fake.resources.items() if need}
    assert {name[key] for key in deep} == {"source-only", "encoder", "rp-linear"}
    assert {name[key] for key in set(todo) - deep} == {"majority", "features-logreg"}
    assert all(len(deep & set(batch)) <= 1 for batch in fake.at_once)


def test_a_plan_without_a_request_stays_in_its_process(client, grid):
    with pytest.raises(ValueError, match="saved request"):
        runner.execute(grid.plan(["majority"]), grid.store, client=client)


def test_workers_that_see_another_folder_say_so(tmp_path, monkeypatch):
    monkeypatch.setattr(request, "_PATIENCE", 1)
    with pytest.raises(GridError, match="on a disk that all share"):
        request.planned(tmp_path, runner.Request, "nothing")


def test_a_plan_made_anew_is_the_same_plan(toy_task, tmp_path):
    out = tmp_path / "runs"
    more = {"overrides": {"model_params": {"n_conv_chs": 4}}, "seeds": [0, 3], "folds": ["one"]}
    plan = ask(toy_task, out, **more)
    again = request.planned(out, *plan.request)
    assert (again.cells.keys(), again.fits.keys()) == (plan.cells.keys(), plan.fits.keys())
    assert again.grid == plan.grid


def start(*arguments: object, folder: Path) -> subprocess.Popen[str]:
    """The command line in a process of its own, with its children in one group."""
    # Tests in the background of a shell inherit an interrupt that is ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{heard}; from sleepshift.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=ENVIRONMENT,
        start_new_session=True,
    )


def wait_for(out: Path, n_cells: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list(out.glob("cells/[!.]*"))) < n_cells and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_client_loses_nothing_finished(toy_task, tmp_path, calm):
    out = tmp_path / "runs"
    run = ["run", toy_task, "--methods", ",".join(METHODS), "--out", out]
    first = start(*run, "--workers", 2, folder=tmp_path)
    wait_for(out, 3, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(*run, "--workers", 2, "--wandb", "grids", folder=tmp_path)
    said, _ = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert "dashboard: http://127.0.0.1:" in said
    kept = re.search(r"(\d+) kept", said)
    assert kept is not None
    assert int(kept[1]) >= 3
    assert "tracked offline; send it with: wandb sync" in said
    assert len(list(out.glob("wandb/offline-run-*"))) > 1
    pd.testing.assert_frame_equal(table(out), table(calm))


def group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("workers", "n_done", "sent"), [(0, 1, "INT"), (2, 2, "INT"), (2, 2, "TERM")]
)
def test_a_stopped_run_ends_within_ten_seconds_and_says_what_is_missing(
    toy_task, tmp_path, workers, n_done, sent
):
    out = tmp_path / "runs"
    run = ["run", toy_task, "--methods", "majority,source-only", "--out", out]
    run += ["--set", "max_epochs=10000", "--set", "patience=10000"]
    process = start(*run, *(["--workers", workers] if workers else []), folder=tmp_path)
    wait_for(out, n_done, process)
    time.sleep(1)
    begin = time.monotonic()
    if sent == "INT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to workers too
    else:
        process.terminate()  # as a queue does
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - begin < 10
    assert process.returncode == 130, said
    assert "stopped; what is finished is kept, run again for the rest" in said
    assert f"PARTIAL: {4 - n_done} cells are missing" in said
    assert "Traceback" not in said
    while group_is_alive(process.pid):
        assert time.monotonic() - begin < 20, "a worker is left"
        time.sleep(0.1)


def test_two_runs_on_one_folder_do_not_hurt_each_other(toy_task, tmp_path, calm):
    out = tmp_path / "runs"
    left, right = ",".join(METHODS[:4]), ",".join(METHODS[2:])
    both = [
        start("run", toy_task, "--methods", m, "--out", out, folder=tmp_path) for m in (left, right)
    ]
    for process in both:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    order = ["fold", "method", "seed", "subject"]
    found, expected = (table(o).sort_values(order, ignore_index=True) for o in (out, calm))
    pd.testing.assert_frame_equal(found, expected)


def test_a_scheduler_that_is_lost_ends_in_one_line(toy_task, tmp_path, calm):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, out = f"tcp://127.0.0.1:{port}", tmp_path / "runs"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [*dask, "--port", str(port), "--no-dashboard"], stderr=subprocess.DEVNULL, env=ENVIRONMENT
    )
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--death-timeout",
            "60",
            "--local-directory",
            str(tmp_path / "scratch"),
        ],
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )
    run = ["run", toy_task, "--methods", ",".join(METHODS), "--out", out]
    try:
        process = start(*run, "--scheduler", address, folder=tmp_path)
        wait_for(out, 3, process)
        scheduler.send_signal(signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    finally:
        for other in (scheduler, worker):
            other.kill()
            other.wait()
    assert process.returncode == 2, said
    assert "error: the Dask scheduler was lost" in said
    assert "Traceback" not in said
    rest = start(*run, folder=tmp_path)
    said, _ = rest.communicate(timeout=300)
    assert rest.returncode == 0, said
    pd.testing.assert_frame_equal(table(out), table(calm))


def test_nobody_at_an_address_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 1)
    with (
        pytest.raises(ClusterError, match="no Dask scheduler answers at tcp"),
        cluster.connected("tcp://127.0.0.1:9"),
    ):
        pass


def test_files_truncated_at_random_are_made_again(toy_task, tmp_path, calm):
    dice, expected = random.Random(5), table(calm)
    files = [
        path
        for part in ("artifacts", "cells", "outputs")
        for path in (calm / part).glob("[!.]*/*")
        if path.is_file() and path.stat().st_size
    ]
    for path in dice.sample(files, len(files) // 3):
        content = path.read_bytes()
        path.write_bytes(content[: dice.randrange(len(content))])
    with pytest.warns(DamageWarning, match="damaged"):
        outcome = runner.execute(ask(toy_task, calm), runner.ArtifactStore(calm))
    assert outcome.failed == {}
    assert outcome.scored
    pd.testing.assert_frame_equal(table(calm), expected)
