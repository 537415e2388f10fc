"""`OnlineDistiller`: teacher and student trained together from the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from sleepshift.estimators.criterion import Criterion
from sleepshift.estimators.distiller import (
    check_objective,
    check_student,
    widths_of,
)
from sleepshift.estimators.inputs import as_labelled, encode
from sleepshift.estimators.network import StagerNetwork
from sleepshift.estimators.objectives import Objective, SoftLabels
from sleepshift.estimators.readout import items
from sleepshift.estimators.training import budget, seeded, train
from sleepshift.models.taps import Tapped

__all__ = ["OnlineDistiller"]

_TEACHER = "teacher."


class OnlineDistiller(StagerNetwork):
    """Train a teacher and a student in the same passes, each on its own view.

    The teacher learns from labels; the student from the objective, with what the teacher
    computes of the same batch. One-way, no gradient reaches the teacher from the student
    (as published for ear EEG, arXiv 2211.02638); mutually, the teacher's loss is the same
    objective with the student in the teacher's place (Zhang et al. 2018, arXiv 1706.00384).

    Parameters
    ----------
    teacher, student : SleepStager
        Networks, channels and seeds; neither is fitted itself. The budget is the student's.
    loss : Objective or None
        None is `SoftLabels()`. It must learn from labels, and standardise nothing: there is
        no fixed teacher whose features could be measured.
    mutual : bool

    Attributes
    ----------
    module_, classes_, history_, ch_names_, sfreq_, n_parameters_
        The student's.

    Examples
    --------
    >>> import numpy as np
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> tiny = {"sfreq": 10.0, "max_epochs": 1, "model_params": {"n_conv_chs": 2}}
    >>> teacher, student = SleepStager(channels=["0", "1"], **tiny), SleepStager(**tiny)
    >>> student.set_params(channels=["1"]).channels
    ['1']
    >>> OnlineDistiller(teacher, student, mutual=True).fit(X, y).predict(X).shape
    (20,)
    """

    _given = "student"

    def __init__(
        self, teacher: Any, student: Any, loss: Objective | None = None, mutual: bool = False
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.loss = loss
        self.mutual = mutual

    def fit(self, X: Any, y: Any = None) -> OnlineDistiller:
        """Train both networks.

        Parameters
        ----------
        X : as in `SleepStager.fit`
            Windows with the channels of both views.
        y : array-like, shape (n,), or None

        Raises
        ------
        ValueError
            If a parameter makes no sense or the two cannot be trained together.
        DataError
            If X lacks channels of either view.
        """
        objective = self._objective()
        teacher, student, length = self.teacher, self.student, self.sequence_length
        windows, y, classes = as_labelled(X, y, sfreq=student.sfreq)
        windows = encode(windows, y, classes)
        views = [windows.pick(estimator.channels) for estimator in (teacher, student)]
        both = list(dict.fromkeys([*views[0].ch_names, *views[1].ch_names]))
        seen, own = ([both.index(name) for name in view.ch_names] for view in views)
        windows = windows.pick(both)
        with seeded(teacher.random_state):
            taught = teacher._build(views[0].shape[1:], windows.sfreq, len(classes))
        with seeded(student.random_state):
            module = self._build(views[1].shape[1:], windows.sfreq, len(classes))
            data, valid = student._split(windows)
            nets = Tapped(taught, objective.kinds), Tapped(module, objective.kinds)
            wide = [widths_of(n, items(v[:1], length)) for n, v in zip(nets, views, strict=True)]
            weight = student._class_weight(windows.y[data], len(classes))
            with seeded(student.random_state):
                criteria = [
                    Criterion(objective, weight, {k: (mine[k], other[k]) for k in mine})
                    for mine, other in (wide, wide[::-1])
                ]
            self.history_ = train(
                _Pair(*nets, seen, own),
                items(windows[data], length),
                None if valid is None else items(windows[valid], length),
                criterion=_PairCriterion(*criteria, mutual=self.mutual),
                monitor=student.monitor,
                **budget(student, length),
            )
        self.classes_ = classes
        self._remember(module.eval(), views[1])
        return self

    def _objective(self) -> Objective:
        objective = SoftLabels() if self.loss is None else self.loss
        check_objective(objective)
        check_student(self.teacher)
        check_student(self.student)
        if not objective.supervised or "attention" in objective.kinds:
            raise ValueError("online: the loss must learn from labels; attention has none")
        if objective.standardize:
            raise ValueError("online: features have no fixed scale; set loss__standardize=False")
        if set(objective.needs) - set(objective.kinds):
            raise ValueError("online: no fixed teacher can be measured; set loss__smoothing")
        if self.teacher.sequence_length != self.student.sequence_length:
            raise ValueError("online: teacher and student must take sequences of one length")
        return objective


class _Pair(nn.Module):
    """Both networks, each on its own channels of the same windows."""

    def __init__(
        self, teacher: Tapped, student: Tapped, seen: Iterable[int], own: Iterable[int]
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.seen = list(seen)
        self.own = list(own)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Outputs of both; the teacher's names begin with ``teacher.``."""
        outputs = self.student(x[..., self.own, :])
        if not self.training:  # the student alone is validated
            return outputs
        taught = self.teacher(x[..., self.seen, :])
        return outputs | {_TEACHER + name: rows for name, rows in taught.items()}


class _PairCriterion(nn.Module):
    """The student's objective plus the teacher's."""

    def __init__(self, teacher: Criterion, student: Criterion, *, mutual: bool) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.mutual = mutual

    def forward(self, outputs: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Loss of a batch; in evaluation the student's cross-entropy."""
        codes = target.flatten()
        student = {k: v for k, v in outputs.items() if not k.startswith(_TEACHER)}
        teacher = {
            k.removeprefix(_TEACHER): v for k, v in outputs.items() if k.startswith(_TEACHER)
        }
        if not teacher:
            return self.student.hard(student["logits"], codes)
        learn = partial(_learn, codes=codes)
        loss = learn(self.student, student, teacher)
        if self.mutual:
            return loss + learn(self.teacher, teacher, student)
        return loss + self.teacher.hard(teacher["logits"], codes)


def _learn(
    criterion: Criterion,
    learner: Mapping[str, torch.Tensor],
    other: Mapping[str, torch.Tensor],
    codes: torch.Tensor,
) -> torch.Tensor:
    """One network's objective; the other's outputs are facts to it."""
    facts = {name: rows.detach() for name, rows in other.items()}
    return criterion(learner, {"codes": codes, "present": codes >= 0, **facts})
