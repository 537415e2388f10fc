"""What a method can need of a task, in words and as a check."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sleepshift.methods.base import Settings
    from sleepshift.models import ModelSpec
    from sleepshift.protocol.fold import Fold

__all__ = ["NEEDS", "Need"]


class Need(NamedTuple):
    """A need in words, and why a fold does not meet it."""

    words: str
    unmet: str
    met: Callable[[Fold, Settings], bool]


def _spec(name: str) -> ModelSpec:
    from sleepshift.models import model_spec

    return model_spec(name)


def _unlabeled_pairs(fold: Fold, settings: Settings) -> bool:
    there = fold.target_unlabeled
    return there is not None and set(settings.teacher_channels or ()) <= set(there.ch_names)


def _same_network(fold: Fold, settings: Settings) -> bool:
    return settings.teacher_model in (None, settings.model)


def _same_width(fold: Fold, settings: Settings) -> bool:
    seen = settings.teacher_channels or ()
    return _same_network(fold, settings) and len(seen) == len(settings.channels)


def _has_maps(fold: Fold, settings: Settings) -> bool:
    return _same_network(fold, settings) and bool(_spec(settings.model).attention)


def _fits_attnsleep(fold: Fold, settings: Settings) -> bool:
    from sleepshift.stages import get_scheme

    adapt, sfreq, scheme = _spec("attnsleep").adapt, fold.source.sfreq, fold.source.scheme
    if adapt is None or sfreq is None or scheme is None:
        return False
    try:
        adapt(1, sfreq)
    except ValueError:
        return False
    return len(get_scheme(scheme)) in (5, 6)


NEEDS: dict[str, Need] = {
    "target_labeled": Need(
        "labelled target people",
        "the task has no labelled target people",
        lambda fold, settings: fold.target_labeled is not None,
    ),
    "target_unlabeled": Need(
        "unlabelled target signals",
        "the task has no unlabelled target signals",
        lambda fold, settings: fold.target_unlabeled is not None,
    ),
    "batch_norm": Need(
        "a network with batch normalisation",
        "the task's network has no batch normalisation",
        lambda fold, settings: _spec(settings.model).batch_norm,
    ),
    "several_channels": Need(
        "signals of two channels or more",
        "there is one channel, or none of signals, to whiten",
        lambda fold, settings: fold.source.kind == "signal" and len(settings.network_channels) > 1,
    ),
    "order": Need(
        "windows in order",
        "the windows have lost their order in the night",
        lambda fold, settings: fold.source.ordered,
    ),
    "teacher": Need(
        "a teacher's view",
        "the task has no teacher's view",
        lambda fold, settings: settings.teacher_channels is not None,
    ),
    "one_view": Need(
        "a single view",
        "with a teacher's view beside the student's it is student-only",
        lambda fold, settings: settings.teacher_channels is None,
    ),
    "unlabeled_pairs": Need(
        "unlabelled nights with both views",
        "the task has no unlabelled nights with both views",
        _unlabeled_pairs,
    ),
    "single_windows": Need(
        "a network of single windows",
        "the task's network stages sequences",
        lambda fold, settings: settings.sequence_length is None,
    ),
    "sequences": Need(
        "a network of sequences",
        "the task's network stages single windows, which have one level of features",
        lambda fold, settings: settings.sequence_length is not None,
    ),
    "assistant": Need(
        "an assistant's view or network",
        "the task names neither a view nor a network for an assistant",
        lambda fold, settings: bool(settings.assistant_channels or settings.assistant_model),
    ),
    "same_network": Need(
        "one network for teacher and student",
        "teacher and student have different networks",
        _same_network,
    ),
    "same_width": Need(
        "one network for teacher and student, and as many channels",
        "teacher and student have different networks or numbers of channels",
        _same_width,
    ),
    "maps": Need(
        "one network for both, with maps over time",
        "teacher and student have no maps over time in common",
        _has_maps,
    ),
    "utime": Need(
        "the network utime",
        "it is published for --set model=utime",
        lambda fold, settings: _same_network(fold, settings) and settings.model == "utime",
    ),
    "attnsleep": Need(
        "signals at a rate of AttnSleep's (100 Hz, say), in five or six stages",
        "AttnSleep takes signals at 64, 100, 125, 128, 200 or 256 Hz, in five or six stages",
        _fits_attnsleep,
    ),
}
