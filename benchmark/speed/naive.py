"""The grid as one would write it first: stock Braindecode, and all networks anew for every cell.

Runs as a process of its own, and uses nothing of this project::

    python -m speed.naive plan.json scores.json
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import mne
import numpy as np
import torch
from braindecode import EEGClassifier
from braindecode.datasets import BaseConcatDataset, RawDataset
from braindecode.models import SleepStagerChambon2018
from braindecode.preprocessing import create_windows_from_events
from braindecode.util import set_random_seeds
from skorch.callbacks import EarlyStopping, EpochScoring
from skorch.helper import predefined_split
from torch import nn
from torch.nn import functional as F

__all__ = ["STAGES"]

STAGES = {
    "Sleep stage W": 0,
    "Sleep stage 1": 1,
    "Sleep stage 2": 2,
    "Sleep stage 3": 3,
    "Sleep stage 4": 3,
    "Sleep stage R": 4,
}
N_STAGES, SFREQ, N_TIMES = 5, 100.0, 3000
WAKE_SECONDS, CLIP = 30 * 60, 20.0
#: From the loss of a training batch by its labels, the output and the input: the whole loss.
Term = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Scale:
    """Window transform: median 0 and interquartile range 1 of the recording, clipped."""

    def __init__(self, windows: Any) -> None:
        x = np.concatenate([windows[i][0] for i in range(len(windows))], axis=1)
        low, middle, high = np.percentile(x, [25, 50, 75], axis=1, keepdims=True)
        self.middle, self.spread = middle.astype(np.float32), (high - low).astype(np.float32)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.middle) / self.spread, -CLIP, CLIP)


@cache
def open_night(psg: Path, channels: tuple[str, ...], preload: bool) -> Any:
    """Windows of one night; unless preloaded, each is read from its EDF file when asked for."""
    hypnogram = next(psg.parent.glob(f"{psg.name[:7]}?-Hypnogram.edf"))
    raw = mne.io.read_raw_edf(psg, include=list(channels), stim_channel=None, verbose="error")
    raw.reorder_channels(list(channels))
    scoring = mne.read_annotations(hypnogram)
    raw.set_annotations(scoring, emit_warning=False)
    asleep = [k for k, text in enumerate(scoring.description) if text[-1] in "1234R"]
    first, last = scoring[asleep[0]], scoring[asleep[-1]]
    end = last["onset"] + last["duration"] + WAKE_SECONDS
    raw.crop(max(first["onset"] - WAKE_SECONDS, 0), min(end, raw.times[-1]))
    if preload:
        raw.load_data(verbose="error")
    windows = create_windows_from_events(
        BaseConcatDataset([RawDataset(raw, {})]),
        trial_start_offset_samples=0,
        trial_stop_offset_samples=0,
        window_size_samples=N_TIMES,
        window_stride_samples=N_TIMES,
        on_last_window="drop",
        accepted_bads_ratio=1.0,
        mapping=STAGES,
        preload=False,
    ).datasets[0]
    windows.transform = Scale(windows)
    return windows


class View(nn.Module):
    """A network on some of the channels; what enters its last layer is kept."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop
        self.network = SleepStagerChambon2018(
            n_chans=stop - start, sfreq=SFREQ, n_times=N_TIMES, n_outputs=N_STAGES
        )
        self.features = torch.empty(0)
        self.network.final_layer.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.features = inputs[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x[:, self.start : self.stop])


