from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sleepshift import estimators, runner
from sleepshift.digest import digest
from sleepshift.errors import TaskError
from sleepshift.estimators import (
    AdaBN,
    BandPower,
    Coral,
    Distiller,
    DomainAdversarial,
    EuclideanAlignment,
    EveryPass,
    FineTuner,
    LinearProbe,
    MixupVAT,
    OnlineDistiller,
    PseudoLabels,
    RelativePositioning,
    SleepStager,
    TemporalShuffling,
    TrainOn,
    objectives,
)
from sleepshift.estimators.objectives import AttentionTransfer, FeatureMatching, SoftLabels
from sleepshift.estimators.routing import route
from sleepshift.methods import METHODS, Settings, get_methods
from sleepshift.protocol.fold import Fold
from sleepshift.protocol.task import TrainingSection
from sleepshift.runner.keys import NOT_IN_KEYS, Keyed, describe, target_roles
from sleepshift.windows import Windows

OTHER = {
    "model": "mlp",
    "model_params": {"n_conv_chs": 2},
    "channels": ("a",),
    "sfreq": 50.0,
    "class_weight": "balanced",
    "optimizer_params": {"eps": 1e-6},
    "lr_drop": (3, 0.1),
    "patience": 1,
    "tau_pos": 90.0,
    "random_state": 99,
    "device": "cuda",
    "trainable": "norm",
    "domain": "pooled",
    "bands": {"all": (1.0, 2.0)},
    "relative": False,
    "estimator": LogisticRegression(C=2),
    "classifier": LogisticRegression(C=3),
    "base": SleepStager(lr=0.5),
    "encoder": TemporalShuffling(lr=0.5),
    "sequence_length": 20,
    "monitor": "macro_f1",
    "teacher": SleepStager(lr=0.5),
    "student": SleepStager(lr=0.5),
    "stager": SleepStager(lr=0.5),
    "loss": SoftLabels(temperature=2.0),
    "pretraining": AttentionTransfer(),
    "pretraining_epochs": 3,
    "start": "teacher",
    "cache": "somewhere",
    "reduction": "mean",
    "smoothing": 0.1,
    "projector": "teacher",
    "norm": "batch",
    "distance": "l2",
    "groups": (("pools.0",),),
    "feature": "raw-kl",
    "soft_loss": "cross-entropy",
    "threshold": 0.5,
    "weights": __file__,
}

ESTIMATORS = [
    SleepStager(),
    FineTuner(SleepStager()),
    RelativePositioning(),
    TemporalShuffling(),
    LinearProbe(RelativePositioning()),
    TrainOn(make_pipeline(BandPower(), LogisticRegression())),
    BandPower(),
    AdaBN(SleepStager()),
    PseudoLabels(SleepStager()),
    Coral(SleepStager()),
    EuclideanAlignment(SleepStager()),
    EveryPass(SleepStager()),
    DomainAdversarial(SleepStager()),
    MixupVAT(),
    Distiller(SleepStager(), SleepStager()),
    OnlineDistiller(SleepStager(), SleepStager()),
    *(
        getattr(objectives, name)()
        for name in objectives.__all__
        if name not in ("Objective", "PUBLISHED")
    ),
]


def _windows(people: list[str], seed: int) -> Windows:
    rng = np.random.default_rng(seed)
    n = 4 * len(people)
    frame = pd.DataFrame({"subject": np.repeat(people, 4), "session": "1"})
    frame["onset"] = np.tile(30.0 * np.arange(4), len(people))
    X = rng.normal(size=(n, 1, 300))
    return Windows.from_arrays(X, rng.integers(0, 5, n), metadata=frame, sfreq=10.0, scheme="aasm5")


@pytest.fixture
def fold() -> Fold:
    return Fold(
        name="f",
        source=_windows(["a", "b"], 0),
        target_labeled=_windows(["c"], 1),
        target_unlabeled=_windows(["d"], 2).without_labels(),
        test=_windows(["e"], 3).without_labels(),
    )


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_every_parameter_of_every_estimator_changes_the_description(estimator) -> None:
    before = digest(describe(estimator))
    for name, value in estimator.get_params(deep=False).items():
        changed = clone(estimator)
        other = OTHER[name] if name in OTHER else value + 1
        changed.set_params(**{name: other})
        after = digest(describe(changed))
        assert (after == before) == (name in NOT_IN_KEYS), name


