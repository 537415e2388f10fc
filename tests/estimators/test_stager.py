"""One network on one view."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import mne
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score, log_loss

from sleepshift.errors import DataError
from sleepshift.estimators import SleepStager
from sleepshift.estimators.inputs import split_people
from sleepshift.estimators.training import class_weights, seeded
from sleepshift.models import build_model
from sleepshift.windows.windows import Windows

Nights = Callable[..., Windows]


def weights(stager: SleepStager) -> np.ndarray:
    return torch.cat([v.flatten().float() for v in stager.module_.state_dict().values()]).numpy()


# ---------------------------------------------------------------------- learning


def test_it_learns_what_can_be_seen(make_nights: Nights, tiny: dict[str, Any]) -> None:
    train, test = make_nights(4, 30), make_nights(2, 30, seed=5, prefix="t")
    stager = SleepStager(**tiny | {"max_epochs": 25, "lr": 1e-2, "model_params": {"n_conv_chs": 4}})
    assert stager.fit(train).score(test, test.y) > 0.8


def test_it_learns_features(features: tuple, quick: dict[str, Any]) -> None:
    stager = SleepStager("mlp", **quick | {"max_epochs": 40, "lr": 1e-2}).fit(*features)
    assert stager.score(*features) > 0.8
    assert stager.sfreq_ is None


def test_windows_and_arrays_of_the_same_signals_give_the_same_network(
    windows: Windows, arrays: tuple, tiny: dict[str, Any]
) -> None:
    """With nobody set aside, since arrays do not say whose windows they are."""
    on_windows = SleepStager(**tiny, valid_size=0).fit(windows)
    on_arrays = SleepStager(**tiny, valid_size=0).fit(*arrays)
    np.testing.assert_array_equal(
        on_windows.predict_proba(windows), on_arrays.predict_proba(arrays[0])
    )
    np.testing.assert_array_equal(weights(on_windows), weights(on_arrays))
    assert on_windows.ch_names_ == ("Fpz", "Pz")
    assert on_arrays.ch_names_ == ("0", "1")


def test_braindecode_windows_and_epochs_are_taken(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows.to_braindecode())
    again = SleepStager(**tiny).fit(windows)
    np.testing.assert_array_equal(stager.predict_proba(windows), again.predict_proba(windows))
    info = mne.create_info(["Pz", "Fpz"], 10.0, "eeg")  # the other way round
    swapped = np.asarray(windows)[:, ::-1] * 1e-6
    epochs = mne.EpochsArray(swapped, info, verbose="error")
    np.testing.assert_allclose(
        stager.predict_proba(epochs), again.predict_proba(windows), atol=1e-4
    )


# ---------------------------------------------------------------------- determinism


def test_the_same_seed_gives_the_same_network_and_another_seed_another(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    one, same, other = (SleepStager(**tiny, random_state=seed).fit(windows) for seed in (1, 1, 2))
    np.testing.assert_array_equal(weights(one), weights(same))
    np.testing.assert_array_equal(one.predict_proba(windows), same.predict_proba(windows))
    assert not np.array_equal(one.predict_proba(windows), other.predict_proba(windows))


def test_a_refit_starts_afresh(windows: Windows, target: Windows, tiny: dict[str, Any]) -> None:
    once = SleepStager(**tiny).fit(windows)
    twice = SleepStager(**tiny).fit(target).fit(windows)
    np.testing.assert_array_equal(weights(once), weights(twice))
    assert len(twice.history_) == 2


def test_a_refit_takes_another_view(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows)
    stager.set_params(channels=["Pz"]).fit(windows)
    assert stager.ch_names_ == ("Pz",)
    assert stager.predict(windows).shape == (48,)


def test_the_seed_alone_decides_whatever_torchs_state(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    torch.manual_seed(1)
    one = SleepStager(**tiny).fit(windows)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = SleepStager(**tiny).fit(windows)
    np.testing.assert_array_equal(weights(one), weights(two))
    assert torch.equal(torch.get_rng_state(), before)


def test_numpys_global_state_is_left_alone(windows: Windows, tiny: dict[str, Any]) -> None:
    np.random.seed(4)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    SleepStager(**tiny).fit(windows)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_the_data_seed_changes_who_is_set_aside_and_nothing_else(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    with_nobody_aside = [
        SleepStager(**tiny, valid_size=0, data_seed=seed).fit(windows) for seed in (0, 1)
    ]
    np.testing.assert_array_equal(*map(weights, with_nobody_aside))
    seeds = {split_people(windows, 0.2, seed)[1].subjects[0]: seed for seed in range(20)}
    assert len(seeds) == 3
    one, other = (
        SleepStager(**tiny, data_seed=seed).fit(windows) for seed in list(seeds.values())[:2]
    )
    assert not np.array_equal(weights(one), weights(other))


def test_fitting_changes_neither_signals_nor_labels(arrays: tuple, tiny: dict[str, Any]) -> None:
    X, y = arrays
    before = X.copy(), y.copy()
    X.setflags(write=False)
    y.setflags(write=False)
    SleepStager(**tiny).fit(X, y).predict(X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(y, before[1])


# ---------------------------------------------------------------------- validation people


def test_the_best_pass_on_the_people_set_aside_is_kept(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    windows = make_nights(3, 20)
    y = windows.y.copy()
    _, aside = split_people(windows, 0.2, 0)
    y[aside.rows] = (y[aside.rows] + 1) % 3  # what is learned is wrong for them
    stager = SleepStager(**tiny | {"max_epochs": 12, "lr": 2e-2}, patience=None).fit(windows, y)
    losses = [row["valid_loss"] for row in stager.history_]
    assert len(losses) == 12
    assert np.argmin(losses) < 11
    achieved = log_loss(y[aside.rows], stager.predict_proba(aside), labels=[0, 1, 2])
    assert achieved == pytest.approx(min(losses), rel=1e-4)


def test_class_weights_come_from_the_people_trained_on(
    make_nights: Nights, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = make_nights(3, 12)
    kept, aside = split_people(windows, 0.2, 0)
    y = windows.y.copy()
    y[aside.rows] = 0  # would tip the balance if it were counted
    seen: list[np.ndarray] = []

    def spy(how: str | None, codes: np.ndarray, n_classes: int) -> torch.Tensor | None:
        seen.append(codes)
        return class_weights(how, codes, n_classes)

    monkeypatch.setattr("sleepshift.estimators.stager.class_weights", spy)
    SleepStager(**tiny, class_weight="balanced").fit(windows, y)
    np.testing.assert_array_equal(seen[0], y[kept.rows])


def test_labels_of_the_people_set_aside_do_not_move_a_pass(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    _, aside = split_people(windows, 0.2, 0)
    y = windows.y.copy()
    y[aside.rows] = (y[aside.rows] + 1) % 3
    one_pass = tiny | {"max_epochs": 1}
    one, other = (SleepStager(**one_pass).fit(windows, labels) for labels in (windows.y, y))
    np.testing.assert_array_equal(weights(one), weights(other))


def test_class_weights_matter(make_nights: Nights, tiny: dict[str, Any]) -> None:
    windows = make_nights(3, 20)
    y = np.where(np.arange(60) % 10 == 0, 1, 0)
    plain = SleepStager(**tiny).fit(windows, y)
    balanced = SleepStager(**tiny, class_weight="balanced").fit(windows, y)
    assert balanced.predict_proba(windows)[:, 1].mean() > plain.predict_proba(windows)[:, 1].mean()


# ---------------------------------------------------------------------- labels and classes


@pytest.mark.parametrize(
    "labels", [["N1", "R", "W"], [10, -3, 7], [False, True, True], [0.5, 1, 2]]
)
def test_labels_of_any_kind_come_back(arrays: tuple, tiny: dict[str, Any], labels: list) -> None:
    X, y = arrays
    y = np.array(labels)[y]
    stager = SleepStager(**tiny).fit(X, y)
    assert stager.classes_.tolist() == sorted(set(labels))
    assert set(stager.predict(X).tolist()) <= set(labels)
    proba = stager.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(stager.classes_[proba.argmax(axis=1)], stager.predict(X))


def test_a_stage_nobody_had_keeps_its_column(make_nights: Nights, tiny: dict[str, Any]) -> None:
    windows = make_nights(3, 16, scheme="aasm5")
    labels = np.array([0, 2, 4])[windows.y]  # neither N1 nor N3
    for class_weight in (None, "balanced"):
        stager = SleepStager(**tiny, class_weight=class_weight).fit(windows, labels)
        assert stager.classes_.tolist() == [0, 1, 2, 3, 4]
        assert stager.predict_proba(windows).shape == (48, 5)
        assert np.isfinite(stager.history_[-1]["valid_loss"])


def test_one_stage_only_can_be_learned(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows, np.zeros(48, dtype=int))
    np.testing.assert_array_equal(stager.predict_proba(windows), np.ones((48, 1)))


def test_two_classes_have_one_decision_value_as_scikit_learn_wants(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    y = np.where(windows.y == 0, "sleep", "wake")
    stager = SleepStager(**tiny).fit(windows, y)
    decision, proba = stager.decision_function(windows), stager.predict_proba(windows)
    assert decision.shape == (48,)
    np.testing.assert_allclose(1 / (1 + np.exp(-decision)), proba[:, 1], atol=1e-6)
    np.testing.assert_array_equal(decision > 0, stager.predict(windows) == "wake")


def test_more_classes_have_a_decision_value_each(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows)
    decision = stager.decision_function(windows)
    assert decision.shape == (48, 3)
    np.testing.assert_array_equal(stager.classes_[decision.argmax(1)], stager.predict(windows))


# ---------------------------------------------------------------------- sequences


def test_windows_keep_their_predictions_in_whatever_order_they_come(
    make_nights: Nights, sequential: dict[str, Any]
) -> None:
    windows = make_nights(3, 13, n_nights=2)
    windows = windows[np.delete(np.arange(78), [4, 30, 31, 50])]  # with gaps
    stager = SleepStager(**sequential).fit(windows)
    proba = stager.predict_proba(windows)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    order = np.random.default_rng(0).permutation(len(windows))
    shuffled = windows[order]
    np.testing.assert_array_equal(stager.predict_proba(shuffled), proba[order])
    np.testing.assert_array_equal(stager.transform(shuffled), stager.transform(windows)[order])
    refitted = SleepStager(**sequential).fit(shuffled)
    np.testing.assert_array_equal(refitted.predict_proba(windows), proba)


def test_a_sequence_sees_its_own_recording_and_no_other(
    make_nights: Nights, sequential: dict[str, Any]
) -> None:
    windows = make_nights(3, 13, n_nights=2)
    stager = SleepStager(**sequential).fit(windows)
    proba = stager.predict_proba(windows)
    for start in range(0, 78, 13):
        night = slice(start, start + 13)
        np.testing.assert_allclose(stager.predict_proba(windows[night]), proba[night], atol=1e-5)
    alone = stager.predict_proba(windows[:1])
    assert not np.allclose(alone, proba[:1], atol=1e-5)  # what comes after it matters


def test_windows_of_an_unnamed_session_are_predicted_too(
    make_nights: Nights, sequential: dict[str, Any]
) -> None:
    windows = make_nights(3, 13)
    frame = windows.metadata
    frame.loc[frame["subject"] == "p1", "session"] = None
    unnamed = Windows.from_arrays(
        np.asarray(windows), windows.y, metadata=frame, ch_names=windows.ch_names, sfreq=10.0
    )
    stager = SleepStager(**sequential).fit(windows)
    np.testing.assert_array_equal(stager.predict_proba(unnamed), stager.predict_proba(windows))


def test_arrays_are_one_recording(arrays: tuple, sequential: dict[str, Any]) -> None:
    X, y = arrays
    stager = SleepStager(**sequential).fit(X, y)
    assert stager.predict(X).shape == (48,)
    assert stager.predict(X[:2]).shape == (2,)


def test_the_filling_of_short_recordings_is_in_no_loss(
    make_nights: Nights, sequential: dict[str, Any]
) -> None:
    """Sequences far longer than the nights: most of them is filling."""
    windows = make_nights(4, 6)
    _, aside = split_people(windows, 0.25, 0)
    long = sequential | {"sequence_length": 16, "max_epochs": 4}
    stager = SleepStager(**long, valid_size=0.25).fit(windows)
    losses = [row["valid_loss"] for row in stager.history_]
    achieved = log_loss(aside.y, stager.predict_proba(aside), labels=[0, 1, 2])
    assert achieved == pytest.approx(min(losses), rel=1e-4)


def test_a_network_of_sequences_restored_from_plain_facts_predicts_the_same(
    windows: Windows, sequential: dict[str, Any]
) -> None:
    stager = SleepStager(**sequential).fit(windows)
    module, facts = stager.fitted_state()
    again = SleepStager(**sequential)
    again.restore(facts).load_state_dict(copy.deepcopy(module.state_dict()))
    np.testing.assert_array_equal(again.predict_proba(windows), stager.predict_proba(windows))


# ---------------------------------------------------------------------- no training


def test_no_pass_leaves_the_network_as_it_was_initialised(
    windows: Windows, target: Windows, tiny: dict[str, Any]
) -> None:
    untrained = SleepStager(**tiny | {"max_epochs": 0})
    one, other = (clone(untrained).fit(w) for w in (windows, target))
    np.testing.assert_array_equal(weights(one), weights(other))
    assert one.history_ == []
    assert not one.module_.training
    assert one.predict(windows).shape == (48,)
    module, facts = one.fitted_state()
    again = clone(untrained)
    again.restore(facts).load_state_dict(copy.deepcopy(module.state_dict()))
    np.testing.assert_array_equal(again.predict_proba(windows), one.predict_proba(windows))
    with seeded(0):
        fresh = build_model(
            "chambon2018", n_chans=2, n_times=300, sfreq=10.0, n_outputs=3, n_conv_chs=2
        )
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(one.module_.state_dict()[name], tensor), name


@pytest.mark.parametrize("n", [2, 16, 17, 48])
def test_without_a_pass_only_statistics_of_the_training_people_are_learned(
    features: tuple, quick: dict[str, Any], n: int
) -> None:
    X, y = features[0][:n], features[1][:n]
    untrained = {**quick, "max_epochs": 0, "valid_size": 0}
    one, other = (SleepStager("mlp", **untrained).fit(scale * X, y) for scale in (1, 3))
    before, after = one.module_.state_dict(), other.module_.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("running" in name for name in moved)
    # An untrained network that is standardised does not care about the scale.
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(3 * X), atol=1e-3)


def test_statistics_of_an_untrained_network_are_not_of_the_people_set_aside(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    windows = make_nights(3, 16)
    _, aside = split_people(windows, 0.2, 0)
    X = np.asarray(windows)
    X[aside.rows] *= 50
    louder = Windows.from_arrays(
        X, windows.y, metadata=windows.metadata, ch_names=windows.ch_names, sfreq=10.0
    )
    batch_norm = {"n_conv_chs": 2, "apply_batch_norm": True}
    untrained = SleepStager(**tiny | {"max_epochs": 0, "model_params": batch_norm})
    one, other = (clone(untrained).fit(w) for w in (windows, louder))
    np.testing.assert_array_equal(weights(one), weights(other))


@pytest.mark.parametrize("monitor", ["loss", "macro_f1"])
def test_what_is_watched_decides_which_pass_is_kept(
    make_nights: Nights, tiny: dict[str, Any], monitor: str
) -> None:
    windows = make_nights(3, 20)
    budget = {"max_epochs": 10, "lr": 2e-2}
    stager = SleepStager(**tiny | budget, patience=None, monitor=monitor).fit(windows)
    _, aside = split_people(windows, 0.2, 0)
    values = [row[f"valid_{monitor}"] for row in stager.history_]
    assert len(values) == 10
    if monitor == "loss":
        achieved = log_loss(aside.y, stager.predict_proba(aside), labels=[0, 1, 2])
        assert achieved == pytest.approx(min(values), rel=1e-4)
    else:
        achieved = f1_score(aside.y, stager.predict(aside), average="macro")
        assert achieved == pytest.approx(max(values))


# ---------------------------------------------------------------------- what is computed within


def test_outputs_can_be_read_by_name(windows: Windows, sequential: dict[str, Any]) -> None:
    stager = SleepStager(**sequential).fit(windows)
    kinds = ("logits", "features", "window", "attention")
    found = stager.read_out(windows, kinds, attention=[["window_encoder.0"]])
    assert set(found) == {"logits", "features", "window", "attention.0.0"}
    assert {len(rows) for rows in found.values()} == {48}
    np.testing.assert_array_equal(found["logits"], stager.decision_function(windows))
    np.testing.assert_array_equal(found["features"], stager.transform(windows))
    with pytest.raises(NotFittedError):
        SleepStager().read_out(windows)


# ---------------------------------------------------------------------- odd sizes


def test_one_person_is_enough(make_nights: Nights, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(make_nights(1))
    assert "valid_loss" not in stager.history_[0]


@pytest.mark.parametrize("n", [3, 15, 17, 33])
def test_any_number_of_windows_trains_a_network_with_batch_normalisation(
    features: tuple, quick: dict[str, Any], n: int
) -> None:
    X, y = features[0][:n], features[1][:n]
    one, two = (
        SleepStager("mlp", valid_size=0, **quick | {"max_epochs": k}).fit(X, y) for k in (1, 2)
    )
    assert not np.array_equal(weights(one), weights(two))


def test_predictions_of_one_window_are_those_among_many(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    stager = SleepStager(**tiny, model="chambon2018").fit(windows)
    alone = np.concatenate([stager.predict_proba(windows[k : k + 1]) for k in range(5)])
    np.testing.assert_allclose(alone, stager.predict_proba(windows)[:5], atol=1e-5)


def test_features_are_one_row_a_window(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows)
    z = stager.transform(windows)
    assert z.shape[0] == 48
    assert z.ndim == 2
    head = stager.module_.final_layer.eval()
    with torch.no_grad():
        np.testing.assert_allclose(
            head(torch.from_numpy(z)), stager.decision_function(windows), atol=1e-5
        )


# ---------------------------------------------------------------------- errors


def test_it_must_be_fitted_first(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny)
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        with pytest.raises(NotFittedError):
            getattr(stager, method)(windows)
    with pytest.raises(NotFittedError):
        stager.fitted_state()
    with pytest.raises(NotFittedError):
        stager.pretrained_module(3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "chambon"}, "unknown model 'chambon'"),
        ({"model": "mlp"}, "takes features windows, not signal"),
        ({"model": "attnsleep"}, "takes 1 channel, not 2"),
        ({"class_weight": "even"}, "class_weight is 'balanced', 'attnsleep' or None, not 'even'"),
        ({"class_weight": "attnsleep"}, "for the five stages W N1 N2 N3 R or the six"),
        ({"optimizer_params": {"lr": 0.1}}, "optimizer_params: lr has a parameter of its own"),
        ({"lr_drop": (0, 1e-4)}, r"lr_drop is a pass from 1 on and a rate above 0"),
        ({"lr_drop": (1, 0.0)}, r"lr_drop is a pass from 1 on and a rate above 0"),
        ({"valid_size": 1.0}, "valid_size is a share"),
        ({"max_epochs": -1}, "max_epochs is at least 1, not -1"),
        ({"monitor": "accuracy"}, "monitor is 'loss' or 'macro_f1', not 'accuracy'"),
        ({"sequence_length": 4}, "'chambon2018' stages single windows; leave out sequence_length"),
        ({"model": "sequence-student"}, "'sequence-student' stages sequences; set sequence_length"),
        ({"model": "sequence-student", "sequence_length": 0}, "at least 1 window, not 0"),
    ],
)
def test_parameters_that_do_not_fit_are_named(
    windows: Windows, tiny: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    params = {k: v for k, v in tiny.items() if k != "model_params"} | change
    with pytest.raises(ValueError, match=reason):
        SleepStager(**params).fit(windows)


def test_a_channel_that_is_not_there_is_named(windows: Windows, tiny: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="no channel 'EOG'; there are Fpz, Pz"):
        SleepStager(**tiny, channels=["EOG"]).fit(windows)


def test_labels_outside_the_scheme_are_refused(make_nights: Nights, tiny: dict[str, Any]) -> None:
    windows = make_nights(scheme="aasm5")
    with pytest.raises(ValueError, match=r"labels \[5\] are not among the classes"):
        SleepStager(**tiny).fit(windows, np.full(48, 5))


def test_signals_without_a_rate_say_what_to_do(arrays: tuple, quick: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="takes signal windows, not features; use mlp"):
        SleepStager(**quick).fit(*arrays)


def test_another_shape_at_prediction_is_refused(arrays: tuple, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(*arrays)
    with pytest.raises(ValueError, match="X has 1 channels; fitted on 2"):
        stager.predict(arrays[0][:, :1])
    with pytest.raises(ValueError, match="hold 200 values; fitted on 300"):
        stager.predict(arrays[0][:, :, :200])


def test_windows_that_are_not_finite_get_no_stage(arrays: tuple, tiny: dict[str, Any]) -> None:
    X, y = arrays
    stager = SleepStager(**tiny).fit(X, y)
    broken = X.copy()
    broken[3, 0, 7] = np.nan
    with pytest.raises(ValueError, match="not finite; does X hold NaN"):
        stager.predict(broken)
    assert np.isnan(stager.predict_proba(broken)[3]).all()


def test_an_interrupted_fit_leaves_nothing_fitted(
    windows: Windows, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupting(torch.optim.Adam):
        def step(self, *args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim, "Adam", Interrupting)
    stager = SleepStager(**tiny)
    with pytest.raises(KeyboardInterrupt):
        stager.fit(windows)
    with pytest.raises(NotFittedError):
        stager.predict(windows)


def test_channels_of_arrays_are_chosen_the_same_way_in_fit_and_predict(
    arrays: tuple, tiny: dict[str, Any]
) -> None:
    X, y = arrays
    chosen = SleepStager(**tiny, channels=("1",)).fit(X, y)
    alone = SleepStager(**tiny).fit(X[:, 1:], y)
    np.testing.assert_array_equal(chosen.predict_proba(X), alone.predict_proba(X[:, 1:]))


# ---------------------------------------------------------------------- keeping it


def test_a_pickle_predicts_the_same_and_holds_no_windows(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    windows = make_nights(4, 100)
    stager = SleepStager(**tiny | {"max_epochs": 1}).fit(windows)
    dump = pickle.dumps(stager)
    again = pickle.loads(dump)  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(windows), stager.predict_proba(windows))
    assert len(dump) < 50_000 < np.asarray(windows).nbytes


def test_a_network_restored_from_plain_facts_predicts_the_same(
    windows: Windows, tiny: dict[str, Any]
) -> None:
    stager = SleepStager(**tiny).fit(windows, np.array(["N1", "R", "W"])[windows.y])
    module, facts = stager.fitted_state()
    again = SleepStager(**tiny)
    again.restore(facts).load_state_dict(copy.deepcopy(module.state_dict()))
    np.testing.assert_array_equal(again.predict(windows), stager.predict(windows))
    np.testing.assert_array_equal(again.transform(windows), stager.transform(windows))
    assert again.n_parameters_ == stager.n_parameters_ > 0


def test_the_network_handed_on_is_a_copy(windows: Windows, tiny: dict[str, Any]) -> None:
    stager = SleepStager(**tiny).fit(windows)
    before = weights(stager)
    with torch.no_grad():
        for parameter in stager.pretrained_module(3).parameters():
            parameter.zero_()
    np.testing.assert_array_equal(weights(stager), before)
    with pytest.raises(ValueError, match="the base knows 3 stages, not 5"):
        stager.pretrained_module(5)
