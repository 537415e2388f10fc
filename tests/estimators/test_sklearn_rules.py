"""Every estimator under scikit-learn's tools, on plain arrays and on windows."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)
from sklearn.utils.validation import check_is_fitted

from sleepshift.estimators import (
    BandPower,
    Distiller,
    DomainAdversarial,
    EveryPass,
    FineTuner,
    LinearProbe,
    MixupVAT,
    OnlineDistiller,
    RelativePositioning,
    SleepStager,
    TemporalShuffling,
    TrainOn,
)
from sleepshift.estimators.objectives import FeatureMatching, SoftLabels
from sleepshift.windows.windows import Windows

TINY = {
    "sfreq": 10.0,
    "model_params": {"n_conv_chs": 2},
    "max_epochs": 1,
    "batch_size": 16,
    "device": "cpu",
}
PRETEXT = {**TINY, "embedding_size": 4, "tau_pos": 90.0, "tau_neg": 210.0, "n_pairs": 32}
MIXUP = {
    **{name: TINY[name] for name in ("sfreq", "batch_size", "device")},
    **{f"{phase}_epochs": 1 for phase in ("source", "mixup", "joint")},
    "model_params": {"filters": (2, 2, 2), "n_hidden": 4},
}
BANDS = {"slow": (0.5, 1.5), "middle": (1.5, 2.5), "fast": (2.5, 5.0)}


def band_power() -> Any:
    return make_pipeline(BandPower(bands=BANDS, sfreq=10.0), StandardScaler(), LogisticRegression())


def teacher() -> SleepStager:
    return SleepStager(**TINY, random_state=7)


#: name -> (a classifier, a parameter deep inside it, two values)
CLASSIFIERS: dict[str, tuple[Callable[[], Any], str, list]] = {
    "stager": (lambda: SleepStager(**TINY), "lr", [1e-3, 1e-2]),
    "finetuner": (
        lambda: FineTuner(SleepStager(**TINY), max_epochs=1, device="cpu"),
        "base__lr",
        [1e-3, 1e-2],
    ),
    "head": (
        lambda: FineTuner(
            RelativePositioning(**PRETEXT), trainable="head", max_epochs=1, device="cpu"
        ),
        "base__tau_pos",
        [60.0, 90.0],
    ),
    "rp": (
        lambda: make_pipeline(RelativePositioning(**PRETEXT), LogisticRegression()),
        "relativepositioning__n_pairs",
        [16, 32],
    ),
    "ts": (
        lambda: make_pipeline(TemporalShuffling(**PRETEXT), LogisticRegression()),
        "temporalshuffling__embedding_size",
        [3, 4],
    ),
    "probe": (lambda: LinearProbe(RelativePositioning(**PRETEXT)), "encoder__lr", [1e-3, 1e-2]),
    "bandpower": (band_power, "bandpower__relative", [True, False]),
    "target": (lambda: TrainOn(band_power()), "estimator__logisticregression__C", [1.0, 2.0]),
    "pooled": (lambda: TrainOn(SleepStager(**TINY), domain="pooled"), "estimator__lr", [1e-3, 0.1]),
    "distiller": (
        lambda: Distiller(teacher(), SleepStager(**TINY), SoftLabels()),
        "loss__temperature",
        [1.0, 4.0],
    ),
    "chain": (
        lambda: Distiller(
            Distiller(teacher(), SleepStager(**TINY), FeatureMatching()),
            SleepStager(**TINY, random_state=3),
            FeatureMatching(),
        ),
        "teacher__loss__weight",
        [0.5, 1.0],
    ),
    "online": (
        lambda: OnlineDistiller(teacher(), SleepStager(**TINY), SoftLabels(), mutual=True),
        "student__lr",
        [1e-3, 1e-2],
    ),
    "every pass": (
        lambda: EveryPass(SleepStager(**TINY, valid_size=0)),
        "estimator__lr",
        [1e-3, 1e-2],
    ),
    "dann": (lambda: DomainAdversarial(SleepStager(**TINY)), "stager__lr", [1e-3, 1e-2]),
    "mixup-vat": (lambda: MixupVAT(**MIXUP), "vat_weight", [0.0, 0.01]),
    "majority": (
        lambda: DummyClassifier(strategy="most_frequent"),
        "strategy",
        ["most_frequent", "prior"],
    ),
}
LEARNS = [SleepStager, FineTuner, RelativePositioning, TemporalShuffling, BandPower, TrainOn]
every = pytest.mark.parametrize("name", CLASSIFIERS)
forms = pytest.mark.parametrize("form", ["arrays", "windows"])


def make(name: str) -> Any:
    return CLASSIFIERS[name][0]()


@pytest.fixture
def data(windows: Windows, target: Windows, request: pytest.FixtureRequest) -> dict[str, Any]:
    """X, y, people, and what goes to `fit` besides."""
    in_arrays = request.node.callspec.params.get("form") == "arrays"
    extra = {"X_target_labeled": np.asarray(target) if in_arrays else target}
    return {
        "X": np.asarray(windows) if in_arrays else windows,
        "y": windows.y,
        "groups": windows.subjects,
        "extra": extra | {"y_target_labeled": target.y},
    }


def extra_of(name: str, data: dict[str, Any]) -> dict[str, Any]:
    if name == "dann":
        return {"X_target_unlabeled": data["extra"]["X_target_labeled"]}
    adapts = {"finetuner", "target", "pooled", "probe", "mixup-vat"}
    return data["extra"] if name in adapts else {}


def fit(name: str, data: dict[str, Any], estimator: Any = None) -> Any:
    estimator = make(name) if estimator is None else estimator
    return estimator.fit(data["X"], data["y"], **extra_of(name, data))


def fitted_attributes(estimator: Any) -> list[str]:
    return [n for n in vars(estimator) if n.endswith("_") and not n.startswith("_")]


# ---------------------------------------------------------------------- parameters


@every
def test_they_are_classifiers(name: str) -> None:
    assert is_classifier(make(name))


@pytest.mark.parametrize(
    "estimator",
    [
        SleepStager(),
        FineTuner(SleepStager()),
        RelativePositioning(),
        TemporalShuffling(),
        BandPower(),
        TrainOn(LogisticRegression()),
        LinearProbe(BandPower()),
        Distiller(SleepStager(), SleepStager()),
        OnlineDistiller(SleepStager(), SleepStager(), SoftLabels()),
        DomainAdversarial(SleepStager()),
        EveryPass(SleepStager()),
        MixupVAT(),
    ],
    ids=lambda e: type(e).__name__,
)
def test_scikit_learns_own_checks_of_parameters_hold(estimator: Any) -> None:
    name = type(estimator).__name__
    check_no_attributes_set_in_init(name, estimator)
    check_get_params_invariance(name, estimator)
    check_set_params(name, estimator)
    if name in {"SleepStager", "RelativePositioning", "TemporalShuffling", "BandPower", "MixupVAT"}:
        check_parameters_default_constructible(name, estimator)
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        estimator.set_params(nonsense=1)


def test_constructors_store_the_very_objects() -> None:
    params, base = {"n_conv_chs": 2}, SleepStager()
    stager = SleepStager(model_params=params, channels=(channels := ["Fpz"]))
    assert stager.model_params is params
    assert stager.channels is channels
    assert FineTuner(base).base is base
    assert vars(stager).keys() == stager.get_params().keys()


@every
def test_parameters_deep_inside_can_be_read_and_set(name: str) -> None:
    estimator, (_, parameter, values) = make(name), CLASSIFIERS[name]
    for value in values:
        assert estimator.set_params(**{parameter: value}) is estimator
        assert estimator.get_params()[parameter] == value


@every
@forms
def test_fitting_changes_no_parameter_and_returns_itself(name: str, form: str, data: dict) -> None:
    estimator = make(name)
    before = repr(estimator.get_params())
    assert fit(name, data, estimator) is estimator
    assert repr(estimator.get_params()) == before
    check_is_fitted(estimator)


# ---------------------------------------------------------------------- clone and pickle


@every
@forms
def test_a_clone_has_the_parameters_nothing_fitted_and_fits_the_same(
    name: str, form: str, data: dict
) -> None:
    fitted = fit(name, data)
    copied = clone(fitted)
    assert repr(copied.get_params()) == repr(clone(make(name)).get_params())
    assert not fitted_attributes(copied)
    inner = [v for v in copied.get_params().values() if hasattr(v, "get_params")]
    assert not [a for step in inner for a in fitted_attributes(step)]
    fit(name, data, copied)
    np.testing.assert_array_equal(copied.predict_proba(data["X"]), fitted.predict_proba(data["X"]))


@every
@forms
def test_a_pickle_predicts_the_same(name: str, form: str, data: dict) -> None:
    fitted = fit(name, data)
    dump = pickle.dumps(fitted)
    again = pickle.loads(dump)  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(data["X"]), fitted.predict_proba(data["X"]))
    assert len(dump) < np.asarray(data["X"]).nbytes


@every
@forms
def test_they_must_be_fitted_first(name: str, form: str, data: dict) -> None:
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotFittedError):
            getattr(make(name), method)(data["X"])


@every
@forms
def test_predictions_are_labels_and_probabilities_sum_to_one(
    name: str, form: str, data: dict
) -> None:
    fitted = fit(name, data)
    proba, predicted = fitted.predict_proba(data["X"]), fitted.predict(data["X"])
    assert proba.shape == (48, 3)
    assert predicted.shape == (48,)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(fitted.classes_, [0, 1, 2])
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(axis=1)], predicted)
    assert fitted.score(data["X"], data["y"]) == np.mean(predicted == data["y"])


# ---------------------------------------------------------------------- model selection


@every
@forms
def test_grid_search_goes_over_a_parameter_deep_inside(name: str, form: str, data: dict) -> None:
    _, parameter, values = CLASSIFIERS[name]
    search = GridSearchCV(make(name), {parameter: values}, cv=GroupKFold(3), error_score="raise")
    search.fit(data["X"], data["y"], groups=data["groups"], **extra_of(name, data))
    assert search.best_params_[parameter] in values
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(data["X"]).shape == (48,)


@every
@forms
def test_cross_validated_predictions_are_those_of_fits_by_hand(
    name: str, form: str, data: dict
) -> None:
    folds = list(GroupKFold(3).split(data["y"], groups=data["groups"]))
    got = cross_val_predict(
        make(name),
        data["X"],
        data["y"],
        cv=folds,
        method="predict_proba",
        params=extra_of(name, data),
    )
    train, test = folds[1]
    by_hand = make(name).fit(data["X"][train], data["y"][train], **extra_of(name, data))
    np.testing.assert_allclose(got[test], by_hand.predict_proba(data["X"][test]), atol=1e-6)


@forms
def test_a_frozen_base_goes_through_grid_search_unchanged(form: str, data: dict) -> None:
    base = SleepStager(**TINY).fit(data["X"], data["y"])
    before = base.predict_proba(data["X"])
    tuner = FineTuner(FrozenEstimator(base), max_epochs=1, device="cpu")
    search = GridSearchCV(tuner, {"trainable": ["head", "none"]}, cv=3, error_score="raise")
    search.fit(data["X"], data["y"], **data["extra"])
    assert search.best_estimator_.base_.estimator is base
    np.testing.assert_array_equal(base.predict_proba(data["X"]), before)


@forms
def test_a_grid_over_temperature_and_share_asks_one_frozen_teacher(form: str, data: dict) -> None:
    teacher_ = teacher().fit(data["X"], data["y"])
    before = teacher_.predict_proba(data["X"])
    name = "1" if form == "arrays" else "Pz"
    student = SleepStager(**TINY, channels=[name])
    search = GridSearchCV(
        Distiller(FrozenEstimator(teacher_), student, SoftLabels()),
        {"loss__temperature": [1.0, 4.0], "loss__alpha": [0.0, 0.9], "student__lr": [1e-2]},
        cv=GroupKFold(3),
        error_score="raise",
    ).fit(data["X"], data["y"], groups=data["groups"])
    best = search.best_estimator_
    assert search.best_params_["loss__temperature"] == best.loss.temperature
    assert best.teacher_.estimator is teacher_
    assert best.ch_names_ == (name,)
    assert len(search.cv_results_["params"]) == 4
    np.testing.assert_array_equal(teacher_.predict_proba(data["X"]), before)
    assert not hasattr(student, "module_")


@forms
def test_a_distiller_can_be_the_last_step_of_a_pipeline(form: str, data: dict) -> None:
    pipeline = make_pipeline(FunctionTransformer(), make("distiller"))
    pipeline.set_params(distiller__loss__alpha=0.9).fit(data["X"], data["y"])
    alone = make("distiller").set_params(loss__alpha=0.9).fit(data["X"], data["y"])
    np.testing.assert_array_equal(pipeline.predict_proba(data["X"]), alone.predict_proba(data["X"]))
    features = make_pipeline(alone, StandardScaler(), LogisticRegression())
    assert cross_val_predict(features, data["X"], data["y"], cv=3).shape == (48,)


def test_students_can_be_compared_by_cross_validation_on_their_own_channels(
    windows: Windows,
) -> None:
    """Each fold's teacher sees both channels of its training windows."""
    student = SleepStager(**TINY, channels=["Pz"])
    folds = list(GroupKFold(3).split(windows.y, groups=windows.subjects))
    estimator = Distiller(teacher(), student, FeatureMatching())
    got = cross_val_predict(estimator, windows, windows.y, cv=folds, method="predict_proba")
    train, test = folds[0]
    by_hand = clone(estimator).fit(windows[train], windows.y[train])
    expected = by_hand.predict_proba(windows[test].pick(["Pz"]))
    np.testing.assert_allclose(got[test], expected, atol=1e-6)