def test_nested_parameters_reach_the_description() -> None:
    probe = LinearProbe(RelativePositioning())
    assert digest(describe(probe)) != digest(describe(clone(probe).set_params(encoder__lr=0.1)))


def test_what_is_inside_a_distiller_reaches_its_description() -> None:
    chain = Distiller(Distiller(SleepStager(), SleepStager(), SoftLabels()), SleepStager())
    chain.set_params(loss=FeatureMatching(), pretraining=AttentionTransfer())
    before = digest(describe(chain))
    for name, value in {
        "teacher__loss__alpha": 0.2,
        "teacher__teacher__lr": 0.5,
        "teacher__student__channels": ["Pz"],
        "student__random_state": 3,
        "loss__standardize": False,
        "pretraining__norm": "batch",
    }.items():
        assert digest(describe(clone(chain).set_params(**{name: value}))) != before, name
    for name, value in {"cache": "x", "teacher__cache": "y", "student__device": "cuda"}.items():
        assert digest(describe(clone(chain).set_params(**{name: value}))) == before, name


def test_published_objectives_have_descriptions_of_their_own() -> None:
    every = {digest(describe(objective)) for objective in objectives.PUBLISHED.values()}
    assert len(every) == len(objectives.PUBLISHED)


def test_unlabelled_windows_are_in_a_distillers_key(fold: Fold) -> None:
    other = Fold("f", fold.source, None, _windows(["x"], 7).without_labels(), fold.test)
    distiller = Distiller(SleepStager(), SleepStager(), unlabeled=True)
    assert set(route(distiller, **target_roles(fold))) == {"X_target_unlabeled"}
    assert Keyed(distiller).key(fold) != Keyed(distiller).key(other)
    online = OnlineDistiller(SleepStager(), SleepStager())
    assert route(online, **target_roles(fold)) == {}
    assert Keyed(online).key(fold) == Keyed(online).key(other)


def test_weights_go_by_what_is_in_the_file(tmp_path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"1")
    second.write_bytes(b"1")
    before = digest(describe(SleepStager(weights=first)))
    assert digest(describe(SleepStager(weights=str(second)))) == before
    assert digest(describe(FineTuner(SleepStager(weights=first)))) != digest(
        describe(FineTuner(SleepStager()))
    )
    second.write_bytes(b"22")
    assert digest(describe(SleepStager(weights=second))) != before
    with pytest.raises(TaskError, match="cannot be read"):
        describe(SleepStager(weights=tmp_path / "c"))


def test_a_parameter_without_a_stable_form_is_refused() -> None:
    with pytest.raises(TypeError, match="no stable form"):
        describe(SleepStager(model_params={"activation": object()}))


def test_an_estimator_is_given_only_the_roles_it_asks_for(fold: Fold) -> None:
    roles = target_roles(fold)
    labelled = {"X_target_labeled", "y_target_labeled"}
    tuner = FineTuner(SleepStager())
    assert route(SleepStager(), **roles) == {}
    assert set(route(RelativePositioning(), **roles)) == {"X_target_unlabeled"}
    assert set(route(tuner, **roles)) == labelled | {"X_target_unlabeled"}
    assert set(route(TrainOn(BandPower()), **roles)) == labelled


def test_alignment_asks_for_what_its_estimator_asks_for(fold: Fold) -> None:
    roles = target_roles(fold)
    assert route(EuclideanAlignment(SleepStager()), **roles) == {}
    assert set(route(EuclideanAlignment(FineTuner(SleepStager())), **roles)) == set(roles)
    other = Fold("g", fold.source, _windows(["x"], 7), None, fold.test)
    alone = Keyed(EuclideanAlignment(SleepStager()))
    assert alone.key(fold) == alone.key(other)


