"""Frozen is frozen, parameters and buffers, bit by bit; labels of the target stay unread."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from torch import nn

from sleepshift.estimators.routing import fit_routed
from sleepshift.methods import METHODS, Settings
from sleepshift.models.parts import tensors
from sleepshift.protocol.fold import Fold
from sleepshift.runner.keys import target_roles
from sleepshift.windows.windows import Windows

ROUND = {
    "max_epochs": 1, "target_epochs": 1, "batch_size": 16, "lr": 0.01, "finetune_epochs": 1,
    "finetune_lr": 0.01, "pretext_epochs": 1, "n_pairs": 16, "patience": 2, "device": "cpu",
}  # fmt: skip
ONE_VIEW = Settings(model="chambon2018-bn", channels=("C3", "Fpz"), **ROUND)
TWO_VIEWS = Settings(
    model="chambon2018-bn",
    channels=("Fpz",),
    teacher_channels=("C3",),
    assistant_channels=("C3", "Fpz"),
    **ROUND,
)
SEQUENCES = Settings(
    model="sequence-student",
    teacher_model="sequence-teacher",
    assistant_model="sequence-assistant",
    sequence_length=4,
    channels=("Fpz",),
    teacher_channels=("C3",),
    **ROUND,
)


def night(people: str, seed: int) -> Windows:
    rng = np.random.default_rng(seed)
    y = np.tile(np.arange(40) % 5, len(people))
    frame = pd.DataFrame({"subject": np.repeat(list(people), 40), "session": "0"})
    frame["onset"] = np.tile(30.0 * np.arange(40), len(people))
    return Windows.from_arrays(
        rng.normal(size=(len(y), 2, 3000)) + y[:, None, None],
        y,
        metadata=frame,
        ch_names=["C3", "Fpz"],
        sfreq=100.0,
        scheme="aasm5",
    )


@pytest.fixture(scope="module")
def fold() -> Fold:
    return Fold(
        "one",
        source=night("ab", 0),
        target_labeled=night("cd", 1),
        target_unlabeled=night("e", 2).without_labels(),
        test=night("f", 3).without_labels(),
    )


def settings_of(needs: tuple[str, ...]) -> Settings:
    if "sequences" in needs:
        return SEQUENCES
    return TWO_VIEWS if "teacher" in needs else ONE_VIEW


def builds_on(method: Any) -> bool:
    if "utime" in method.needs:
        return False  # kd-softmax and the like with another network
    return bool(getattr(method.make(settings_of(method.needs)), "prerequisites", dict)())


BUILDING = [method for method in METHODS.values() if builds_on(method)]


def fitted(estimator: Any, fold: Fold) -> Any:
    """Fitted on a fold, what it builds on fitted first and handed over frozen, as a run does."""
    estimator = clone(estimator)
    for name, base in getattr(estimator, "prerequisites", dict)().items():
        estimator.set_params(**{name: FrozenEstimator(fitted(base, fold))})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_routed(estimator, fold.source, fold.source.y, **target_roles(fold))


def networks(estimator: Any) -> dict[str, nn.Module]:
    estimator = getattr(estimator, "estimator", estimator)
    return {k: v for k, v in vars(estimator).items() if isinstance(v, nn.Module)}


def snapshot(estimator: Any) -> dict[str, torch.Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in networks(estimator).items()
        for name, tensor in tensors(module).items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_methods_that_build_on_others_are_here() -> None:
    names = {method.name for method in BUILDING}
    assert {"finetune-head", "rp-linear", "adabn", "coral", "kd-softmax"} <= names


@pytest.mark.parametrize("method", BUILDING, ids=lambda method: method.name)
def test_what_a_method_builds_on_stays_bit_for_bit(method: Any, fold: Fold) -> None:
    estimator = method.make(settings_of(method.needs))
    bases = {
        name: FrozenEstimator(fitted(base, fold))
        for name, base in estimator.prerequisites().items()
    }
    before = {name: snapshot(base) for name, base in bases.items()}
    assert all(before.values())
    estimator.set_params(**bases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit_routed(estimator, fold.source, fold.source.y, **target_roles(fold))
    view = settings_of(method.needs).channels
    estimator.predict(fold.test.pick(view))
    for name, base in bases.items():
        assert not changed(before[name], snapshot(base)), name


@pytest.mark.parametrize(
    ("name", "moves"),
    [("finetune-head", "final_layer"), ("adabn", "running_|num_batches")],
)
def test_only_the_part_that_adapts_moves(name: str, moves: str, fold: Fold) -> None:
    estimator = fitted(METHODS[name].make(ONE_VIEW), fold)
    base = estimator.base_
    base = getattr(base, "estimator", base)
    moved = changed(
        snapshot(base), {k: v for k, v in snapshot(estimator).items() if "base" not in k}
    )
    assert moved
    assert all(any(part in tensor for part in moves.split("|")) for tensor in moved)


def test_no_layer_stays_where_all_are_trained(fold: Fold) -> None:
    estimator = fitted(METHODS["finetune-all"].make(ONE_VIEW), fold)
    base = getattr(estimator.base_, "estimator", estimator.base_)
    moved = changed(snapshot(base), snapshot(estimator))
    assert moved == {f"module_.{name}" for name in tensors(estimator.module_)}


@pytest.mark.parametrize(
    "method", [m for m in METHODS.values() if m.unlabeled], ids=lambda method: method.name
)
def test_labels_that_come_with_unlabelled_windows_are_not_read(
    method: Any, fold: Fold, sealed: Any
) -> None:
    shut = replace(fold, target_unlabeled=sealed(night("e", 2)))
    settings = settings_of(method.needs)
    own = fitted(method.make(settings), shut).predict_proba(fold.test.pick(settings.channels))
    unsealed = fitted(method.make(settings), fold).predict_proba(fold.test.pick(settings.channels))
    assert np.array_equal(own, unsealed)