@forms
def test_two_classes_can_be_scored_by_rank(form: str, data: dict) -> None:
    y = (data["y"] == 0).astype(int)
    tuner = FineTuner(SleepStager(**TINY), max_epochs=1, device="cpu")
    for estimator in (make("stager"), tuner, make("distiller"), make("online")):
        scores = cross_val_score(
            estimator, data["X"], y, cv=3, scoring="roc_auc", error_score="raise"
        )
        assert ((scores >= 0) & (scores <= 1)).all()


def test_string_labels_go_through(arrays: tuple) -> None:
    X, y = arrays
    y = np.array(["N2", "R", "W"])[y]
    for name in ("stager", "finetuner", "rp", "probe", "bandpower", "chain", "online"):
        got = cross_val_predict(make(name), X, y, cv=3)
        assert set(got) <= {"N2", "R", "W"}


def test_a_networks_features_can_feed_another_classifier(windows: Windows) -> None:
    pipeline = make_pipeline(SleepStager(**TINY), StandardScaler(), LogisticRegression())
    assert cross_val_predict(pipeline, windows, windows.y, cv=3).shape == (48,)


# ---------------------------------------------------------------------- routing


def test_target_windows_are_routed_by_name_without_asking(
    windows: Windows, target: Windows
) -> None:
    extra = {"X_target_labeled": target, "y_target_labeled": target.y}
    unlabeled = {"X_target_unlabeled": target.without_labels()}
    with config_context(enable_metadata_routing=True):
        tuned = make_pipeline(FineTuner(SleepStager(**TINY), max_epochs=1, device="cpu"))
        tuned.fit(windows, windows.y, **extra)
        rp = make("rp").fit(windows, windows.y, **unlabeled)
    alone = make("finetuner").fit(windows, windows.y, **extra)
    np.testing.assert_array_equal(tuned.predict_proba(target), alone.predict_proba(target))
    encoder = RelativePositioning(**PRETEXT).fit(windows, **unlabeled)
    np.testing.assert_array_equal(rp[0].transform(target), encoder.transform(target))
