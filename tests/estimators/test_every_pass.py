"""Every pass of a training kept, and none chosen."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sleepshift.estimators import EveryPass, SleepStager
from sleepshift.estimators.training import watchers
from sleepshift.windows.windows import Windows


@pytest.fixture
def stager(tiny: dict[str, Any]) -> SleepStager:
    return SleepStager(**tiny | {"max_epochs": 4}, valid_size=0, lr=0.02)


def test_each_pass_is_what_a_shorter_training_ends_with(
    stager: SleepStager, windows: Windows
) -> None:
    every = EveryPass(stager).fit(windows)
    outputs = list(every.predict_proba_by_pass(windows))
    assert len(outputs) == 4
    for n, proba in enumerate(outputs, start=1):
        shorter = clone(stager).set_params(max_epochs=n).fit(windows)
        np.testing.assert_array_equal(proba, shorter.predict_proba(windows))
    assert not np.allclose(outputs[0], outputs[-1])


def test_left_to_itself_it_is_the_last_pass_before_and_after_it_is_asked(
    stager: SleepStager, windows: Windows
) -> None:
    every = EveryPass(stager).fit(windows)
    alone = clone(stager).fit(windows)
    before = every.predict_proba(windows)
    next(every.predict_proba_by_pass(windows))
    for proba in (before, every.predict_proba(windows)):
        np.testing.assert_array_equal(proba, alone.predict_proba(windows))
    np.testing.assert_array_equal(every.predict(windows), alone.predict(windows))
    assert every.n_parameters_ == alone.n_parameters_
    assert every.classes_.tolist() == [0, 1, 2]


def test_batch_normalisations_are_those_of_the_pass(windows: Windows, tiny: dict[str, Any]) -> None:
    normed = SleepStager(**tiny | {"model": "chambon2018-bn"}, valid_size=0)
    first, last = EveryPass(normed).fit(windows).predict_proba_by_pass(windows)
    alone = clone(normed).set_params(max_epochs=1).fit(windows)
    np.testing.assert_array_equal(first, alone.predict_proba(windows))
    assert not np.allclose(first, last)


def test_it_can_be_told_no_labels_of_others() -> None:
    assert list(inspect.signature(EveryPass.fit).parameters) == ["self", "X", "y"]
    assert list(inspect.signature(EveryPass.predict_proba_by_pass).parameters) == ["self", "X"]


def test_who_watches_trainings_is_left_as_it_was(stager: SleepStager, windows: Windows) -> None:
    before = watchers.get()
    every = EveryPass(stager).fit(windows)
    with pytest.raises(ValueError, match="class_weight"):
        every.set_params(estimator__class_weight="even").fit(windows)
    assert watchers.get() is before


def test_a_refit_forgets_the_passes_before(stager: SleepStager, windows: Windows) -> None:
    every = EveryPass(stager).fit(windows)
    every.set_params(estimator__max_epochs=2).fit(windows)
    assert len(every.passes_) == 2


def test_it_must_be_fitted_first(stager: SleepStager, windows: Windows) -> None:
    with pytest.raises(NotFittedError):
        next(EveryPass(stager).predict_proba_by_pass(windows))
