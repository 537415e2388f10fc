"""Builders of frames, results, and a run that was never fitted but is read like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sleepshift.atomic import write_json
from sleepshift.digest import digest
from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.metrics import METRICS
from sleepshift.leaderboard.page import Page
from sleepshift.leaderboard.report import write_report
from sleepshift.leaderboard.results import ROWS, Results
from sleepshift.methods import METHODS
from sleepshift.runner import ArtifactStore
from sleepshift.runner.counts import person_counts
from sleepshift.stages import get_scheme, merge_map

_FACTS = ("family", "learns_from", "labels", "unlabeled", "deep", "floor", "privileged")
_FACTS += ("selected_on_test",)


#: Ten windows, nine of them right, predicted with a probability of 0.8.
BINS = ";".join(["0 0 0"] * 11 + ["10 9 8"] + ["0 0 0"] * 3)
#: The same windows by stage.
COUNTS = "2 0 0 0 0;0 2 0 0 0;0 0 2 0 0;0 0 0 2 0;1 0 0 0 1"


@pytest.fixture(scope="session")
def facts() -> dict[str, dict[str, Any]]:
    """Facts of every method, as a manifest has them."""
    return {name: {k: getattr(m, k) for k in _FACTS} for name, m in METHODS.items()}


def _task(**changed: Any) -> dict[str, Any]:
    stages = get_scheme(changed.get("scheme", "aasm5")).stages
    return {
        "title": "A task",
        "description": "What it asks.",
        "commands": ["sleepshift run t"],
        "simulated": False,
        "dataset": "simulated",
        "protocol": "leave-subjects-out",
        "folds": {},
        "transductive": [],
        "scheme": "aasm5",
        "scoring": {"scheme": "aasm5", "primary": "kappa"},
        "training": {"model": "chambon2018"},
        "windows": "w",
        "n_windows": 10,
        "n_per_stage": dict.fromkeys(stages, 2),
        "second_scorer": {"scheme": "aasm5", "counts": {}},
        "skipped_recordings": [],
        "versions": {"sleepshift": "1"},
    } | changed


@pytest.fixture
def tasks() -> dict[str, dict[str, Any]]:
    """A task "t" scored by kappa."""
    return {"t": _task()}


Frame = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def rows_of() -> Frame:
    """``rows_of({method: figures})``: rows from figures of (people) or (seeds, people)."""

    def make(
        figures: Mapping[str, Any],
        *,
        task: str = "t",
        group: str = "all",
        fold: str = "0",
        n_labeled: int = 0,
    ) -> pd.DataFrame:
        rows = []
        for method, values in figures.items():
            for seed, people in enumerate(np.atleast_2d(np.asarray(values, dtype=float))):
                rows += [
                    {
                        "task": task, "group": group, "fold": fold, "n_labeled": n_labeled,
                        "method": method, "seed": seed, "subject": f"p{person}", "status": "ok",
                        "n_stages": 5, **dict.fromkeys(METRICS, value), "nll": 1.0,
                        "reliability": BINS,
                        "fit_seconds": 1.0, "n_parameters": 10, "scheme": "aasm5",
                        "confusion": COUNTS,
                    }
                    for person, value in enumerate(people)
                ]  # fmt: skip
        return pd.DataFrame(rows)

    return make


@pytest.fixture(scope="session")
def rows_by_skill() -> Frame:
    """``rows_by_skill({method: share of right windows})``: rows with counts."""

    def make(skills: Mapping[str, float], *, seeds: int = 1, people: int = 6) -> pd.DataFrame:
        rng, rows = np.random.default_rng(0), []
        for method, skill in skills.items():
            for seed in range(seeds):
                for person in range(people):
                    right = rng.binomial(40, skill, size=5)
                    counts = np.diag(right)
                    counts[np.arange(5), (np.arange(5) + 1) % 5] += 40 - right
                    row = {
                        "task": "t", "group": "old", "fold": "old", "n_labeled": 0,
                        "method": method, "seed": seed, "subject": str(person), "status": "ok",
                        "revision": 1, "windows": "w", "settings": "data_seed=0",
                        "definition": "d", "versions": "v", "nll": 1.0, "reliability": BINS,
                        "fit_seconds": 1.0, "n_parameters": 10, "scheme": "aasm5",
                        "confusion": ";".join(" ".join(map(str, r)) for r in counts.tolist()),
                    }  # fmt: skip
                    rows.append(row | person_figures(counts, "aasm5", "aasm5"))
        return pd.DataFrame(rows)

    return make


@pytest.fixture
def results(tasks: dict[str, Any], facts: dict[str, Any]) -> Callable[..., Results]:
    """``results(rows)``: what follows from rows; tasks, methods, nights and notes can be given."""

    def make(
        rows: pd.DataFrame,
        *,
        nights: pd.DataFrame | None = None,
        notes: Sequence[str] = (),
        of: Mapping[str, Any] = tasks,
        methods: Mapping[str, Any] = facts,
    ) -> Results:
        manifest = {"tasks": of, "methods": methods, "notes": list(notes)}
        return Results(rows, pd.DataFrame() if nights is None else nights, [], manifest)

    return make


# ---------------------------------------------------------------------- a run


class Run:
    """A folder as `sleepshift run` leaves it, its predictions drawn instead of fitted."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, ArtifactStore(root)
        self.grid: dict[str, Any] = {"tasks": {}, "methods": {}, "cells": []}

    def add_task(self, name: str, **changed: Any) -> None:
        self.grid["tasks"][name] = _task(**changed)
        self.write()

    def add_cell(
        self, task: str, method: str, nights: pd.DataFrame | None = None, *, fold: str = "0",
        group: str = "all", seed: int = 0, n_labeled: int = 0, skill: float = 0.7,
        skipped: str | None = None, failed: str | None = None, **identity: Any,
    ) -> str:  # fmt: skip
        """Score a method on nights (of `night`), or list it without a score; the cell's key."""
        key = digest([task, fold, method, seed])
        self.grid["tasks"][task]["folds"][fold] = group
        cell = {
            "task": task, "fold": fold, "group": group, "n_labeled": n_labeled,
            "method": method, "seed": seed, "revision": 1, "definition": "d",
            "settings": "data_seed=0", "key": None if skipped else key, "skipped": skipped,
        }  # fmt: skip
        self.grid["cells"].append(cell | identity)
        known = METHODS[method]
        self.grid["methods"][method] = {name: getattr(known, name) for name in _FACTS}
        self.write()
        if nights is not None:
            draw = [seed, *f"{task}-{fold}-{method}-{seed}".encode()]
            self.score(key, self.grid["tasks"][task]["scheme"], nights, draw, skill)
        elif failed:
            self.store.save_failure(key, failed, "")
        return key

    def drop_cell(self, fold: str, method: str) -> None:
        own = (fold, method)
        self.grid["cells"] = [c for c in self.grid["cells"] if (c["fold"], c["method"]) != own]

    def score(
        self, key: str, scheme: str, nights: pd.DataFrame, draw: list[int], skill: float
    ) -> None:
        truth = nights["truth"].to_numpy()
        rng = np.random.default_rng(draw)
        probability = rng.dirichlet(np.ones(len(get_scheme(scheme))), len(truth))
        right = (rng.random(len(truth)) < skill) & (truth >= 0)
        probability[right] /= 4
        probability[right, truth[right]] += 0.75
        people = person_counts(SimpleNamespace(metadata=nights), truth, probability)
        predictions = {
            "row": np.arange(len(truth)),
            "subject": nights["subject"].to_numpy(dtype=str),
            "session": nights["session"].to_numpy(dtype=str),
            "onset": nights["onset"].to_numpy(dtype=float),
            "truth": truth,
            "predicted": probability.argmax(axis=1),
            "probability": probability.astype(np.float32),
        }
        facts = {
            "fit_seconds": 1.5, "predict_seconds": 0.25, "n_parameters": 10, "scheme": scheme,
            "windows": "w", "versions": {"sleepshift": "1"},
        }  # fmt: skip
        self.store.save_cell(key, predictions, people, facts)

    def write(self) -> None:
        write_json(self.root / "grid.json", self.grid)


