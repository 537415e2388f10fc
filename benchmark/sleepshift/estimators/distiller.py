"""`Distiller`: a student that learns from a frozen teacher with another view."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from sleepshift.estimators.criterion import Criterion
from sleepshift.estimators.inputs import as_labelled, as_windows, encode
from sleepshift.estimators.network import StagerNetwork
from sleepshift.estimators.objectives import Objective, SoftLabels
from sleepshift.estimators.outputs import Joined, WithOutputs, teacher_outputs
from sleepshift.estimators.readout import items
from sleepshift.estimators.routing import fitted_base, unfitted
from sleepshift.estimators.stager import SleepStager
from sleepshift.estimators.training import budget, seeded, train
from sleepshift.models import model_spec
from sleepshift.models.parts import forget_passes
from sleepshift.models.taps import Groups, Tapped
from sleepshift.windows.windows import Windows

__all__ = ["Distiller"]


class Distiller(StagerNetwork):
    """Train a student on its own view with what a teacher makes of another one.

    The teacher is frozen and in evaluation mode; what it computes is computed once for a
    set of windows and looked up by window. Only the student's channels are looked at to
    predict. A chain with an assistant is a distiller whose teacher is a distiller. In a search
    or cross-validation give an unfitted teacher: a fitted one has seen the people held out.

    Parameters
    ----------
    teacher : classifier
        A `SleepStager` on the teacher's channels, another `Distiller`; any other classifier
        can teach by its probabilities. It is cloned and fitted on (X, y), unless it comes
        fitted inside a `sklearn.frozen.FrozenEstimator`.
    student : SleepStager
        Network, channels, budget and seeds of the student. It is not fitted itself.
    loss : Objective or None
        None is `SoftLabels()`.
    pretraining : Objective or None
        Of a phase before, with passes of its own; all weights go on from there.
    pretraining_epochs : int or None
        Most passes of that phase; None is the student's ``max_epochs``, 0 leaves it out.
    start : {"random", "teacher"}
        ``"teacher"`` starts from the teacher's weights, as far as their shapes fit.
    unlabeled : bool
        Also learn from the teacher's outputs on `X_target_unlabeled`, where it has both
        views. A pass draws from all windows as many as have labels, so that it has as many
        updates as without.
    cache : str, Path or None
        Folder where teachers' outputs are kept for other distillers; see
        `sleepshift.estimators.outputs.teacher_outputs`.

    Attributes
    ----------
    teacher_ : fitted teacher
    module_, classes_, history_, ch_names_, sfreq_, n_parameters_
        The student's; rows of ``history_`` say their ``phase``.

    Examples
    --------
    >>> from sleepshift.estimators import SleepStager
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> tiny = {"sfreq": 10.0, "max_epochs": 1, "model_params": {"n_conv_chs": 2}}
    >>> teacher, student = SleepStager(channels=["0", "1"], **tiny), SleepStager(**tiny)
    >>> distiller = Distiller(teacher, student.set_params(channels=["1"]))
    >>> distiller.set_params(loss=SoftLabels(), loss__temperature=2.0).fit(X, y).ch_names_
    ('1',)
    """

    _given = "student"

    # MOABB's evaluations hand over unlabelled windows by this name.
    __metadata_request__fit = {"X_target_unlabeled": True}

    def __init__(
        self,
        teacher: Any,
        student: Any,
        loss: Objective | None = None,
        pretraining: Objective | None = None,
        pretraining_epochs: int | None = None,
        start: str = "random",
        unlabeled: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        self.teacher = teacher
        self.student = student
        self.loss = loss
        self.pretraining = pretraining
        self.pretraining_epochs = pretraining_epochs
        self.start = start
        self.unlabeled = unlabeled
        self.cache = cache

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return unfitted(teacher=self.teacher)

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> Distiller:
        """Fit the teacher where it is not, then train the student.

        Parameters
        ----------
        X : as in `SleepStager.fit`
            Windows with the channels of both views.
        y : array-like, shape (n,), or None
        X_target_unlabeled : like X, or None
            Paired windows without labels, used if `unlabeled`.

        Raises
        ------
        ValueError
            If a parameter makes no sense, the teacher knows other stages, or the networks
            have nothing to compare.
        DataError
            If X lacks channels of either view.
        """
        phases = self._phases()
        windows, y, classes = as_labelled(X, y, sfreq=self.student.sfreq)
        parts = [encode(windows, y, classes)]
        if self.unlabeled:
            parts.append(self._unlabeled(X_target_unlabeled, windows))
        self.teacher_ = fitted_base(self.teacher, X, y, X_target_unlabeled=X_target_unlabeled)
        check_stages(self.teacher_, classes)
        view = parts[0].pick(self.channels)
        with seeded(self.student.random_state):
            module = self._build(view.shape[1:], view.sfreq, len(classes))
            if self.start == "teacher":
                copy_weights(self.teacher_, module)
            self.history_ = []
            for phase, objective, max_epochs in phases:
                if not max_epochs:
                    continue
                rows = self._train(module, parts, objective, max_epochs, len(classes))
                self.history_ += [{"phase": phase, **row} for row in rows]
            if not self.history_:
                self.student._settle(module, view[self.student._split(view)[0]])
        self.classes_ = classes
        self._remember(module.eval(), view)
        return self

    def _unlabeled(self, X: Any, labelled: Windows) -> Windows:
        if X is None:
            raise ValueError("unlabeled=True needs X_target_unlabeled")
        windows = as_windows(X, sfreq=self.student.sfreq).without_labels()
        own, other = ((w.shape[2], w.sfreq) for w in (labelled, windows))
        if own != other:
            raise ValueError(
                f"windows of X_target_unlabeled hold {other[0]} values at {other[1]} Hz, "
                f"those of X {own[0]} at {own[1]} Hz"
            )
        return windows

    def _phases(self) -> list[tuple[str, Objective, int]]:
        """Name, objective and most passes of each phase."""
        check_student(self.student)
        if self.start not in ("random", "teacher"):
            raise ValueError(f"start is 'random' or 'teacher', not {self.start!r}")
        phases: list[tuple[str, Objective, int]] = []
        passes = self.student.max_epochs
        if self.pretraining is not None:
            own = self.pretraining_epochs
            phases.append(("pretraining", self.pretraining, passes if own is None else own))
        phases.append(("loss", SoftLabels() if self.loss is None else self.loss, passes))
        for _, objective, _ in phases:
            check_objective(objective)
        if not phases[-1][1].supervised:
            raise ValueError(
                f"{type(phases[-1][1]).__name__} learns no stages; give it as pretraining"
            )
        return phases

    def _train(
        self,
        module: nn.Module,
        parts: list[Windows],
        objective: Objective,
        max_epochs: int,
        n_classes: int,
    ) -> list[dict[str, Any]]:
        """One phase: the student's own training with another loss."""
        student, length = self.student, self.sequence_length
        attention = attention_of(objective, student)
        outputs = self._teach(parts, objective, attention)
        own = parts[0].pick(self.channels)
        more = [part.pick(own.ch_names) for part in parts[1:]]
        codes = np.concatenate([own.y, *(np.full(len(part), -1) for part in more)])
        data, valid = student._split(own)
        rows = np.concatenate([data, np.arange(len(own), len(codes))])
        labelled = items(own[data], length)
        seen = Joined([labelled, *(items(part, length) for part in more)]) if more else labelled
        shown = {k: v[rows] for k, v in outputs.items() if not k.startswith("attention")}
        objective = objective.prepared(shown, codes[rows])
        weight = student._class_weight(codes[data], n_classes)
        tapped = Tapped(module, objective.kinds, attention)
        criterion = _criterion(objective, weight, tapped, items(own[:1], length), shown, student)
        held: Dataset | None = None
        if valid is not None:
            held = items(own[valid], length)
            if not objective.supervised:
                held = WithOutputs(items(own[valid], length), valid, outputs, codes)
        return train(
            tapped,
            WithOutputs(seen, rows, outputs, codes),
            held,
            criterion=criterion,
            monitor=student.monitor if objective.supervised else "loss",
            # As many updates a pass as the student alone has, however many nights there are.
            n_drawn=len(labelled) if more else None,
            **budget(student, length) | {"max_epochs": max_epochs},
        )

    def _teach(
        self, parts: list[Windows], objective: Objective, attention: Groups
    ) -> dict[str, np.ndarray]:
        """The teacher's outputs on all parts, one below the other."""
        needs, cache = objective.needs, self.cache
        taught = [
            teacher_outputs(self.teacher_, part, needs, attention=attention, cache=cache)
            for part in parts
        ]
        if len(taught) == 1:
            return taught[0]
        return {name: np.concatenate([part[name] for part in taught]) for name in taught[0]}


