"""Small made-up results with everything that a page can show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.frame import person_figures
from sleepshift.leaderboard.results import Results
from sleepshift.leaderboard.sleep import SCORED, sleep_statistics
from sleepshift.methods import METHODS
from sleepshift.stages import get_scheme

HOSTILE = "<script>alert(1)</script>"
LONG = "a-method-whose-name-goes-on-and-on-" * 4


def task_facts(title: str, **changed: Any) -> dict[str, Any]:
    """Facts of a task as a manifest has them."""
    return {
        "title": title,
        "description": "Some people teach, others are tested.",
        "commands": ["sleepshift run t --seeds 2"],
        "simulated": False,
        "dataset": "simulated",
        "scheme": "aasm5",
        "protocol": "leave-subjects-out",
        "folds": {"all": "all"},
        "transductive": [],
        "second_scorer": {"scheme": "aasm5", "counts": {}},
        "scoring": {"scheme": "aasm5", "primary": "macro_f1"},
        "training": {"model": "chambon2018", "lr": 0.001},
        "windows": "6ba76430925be959eebe",
        "n_windows": 3000,
        "n_per_stage": {"W": 1000, "N1": 200, "N2": 1000, "N3": 300, "R": 500},
        "skipped_recordings": [],
        "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    } | changed


def method_facts(names: list[str]) -> dict[str, dict[str, Any]]:
    """Facts of known methods; unknown ones have those of ``pooled``."""
    kept = ("family", "learns_from", "labels", "unlabeled", "deep", "floor", "privileged")
    kept += ("selected_on_test",)
    return {
        name: {fact: getattr(METHODS.get(name, METHODS["pooled"]), fact) for fact in kept}
        for name in names
    }


class Maker:
    """Draws rows, nights and examples, cell by cell."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.rows: list[dict[str, Any]] = []
        self.nights: dict[tuple[str, ...], dict[str, Any]] = {}
        self.hypnograms: list[dict[str, Any]] = []

    def cell(
        self, task: str, group: str, method: str, skill: float, people: list[str], *,
        seeds: int = 1, labeled: int = 0, scheme: str = "aasm5", one_stage: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        """Score a method on people; those of `one_stage` are awake all night."""
        for seed in range(seeds):
            for subject in people:
                place = {"task": task, "fold": group, "group": group, "subject": subject}
                own = np.random.default_rng(list(f"{group} {subject}".encode()))
                truth = np.repeat(own.integers(0, len(get_scheme(scheme)), 12), 5)
                truth *= subject not in one_stage
                cell = place | {"method": method, "seed": seed, "n_labeled": labeled}
                self._person(cell, truth, skill + 0.2 * own.random(), scheme)

    def _person(self, cell: dict[str, Any], truth: np.ndarray, skill: float, scheme: str) -> None:
        names = get_scheme(scheme).stages
        other = self.rng.integers(0, len(names), len(truth))
        predicted = np.where(self.rng.random(len(truth)) > skill, other, truth)
        counts = np.zeros((len(names), len(names)), dtype=int)
        np.add.at(counts, (truth, predicted), 1)
        bins = np.zeros((15, 3))
        bins[8], bins[14] = (40, 30, 22.7), (20, 18, 19.5)
        self.rows.append(
            cell
            | {
                "status": "ok",
                "scheme": scheme,
                "confusion": _joined(counts),
                "reliability": _joined(bins),
                "nll": 1.5 - skill,
                "fit_seconds": 10 * skill,
                "n_parameters": np.nan if cell["method"] == "majority" else 12644,
                "settings": "data_seed=0",
                **person_figures(counts, scheme, scheme),
            }
        )
        place = {key: cell[key] for key in ("task", "fold", "group", "subject")}
        for by, seed, stages in (
            (cell["method"], cell["seed"], predicted),
            (SCORED, np.nan, truth),
        ):
            night = place | {"method": by, "seed": seed, "session": "1"}
            self.nights[tuple(map(str, night.values()))] = night | sleep_statistics(stages, names)

    def absent(self, task: str, group: str, method: str, status: str) -> None:
        """A cell without a score."""
        cell = {"task": task, "fold": group, "group": group, "method": method, "seed": 0}
        self.rows.append(cell | {"status": status})

    def hypnogram(self, task: str, group: str, method: str, subject: str, which: str) -> None:
        """A night with a gap."""
        names = get_scheme("aasm5").stages
        truth = np.repeat(self.rng.integers(0, 5, 30), 10)
        shares = 0.6 * np.eye(5)[truth] + 0.4 * self.rng.dirichlet(np.ones(5), len(truth))
        slots = {
            "scored": truth.tolist(),
            "predicted": shares.argmax(axis=1).tolist(),
            "probability": np.rint(100 * shares).astype(int).tolist(),
        }
        for values in slots.values():
            values[100:110] = [None] * 10
        who = {"task": task, "group": group, "method": method, "fold": group, "seed": 0}
        night = {"subject": subject, "session": "1", "which": which, "score": 0.5}
        self.hypnograms.append(who | night | {"stages": list(names)} | slots)

    def results(
        self, tasks: dict[str, dict[str, Any]] | None = None, notes: list[str] | None = None
    ) -> Results:
        """What was made."""
        rows, names = pd.DataFrame(self.rows), {row["task"] for row in self.rows}
        manifest = {
            "sleepshift": "0.1.0",
            "notes": notes or [],
            "tasks": tasks or {name: task_facts(f"Task {name}") for name in sorted(names)},
            "methods": method_facts(list(dict.fromkeys(rows["method"]))),
            "rows": "010242aaa372aca014b5",
        }
        return Results(rows, pd.DataFrame(list(self.nights.values())), self.hypnograms, manifest)


def _joined(rows: np.ndarray) -> str:
    return ";".join(" ".join(f"{n:g}" for n in row) for row in rows)


def make_everything() -> Results:
    """Three tasks, names to be wary of, and something in every part of the page."""
    make, people = Maker(), [f"p{k}" for k in range(6)]
    skills = {"features-logreg": 0.6, "source-only": 0.5, "rp-linear": 0.55, "majority": 0.0}
    skills |= {HOSTILE: 0.65, LONG: 0.3}
    for method in ("features-logreg", "source-only", "majority"):
        make.cell("ages", "in-domain", method, skills[method], [f"y{k}" for k in range(5)])
    for method, skill in skills.items():
        old = [*people, HOSTILE, "flat"]
        make.cell("ages", "60-80", method, skill, old, labeled=5, one_stage=("flat",))
    make.absent("ages", "60-80", "ts-linear", "skipped: no <b>order</b> of windows")
    make.absent("ages", "60-80", "finetune-all", "failed: ValueError: 3 < 4 & 'so'")
    make.hypnogram("ages", "60-80", HOSTILE, HOSTILE, "median")
    make.hypnogram("ages", "60-80", HOSTILE, "p1", "worst")
    for k in (1, 4):
        for method in ("features-logreg", "source-only", "majority"):
            skill = skills[method] + 0.05 * k
            make.cell("few", f"{k} labelled", method, skill, people, labeled=k, seeds=2)
    views = {"teacher": 0.8, "student-only": 0.4, "kd-softmax": 0.6, "label-smoothing": 0.45}
    views |= {"features-logreg": 0.3, "kd-random-teacher": 0.4, "source-only": 0.35}
    for method, skill in (views | {"majority": 0.0}).items():
        make.cell("ear", "all", method, skill, people, scheme="stages3")
    second = {person: (np.eye(5, dtype=int) * 10 + 1).tolist() for person in people}
    tasks = {
        "ages": task_facts(
            "Old & young <people>",
            transductive=["60-80"],
            second_scorer={"scheme": "aasm5", "counts": second},
            skipped_recordings=[{"recording": "x.edf", "reason": "x.edf: <too> short"}],
        ),
        "few": task_facts("Few labels", simulated=True, protocol="label-budget"),
        "ear": task_facts(
            "An ear", scheme="stages3", scoring={"scheme": "stages3", "primary": "kappa"}
        ),
    }
    return make.results(tasks, ["PARTIAL: 1 cells are missing: ages/60-80/finetune-all/seed 0"])


@pytest.fixture(scope="session")
def everything() -> Results:
    """What `make_everything` makes."""
    return make_everything()


@pytest.fixture(scope="session")
def smallest() -> Results:
    """One task, one group, one method, one person, no night."""
    make = Maker()
    make.cell("t", "all", "majority", 0.4, ["one"])
    make.nights = {}
    return make.results()


@pytest.fixture(scope="session")
def maker() -> type[Maker]:
    """What small results are made with."""
    return Maker
