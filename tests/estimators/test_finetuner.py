"""Going on from a fitted base: what is trained, and what stays bit for bit."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from torch import nn

from sleepshift.estimators import FineTuner, RelativePositioning, SleepStager
from sleepshift.estimators.inputs import split_people
from sleepshift.estimators.readout import head_logits, read_out
from sleepshift.estimators.training import balanced_weights, seeded, train
from sleepshift.models import MODELS, build_model
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows

Nights = Callable[..., Windows]
BATCH_NORM = {"n_conv_chs": 2, "apply_batch_norm": True}


@pytest.fixture
def base(windows: Windows, tiny: dict[str, Any]) -> SleepStager:
    """A fitted network with batch normalisation and dropout."""
    return SleepStager(**tiny | {"model_params": BATCH_NORM}).fit(windows)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in module.state_dict().items()}


def moved(base: SleepStager, tuner: FineTuner) -> set[str]:
    before, after = state(base.module_), state(tuner.module_)
    assert set(before) == set(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


def tune(base: Any, windows: Windows, target: Windows, **params: Any) -> FineTuner:
    budget = {"max_epochs": 2, "batch_size": 16, "lr": 1e-2, "device": "cpu", "valid_size": 0}
    tuner = FineTuner(FrozenEstimator(base), **budget | params)
    return tuner.fit(windows, windows.y, X_target_labeled=target, y_target_labeled=target.y)


# ---------------------------------------------------------------------- frozen means frozen


def test_the_base_has_statistics_that_could_move(base: SleepStager) -> None:
    assert [m for m in base.module_.modules() if isinstance(m, nn.BatchNorm2d)]


def test_head_moves_the_last_layer_alone(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    assert moved(base, tune(base, windows, target, trainable="head")) == {
        name for name in state(base.module_) if name.startswith("final_layer")
    }


def test_norm_moves_the_normalisation_layers_alone(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    norms = {
        f"{prefix}.{name}"
        for prefix, m in base.module_.named_modules()
        if isinstance(m, nn.BatchNorm2d)
        for name in m.state_dict()
    }
    assert moved(base, tune(base, windows, target, trainable="norm")) == norms


def test_none_moves_nothing_at_all(base: SleepStager, windows: Windows, target: Windows) -> None:
    tuner = tune(base, windows, target, trainable="none")
    assert moved(base, tuner) == set()
    assert tuner.history_ == []
    np.testing.assert_array_equal(tuner.predict_proba(target), base.predict_proba(target))


def test_all_moves_everything(base: SleepStager, windows: Windows, target: Windows) -> None:
    assert moved(base, tune(base, windows, target, trainable="all")) == set(state(base.module_))


@pytest.mark.parametrize("trainable", ["all", "head", "norm", "none"])
def test_the_fitted_base_is_not_altered(
    base: SleepStager, windows: Windows, target: Windows, trainable: str
) -> None:
    before, flags = state(base.module_), [p.requires_grad for p in base.module_.parameters()]
    expected = base.predict_proba(target)
    tune(base, windows, target, trainable=trainable)
    assert all(torch.equal(t, before[n]) for n, t in state(base.module_).items())
    assert [p.requires_grad for p in base.module_.parameters()] == flags
    assert not base.module_.training
    np.testing.assert_array_equal(base.predict_proba(target), expected)


@pytest.mark.parametrize("trainable", ["head", "norm"])
def test_the_optimiser_holds_the_trainable_parameters_only(
    base: SleepStager,
    windows: Windows,
    target: Windows,
    trainable: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[int] = []

    class Spy(torch.optim.Adam):
        def __init__(self, params: Any, **kwargs: Any) -> None:
            params = list(params)
            flat = [p for g in params for p in (g["params"] if isinstance(g, dict) else [g])]
            held.extend(p.numel() for p in flat)
            super().__init__(params, **kwargs)

    monkeypatch.setattr(torch.optim, "Adam", Spy)
    tune(base, windows, target, trainable=trainable)
    parts = {
        "head": [base.module_.final_layer],
        "norm": [m for m in base.module_.modules() if isinstance(m, nn.BatchNorm2d)],
    }[trainable]
    assert sorted(held) == sorted(p.numel() for part in parts for p in part.parameters())


def test_a_frozen_part_that_moves_all_the_same_is_an_error(
    base: SleepStager, windows: Windows, target: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(module: nn.Module, *args: Any, **kwargs: Any) -> list:
        with torch.no_grad():
            for buffer in tuner_modules[-1].buffers():
                buffer.add_(1)
        return []

    tuner_modules: list[nn.Module] = []
    freeze = FineTuner._freeze

    def remember(self: FineTuner, module: nn.Module) -> list[nn.Module]:
        tuner_modules.append(module)
        return freeze(self, module)

    monkeypatch.setattr(FineTuner, "_freeze", remember)
    monkeypatch.setattr("sleepshift.estimators.finetuner.train", careless)
    with pytest.raises(RuntimeError, match=r"frozen part .*running_mean changed"):
        tune(base, windows, target, trainable="head")


def test_buffers_that_are_never_saved_are_checked_too(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    base.module_.register_buffer("clock", torch.zeros(2), persistent=False)
    tuner = tune(base, windows, target, trainable="head")
    assert torch.equal(tuner.module_.clock, torch.zeros(2))


# ---------------------------------------------------------------------- head on cached features


def test_head_on_cached_features_is_head_training_through_the_whole_network(
    windows: Windows, target: Windows, tiny: dict[str, Any]
) -> None:
    params = {"n_conv_chs": 2, "apply_batch_norm": True, "drop_prob": 0.0}
    base = SleepStager(**tiny | {"model_params": params}).fit(windows)
    tuner = tune(base, windows, target, trainable="head", max_epochs=3)
    with seeded(0):
        module = base.pretrained_module(3).requires_grad_(False)
        module.final_layer.requires_grad_(True)
        history = train(
            module,
            target,
            None,
            max_epochs=3,
            batch_size=16,
            lr=1e-2,
            active=[module.final_layer],
            device="cpu",
        )
    for row, other in zip(tuner.history_, history, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
    for name, tensor in state(module).items():
        torch.testing.assert_close(tuner.module_.state_dict()[name], tensor, msg=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in MODELS if n != "deepsleepnet"])
def test_cached_features_give_every_networks_own_logits(name: str) -> None:
    n_times, sfreq = (3000, 100.0) if MODELS[name].kind == "signal" else (4, None)
    length = 2 if MODELS[name].sequence else None
    shape = {"n_chans": 1, "n_times": n_times, "sfreq": sfreq, "n_outputs": 5}
    with seeded(0):
        module = build_model(name, sequence=length is not None, **shape).eval()
    X = np.random.default_rng(0).normal(size=(3, 1, n_times))
    windows = Windows.from_arrays(X, [0, 1, 2], sfreq=sfreq)
    taken = read_out(module, windows, ("features", "logits"), sequence_length=length, device="cpu")
    logits = head_logits(module, taken["features"], device="cpu")
    np.testing.assert_allclose(logits, taken["logits"], atol=1e-6)


@pytest.mark.parametrize("trainable", ["head", "none"])
@pytest.mark.parametrize("kind", ["windows", "sequences", "encoder"])
def test_what_the_frozen_part_computes_is_kept_and_changes_nothing(
    make_nights: Nights,
    tiny: dict[str, Any],
    sequential: dict[str, Any],
    tmp_path: Path,
    read_outs: list,
    trainable: str,
    kind: str,
) -> None:
    source, target = make_nights(2, 40), make_nights(3, 30, seed=1, prefix="q")
    test = make_nights(2, 37, seed=2, prefix="t").without_labels()
    pretext = {"embedding_size": 8, "tau_neg": 300, "n_pairs": 64}
    base: Any = {
        "windows": SleepStager(**tiny | {"model_params": BATCH_NORM}),
        "sequences": SleepStager(**sequential),
        "encoder": RelativePositioning(**tiny, **pretext),
    }[kind].fit(source)
    params = {"trainable": trainable, "valid_size": 0.3}
    plain = tune(base, source, target, **params).predict_proba(test)
    for random_state in (0, 0, 1):
        read_outs.clear()
        tuner = tune(base, source, target, **params, cache=tmp_path, random_state=random_state)
        proba = tuner.predict_proba(test)
        if random_state == 0:
            np.testing.assert_array_equal(proba, plain)
    # Another seed learns another head, on features that are known.
    assert read_outs == []
    assert len(list(tmp_path.iterdir())) == (3 if trainable == "head" else 1)
    labels = np.roll(target.y, 1)
    tune(base, source, target.with_labels(labels), **params, cache=tmp_path)
    assert read_outs == []
    np.testing.assert_array_equal(tuner.decision_function(test), tuner.read_out(test)["logits"])


@pytest.mark.parametrize("trainable", ["all", "norm"])
def test_features_that_training_moves_are_not_kept(
    base: SleepStager, windows: Windows, target: Windows, tmp_path: Path, trainable: str
) -> None:
    tuner = tune(base, windows, target, trainable=trainable, cache=tmp_path)
    plain = tune(base, windows, target, trainable=trainable)
    np.testing.assert_array_equal(tuner.predict_proba(target), plain.predict_proba(target))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["blanco2020", "attnsleep", "usleep", "mlp"])
@pytest.mark.parametrize("trainable", ["head", "all"])
def test_every_network_can_be_fine_tuned(name: str, trainable: str) -> None:
    n_times, sfreq = (3000, 100.0) if MODELS[name].kind == "signal" else (4, None)
    X = np.random.default_rng(0).normal(size=(6, 1, n_times))
    y = np.arange(6) % 3
    quick = {"max_epochs": 1, "batch_size": 3, "device": "cpu", "valid_size": 0}
    small = {"depth": 3} if name == "usleep" else None
    stager = SleepStager(name, sfreq=sfreq, model_params=small, **quick)
    tuner = FineTuner(stager, trainable=trainable, lr=1e-2, **quick).fit(X, y)
    names = moved(tuner.base_, tuner)
    assert names
    if trainable == "head":
        assert all(n.startswith("final_layer") for n in names)
    assert np.isfinite(tuner.predict_proba(X)).all()


# ---------------------------------------------------------------------- determinism, people


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_the_same_seed_gives_the_same_network(
    base: SleepStager, windows: Windows, target: Windows, trainable: str
) -> None:
    state_before = torch.get_rng_state()
    tuners = [
        tune(base, windows, target, trainable=trainable, random_state=seed) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state_before)
    one, same, other = (t.predict_proba(target) for t in tuners)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    again = tuners[0].fit(windows, windows.y, X_target_labeled=target, y_target_labeled=target.y)
    np.testing.assert_array_equal(again.predict_proba(target), one)


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_validation_people_are_target_people_and_keep_the_best_pass(
    base: SleepStager, windows: Windows, make_nights: Nights, trainable: str
) -> None:
    target = make_nights(3, 16, seed=1, prefix="q")
    _, aside = split_people(target, 0.3, 0)
    y = target.y.copy()
    y[aside.rows] = (y[aside.rows] + 1) % 3
    tuner = FineTuner(
        FrozenEstimator(base),
        trainable=trainable,
        max_epochs=10,
        lr=3e-2,
        batch_size=16,
        valid_size=0.3,
        patience=None,
        device="cpu",
    ).fit(windows, windows.y, X_target_labeled=target, y_target_labeled=y)
    losses = [row["valid_loss"] for row in tuner.history_]
    proba = tuner.predict_proba(aside)[np.arange(len(aside)), y[aside.rows]]
    assert -np.log(proba).mean() == pytest.approx(min(losses), rel=1e-4)


def test_source_windows_play_no_part_with_a_frozen_base(
    base: SleepStager, windows: Windows, target: Windows, make_nights: Nights
) -> None:
    one = tune(base, windows, target)
    other = tune(base, make_nights(3, seed=9), target)
    np.testing.assert_array_equal(one.predict_proba(target), other.predict_proba(target))


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_class_weights_are_those_of_the_source_people(
    trainable: str,
    base: SleepStager,
    windows: Windows,
    target: Windows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sleepshift.estimators.finetuner as module

    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(module, "train", lambda *args, **given: seen.append(given) or [])
    y = np.minimum(windows.y, 1)
    y[0] = 2
    tuner = FineTuner(FrozenEstimator(base), trainable=trainable, class_weight="balanced")
    tuner.fit(windows, y, X_target_labeled=target, y_target_labeled=target.y)
    tuner.fit(windows, y)
    clone(tuner).set_params(class_weight=None).fit(windows, y, X_target_labeled=target)
    kept, _ = split_people(windows, 0.2, 0)
    source, alone, none = (given["criterion"].weight for given in seen)
    assert torch.equal(source, balanced_weights(y, 3))
    assert torch.equal(alone, balanced_weights(y[kept.rows], 3))
    assert none is None
    with pytest.raises(ValueError, match="class_weight is 'balanced', 'attnsleep' or None"):
        tuner.set_params(class_weight="even").fit(windows, y)


def test_class_weights_change_what_is_learned(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    """Two stages are rare among the source people, and so become dear."""
    plain = tune(base, windows, target)
    y = np.where(np.arange(len(windows)) < 40, 0, windows.y)
    weighted = clone(plain).set_params(class_weight="balanced")
    weighted.fit(windows, y, X_target_labeled=target, y_target_labeled=target.y)
    first = [tuner.predict_proba(target)[:, 0].mean() for tuner in (plain, weighted)]
    assert first[1] < first[0]


def test_without_target_windows_it_goes_on_with_the_source(
    base: SleepStager, windows: Windows
) -> None:
    tuner = FineTuner(FrozenEstimator(base), max_epochs=1, device="cpu").fit(windows)
    assert tuner.predict(windows).shape == (48,)


def test_labels_can_come_with_the_target_windows(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    one = tune(base, windows, target)
    other = clone(one).fit(windows, X_target_labeled=target)
    np.testing.assert_array_equal(one.predict_proba(target), other.predict_proba(target))


def test_a_base_is_cloned_and_fitted_on_the_source_alone(
    windows: Windows, target: Windows, tiny: dict[str, Any]
) -> None:
    base = SleepStager(**tiny)
    tuner = FineTuner(base, max_epochs=1, device="cpu").fit(
        windows, X_target_labeled=target, y_target_labeled=target.y
    )
    assert not hasattr(base, "module_")
    alone = SleepStager(**tiny).fit(windows)
    np.testing.assert_array_equal(tuner.base_.predict_proba(target), alone.predict_proba(target))


def test_fine_tuning_helps_on_people_whose_rhythms_differ(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    """Labels of the target are turned round: nothing but target labels can tell."""
    source, target = make_nights(3, 30), make_nights(3, 30, seed=3, prefix="q")
    turned = 2 - target.y
    base = SleepStager(**tiny | {"max_epochs": 15, "lr": 1e-2, "model_params": {"n_conv_chs": 4}})
    base.fit(source)
    tuner = FineTuner(FrozenEstimator(base), max_epochs=25, lr=1e-2, batch_size=16, device="cpu")
    tuner.fit(source, X_target_labeled=target[:60], y_target_labeled=turned[:60])
    assert base.score(target[60:], turned[60:]) < 0.5 < tuner.score(target[60:], turned[60:])


# ---------------------------------------------------------------------- bases


def test_an_encoder_learned_without_labels_gets_a_fresh_head(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    source, target = make_nights(3, 40), make_nights(2, 16, seed=1, prefix="q", scheme="aasm5")
    encoder = RelativePositioning(**tiny, embedding_size=8, tau_neg=300, n_pairs=64).fit(source)
    for trainable in ("all", "head"):
        tuner = tune(encoder, source, target, trainable=trainable)
        assert tuner.classes_.tolist() == [0, 1, 2, 3, 4]
        assert tuner.predict_proba(target).shape == (32, 5)
        assert tuner.transform(target).shape == (32, 8)
        same = np.array_equal(tuner.transform(target), encoder.transform(target))
        assert same == (trainable == "head")


def test_unlabelled_target_signals_reach_a_base_that_asks_for_them(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    source, target = make_nights(2, 40), make_nights(2, 40, seed=1, prefix="q")
    encoder = RelativePositioning(**tiny, embedding_size=8, tau_neg=300, n_pairs=64)
    with_them = FineTuner(encoder, max_epochs=1, device="cpu").fit(
        source, X_target_labeled=target, X_target_unlabeled=target.without_labels()
    )
    alone = clone(encoder).fit(source, X_target_unlabeled=target.without_labels())
    np.testing.assert_array_equal(with_them.base_.transform(target), alone.transform(target))
    without = clone(encoder).fit(source)
    assert not np.array_equal(without.transform(target), alone.transform(target))
    stager = FineTuner(SleepStager(**tiny), max_epochs=1, device="cpu")
    stager.fit(source, X_target_labeled=target, X_target_unlabeled=target.without_labels())


@pytest.mark.parametrize("trainable", ["all", "head"])
def test_a_network_of_sequences_stays_one(
    windows: Windows, target: Windows, sequential: dict[str, Any], trainable: str
) -> None:
    base = SleepStager(**sequential).fit(windows)
    tuner = tune(base, windows, target, trainable=trainable)
    assert tuner.sequence_length == FineTuner(SleepStager(**sequential)).sequence_length == 5
    parts = {name.split(".")[0] for name in moved(base, tuner)}
    encoders = {"window_encoder", "sequence_encoder"} if trainable == "all" else set()
    assert parts == {"final_layer"} | encoders
    order = np.random.default_rng(0).permutation(len(target))
    proba = tuner.predict_proba(target)
    np.testing.assert_array_equal(tuner.predict_proba(target[order]), proba[order])
    again = tune(tuner, windows, target, trainable="none")
    np.testing.assert_array_equal(again.predict_proba(target), proba)


def test_the_head_of_a_network_of_sequences_is_trained_as_through_the_whole_network(
    windows: Windows, target: Windows, sequential: dict[str, Any]
) -> None:
    """With sequences as long as a night the batches are the same ones."""
    whole_nights = sequential | {"sequence_length": 16, "model_params": {"drop_prob": 0.0}}
    base = SleepStager(**whole_nights).fit(windows)
    tuner = tune(base, windows, target, trainable="head", max_epochs=1, batch_size=32)
    with seeded(0):
        module = base.pretrained_module(3).requires_grad_(False)
        module.final_layer.requires_grad_(True)
        data = Sequences(target, 16)
        rest = {"lr": 1e-2, "active": [module.final_layer], "device": "cpu"}
        history = train(module, data, None, max_epochs=1, batch_size=2, **rest)
    assert tuner.history_[0]["train_loss"] == pytest.approx(history[0]["train_loss"], rel=1e-5)
    for name, tensor in state(module).items():
        torch.testing.assert_close(tuner.module_.state_dict()[name], tensor, msg=name)


def test_a_fine_tuned_network_can_be_fine_tuned(
    base: SleepStager, windows: Windows, target: Windows, make_nights: Nights
) -> None:
    first = tune(base, windows, target)
    second = tune(first, windows, make_nights(1, seed=4, prefix="z"), trainable="head")
    assert {n.split(".")[0] for n in moved(first, second)} == {"final_layer"}


def test_a_clone_keeps_a_frozen_base_and_nothing_fitted(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    tuner = tune(base, windows, target)
    copied = clone(tuner)
    assert copied.base.estimator is base
    assert not [name for name in vars(copied) if name.endswith("_")]
    assert tuner.prerequisites() == {}
    unfitted = FineTuner(SleepStager())
    assert clone(unfitted).prerequisites().keys() == {"base"}


def test_a_pickle_predicts_the_same(base: SleepStager, windows: Windows, target: Windows) -> None:
    tuner = tune(base, windows, target, trainable="head")
    dump = pickle.dumps(tuner)
    again = pickle.loads(dump)  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(target), tuner.predict_proba(target))
    assert len(dump) < np.asarray(target).nbytes


def test_channels_are_those_of_the_base(
    windows: Windows, target: Windows, tiny: dict[str, Any]
) -> None:
    base = SleepStager(**tiny, channels=["Pz"]).fit(windows)
    tuner = tune(base, windows, target)
    assert tuner.ch_names_ == ("Pz",)
    alone = tuner.predict_proba(target.pick(["Pz"]))
    np.testing.assert_array_equal(tuner.predict_proba(target), alone)
    np.testing.assert_array_equal(tuner.predict_proba(target.pick(["Pz", "Fpz"])), alone)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("trainable", ["encoder", "", None, "ALL"])
def test_an_unknown_part_is_refused_before_anything_is_fitted(
    windows: Windows, trainable: Any
) -> None:
    class Untouchable(SleepStager):
        def fit(self, X: Any, y: Any = None) -> SleepStager:
            raise AssertionError

    with pytest.raises(ValueError, match="trainable is all, head, norm or none") as error:
        FineTuner(Untouchable(), trainable=trainable).fit(windows)
    assert "\n" not in str(error.value)


def test_norm_without_normalisation_weights_is_refused(
    features: tuple, quick: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="no normalisation weights"):
        FineTuner(SleepStager("mlp", **quick), trainable="norm").fit(*features)


def test_it_must_be_fitted_first(windows: Windows) -> None:
    with pytest.raises(NotFittedError):
        FineTuner(SleepStager()).predict(windows)


def test_labels_the_base_does_not_know_are_named(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    with pytest.raises(ValueError, match=r"labels \[7\] are not among the classes \[0, 1, 2\]"):
        FineTuner(FrozenEstimator(base), device="cpu").fit(
            windows, X_target_labeled=target, y_target_labeled=np.full(len(target), 7)
        )


def test_target_arrays_of_another_shape_are_refused_in_one_line(
    base: SleepStager, windows: Windows
) -> None:
    for X in (np.zeros((6, 3, 300)), np.zeros((6, 2, 250))):
        with pytest.raises(ValueError, match="fitted on"):
            FineTuner(FrozenEstimator(base), device="cpu").fit(
                windows, X_target_labeled=X, y_target_labeled=np.arange(6) % 3
            )


def test_a_base_that_is_not_fitted_cannot_be_frozen(windows: Windows) -> None:
    with pytest.raises((NotFittedError, AttributeError)):
        FineTuner(FrozenEstimator(SleepStager())).fit(windows)


def test_nothing_of_a_base_is_registered_in_the_network(
    base: SleepStager, windows: Windows, target: Windows
) -> None:
    tuner = tune(base, windows, target)
    assert [n for n, _ in tuner.module_.named_modules()] == [
        n for n, _ in copy.deepcopy(base.module_).named_modules()
    ]
    assert tuner.n_parameters_ == base.n_parameters_