def _criterion(
    objective: Objective,
    weight: torch.Tensor | None,
    tapped: Tapped,
    example: Any,
    teacher: Mapping[str, np.ndarray],
    student: Any,
) -> Criterion:
    """The objective's loss, with a fresh projector that leaves the student's chances alone."""
    widths = {
        kind: (wide, teacher[kind][0].size)
        for kind, wide in widths_of(tapped, example).items()
        if kind in teacher
    }
    with seeded(student.random_state):
        return Criterion(objective, weight, widths, teacher)


def widths_of(tapped: Tapped, example: Any) -> dict[str, int]:
    """Number of features a window that a network gives, by kind."""
    training = tapped.training
    with torch.no_grad(), forget_passes(tapped):
        taken = tapped.eval()(example.__getitems__([0])[0])
    tapped.train(training)
    return {k: taken[k][0].numel() for k in ("features", "window") if k in taken}


def attention_of(objective: Objective, student: SleepStager) -> Groups:
    """Layers that an objective compares: its own, or those of the student's network.

    Raises
    ------
    ValueError
        If there are none.
    """
    if "attention" not in objective.kinds:
        return ()
    groups = getattr(objective, "groups", None)
    found = model_spec(student.model).attention if groups is None else groups
    if not found:
        raise ValueError(f"the student's {student.model} has no maps over time to compare")
    return found


