"""Students that learn from a teacher with another view, and the controls they are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sleepshift.methods.base import Method, Settings
from sleepshift.methods.transfer import stager

# Model seeds of teachers and assistants, away from the student's: with the same network and
# seed a teacher would start from the student's own weights.
_TEACHER_SEEDS, _ASSISTANT_SEEDS = 1000, 2000


def teacher(settings: Settings) -> Any:
    """The teacher's network on the teacher's view: shared by all students."""
    model, channels = settings.teacher_model, settings.teacher_channels
    return _other(settings, model, channels, _TEACHER_SEEDS)


def _assistant(settings: Settings) -> Any:
    model, channels = settings.assistant_model, settings.assistant_channels
    return _other(settings, model, channels, _ASSISTANT_SEEDS)


def _other(
    settings: Settings, model: str | None, channels: tuple[str, ...] | None, seeds: int
) -> Any:
    """A stager at the student's budget, with what it has of its own."""
    return stager(
        replace(
            settings,
            model=model or settings.model,
            channels=channels or settings.channels,
            random_state=seeds + settings.random_state,
        )
    )


def _objective(name: str, **params: Any) -> Any:
    from sleepshift.estimators import objectives

    return getattr(objectives, name)(**params)


def _published(name: str) -> Any:
    from sklearn.base import clone

    from sleepshift.estimators.objectives import PUBLISHED

    return clone(PUBLISHED[name])


def _distiller(*args: Any, **options: Any) -> Any:
    from sleepshift.estimators import Distiller

    return Distiller(*args, **options)


def _distil(settings: Settings, loss: Callable[[], Any], **options: Any) -> Any:
    return _distiller(teacher(settings), stager(settings), loss(), **options)


def _kd(name: str, **params: Any) -> Callable[[Settings], Any]:
    return lambda settings: _distil(settings, partial(_objective, name, **params))