def test_adaptation_asks_for_signals_alone(fold: Fold) -> None:
    for adapted in (AdaBN, PseudoLabels, Coral, DomainAdversarial):
        adapted = adapted(SleepStager())
        assert set(route(adapted, **target_roles(fold))) == {"X_target_unlabeled"}


def test_a_pipeline_is_given_what_its_steps_ask_for(fold: Fold) -> None:
    pipeline = make_pipeline(FunctionTransformer(), FineTuner(SleepStager()))
    assert set(route(pipeline, **target_roles(fold))) == set(target_roles(fold))
    other = Fold("f", fold.source, _windows(["x"], 7), None, fold.test)
    assert Keyed(pipeline).key(fold) != Keyed(pipeline).key(other)


def test_a_source_model_has_one_key_for_all_target_groups(fold: Fold) -> None:
    other = Fold("g", fold.source, _windows(["x"], 7), None, _windows(["y"], 8).without_labels())
    assert Keyed(SleepStager()).key(fold) == Keyed(SleepStager()).key(other)
    assert Keyed(FineTuner(SleepStager())).key(fold) != Keyed(FineTuner(SleepStager())).key(other)


def test_keys_depend_on_signals_and_on_labels(fold: Fold) -> None:
    key = Keyed(SleepStager()).key(fold)
    flipped = fold.source.with_labels((fold.source.y + 1) % 5)
    assert Keyed(SleepStager()).key(Fold("f", flipped, None, None, fold.test)) != key
    fewer = fold.source[1:]
    assert Keyed(SleepStager()).key(Fold("f", fewer, None, None, fold.test)) != key


def test_no_estimator_is_forgotten_here() -> None:
    public = [getattr(room, name) for room in (estimators, objectives) for name in room.__all__]
    classes = {thing for thing in public if isinstance(thing, type)} - {objectives.Objective}
    assert {type(estimator) for estimator in ESTIMATORS} == classes


@pytest.mark.parametrize("name", METHODS)
def test_parameters_of_a_methods_parts_change_its_key(name: str, fold: Fold) -> None:
    """Nested ones too, each in turn, as the runner sees them."""
    settings = Settings(
        **TrainingSection(model="chambon2018", max_epochs=2, sequence_length=4).model_dump(),
        channels=("0",),
        teacher_channels=("0",),
        assistant_channels=("0",),
    )
    estimator = METHODS[name].make(settings)
    before, changed = Keyed(estimator).key(fold), 0
    for path, value in estimator.get_params().items():
        last = path.rpartition("__")[2]
        other = OTHER.get(last)
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, (int, float)):
            other = value + 1
        if other is None or hasattr(value, "get_params"):
            continue
        if describe(other) == describe(value):
            other = f"not {value}"
        after = Keyed(clone(estimator).set_params(**{path: other})).key(fold)
        assert (after == before) == (last in NOT_IN_KEYS), path
        changed += 1
    assert changed >= (1 if name == "majority" else 5)


def test_order_device_and_other_methods_do_not_change_keys(grid) -> None:
    methods = ["majority", "features-gbm", "source-only", "finetune-all", "rp-linear"]
    plan = grid.plan(methods, seeds=[0, 1])
    recipes = get_methods(methods)[::-1]
    again = runner.plan([grid.data], recipes, seeds=[1, 0], folds=["two", "one"], device="cuda:3")
    assert again.cells.keys() == plan.cells.keys()
    assert again.fits.keys() == plan.fits.keys()
    keys = {(c.method, c.fold, c.seed): c.key for c in plan.grid}
    assert {(c.method, c.fold, c.seed): c.key for c in again.grid} == keys
    alone = grid.plan(["rp-linear"], folds=["two"], seeds=[1])
    assert [cell.key for cell in alone.grid] == [keys["rp-linear", "two", 1]]


def test_seeds_of_data_and_of_models_are_two(grid) -> None:
    keys = [
        grid.plan(["source-only"], folds=["one"], seeds=[seed], data_seed=data_seed).grid[0].key
        for seed in (0, 1)
        for data_seed in (0, 1)
    ]
    assert len(set(keys)) == 4