def _night(
    subject: str, truth: Iterable[int], *, session: str = "1", ordered: bool = True,
    age: float = 70.0, sex: str = "F",
) -> pd.DataFrame:  # fmt: skip
    stages = np.asarray(list(truth))
    onset = 30.0 * np.arange(len(stages)) if ordered else np.full(len(stages), np.nan)
    return pd.DataFrame(
        {"subject": subject, "session": session, "onset": onset, "truth": stages, "age": age,
         "sex": sex}
    )  # fmt: skip


def _drawn(subject: str, scheme: str, *, n: int = 60, **settings: Any) -> pd.DataFrame:
    """A night of all stages in bouts; its draws follow from the names."""
    n_stages = len(get_scheme(scheme))
    rng = np.random.default_rng([*subject.encode(), *settings.get("session", "1").encode()])
    bouts = np.concatenate([np.arange(n_stages), rng.integers(0, n_stages, n)])
    return _night(subject, np.repeat(bouts, rng.integers(1, 6, len(bouts)))[:n], **settings)


@pytest.fixture
def night() -> Callable[..., pd.DataFrame]:
    """``night(subject, stages)``: windows of one night."""
    return _night


@pytest.fixture
def drawn_night() -> Callable[..., pd.DataFrame]:
    """``drawn_night(subject, scheme)``: windows of one night that has every stage."""
    return _drawn


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An empty run to add tasks and cells to."""
    return Run(tmp_path / "runs")


def _whole_run(root: Path) -> Run:
    """Two tasks that hold everything a leaderboard can show."""
    run = Run(root)
    agreed = np.diag([20, 10, 30, 5, 5, 10]) + 1
    run.add_task(
        "ages",
        title="From the young to the old",
        scheme="rk6",
        scoring={"scheme": "aasm5", "primary": "macro_f1"},
        second_scorer={"scheme": "rk6", "counts": {"o1": agreed.tolist(), "o2": agreed.tolist()}},
        skipped_recordings=[{"recording": "x.edf", "reason": "x.edf: too short"}],
    )
    young = [[_drawn(f"y{k}", "rk6", age=30) for k in half] for half in ((0, 1), (2, 3))]
    old = [_drawn(f"o{k}", "rk6", session=s) for k in range(5) for s in "12"]
    old[0] = old[0].drop(index=[7, 8, 30])  # windows that were left out
    old[1].loc[[0, 20, 59], "truth"] = -1  # windows without a label
    old[3] = _drawn("o1", "rk6", session="2", ordered=False)
    skills = {"source-only": 0.6, "finetune-all": 0.8, "features-logreg": 0.5, "majority": 0.2}
    for seed in (0, 1):
        for method, skill in skills.items():
            run.add_cell(
                "ages", method, pd.concat(old), fold="70+", group="70+", n_labeled=3, seed=seed,
                skill=skill,
            )  # fmt: skip
            for k, part in enumerate(young):
                where = {"fold": f"in-domain-{k}", "group": "in-domain", "seed": seed}
                if method == "finetune-all":
                    run.add_cell("ages", method, skipped="no labelled target people", **where)
                else:
                    run.add_cell("ages", method, pd.concat(part), skill=skill + 0.1, **where)
    run.add_task("eog", title="From EEG to EOG")
    people = [[_drawn(f"p{k}", "aasm5") for k in half] for half in ((0, 1, 2), (3, 4, 5))]
    skills = {
        "teacher": 0.9, "student-only": 0.6, "kd-softmax": 0.75, "label-smoothing": 0.55,
        "features-logreg": 0.5, "majority": 0.2,
    }  # fmt: skip
    for method, skill in skills.items():
        for k, part in enumerate(people):
            run.add_cell("eog", method, pd.concat(part), fold=str(k), skill=skill)
    return run


def _without_page(patch: pytest.MonkeyPatch) -> None:
    report = "sleepshift.leaderboard.report"
    patch.setattr(f"{report}.render_page", lambda _: Page("page", {}))


@pytest.fixture
def without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have a page of one word: pictures take seconds."""
    _without_page(monkeypatch)