class Cell:
    """One method on one fold, with networks of its own.

    Parameters
    ----------
    plan : dict
        What the harness wrote: files, people, views and the training budget.
    fold : dict
    """

    def __init__(self, plan: dict[str, Any], fold: dict[str, Any], views: Iterable[str]) -> None:
        self.plan, self.fold, self.budget = plan, fold, plan["training"]
        self.channels = tuple(name for view in views for name in plan["views"][view])
        set_random_seeds(plan["seed"], cuda=False)

    def windows(self, people: list[str]) -> BaseConcatDataset:
        files, preload = self.plan["files"], self.plan["preload"]
        return BaseConcatDataset(
            [open_night(Path(files[person]), self.channels, preload) for person in people]
        )

    @cached_property
    def source(self) -> tuple[BaseConcatDataset, BaseConcatDataset]:
        """To train on, and to validate on."""
        return self.windows(self.plan["source"]), self.windows(self.plan["source_valid"])

    def view(self, name: str) -> View:
        channels = self.plan["views"][name]
        start = self.channels.index(channels[0])
        return View(start, start + len(channels))

    def fit(
        self,
        module: nn.Module,
        data: tuple[BaseConcatDataset, BaseConcatDataset],
        epochs: int,
        lr: float,
        term: Term | None = None,
    ) -> EEGClassifier:
        """As in Braindecode's tutorial on sleep staging; the best pass is kept."""
        train, valid = data
        scores: list[tuple[str, Any]] = [
            (
                f"{part}_bal_acc",
                EpochScoring(
                    scoring="balanced_accuracy",
                    on_train=part == "train",
                    name=f"{part}_bal_acc",
                    lower_is_better=False,
                ),
            )
            for part in ("train", "valid")
        ]
        stop = EarlyStopping(patience=self.budget["patience"], threshold=0, load_best=True)
        stop.sink = str  # silent
        net = _classifier(term)(
            module,
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            optimizer__lr=lr,
            train_split=predefined_split(valid),
            batch_size=self.budget["batch_size"],
            iterator_train__drop_last=False,  # as ours: few people have few batches
            max_epochs=epochs,
            callbacks=[*scores, ("early_stopping", stop)],
            classes=list(range(N_STAGES)),
            verbose=0,
        )
        return net.fit(train, y=None)

    def from_scratch(self, view: str, term: Term | None = None) -> EEGClassifier:
        budget = self.budget
        return self.fit(self.view(view), self.source, budget["max_epochs"], budget["lr"], term)

    def distilled(self, method: str) -> EEGClassifier:
        """Train a teacher, then a student that asks it about every batch."""
        teacher = self.from_scratch("teacher").module_.eval()
        student, budget = self.view("student"), self.budget
        args = (self.source, budget["max_epochs"], budget["lr"])
        if method == "kd-softmax":
            return self.fit(student, *args, term=_Soft(teacher))
        if method == "kd-logit-mse":
            return self.fit(student, *args, term=_Logits(teacher))
        return self.fit(student, *args, term=_Features(teacher, student, self.source[0]))

    def tuned(self, method: str) -> EEGClassifier:
        """Train a base, then all of it or its last layer on the labelled target people."""
        module = copy.deepcopy(self.from_scratch("student").module_)
        if method == "finetune-head":
            module.requires_grad_(False)
            module.network.final_layer.requires_grad_(True)
        data = self.windows(self.fold["labeled"]), self.windows(self.fold["labeled_valid"])
        return self.fit(module, data, self.budget["finetune_epochs"], self.budget["finetune_lr"])

    def counts(self, net: EEGClassifier) -> dict[str, list[list[int]]]:
        """Confusion of every test person; rows are the truth."""
        found = {}
        for person in self.fold["test"]:
            windows = self.windows([person])
            truth = windows.get_metadata()["target"].to_numpy()
            confusion = np.zeros((N_STAGES, N_STAGES), dtype=int)
            np.add.at(confusion, (truth, net.predict(windows)), 1)
            found[person] = confusion.tolist()
        return found


def _classifier(term: Term | None) -> type[EEGClassifier]:
    """Braindecode's classifier, with a further term in the loss of training batches."""

    class Taught(EEGClassifier):
        def get_loss(
            self, y_pred: Any, y_true: Any, X: Any = None, training: bool = False
        ) -> torch.Tensor:
            hard = super().get_loss(y_pred, y_true, X=X, training=training)
            return term(hard, y_pred, X) if training and term else hard

    return Taught if term else EEGClassifier


class _Soft:
    """Half the labels, half the teacher's probabilities at temperature 4."""

    def __init__(self, teacher: View) -> None:
        self.teacher = teacher

    def __call__(self, hard: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            told = F.softmax(self.teacher(x) / 4, dim=1)
        return hard / 2 + 16 * F.kl_div(F.log_softmax(y / 4, 1), told, reduction="batchmean") / 2


class _Logits:
    def __init__(self, teacher: View) -> None:
        self.teacher = teacher

    def __call__(self, hard: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            told = self.teacher(x)
        return hard + F.mse_loss(y, told)


class _Features:
    """The teacher's features at mean 0 and deviation 1, through a projector of the student's."""

    def __init__(self, teacher: View, student: View, train: BaseConcatDataset) -> None:
        self.teacher, self.student = teacher, student
        rows = []
        with torch.no_grad():
            for batch in torch.utils.data.DataLoader(train, 64):
                teacher(batch[0])
                rows.append(teacher.features)
            student(batch[0])
        told = torch.cat(rows)
        self.mean, deviation = told.mean(dim=0), told.std(dim=0)
        self.scale = torch.where(deviation > 0, deviation, 1.0)
        width = student.features.shape[1]
        self.projector = nn.Linear(width, told.shape[1])
        student.add_module("projector", self.projector)  # so that it is trained along

    def __call__(self, hard: torch.Tensor, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        own = self.projector(self.student.features)
        with torch.no_grad():
            self.teacher(x)
        return hard + F.mse_loss(own, (self.teacher.features - self.mean) / self.scale)


def score(plan: dict[str, Any], fold: dict[str, Any], method: str) -> dict[str, Any]:
    """One cell, from EDF files to the confusion of every test person."""
    if method in ("teacher", "student-only"):
        view = "teacher" if method == "teacher" else "student"
        cell = Cell(plan, fold, [view])
        net = cell.from_scratch(view)
    elif method.startswith("finetune"):
        cell = Cell(plan, fold, ["student"])
        net = cell.tuned(method)
    else:
        cell = Cell(plan, fold, ["teacher", "student"])
        net = cell.distilled(method)
    return {"fold": fold["name"], "method": method, "people": cell.counts(net)}


def main() -> None:
    """Runs in the process that is measured."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    plan = json.loads(Path(sys.argv[1]).read_text())
    cells = [score(plan, fold, method) for fold in plan["folds"] for method in plan["methods"]]
    Path(sys.argv[2]).write_text(json.dumps(cells))


if __name__ == "__main__":
    main()
