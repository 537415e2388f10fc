"""Which windows, and whose labels, reach a classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from sleepshift.estimators import BandPower, LinearProbe, RelativePositioning, SleepStager, TrainOn
from sleepshift.windows.windows import Windows

Nights = Callable[..., Windows]


class Spy(ClassifierMixin, BaseEstimator):
    """A classifier that remembers what it was given."""

    seen: ClassVar[list[tuple[np.ndarray, np.ndarray]]] = []

    def fit(self, X: Any, y: Any) -> Spy:
        self.seen.append((X, np.asarray(y)))
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X: Any) -> np.ndarray:
        return np.full(len(X), self.classes_[0])


class SpyEncoder(TransformerMixin, BaseEstimator):
    """A transformer that remembers what it was given."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> SpyEncoder:
        self.seen.append({"X": X, "y": y, "X_target_unlabeled": X_target_unlabeled})
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, X: Any) -> np.ndarray:
        return np.asarray(X).mean(axis=2)


@pytest.fixture(autouse=True)
def _fresh_spies() -> None:
    Spy.seen.clear()
    SpyEncoder.seen.clear()


def domains(windows: Windows, target: Windows, form: str) -> tuple[Any, Any, Any, Any]:
    if form == "windows":
        return windows, windows.y, target, target.y
    return np.asarray(windows), windows.y, np.asarray(target), target.y


# ---------------------------------------------------------------------- TrainOn


@pytest.mark.parametrize("form", ["windows", "arrays"])
def test_target_reaches_the_classifier_alone(windows: Windows, target: Windows, form: str) -> None:
    X, y, X_target, y_target = domains(windows, target, form)
    TrainOn(Spy()).fit(X, y, X_target_labeled=X_target, y_target_labeled=y_target)
    ((got, labels),) = Spy.seen
    np.testing.assert_array_equal(np.asarray(got), np.asarray(target))
    np.testing.assert_array_equal(labels, target.y)


@pytest.mark.parametrize("form", ["windows", "arrays"])
def test_pooled_is_both_with_their_own_labels(windows: Windows, target: Windows, form: str) -> None:
    X, y, X_target, y_target = domains(windows, target, form)
    TrainOn(Spy(), domain="pooled").fit(
        X, 10 + y, X_target_labeled=X_target, y_target_labeled=20 + y_target
    )
    ((got, labels),) = Spy.seen
    np.testing.assert_array_equal(
        np.asarray(got), np.concatenate([np.asarray(windows), np.asarray(target)])
    )
    np.testing.assert_array_equal(labels, np.concatenate([10 + windows.y, 20 + target.y]))


def test_pooled_windows_still_say_whose_they_are(windows: Windows, target: Windows) -> None:
    TrainOn(Spy(), domain="pooled").fit(windows, X_target_labeled=target)
    ((got, _),) = Spy.seen
    assert got.subjects.tolist() == [*windows.subjects, *target.subjects]


def test_labels_can_come_with_the_windows(windows: Windows, target: Windows) -> None:
    for domain in ("target", "pooled"):
        TrainOn(Spy(), domain=domain).fit(windows, X_target_labeled=target)
    np.testing.assert_array_equal(Spy.seen[0][1], target.y)
    np.testing.assert_array_equal(Spy.seen[1][1], [*windows.y, *target.y])


def test_the_classifier_given_is_cloned(windows: Windows, target: Windows) -> None:
    for domain in ("target", "pooled"):
        given = Spy()
        floor = TrainOn(given, domain=domain).fit(windows, X_target_labeled=target)
        assert not hasattr(given, "classes_")
        assert floor.classifier_ is not given


def test_source_windows_play_no_part_in_target(windows: Windows, target: Windows) -> None:
    """Not even where there are none of use."""
    floor = TrainOn(KNeighborsClassifier(1)).fit(
        None, None, X_target_labeled=np.asarray(target)[:, 0], y_target_labeled=target.y
    )
    np.testing.assert_array_equal(floor.predict(np.asarray(target)[:, 0]), target.y)


def test_a_network_can_be_trained_on_either(
    windows: Windows, target: Windows, tiny: dict[str, Any]
) -> None:
    alone = SleepStager(**tiny).fit(target)
    on_target = TrainOn(SleepStager(**tiny)).fit(windows, X_target_labeled=target)
    np.testing.assert_array_equal(on_target.predict_proba(target), alone.predict_proba(target))
    assert on_target.n_parameters_ == alone.n_parameters_
    pooled = TrainOn(SleepStager(**tiny), domain="pooled").fit(windows, X_target_labeled=target)
    together = SleepStager(**tiny).fit(Windows.concat([windows, target]))
    np.testing.assert_array_equal(pooled.predict_proba(target), together.predict_proba(target))


@pytest.mark.parametrize("domain", ["target", "pooled"])
def test_missing_target_windows_are_an_error(windows: Windows, domain: str) -> None:
    with pytest.raises(ValueError, match="needs X_target_labeled"):
        TrainOn(Spy(), domain=domain).fit(windows)


@pytest.mark.parametrize("domain", ["target", "pooled"])
def test_missing_labels_are_an_error(arrays: tuple, domain: str) -> None:
    X, y = arrays
    with pytest.raises(ValueError, match="labels are missing"):
        TrainOn(Spy(), domain=domain).fit(X, y, X_target_labeled=X)
    if domain == "pooled":
        with pytest.raises(ValueError, match="labels are missing"):
            TrainOn(Spy(), domain=domain).fit(X, X_target_labeled=X, y_target_labeled=y)


