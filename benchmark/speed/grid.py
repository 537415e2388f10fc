"""The standard simulated grid done well, against the same grid done naively."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from speed.measure import Figure, Measured, Work, cores, in_turns, python, sleepshift

if TYPE_CHECKING:
    from sleepshift.protocol import Task

__all__ = ["grid"]

METHODS = (
    "teacher",
    "student-only",
    "kd-softmax",
    "kd-feature",
    "kd-logit-mse",
    "finetune-all",
    "finetune-head",
)
GOAL = 5.0
#: Differences of up to so many standard deviations over seeds are noise.
NOISE = 2.0


@dataclass(frozen=True)
class Size:
    """People of three age groups (half of them young), hours of a night, passes, rounds."""

    people: int
    hours: float
    passes: int
    rounds: int


_TASK = """
title = "The standard simulated grid"
revision = 1
simulated = true
description = "Young simulated people teach; of two older groups a half adapts, a half is tested."

[dataset]
name = "sleep-edf"
licence = "BSD-3-Clause"
login = false
download = "nothing"

[windows]
scheme = "aasm5"
sfreq = 100.0
trim_wake_minutes = 30.0
scaling = "robust"

[windows.views]
teacher = ["EEG Fpz-Cz", "EEG Pz-Oz"]
student = ["EOG horizontal"]

[scoring]
scheme = "aasm5"
primary = "macro_f1"

[training]
model = "chambon2018"
max_epochs = {passes}
batch_size = 32
lr = 2e-3
finetune_epochs = {passes}

[protocol]
kind = "cross-age"
source = {{ subjects = {source} }}
"""
_FOLD = """
[[protocol.folds]]
name = "{name}"
labeled = {{ subjects = {labeled} }}
test = {{ subjects = {test} }}
"""


def write_task(folder: Path, size: Size) -> tuple[Task, dict[str, str]]:
    """EDF files and a task on them; the task, and each person's file."""
    from sleepshift.datasets.export import cassette_subjects, write_sleep_edf
    from sleepshift.datasets.sleep_edf import cassette_people
    from sleepshift.protocol import load_task

    people = cassette_subjects(size.people)
    nights = write_sleep_edf(folder / "edf", people, hours=size.hours)
    ages = {person: cassette_people()[person][0] for person in people}
    groups: dict[str, list[str]] = {"source": [], "65-79": [], "80+": []}
    for person, age in ages.items():
        groups["source" if age < 65 else "65-79" if age < 80 else "80+"].append(person)
    text = _TASK.format(passes=size.passes, source=json.dumps(groups.pop("source")))
    for name, group in groups.items():
        labeled, test = json.dumps(group[::2]), json.dumps(group[1::2])
        text += _FOLD.format(name=name, labeled=labeled, test=test)
    path = folder / "standard-grid.toml"
    path.write_text(text)
    return load_task(path), {p: str(night) for p, night in zip(people, nights, strict=True)}


def naive_plan(task: Task, files: dict[str, str], *, seed: int, preload: bool) -> dict[str, Any]:
    """What the naive grid is told: the same people in the same roles, the same budget."""
    protocol: Any = task.protocol
    source, source_valid = _set_aside(protocol.source.subjects)
    folds = []
    for fold in protocol.folds:
        labeled, valid = _set_aside(fold.labeled.subjects)
        roles = {"labeled": labeled, "labeled_valid": valid, "test": list(fold.test.subjects)}
        folds.append({"name": fold.name, **roles})
    return {
        "files": files,
        "views": task.windows.views,
        "training": task.training.model_dump(),
        "methods": METHODS,
        "source": source,
        "source_valid": source_valid,
        "folds": folds,
        "seed": seed,
        "preload": preload,
    }


