"""What ``--set`` changes: settings of a task's training, parameters of methods' estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sleepshift.errors import TaskError
from sleepshift.estimators.objectives import Objective
from sleepshift.methods import Method, Settings
from sleepshift.models.catalogue import check_sequence, model_spec
from sleepshift.protocol.task import Task, TrainingSection
from sleepshift.runner.keys import describe

__all__ = ["check_overrides", "override", "own_overrides", "settings_of"]

# Parameters that make a method what it is, or belong to the grid.
_FIXED = {"random_state", "data_seed", "device", "verbose", "channels", "domain", "trainable"}
_FIXED |= {"base", "encoder", "estimator", "classifier", "steps"}
_FIXED |= {"teacher", "student", "loss", "pretraining", "start", "unlabeled", "mutual", "cache"}
_FIXED |= {"pretraining_epochs"}
_TEACHER = "teacher__"


def check_overrides(
    tasks: Sequence[Task], methods: Sequence[Method], overrides: Mapping[str, Any]
) -> None:
    """Refuse settings that no method has, or that would make a method another one.

    Parameters
    ----------
    tasks : sequence of Task
    methods : sequence of Method
    overrides : mapping
        As `plan` takes them.

    Raises
    ------
    TaskError
        Naming the setting.
    """
    for name in overrides:
        *path, last = name.split("__")
        if last in _FIXED or (path and last == "model"):
            raise TaskError(f"--set {name}: it says what a method is or is given; it stays")
        if {"teacher", "student"} & set(path) and last in TrainingSection.model_fields:
            raise TaskError(f"--set {name}: one budget holds for all; set {last}")
    known = set(TrainingSection.model_fields)
    for task in tasks:
        settings, _ = settings_of(task, 0, 0, "auto", dict(overrides))
        for method in methods:
            estimator = method.make(settings)
            steps = [p for p, v in estimator.get_params().items() if hasattr(v, "get_params")]
            if changed := set(overrides) & {n for p in steps for n in (p, p.rpartition("__")[2])}:
                raise TaskError(f"--set {changed.pop()}: it says what a method is; it stays")
            known |= {
                p for path in estimator.get_params() for p in (path, path.rpartition("__")[2])
            }
            own = own_overrides(method, estimator, overrides)
            known |= {name for name in overrides if name not in own}  # said of a teacher, and taken
            override(estimator, own)
            try:
                describe(estimator)
                for part in estimator.get_params().values():
                    if isinstance(part, Objective):
                        part.check()
            except (TypeError, ValueError) as error:
                raise TaskError(f"--set {', '.join(overrides)}: {error}") from None
    if unknown := [name for name in overrides if name not in known]:
        raise TaskError(
            f"--set {unknown[0]}: no chosen method has it; settings of all are "
            f"{', '.join(TrainingSection.model_fields)}"
        )


def own_overrides(method: Method, estimator: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides as a method has them: what is said of the teacher is said of its teacher.

    ``teacher__lr`` is ``lr`` of the method that is the teacher, and ``teacher__teacher__lr`` of
    one that learns from an assistant.

    Parameters
    ----------
    method : Method
    estimator : estimator
        The method's.
    overrides : mapping

    Returns
    -------
    dict
    """
    params, own = estimator.get_params(), {}
    for name, value in sorted(overrides.items(), key=lambda item: item[0].startswith(_TEACHER)):
        rest, above = name.removeprefix(_TEACHER), _TEACHER + name
        if name == rest or name in params:
            own[name] = value
        elif method.privileged and rest in params:
            own[rest] = value
        else:
            own[above if above in params else name] = value
    return own


def override(estimator: Any, overrides: Mapping[str, Any]) -> None:
    """Set parameters by full path, or by last name wherever it occurs.

    A base inside a fine-tuned method gets the same value as when it stands alone, so that
    they stay one shared model.

    Parameters
    ----------
    estimator : estimator
        Changed in place.
    overrides : mapping
    """
    made = estimator.get_params()
    for path in made:
        part, _, last = path.rpartition("__")
        if last == "weights" and made.get(f"{part}__max_epochs" if part else "max_epochs") == 0:
            continue  # a control that is never trained does not begin trained either
        for name in (last, path):  # what is said of one place wins
            if name in overrides:
                estimator.set_params(**{path: overrides[name]})


def settings_of(
    task: Task, seed: int, data_seed: int, device: str, overrides: dict[str, Any]
) -> tuple[Settings, dict[str, Any]]:
    """The task's settings with those of the command line, and what is left of the latter.

    Parameters
    ----------
    task : Task
    seed, data_seed : int
    device : str
    overrides : dict

    Raises
    ------
    TaskError
        If a setting's value makes no sense.
    """
    own = {k: v for k, v in overrides.items() if k in TrainingSection.model_fields}
    rest = {k: v for k, v in overrides.items() if k not in own}
    try:
        training = TrainingSection.model_validate(task.training.model_dump() | own)
        for model in (training.model, training.teacher_model, training.assistant_model):
            check_sequence(model_spec(model or training.model), training.sequence_length)
    except ValidationError as error:
        first = error.errors()[0]
        raise TaskError(f"--set {first['loc'][0]}: {first['msg']}") from None
    except ValueError as error:
        raise TaskError(str(error)) from None
    views = task.windows.views
    settings = Settings(
        **training.model_dump(),
        channels=views["student"],
        teacher_channels=views.get("teacher"),
        assistant_channels=views.get("assistant"),
        random_state=seed,
        data_seed=data_seed,
        device=device,
    )
    return settings, rest
