"""Named recipes: what they make, and what they need of a fold."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier

from sleepshift.errors import TaskError
from sleepshift.methods import (
    METHODS,
    Method,
    Settings,
    floors,
    get_methods,
    selfsupervised,
    transfer,
)
from sleepshift.protocol.fold import Fold
from sleepshift.windows.windows import Windows

VALUES: dict[str, Any] = {
    "model": "chambon2018",
    "channels": ("Fpz",),
    "max_epochs": 1,
    "target_epochs": 2,
    "batch_size": 16,
    "lr": 0.011,
    "finetune_epochs": 3,
    "finetune_lr": 0.022,
    "pretext_epochs": 1,
    "n_pairs": 32,
    "patience": 4,
    "random_state": 5,
    "data_seed": 6,
    "device": "cpu",
}
SETTINGS = Settings(**VALUES)
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def night(people: list[str], *, n: int = 40, features: bool = False, times: bool = True) -> Windows:
    """Labelled windows of a few people."""
    rng = np.random.default_rng(len(people))
    y = np.tile(np.arange(n) % 5, len(people))
    frame = pd.DataFrame({"subject": np.repeat(people, n), "session": "0"})
    frame["onset"] = np.tile(30.0 * np.arange(n), len(people)) if times else np.nan
    shape = (len(y), 1, 10 if features else 600)
    X = rng.normal(size=shape) + y[:, None, None]
    return Windows.from_arrays(
        X,
        y,
        metadata=frame,
        ch_names=["Fpz"],
        sfreq=None if features else 100.0,
        scheme="aasm5",
    )


def fold(*, labeled: bool = True, **form: Any) -> Fold:
    return Fold(
        "one",
        source=night(["a", "b"], **form),
        target_labeled=night(["c", "d"], **form) if labeled else None,
        target_unlabeled=night(["e"], **form).without_labels(),
        test=night(["f"], **form).without_labels(),
    )


def test_the_settings_here_are_all_there_are() -> None:
    assert {field.name for field in fields(Settings)} == set(VALUES)


def test_names_are_unique_over_all_families() -> None:
    names = [m.name for family in (floors, transfer, selfsupervised) for m in family.METHODS]
    assert len(names) == len(set(names)) == len(METHODS)
    assert list(METHODS) == names


@every
def test_a_method_says_in_words_what_it_is(method: Method) -> None:
    assert method.summary
    assert method.learns_from
    assert method.family in {"floor", "transfer", "self-supervised"}
    assert set(method.needs) <= {"target_labeled", "order"}
    assert not (method.deep and method.floor)


@every
def test_a_method_makes_a_fresh_classifier_that_clones(method: Method) -> None:
    estimator = method.make(SETTINGS)
    assert is_classifier(estimator)
    assert method.make(SETTINGS) is not estimator
    assert repr(clone(estimator).get_params()) == repr(estimator.get_params())


@every
def test_a_method_stages_the_test_people_of_a_fold(method: Method) -> None:
    from sleepshift.estimators.routing import fit_routed
    from sleepshift.runner.keys import target_roles

    given = fold()
    estimator = method.make(replace(SETTINGS, n_pairs=16))
    deep = [n for n in estimator.get_params() if n.split("__")[-1] == "model_params"]
    estimator.set_params(**{key: {"n_conv_chs": 2} for key in deep})
    fit_routed(estimator, given.source, given.source.y, **target_roles(given))
    proba = estimator.predict_proba(given.test)
    assert proba.shape == (40, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)


@every
def test_seeds_and_budget_reach_every_network(method: Method) -> None:
    params = method.make(SETTINGS).get_params()
    found = {name: [v for k, v in params.items() if k.split("__")[-1] == name] for name in VALUES}
    if not method.deep:
        assert not found["model"]
        return
    for name in ("model", "channels", "data_seed", "device", "batch_size", "patience"):
        assert found[name]
        assert set(found[name]) == {VALUES[name]}
    # A linear classifier behind an encoder has a random state of its own.
    assert VALUES["random_state"] in found["random_state"]
    assert set(found["lr"]) <= {VALUES["lr"], VALUES["finetune_lr"]}


@every
def test_a_method_runs_where_its_needs_are_met(method: Method) -> None:
    assert method.skip_reason(fold(), SETTINGS) is None


@every
def test_methods_that_need_target_labels_are_skipped_without_them(method: Method) -> None:
    reason = method.skip_reason(fold(labeled=False), SETTINGS)
    if "target_labeled" in method.needs:
        assert reason == "the task has no labelled target people"
    else:
        assert reason is None


@every
def test_methods_that_need_order_are_skipped_without_it(method: Method) -> None:
    reason = method.skip_reason(fold(times=False), SETTINGS)
    if "order" in method.needs:
        assert reason == "the windows have lost their order in the night"
    else:
        assert reason is None


@every
def test_networks_that_do_not_fit_the_windows_are_skipped(method: Method) -> None:
    reason = method.skip_reason(fold(features=True), SETTINGS)
    if method.deep:
        assert reason == "model chambon2018 takes signal windows, not features"
        assert method.skip_reason(fold(features=True), replace(SETTINGS, model="mlp")) is None
    else:
        assert reason is None


def test_methods_come_in_the_order_of_tables_however_they_are_asked_for() -> None:
    names = list(METHODS)
    assert [m.name for m in get_methods()] == names
    assert [m.name for m in get_methods([names[3], names[0]])] == [names[0], names[3]]
    assert get_methods([]) == []


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(TaskError, match="unknown method 'fine'; use some of majority, features-"):
        get_methods(["majority", "fine"])