def _set_aside(people: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who trains and who validates, as our estimators draw them by default."""
    from sleepshift.estimators import SleepStager
    from sleepshift.estimators.inputs import split_positions
    from sleepshift.windows import Windows

    frame = pd.DataFrame({"subject": people})
    one_each = Windows.from_arrays(np.zeros((len(people), 1, 1)), metadata=frame)
    defaults = SleepStager()
    train, valid = split_positions(
        one_each, defaults.valid_size, defaults.data_seed, stratify=False
    )
    assert valid is not None
    return [people[k] for k in train], [people[k] for k in valid]


class _Grid:
    """The grid in a folder, run by either side as often as asked."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder = folder
        self.task, self.files = write_task(folder, size)
        self.n_ours = 0
        self.scores: list[pd.DataFrame] = []

    def ours(self, *options: object) -> None:
        """Into a fresh folder: windows are packed anew each time."""
        self.n_ours += 1
        self.resume(*options)

    def resume(self, *options: object) -> None:
        """Into the folder of the last run."""
        names = ("--methods", ",".join(METHODS), "--data", self.folder / "edf", "--out", self.out)
        task = self.folder / f"{self.task.name}.toml"
        sleepshift("run", task, "--device", "cpu", *names, *options, cwd=self.folder)

    @property
    def out(self) -> Path:
        return self.folder / f"runs-{self.n_ours}"

    def naive(self, *, preload: bool) -> None:
        """With another seed each time, so that its scores have a spread too."""
        plan, found = self.folder / "plan.json", self.folder / "scores.json"
        seed = len(self.scores)
        settings = naive_plan(self.task, self.files, seed=seed, preload=preload)
        plan.write_text(json.dumps(settings))
        python("-m", "speed.naive", plan, found, cwd=self.folder)
        if not preload:
            self.scores.append(_naive_scores(json.loads(found.read_text()), seed))


def grid(quick: bool) -> Measured:
    """From EDF files to scores: this project, and stock Braindecode cell by cell."""
    size = Size(16, 0.5, 1, 2) if quick else Size(16, 1.5, 4, 3)
    with tempfile.TemporaryDirectory() as name:
        made = _Grid(Path(name), size)
        works: dict[str, Work] = {
            "one thread": made.ours,
            "all cores": partial(made.ours, "--threads", cores()),
            "naive": partial(made.naive, preload=False),
            "in memory": partial(made.naive, preload=True),
        }
        seconds = in_turns(works, size.rounds, warm_up=False)
        made.resume("--seeds", size.rounds)
        ours, naive = _our_scores(made.out), pd.concat(made.scores)
    n_cells = len(naive.loc[naive["seed"] == 0, ["fold", "method"]].drop_duplicates())
    figures = [
        Figure.of_times(
            f"the standard grid, {n_cells} cells, ours with {on}: against {against}",
            seconds[own],
            seconds[other],
            goal=GOAL if other == "naive" else None,
        )
        for other, against in (
            ("naive", "the naive grid"),
            ("in memory", "the naive grid, nights held in memory"),
        )
        for own, on in (("one thread", "1 thread"), ("all cores", f"{cores()} threads"))
    ]
    table, gap = compare_scores(ours, naive)
    what = "the standard grid's mean score: difference, in standard deviations over seeds"
    figures.append(Figure.within(what, [gap], NOISE, unit="sd"))
    return Measured(figures, _words(made, size, n_cells) + "\n\n" + table)


def _naive_scores(cells: list[dict[str, Any]], seed: int) -> pd.DataFrame:
    from sleepshift.leaderboard.metrics import metrics

    rows = []
    for cell in cells:
        for person, counts in cell["people"].items():
            confusion = np.array(counts)
            facts = {"fold": cell["fold"], "method": cell["method"], "subject": person}
            score = metrics(confusion)["macro_f1"]
            rows.append({**facts, "seed": seed, "macro_f1": score, "n_windows": confusion.sum()})
    return pd.DataFrame(rows)


def _our_scores(out: Path) -> pd.DataFrame:
    from sleepshift.leaderboard.frame import results_frame

    rows = results_frame(out)
    return rows[["fold", "method", "subject", "seed", "macro_f1", "n_windows"]]


def compare_scores(ours: pd.DataFrame, naive: pd.DataFrame) -> tuple[str, float]:
    """Macro F1 of both sides, mean over people and folds, and whether seeds explain the gap.

    Parameters
    ----------
    ours, naive : DataFrame
        Columns fold, method, subject, seed, macro_f1, n_windows.

    Returns
    -------
    table : str
        Markdown, a row a method.
    gap : float
        Difference of the means over methods, in our standard deviations over seeds.

    Raises
    ------
    ValueError
        If the two were not tested on the same windows.
    """
    cell = ["fold", "method", "subject", "seed"]
    both = ours.merge(naive, on=cell, how="outer", suffixes=("", "_naive"))
    if not both["n_windows"].equals(both["n_windows_naive"].astype(both["n_windows"].dtype)):
        raise ValueError("the two grids were not tested on the same windows")
    by_seed = both.groupby(["method", "seed"], sort=False)[["macro_f1", "macro_f1_naive"]].mean()
    by_seed = by_seed.reindex(METHODS, level="method")
    lines = [
        "| macro F1 | ours | sd over seeds | naive | sd over seeds | difference / our sd | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    groups = [*by_seed.groupby(level="method", sort=False), ("all", by_seed.groupby("seed").mean())]
    for name, scores in groups:
        mean, sd = scores.mean(), scores.std()
        difference = abs(mean["macro_f1_naive"] - mean["macro_f1"])
        gap = difference / sd["macro_f1"] if difference else 0.0
        verdict = "within noise" if gap <= NOISE else "**beyond noise**"
        lines.append(
            f"| {name} | {mean['macro_f1']:.3f} | {sd['macro_f1']:.3f} | "
            f"{mean['macro_f1_naive']:.3f} | {sd['macro_f1_naive']:.3f} | {gap:.1f} | {verdict} |"
        )
    return "\n".join(lines), float(gap)


def _words(made: _Grid, size: Size, n_cells: int) -> str:
    plan = naive_plan(made.task, made.files, seed=0, preload=False)
    budget, n_folds = plan["training"], len(plan["folds"])
    # A cell of its own trains on the source once, or twice where it needs a teacher's network.
    alone = n_folds * sum(2 if method.startswith("kd") else 1 for method in METHODS)
    tuned = n_folds * sum(method.startswith("finetune") for method in METHODS)
    shared = sum(not method.startswith("finetune") for method in METHODS)
    return f"""
{n_cells} cells: {", ".join(METHODS)} on {n_folds} groups of older people, {size.people} simulated
people as EDF files in Sleep-EDF's layout, one night of {size.hours:g} h each; {size.passes} passes
of chambon2018 at most, batches of {budget["batch_size"]}, Adam, patience {budget["patience"]}, the
best pass on the same validation people kept. Whole commands in turns, fresh folders each time,
files in the page cache. *Ours* is `sleepshift run` from EDF files to the printed table, in one
process. *Naive* is one process, which imports once and opens the EDF files of each person once for
each view. A window transform scales by the night's median and interquartile range. Every cell
trains all it builds on, and asks a teacher about every batch; stock `EEGClassifier` with its
default `DataLoader`, memory layout, allocator and number of threads (all cores), balanced accuracy
of training and validation scored once a pass as in Braindecode's tutorial on sleep staging.
Windows are read lazily from EDF, as a data set that does not fit into memory has to be; *nights
held in memory* differs in nothing else. Both have the same
windows, people, budget and losses. What makes ours faster is, above all, that it does less: the
groups share their source people, so {shared} networks are trained on them where the naive grid
trains {alone} ({tuned} fine-tunings each; ours trains a last layer on features); teachers' outputs
are kept; then memory layout and allocator. It also stores every network and prediction, which the
naive grid does not. Scores are over {size.rounds} seeds; differences of up to {NOISE:g} standard
deviations count as noise."""
