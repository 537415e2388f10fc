"""What the README says works as it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from sleepshift.protocol import load_task

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def _block(language: str, holding: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    (block,) = [block for block in blocks if holding in block]
    return block


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(_block("python", "FineTuner("), names)
    assert names["probabilities"].shape == (len(names["fold"].test), 5)


def test_the_distillation_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from sleepshift.estimators import SleepStager
    from sleepshift.windows import open_store

    names = {"load_task": load_task, "open_store": open_store, "SleepStager": SleepStager}
    exec(_block("python", "Distiller("), names)
    assert names["fold"].test.ch_names == ("ECG",)
    assert names["probabilities"].shape == (len(names["fold"].test), 3)


def test_the_task_example_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(_block("toml", "My people"))
    for subject in range(5):
        x = np.random.default_rng(subject).normal(size=(8, 1, 3000)).astype(np.float32)
        np.savez(tmp_path / f"{subject}.npz", x=x, y=np.arange(8) % 5)
    rows = "".join(f"{subject}.npz\tperson{subject}\n" for subject in range(5))
    (tmp_path / "participants.tsv").write_text("file\tsubject\n" + rows)
    from sleepshift.windows import open_store

    task = load_task(tmp_path / "mine.toml")
    folds = task.folds(open_store(task.prepare(tmp_path / "w", data=tmp_path)))
    assert [len(fold.test) for fold in folds] == [8] * 5


def test_the_bids_example_is_a_task(tmp_path: Path) -> None:
    import edfio

    from sleepshift.windows import open_store

    (tmp_path / "bids.toml").write_text(_block("toml", "My headband"))
    rng = np.random.default_rng(0)
    for k in range(1, 6):
        folder = tmp_path / "study" / f"sub-{k}" / "eeg"
        folder.mkdir(parents=True)
        noise = rng.normal(0, 30, 5 * 30 * 256).clip(-190, 190)
        signal = edfio.EdfSignal(
            noise, 256, label="HB_1", physical_dimension="uV", physical_range=(-192, 192)
        )
        edfio.Edf([signal]).write(folder / f"sub-{k}_task-sleep_eeg.edf")
        rows = "".join(f"{30 * i}\t30\t{code}\n" for i, code in enumerate((0, 1, 8, 3, 4)))
        events = folder / f"sub-{k}_task-sleep_events.tsv"
        events.write_text("onset\tduration\tstage\n" + rows)
    task = load_task(tmp_path / "bids.toml")
    windows = open_store(task.prepare(tmp_path / "w", data=tmp_path / "study"))
    assert [len(fold.test) for fold in task.folds(windows)] == [4] * 5
    assert windows.y[:4].tolist() == [0, 1, 3, 4]


def test_the_tasks_of_published_systems_are_there() -> None:
    table = re.search(r"\| task \|.*?\n\n", README, flags=re.DOTALL)
    assert table is not None
    names = re.findall(r"`([a-z0-9-]+)`", table[0])
    assert len(names) > 15
    for name in names:
        assert load_task(name).name == name


def test_the_dataset_example_reads_edf_with_annotations(tmp_path: Path) -> None:
    import edfio

    from sleepshift.windows import Recipe, open_store, prepare

    names: dict = {}
    exec(_block("python", "class MyNights"), names)
    signal = edfio.EdfSignal(np.random.default_rng(0).normal(size=12000), 100, label="EEG")
    bouts = [edfio.EdfAnnotation(0, 60, "wake"), edfio.EdfAnnotation(60, 60, "n2")]
    edfio.Edf([signal], annotations=bouts).write(tmp_path / "anna.edf")
    recipe = Recipe(channels=("EEG",), sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    windows = open_store(prepare(names["MyNights"](tmp_path), recipe, tmp_path / "w"))
    assert windows.y.tolist() == [0, 0, 2, 2]


def test_the_method_example_runs_in_a_grid(toy_task: Path, tmp_path: Path) -> None:
    from sleepshift import runner
    from sleepshift.leaderboard.collect import collect
    from sleepshift.windows import read_manifest

    names: dict = {}
    exec(_block("python", "features-knn"), names)
    task, out, methods = load_task(toy_task), tmp_path / "runs", [names["method"]]
    store = task.prepare(out / "windows")
    data = runner.TaskData.open(task, store)
    plan = runner.plan([data], methods)
    runner.record_grid(out, plan, [data], {task.name: read_manifest(store)}, methods)
    assert not runner.execute(plan, runner.ArtifactStore(out)).failed
    table = collect(out).table
    assert set(table["method"]) == {"features-knn"}
    assert (table["kappa"] > 0.1).all()
