"""Encoders learned from the order of windows."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sleepshift.errors import DataError
from sleepshift.estimators import RelativePositioning, TemporalShuffling
from sleepshift.estimators.pretext import TupleDataset
from sleepshift.windows.windows import Windows

KINDS = [RelativePositioning, TemporalShuffling]


def drifting(n_people: int = 4, n: int = 60, seed: int = 0) -> Windows:
    """Windows of features in which the time of the night can be seen."""
    rng = np.random.default_rng(seed)
    clock = np.linspace(-3, 3, n)
    X = np.stack([np.sin(clock), np.cos(clock), clock], axis=1)
    X = np.tile(X, (n_people, 1))[:, None] + 0.05 * rng.normal(size=(n_people * n, 1, 3))
    frame = pd.DataFrame(
        {
            "subject": np.repeat([f"d{k}" for k in range(n_people)], n),
            "session": "0",
            "onset": np.tile(30.0 * np.arange(n), n_people),
        }
    )
    return Windows.from_arrays(X, metadata=frame)


@pytest.fixture
def params(quick: dict[str, Any]) -> dict[str, Any]:
    """A small encoder of features, and times for 30-minute nights."""
    return {
        **quick,
        "model": "mlp",
        "model_params": {"n_hidden": 16},
        "embedding_size": 6,
        "tau_pos": 90.0,
        "tau_neg": 600.0,
        "n_pairs": 128,
    }


def weights(encoder: Any) -> np.ndarray:
    return torch.cat([v.flatten().float() for v in encoder.encoder_.state_dict().values()]).numpy()


class Withheld:
    """Labels that must not be looked at."""

    def _touched(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a label was read")

    __len__ = __iter__ = __getitem__ = __array__ = __eq__ = __bool__ = _touched
    __hash__ = None


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_where_time_can_be_seen(kind: type, params: dict[str, Any]) -> None:
    encoder = kind(**params | {"max_epochs": 15, "n_pairs": 512, "lr": 1e-2}).fit(drifting())
    assert min(row["valid_loss"] for row in encoder.history_) < 0.45  # chance is 0.69


def test_an_encoder_in_front_of_a_classifier_is_a_stager(params: dict[str, Any]) -> None:
    windows = drifting()
    y = np.tile(np.arange(60) // 20, 4)
    stager = make_pipeline(
        RelativePositioning(**params | {"max_epochs": 10, "lr": 1e-2}), LogisticRegression()
    )
    assert stager.fit(windows[:180], y[:180]).score(windows[180:], y[180:]) > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_never_read(kind: type, params: dict[str, Any]) -> None:
    windows = drifting()
    blind = kind(**params).fit(windows, Withheld())
    labelled = kind(**params).fit(windows.with_labels(np.arange(240) % 5))
    np.testing.assert_array_equal(weights(blind), weights(labelled))
    unreadable = windows.with_labels(np.full(240, "secret"))  # a batch with it would not be made
    np.testing.assert_array_equal(weights(kind(**params).fit(unreadable)), weights(blind))


# ---------------------------------------------------------------------- determinism, people


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_encoder(kind: type, params: dict[str, Any]) -> None:
    windows, before = drifting(), torch.get_rng_state()
    one, same, other = (kind(**params, random_state=s).fit(windows) for s in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(weights(one), weights(same))
    assert not np.array_equal(weights(one), weights(other))
    np.testing.assert_array_equal(weights(one.fit(windows)), weights(same))


def test_validation_people_are_others_and_keep_their_tuples_while_training_ones_are_fresh(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[TupleDataset, np.ndarray]] = []
    resample = TupleDataset.resample

    def spy(self: TupleDataset) -> None:
        resample(self)
        drawn.append((self, self.tuples.copy()))

    monkeypatch.setattr(TupleDataset, "resample", spy)
    RelativePositioning(**params | {"max_epochs": 3}, patience=None).fit(drifting())
    train, valid = drawn[0][0], drawn[1][0]
    assert not set(train.windows.subjects) & set(valid.windows.subjects)
    assert [data is train for data, _ in drawn] == [True, False, True, True]
    fresh = [tuples for data, tuples in drawn if data is train]
    assert not any(np.array_equal(fresh[0], other) for other in fresh[1:])


def test_the_best_pass_is_kept(params: dict[str, Any]) -> None:
    windows = drifting()
    encoder = RelativePositioning(**params | {"max_epochs": 6, "lr": 0.3}, patience=None)
    losses = [row["valid_loss"] for row in encoder.fit(windows).history_]
    best = int(np.argmin(losses))
    assert best < 5
    shorter = RelativePositioning(**params | {"max_epochs": best + 1, "lr": 0.3}, patience=None)
    np.testing.assert_array_equal(weights(encoder), weights(shorter.fit(windows)))


# ---------------------------------------------------------------------- plain arrays


def test_a_plain_array_is_one_recording_with_nobody_to_set_aside(params: dict[str, Any]) -> None:
    windows = drifting(1)
    on_array = RelativePositioning(**params).fit(np.asarray(windows))
    assert "valid_loss" not in on_array.history_[0]
    np.testing.assert_array_equal(
        weights(on_array), weights(RelativePositioning(**params).fit(windows))
    )


def test_two_plain_arrays_are_two_recordings(
    params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    resample = TupleDataset.resample

    def spy(self: TupleDataset) -> None:
        resample(self)
        seen.append([len(rows) for rows, _ in self.recordings])
        assert ((self.tuples < 60).all(axis=1) | (self.tuples >= 60).all(axis=1)).all()

    monkeypatch.setattr(TupleDataset, "resample", spy)
    X, other = np.asarray(drifting(1)), np.asarray(drifting(1, 50, seed=2))
    RelativePositioning(**params).fit(X, X_target_unlabeled=other)
    assert seen[0] == [60, 50]


def test_unlabelled_target_windows_are_learned_from(params: dict[str, Any]) -> None:
    source, target = drifting(2), drifting(2, seed=5)
    alone = RelativePositioning(**params, valid_size=0).fit(source)
    both = RelativePositioning(**params, valid_size=0).fit(source, X_target_unlabeled=target)
    assert not np.array_equal(weights(alone), weights(both))
    mixed = RelativePositioning(**params).fit(source, X_target_unlabeled=np.asarray(target))
    assert np.isfinite(weights(mixed)).all()


# ---------------------------------------------------------------------- the fitted encoder


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_one_row_a_window(kind: type, params: dict[str, Any]) -> None:
    windows = drifting()
    z = kind(**params).fit_transform(windows)
    assert z.shape == (240, 6)
    assert np.isfinite(z).all()


def test_named_channels_are_found_in_whatever_order_they_come(
    make_nights: Callable[..., Windows], tiny: dict[str, Any]
) -> None:
    windows = make_nights(3, 40)
    params = {**tiny, "embedding_size": 4, "tau_neg": 300.0, "n_pairs": 32, "max_epochs": 1}
    encoder = RelativePositioning(**params, channels=["Pz"]).fit(windows)
    assert encoder.ch_names_ == ("Pz",)
    np.testing.assert_array_equal(
        encoder.transform(windows), encoder.transform(windows.pick(["Pz", "Fpz"]))
    )
    np.testing.assert_array_equal(
        encoder.transform(windows), encoder.transform(np.asarray(windows)[:, 1:])
    )
    with pytest.raises(DataError, match="no channel 'Pz'"):
        encoder.transform(windows.pick(["Fpz"]))
    with pytest.raises(ValueError, match="X has 2 channels; fitted on 1: Pz"):
        encoder.transform(np.asarray(windows))


def test_a_pickle_embeds_the_same_and_holds_no_windows(params: dict[str, Any]) -> None:
    windows = drifting(20, 200)
    encoder = RelativePositioning(**params | {"max_epochs": 1}).fit(windows)
    dump = pickle.dumps(encoder)
    again = pickle.loads(dump)  # noqa: S301
    np.testing.assert_array_equal(again.transform(windows), encoder.transform(windows))
    assert len(dump) < np.asarray(windows).nbytes / 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_encoder_restored_from_plain_facts_embeds_the_same(
    kind: type, params: dict[str, Any]
) -> None:
    windows = drifting()
    encoder = kind(**params).fit(windows)
    module, facts = encoder.fitted_state()
    again = kind(**params)
    again.restore(facts).load_state_dict(copy.deepcopy(module.state_dict()))
    np.testing.assert_array_equal(again.transform(windows), encoder.transform(windows))
    assert again.n_parameters_ == encoder.n_parameters_ > 0


def test_the_network_handed_on_is_a_copy_under_a_fresh_head(params: dict[str, Any]) -> None:
    encoder = RelativePositioning(**params).fit(drifting())
    before = weights(encoder)
    module = encoder.pretrained_module(5)
    assert module.final_layer.out_features == 5
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(weights(encoder), before)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize("kind", KINDS)
def test_it_must_be_fitted_first(kind: type) -> None:
    for call in (
        lambda e: e.transform(drifting()),
        lambda e: e.pretrained_module(3),
        lambda e: e.fitted_state(),
    ):
        with pytest.raises(NotFittedError):
            call(kind())


@pytest.mark.parametrize("times", [(0.0, 900.0), (-30.0, 900.0), (900.0, 60.0)])
def test_times_that_do_not_fit_are_refused(params: dict[str, Any], times: tuple) -> None:
    params |= dict(zip(("tau_pos", "tau_neg"), times, strict=True))
    with pytest.raises(ValueError, match="0 < tau_pos <= tau_neg"):
        RelativePositioning(**params).fit(drifting())


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_too_short_for_a_far_window_are_an_error(
    kind: type, params: dict[str, Any]
) -> None:
    """Never a pretext task whose labels are all the same."""
    with pytest.raises(ValueError, match="too short for tau_neg"):
        kind(**params | {"tau_neg": 3000.0}).fit(drifting())


def test_windows_without_times_are_refused(params: dict[str, Any]) -> None:
    frame = pd.DataFrame({"subject": ["a"] * 60})
    windows = Windows.from_arrays(np.zeros((60, 1, 3)), metadata=frame)
    with pytest.raises(ValueError, match="do not say when in the night"):
        RelativePositioning(**params).fit(windows)