def test_an_unknown_domain_is_an_error(windows: Windows, target: Windows) -> None:
    with pytest.raises(ValueError, match="domain is target or pooled, not 'source'"):
        TrainOn(Spy(), domain="source").fit(windows, X_target_labeled=target)


def test_windows_of_other_channels_cannot_be_pooled(windows: Windows, target: Windows) -> None:
    with pytest.raises(ValueError, match="different channels or rates"):
        TrainOn(Spy(), domain="pooled").fit(windows, X_target_labeled=target.pick(["Pz"]))
    with pytest.raises(ValueError, match="different channels or rates"):
        TrainOn(Spy(), domain="pooled").fit(
            windows, X_target_labeled=np.asarray(target), y_target_labeled=target.y
        )


# ---------------------------------------------------------------------- LinearProbe


def test_an_encoder_is_fitted_on_the_source_and_never_given_target_labels(
    windows: Windows, target: Windows
) -> None:
    LinearProbe(SpyEncoder(), Spy()).fit(
        windows,
        windows.y,
        X_target_labeled=target,
        y_target_labeled=target.y,
        X_target_unlabeled=target.without_labels(),
    )
    ((given),) = SpyEncoder.seen
    assert given["X"] is windows
    np.testing.assert_array_equal(given["y"], windows.y)
    assert not given["X_target_unlabeled"].has_labels


def test_the_classifier_gets_features_of_the_labelled_target(
    windows: Windows, target: Windows
) -> None:
    LinearProbe(SpyEncoder(), Spy()).fit(windows, windows.y, X_target_labeled=target)
    ((got, labels),) = Spy.seen
    np.testing.assert_array_equal(got, np.asarray(target).mean(axis=2))
    np.testing.assert_array_equal(labels, target.y)


def test_without_target_labels_the_classifier_gets_the_source(windows: Windows) -> None:
    LinearProbe(SpyEncoder(), Spy()).fit(windows)
    ((got, labels),) = Spy.seen
    np.testing.assert_array_equal(got, np.asarray(windows).mean(axis=2))
    np.testing.assert_array_equal(labels, windows.y)


def test_a_frozen_encoder_is_used_as_it_is(
    make_nights: Nights, target: Windows, tiny: dict[str, Any]
) -> None:
    source = make_nights(3, 40)
    encoder = RelativePositioning(**tiny, embedding_size=4, tau_neg=300, n_pairs=32).fit(source)
    before = encoder.transform(target)
    probe = LinearProbe(FrozenEstimator(encoder)).fit(source, X_target_labeled=target)
    np.testing.assert_array_equal(encoder.transform(target), before)
    assert probe.encoder_.estimator is encoder
    assert probe.n_parameters_ == encoder.n_parameters_
    assert probe.prerequisites() == {}
    assert clone(probe).encoder.estimator is encoder


@pytest.mark.parametrize("kind", ["pretext", "stager"])
def test_features_of_a_frozen_encoder_are_computed_once_for_all_probes(
    make_nights: Nights,
    target: Windows,
    tiny: dict[str, Any],
    tmp_path: Path,
    read_outs: list,
    kind: str,
) -> None:
    source, test = make_nights(3, 40), make_nights(2, seed=5, prefix="t").without_labels()
    pretext = RelativePositioning(**tiny, embedding_size=4, tau_neg=300, n_pairs=32)
    encoder = FrozenEstimator((pretext if kind == "pretext" else SleepStager(**tiny)).fit(source))
    for labels, times in ((target.y, 2), (target.y, 0), (np.roll(target.y, 1), 0)):
        roles = {"X_target_labeled": target, "y_target_labeled": labels}
        expected = LinearProbe(encoder).fit(source, **roles).predict_proba(test)
        read_outs.clear()
        probe = LinearProbe(encoder, cache=tmp_path).fit(source, **roles)
        np.testing.assert_array_equal(probe.predict_proba(test), expected)
        assert len(read_outs) == times  # of the labelled windows and of the test windows


def test_an_encoder_that_asks_for_no_target_signals_gets_none(
    windows: Windows, target: Windows
) -> None:
    probe = LinearProbe(BandPower(bands={"all": (0.5, 5.0)}))
    probe.fit(windows, X_target_labeled=target, X_target_unlabeled=target.without_labels())
    assert probe.score(target, target.y) > 0.3


def test_an_encoder_in_the_probe_is_cloned(make_nights: Nights, tiny: dict[str, Any]) -> None:
    encoder = RelativePositioning(**tiny, embedding_size=4, tau_neg=300, n_pairs=32)
    classifier = LogisticRegression()
    probe = LinearProbe(encoder, classifier).fit(make_nights(2, 40))
    assert not hasattr(encoder, "encoder_")
    assert not hasattr(classifier, "coef_")
    assert probe.prerequisites() == {"encoder": encoder}


def test_labels_missing_for_the_probe_are_an_error(arrays: tuple) -> None:
    X, y = arrays
    with pytest.raises(ValueError, match="labels are missing"):
        LinearProbe(SpyEncoder(), Spy()).fit(X)
    with pytest.raises(ValueError, match="labels are missing"):
        LinearProbe(SpyEncoder(), Spy()).fit(X, y, X_target_labeled=X)


@pytest.mark.parametrize("estimator", [TrainOn(Spy()), LinearProbe(SpyEncoder())])
def test_they_must_be_fitted_first(estimator: Any, windows: Windows) -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(estimator, method)(windows)