def check_objective(objective: Any) -> None:
    """Refuse what is no objective, or has parameters that make no sense.

    Raises
    ------
    ValueError
        Naming it.
    """
    if not isinstance(objective, Objective):
        raise ValueError(f"a loss is an objective such as SoftLabels(), not {objective!r}")
    objective.check()


def check_student(student: Any) -> None:
    """Refuse a student (online, a teacher) that is no `SleepStager`.

    Raises
    ------
    ValueError
        Naming its class.
    """
    if not isinstance(student, SleepStager):
        raise ValueError(f"teach and learn with a SleepStager, not with a {type(student).__name__}")


def check_stages(teacher: Any, classes: np.ndarray) -> None:
    """Refuse a teacher that knows other stages.

    Raises
    ------
    ValueError
        Naming both.
    """
    known = np.asarray(teacher.classes_)
    if not np.array_equal(known, classes):
        raise ValueError(
            f"the teacher knows the stages {known.tolist()}, these labels are "
            f"{classes.tolist()}; fit the teacher in the same stage scheme"
        )


def copy_weights(teacher: Any, module: nn.Module) -> None:
    """Start a network from a fitted one's weights, as far as names and shapes agree.

    Raises
    ------
    ValueError
        If nothing agrees.
    """
    network: nn.Module | None = getattr(teacher, "module_", None)
    given, own = {} if network is None else network.state_dict(), module.state_dict()
    fitting = {k: v for k, v in given.items() if k in own and own[k].shape == v.shape}
    if not any(v.is_floating_point() and v.numel() > 1 for v in fitting.values()):
        raise ValueError("start='teacher': no weight of the teacher's network fits the student's")
    module.load_state_dict(fitting, strict=False)
