"""Adapting without target labels: what moves, what stays, and that no label is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import fractional_matrix_power
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sleepshift.estimators import (
    AdaBN,
    BandPower,
    Coral,
    EuclideanAlignment,
    PseudoLabels,
    SleepStager,
    adaptation,
)
from sleepshift.estimators.alignment import align_recordings
from sleepshift.estimators.routing import route
from sleepshift.models.parts import tensors
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.windows.windows import Windows

BATCH_NORM = {"n_conv_chs": 2, "apply_batch_norm": True}
BANDS = {"slow": (0.5, 1.5), "middle": (1.5, 2.5), "fast": (2.5, 5.0)}


@pytest.fixture
def base(windows: Windows, tiny: dict[str, Any]) -> SleepStager:
    """A fitted network with batch normalisation and dropout."""
    return SleepStager(**tiny | {"model_params": BATCH_NORM}).fit(windows)


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors(module).items()}


def adapters(base: SleepStager) -> dict[str, Any]:
    frozen = FrozenEstimator(base)
    return {
        "adabn": AdaBN(frozen, device="cpu"),
        "pseudo": PseudoLabels(frozen, threshold=0.0, max_epochs=1, device="cpu"),
        "coral": Coral(frozen),
        "aligned": EuclideanAlignment(clone(base)),
    }


@pytest.mark.parametrize("name", ["adabn", "pseudo", "coral", "aligned"])
def test_target_labels_that_are_handed_over_are_not_looked_at(base, windows, target, sealed, name):
    method = adapters(base)[name].fit(windows, windows.y, X_target_unlabeled=sealed(target))
    assert method.predict(target.without_labels()).shape == (len(target),)


@pytest.mark.parametrize("name", ["adabn", "pseudo", "coral"])
def test_the_base_stays_as_it_was_and_signals_are_needed(base, windows, target, name):
    before = state(base.module_)
    method = adapters(base)[name]
    with pytest.raises(ValueError, match="needs X_target_unlabeled"):
        clone(method).fit(windows, windows.y)
    method.fit(windows, windows.y, X_target_unlabeled=target)
    after = state(base.module_)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert set(route(method, X_target_labeled=1, X_target_unlabeled=2)) == {"X_target_unlabeled"}


@pytest.mark.parametrize("name", ["adabn", "pseudo", "coral"])
def test_an_unfitted_base_is_a_prerequisite_where_others_can_share_it(base, name):
    method = adapters(base)[name]
    assert method.prerequisites() == {}  # it came frozen
    (key,) = type(method)(clone(base)).prerequisites()
    assert key in ("base", "encoder")


# ---------------------------------------------------------------------- AdaBN


def test_only_the_statistics_of_normalisations_move(base, windows, target):
    adapted = AdaBN(FrozenEstimator(base), device="cpu")
    adapted.fit(windows, windows.y, X_target_unlabeled=target)
    before, after = state(base.module_), state(adapted.module_)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("running_" in name or "num_batches" in name for name in moved)
    assert not adapted.module_.training


def test_statistics_are_those_of_the_target(windows, target):
    stager = SleepStager(model="mlp", max_epochs=1, device="cpu", sfreq=10.0)
    features = np.random.default_rng(0).normal(size=(60, 2, 5)).astype(np.float32)
    other = (3 + 2 * features[:40])[::-1].copy()
    y = np.arange(60) % 3
    stager.sfreq = None
    adapted = AdaBN(stager, batch_size=100, device="cpu").fit(features, y, X_target_unlabeled=other)
    (norm,) = [m for m in adapted.module_.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    flat = other.reshape(40, -1).astype(np.float64)
    np.testing.assert_allclose(norm.running_mean, flat.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(norm.running_var, flat.var(axis=0, ddof=1), rtol=1e-5)


def test_a_network_without_batch_normalisation_is_refused(windows, target, tiny):
    with pytest.raises(ValueError, match="no batch normalisation"):
        AdaBN(SleepStager(**tiny)).fit(windows, windows.y, X_target_unlabeled=target)


def test_gain_and_offset_of_the_targets_recorder_make_no_difference():
    rng = np.random.default_rng(0)
    features, y = rng.normal(size=(60, 2, 5)).astype(np.float32), np.arange(60) % 3
    other = rng.normal(size=(40, 2, 5)).astype(np.float32)
    base = SleepStager(model="mlp", max_epochs=1, device="cpu").fit(features, y)
    plain, louder = (
        AdaBN(FrozenEstimator(base)).fit(features, y, X_target_unlabeled=x).predict_proba(x)
        for x in (other, 4 * other + 2)
    )
    np.testing.assert_allclose(louder, plain, atol=1e-4)
    assert np.abs(base.predict_proba(4 * other + 2) - base.predict_proba(other)).max() > 0.05


# ---------------------------------------------------------------------- pseudo-labels


def taught_with(monkeypatch, method, windows, target) -> Windows:
    """What the network goes on to learn from."""
    seen = []
    real = adaptation.train
    monkeypatch.setattr(
        adaptation, "train", lambda module, data, *rest, **k: (
            seen.append((data, rest)), real(module, data, *rest, **k)
        )[1],
    )  # fmt: skip
    method.fit(windows, windows.y, X_target_unlabeled=target)
    ((data, rest),) = seen
    assert rest == (None,)  # no pass is chosen
    return data


@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_sure_windows_get_the_bases_own_stage(
    monkeypatch, base, windows, target, sealed, threshold
):
    method = PseudoLabels(FrozenEstimator(base), threshold, max_epochs=1, device="cpu")
    data = taught_with(monkeypatch, method, windows, sealed(target))
    probabilities = base.predict_proba(target)
    sure = probabilities.max(axis=1) >= threshold
    assert method.n_pseudo_ == sure.sum()
    expected = [*windows.y, *probabilities[sure].argmax(axis=1)]
    assert data.y.tolist() == expected
    np.testing.assert_array_equal(np.asarray(data)[len(windows) :], np.asarray(target)[sure])


def test_sequences_keep_their_unsure_windows_without_label(monkeypatch, windows, target):
    stager = SleepStager(
        model="sequence-student", sequence_length=4, max_epochs=1, device="cpu", batch_size=16
    )
    long = [
        Windows.from_arrays(
            np.tile(np.asarray(part), (1, 1, 10))[:, :1],
            part.y,
            metadata=part.metadata,
            ch_names=["Fpz"],
            sfreq=100.0,
        )
        for part in (windows, target)
    ]
    base = stager.fit(long[0])
    sure = base.predict_proba(long[1]).max(axis=1)
    threshold = float(np.median(sure))
    method = PseudoLabels(FrozenEstimator(base), threshold, max_epochs=1, device="cpu")
    data = taught_with(monkeypatch, method, long[0], long[1])
    codes = data.windows.y[len(windows) :]
    assert len(codes) == len(target)
    np.testing.assert_array_equal(codes >= 0, sure >= threshold)
    assert (codes < 0).any()


def test_a_threshold_is_a_probability(base, windows, target):
    with pytest.raises(ValueError, match="threshold is a probability"):
        PseudoLabels(base, threshold=1.5).fit(windows, windows.y, X_target_unlabeled=target)


# ---------------------------------------------------------------------- alignment


def distorted(windows: Windows, seed: int) -> Windows:
    """The same windows, every recording through another mixture of its channels."""
    rng = np.random.default_rng(seed)
    x = np.asarray(windows).copy()
    for subject in np.unique(windows.subjects):
        rows = windows.subjects == subject
        x[rows] = (np.eye(2) + 0.3 * rng.normal(size=(2, 2))) * 5 @ x[rows]
    return Windows.from_arrays(
        x, windows.y, metadata=windows.metadata, ch_names=windows.ch_names, sfreq=windows.sfreq
    )


def test_every_recording_is_whitened_by_itself(make_nights):
    windows = distorted(make_nights(3, n_nights=2), seed=3)
    aligned = align_recordings(windows)
    frame = windows.metadata
    for _, rows in frame.groupby(["subject", "session"]).indices.items():
        x = np.asarray(windows[rows], dtype=np.float64)
        covariance = np.mean([w @ w.T / w.shape[1] for w in x], axis=0)
        expected = fractional_matrix_power(covariance, -0.5) @ x
        np.testing.assert_allclose(np.asarray(aligned[rows]), expected, atol=1e-4)
    assert aligned.y.tolist() == windows.y.tolist()
    assert aligned.metadata.equals(frame)
    assert not align_recordings(windows.without_labels()).has_labels


def test_the_gain_of_a_recorder_makes_no_difference(windows, tiny):
    stager = EuclideanAlignment(SleepStager(**tiny)).fit(windows, windows.y)
    louder = Windows.from_arrays(
        8 * np.asarray(windows), metadata=windows.metadata, ch_names=windows.ch_names, sfreq=10.0
    )
    np.testing.assert_allclose(
        stager.predict_proba(louder), stager.predict_proba(windows), atol=1e-5
    )


def test_a_network_on_aligned_signals_is_stored_once_for_all_targets(windows, tiny, tmp_path):
    fitted = EuclideanAlignment(SleepStager(**tiny)).fit(windows, windows.y)
    store = ArtifactStore(tmp_path)
    store.save_artifact("0" * 20, fitted, {})
    restored = store.load_artifact("0" * 20, EuclideanAlignment(SleepStager(**tiny)))
    assert np.array_equal(restored.predict_proba(windows), fitted.predict_proba(windows))
    assert not hasattr(EuclideanAlignment(DummyClassifier()), "fitted_state")


def test_a_dead_channel_does_not_blow_up(windows):
    x = np.asarray(windows).copy()
    x[:, 1] = 0
    flat = Windows.from_arrays(x, metadata=windows.metadata, ch_names=("a", "b"), sfreq=10.0)
    aligned = np.asarray(align_recordings(flat))
    assert np.isfinite(aligned).all()
    assert not aligned[:, 1].any()


def test_arrays_are_one_recording():
    x = np.random.default_rng(0).normal(size=(30, 2, 100)) * 4
    aligned = np.asarray(align_recordings(Windows.from_arrays(x, sfreq=10.0)))
    covariance = np.mean(aligned @ aligned.transpose(0, 2, 1), axis=0) / 100
    np.testing.assert_allclose(covariance, np.eye(2), atol=1e-5)


# ---------------------------------------------------------------------- CORAL


def test_recoloured_source_features_have_the_targets_covariance(windows, target):
    coral = Coral(BandPower(bands=BANDS, sfreq=10.0))
    coral.fit(windows, windows.y, X_target_unlabeled=target)
    features = BandPower(bands=BANDS, sfreq=10.0).fit(windows)
    source, other = (
        StandardScaler().fit_transform(features.transform(part)) for part in (windows, target)
    )
    eye = np.eye(source.shape[1])
    own, wanted = np.cov(source.T) + eye, np.cov(other.T) + eye
    np.testing.assert_allclose(coral.recolour_.T @ own @ coral.recolour_, wanted, atol=1e-8)
    by_hand = LogisticRegression(max_iter=1000).fit(
        source @ fractional_matrix_power(own, -0.5) @ fractional_matrix_power(wanted, 0.5),
        windows.y,
    )
    np.testing.assert_allclose(coral.predict_proba(target), by_hand.predict_proba(other), atol=1e-6)


def test_a_shift_of_the_target_is_taken_away():
    """Three classes on a line, in a target that lies elsewhere and is wider."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    source = np.stack([3.0 * y, -y], axis=1) + 0.5 * rng.normal(size=(300, 2))
    other = 2 * source[::-1] + [5, -9]
    columns = FunctionTransformer(lambda X: np.asarray(X)[:, :, 0])
    plain = LogisticRegression().fit(source, y)
    coral = Coral(columns).fit(source[:, :, None], y, X_target_unlabeled=other[:, :, None])
    assert plain.score(other, y[::-1]) < 0.5
    assert np.mean(coral.predict(other[:, :, None]) == y[::-1]) > 0.95


def test_a_target_like_the_source_leaves_the_source_as_it_is(windows):
    coral = Coral(BandPower(bands=BANDS, sfreq=10.0))
    coral.fit(windows, windows.y, X_target_unlabeled=windows)
    np.testing.assert_allclose(coral.recolour_, np.eye(len(coral.recolour_)), atol=1e-8)