@pytest.fixture(scope="session")
def _once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    _whole_run(root / "runs")
    with pytest.MonkeyPatch.context() as patch:
        _without_page(patch)
        write_report(root / "runs", root / "leaderboard")
    (root / "leaderboard" / "README.md").write_text("what was found\n")
    return root


@pytest.fixture
def whole_run(_once: Path) -> Path:
    """Folder of a run that holds everything a leaderboard can show; not to be changed."""
    return _once / "runs"


@pytest.fixture
def run_copy(_once: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be spoilt."""
    return Path(shutil.copytree(_once / "runs", tmp_path / "copy" / "runs"))


@pytest.fixture
def reported(_once: Path, tmp_path: Path, without_page: None) -> Path:
    """Folder of its leaderboard, to do with as one likes; its page is one word."""
    return Path(shutil.copytree(_once / "leaderboard", tmp_path / "leaderboard"))


@pytest.fixture
def merged() -> Callable[[np.ndarray, str, str], np.ndarray]:
    """``merged(stages, scheme, other)``: codes in a coarser scheme."""
    return lambda stages, source, target: merge_map(source, target)[stages]


@pytest.fixture
def forge() -> Callable[..., None]:
    """``forge(folder, part, change)``: change what was measured, and the manifest with it.

    `part` is a key of `ROWS`; `change` takes the table, every cell as text, or the list of
    examples, and gives what takes its place, or changes it where it is.
    """

    def make(folder: Path, part: str, change: Callable[[Any], Any]) -> None:
        path = folder / ROWS[part]
        if part == "hypnograms":
            found = json.loads(path.read_text())
            changed = change(found)
            text = json.dumps(found if changed is None else changed)
        else:
            found = pd.read_csv(path, dtype=str, keep_default_na=False)
            changed = change(found)
            text = (found if changed is None else changed).to_csv(index=False)
        path.write_text(text)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest[part] = digest(text)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return make