def _attention(settings: Settings, loss: str) -> Any:
    """Attention, then labels, in as many passes together as student-only has, of two or more."""
    before = max(1, settings.max_epochs // 2)
    rest = replace(settings, max_epochs=max(1, settings.max_epochs - before))
    return _distiller(
        teacher(settings),
        stager(rest),
        _objective(loss),
        pretraining=_objective("AttentionTransfer"),
        pretraining_epochs=before,
    )


def _attention_published(settings: Settings, loss: Callable[[], Any]) -> Any:
    """Each phase with the whole budget, as published."""
    return _distil(settings, loss, pretraining=_published("ecg-attention"))


def _random_teacher(settings: Settings) -> Any:
    untrained = teacher(replace(settings, max_epochs=0))
    return _distiller(untrained, stager(settings), _objective("SoftLabels"))


def _online(settings: Settings, loss: Callable[[], Any], *, mutual: bool = False) -> Any:
    from sleepshift.estimators import OnlineDistiller

    return OnlineDistiller(teacher(settings), stager(settings), loss(), mutual=mutual)


def _chain(settings: Settings, loss: Callable[[], Any]) -> Any:
    assistant = _distiller(teacher(settings), _assistant(settings), loss())
    return _distiller(assistant, stager(settings), loss())


_BOTH = "source labels; both views of the source nights"

_method = partial(Method, family="distillation", learns_from=_BOTH, labels=("source",), deep=True)
_soft = partial(_objective, "SoftLabels")

METHODS = (
    _method(
        name="teacher",
        summary="the teacher's network on the teacher's view: an upper bound",
        learns_from="source labels; tested on the teacher's view",
        make=teacher,
        needs=("teacher",),
        privileged=True,
    ),
    _method(
        name="student-only",
        summary="the student's network on its own view, as if there were no teacher",
        learns_from="source labels",
        make=stager,
        needs=("teacher",),
    ),
    _method(
        name="transfer-init",
        summary="student-only, started from the teacher's weights where their shapes fit",
        make=lambda settings: _distil(settings, partial(_objective, "HardLabels"), start="teacher"),
        needs=("teacher", "same_network"),
    ),
    _method(
        name="label-smoothing",
        summary="student-only with labels smoothed as much as a teacher would soften them",
        make=_kd("LabelSmoothing"),
        needs=("teacher",),
    ),
    _method(
        name="kd-random-teacher",
        summary="kd-softmax with a teacher that was never trained",
        learns_from="source labels; an untrained network's outputs",
        make=_random_teacher,
        needs=("teacher",),
    ),
    _method(
        name="kd-softmax",
        summary="labels and the teacher's softened probabilities",
        make=_kd("SoftLabels"),
        needs=("teacher",),
    ),
    _method(
        name="kd-attention",
        summary="the teacher's energies over time, then labels",
        make=partial(_attention, loss="HardLabels"),
        needs=("teacher", "maps"),
    ),
    _method(
        name="kd-attention-softmax",
        summary="the teacher's energies over time, then labels and softened probabilities",
        make=partial(_attention, loss="SoftLabels"),
        needs=("teacher", "maps"),
    ),
    _method(
        name="kd-feature",
        summary="labels and the teacher's features, through a projector",
        make=_kd("FeatureMatching"),
        needs=("teacher",),
    ),
    _method(
        name="kd-logit-mse",
        summary="labels and the teacher's logits (as published for scalp to ear)",
        make=_kd("LogitMatching"),
        needs=("teacher",),
    ),
    _method(
        name="kd-online",
        summary="teacher and student trained together, the student from both",
        make=partial(_online, loss=_soft),
        needs=("teacher",),
    ),
    _method(
        name="kd-mutual",
        summary="teacher and student trained together, each from labels and the other",
        make=partial(_online, loss=_soft, mutual=True),
        needs=("teacher",),
    ),
    _method(
        name="kd-unlabeled",
        summary="kd-softmax in as many updates, also on nights with both views that nobody scored",
        learns_from="source labels; both views of the source and of unlabelled nights",
        make=lambda settings: _distil(settings, _soft, unlabeled=True),
        needs=("teacher", "unlabeled_pairs"),
        unlabeled=True,
    ),
    _method(
        name="sleepkd",
        summary="teacher, assistant, student: features of windows and sequences, soft and hard "
        "labels",
        make=lambda settings: _chain(settings, partial(_objective, "MultiLevel")),
        needs=("teacher", "sequences", "assistant"),
    ),
    _method(
        name="takd",
        summary="teacher, assistant, student: softened probabilities alone beside labels",
        make=lambda settings: _chain(settings, _soft),
        needs=("teacher", "assistant"),
    ),
    _method(
        name="kd-softmax@published",
        summary="as published for EEG to ECG: no softening, divergence divided by stages",
        make=lambda settings: _distil(settings, partial(_published, "ecg-soft")),
        needs=("teacher",),
    ),
    _method(
        name="kd-attention@published",
        summary="as published for EEG to ECG: energies normalised over the batch, twice the passes",
        make=partial(_attention_published, loss=partial(_objective, "HardLabels")),
        needs=("teacher", "utime"),
    ),
    _method(
        name="kd-attention-softmax@published",
        summary="as published for EEG to ECG: batch-normalised energies, then unsoftened outputs",
        make=partial(_attention_published, loss=partial(_published, "ecg-soft")),
        needs=("teacher", "utime"),
    ),
    _method(
        name="kd-feature@published",
        summary="as published for scalp to ear: raw features, no projector, weight 1",
        make=lambda settings: _distil(settings, partial(_published, "ear-feature")),
        needs=("teacher", "same_width"),
    ),
    _method(
        name="kd-online@published",
        summary="as published for scalp to ear: raw features of a teacher trained alongside",
        make=partial(_online, loss=partial(_published, "ear-feature")),
        needs=("teacher", "same_width"),
    ),
    _method(
        name="sleepkd@published",
        summary="SleepKD by its paper: raw features, mapped on the teacher's side",
        make=lambda settings: _chain(settings, partial(_published, "sleepkd-paper")),
        needs=("teacher", "sequences", "assistant"),
    ),
    _method(
        name="sleepkd-code@published",
        summary="SleepKD by its released code: a divergence of raw features that matches nothing",
        make=lambda settings: _chain(settings, partial(_published, "sleepkd-code")),
        needs=("teacher", "sequences", "assistant"),
    ),
)
