"""Learning from a teacher with another view: what the student sees, and what it does not."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional as F

from sleepshift.errors import DataError
from sleepshift.estimators import BandPower, Distiller, FineTuner, SleepStager, distiller
from sleepshift.estimators.inputs import split_people
from sleepshift.estimators.objectives import (
    PUBLISHED,
    AttentionTransfer,
    FeatureMatching,
    HardLabels,
    LabelSmoothing,
    LogitMatching,
    MultiLevel,
    Objective,
    SoftLabels,
)
from sleepshift.estimators.outputs import teacher_outputs
from sleepshift.estimators.training import balanced_weights, seeded, train
from sleepshift.models import MODELS
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.windows.windows import Windows

Nights = Callable[..., Windows]
BANDS = {"slow": (0.5, 1.5), "middle": (1.5, 2.5), "fast": (2.5, 5.0)}
BATCH_NORM = {"n_conv_chs": 2, "apply_batch_norm": True}
ASSISTANT = {"model": "sequence-assistant", "sequence_length": 4}
WINDOW_MAPS = (("window_encoder.0",), ("window_encoder.1",))


class Sealed(Windows):
    """Windows whose labels cannot be read without being noticed."""

    @property
    def y(self) -> np.ndarray:
        raise AssertionError("labels were looked at")


@pytest.fixture
def teacher(windows: Windows, tiny: dict[str, Any]) -> SleepStager:
    """Fitted on both channels, with batch normalisation and dropout."""
    return SleepStager(**tiny | {"model_params": BATCH_NORM}, random_state=7).fit(windows)


@pytest.fixture
def student(tiny: dict[str, Any]) -> SleepStager:
    """On the second channel alone."""
    return SleepStager(**tiny | {"model_params": BATCH_NORM}, channels=["Pz"])


@pytest.fixture
def sequence_teacher(windows: Windows, sequential: dict[str, Any]) -> SleepStager:
    """Fitted on both channels of sequences that are shorter than the student's."""
    return SleepStager(**sequential | ASSISTANT, random_state=7).fit(windows)


@pytest.fixture
def sequence_student(sequential: dict[str, Any]) -> SleepStager:
    return SleepStager(**sequential, channels=["Pz"])


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in (*module.named_parameters(), *module.named_buffers())}


def with_noise(windows: Windows, channel: str = "Fpz") -> Windows:
    """The same windows with noise in a channel that is not the student's."""
    X = np.asarray(windows)
    X[:, windows.ch_names.index(channel)] = np.random.default_rng(9).normal(size=X[:, 0].shape)
    return Windows.from_arrays(
        X, windows.y, metadata=windows.metadata, ch_names=windows.ch_names, sfreq=windows.sfreq
    )


def assert_same(one: Any, other: Any, windows: Windows) -> None:
    """Same network to the last bit."""
    before, after = (e.module_.state_dict() for e in (one, other))
    assert all(torch.equal(before[name], after[name]) for name in after)
    np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))


# ---------------------------------------------------------------------- the student alone


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"class_weight": "balanced"},
        {"valid_size": 0},
        {"max_epochs": 0},
        {"batch_size": 5},
        {"weight_decay": 0.1},
        {"monitor": "macro_f1", "max_epochs": 4},
        {"random_state": 3, "data_seed": 2, "max_epochs": 6, "patience": 1, "lr": 3e-2},
    ],
    ids=str,
)
def test_with_hard_labels_it_is_the_student_alone(
    teacher: SleepStager,
    student: SleepStager,
    make_nights: Nights,
    change: dict[str, Any],
) -> None:
    """Students of every objective start, shuffle, and validate as the student alone does."""
    windows = make_nights(4, 17)
    windows = windows.with_labels(np.where(np.arange(68) % 5 == 0, 2, windows.y))
    student.set_params(**change)
    distilled = Distiller(FrozenEstimator(teacher), student, HardLabels()).fit(windows)
    alone = clone(student).fit(windows)
    assert_same(distilled, alone, windows)
    losses = [[row["train_loss"] for row in e.history_] for e in (distilled, alone)]
    assert losses[0] == losses[1]
    assert not hasattr(student, "module_")  # it is not fitted itself


@pytest.mark.parametrize("length", [1, 4, 5, 16, 40])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_with_hard_labels_it_is_the_student_of_sequences_alone(
    teacher: SleepStager,
    sequence_student: SleepStager,
    make_nights: Nights,
    length: int,
    class_weight: str | None,
) -> None:
    windows = make_nights(3, 16)
    windows = windows[np.delete(np.arange(48), [7, 20, 21])]
    student = sequence_student.set_params(sequence_length=length, class_weight=class_weight)
    distilled = Distiller(FrozenEstimator(teacher), student, HardLabels()).fit(windows)
    assert_same(distilled, clone(student).fit(windows), windows)


@pytest.mark.parametrize(
    "loss",
    [SoftLabels(alpha=0.0), LabelSmoothing(0.0), FeatureMatching(0.0), LogitMatching(0.0)],
    ids=str,
)
def test_a_teacher_without_weight_teaches_nothing(
    teacher: SleepStager, student: SleepStager, windows: Windows, loss: Objective
) -> None:
    """A projector that is drawn beside the student does not change its chances."""
    distilled = Distiller(FrozenEstimator(teacher), student, loss).fit(windows)
    assert_same(distilled, clone(student).fit(windows), windows)


@pytest.mark.parametrize("loss", [None, HardLabels(), FeatureMatching(), MultiLevel()], ids=str)
def test_validation_people_are_scored_by_their_labels(
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
    loss: Objective | None,
) -> None:
    student = sequence_student.set_params(max_epochs=5, patience=None, sequence_length=4)
    distilled = Distiller(FrozenEstimator(sequence_teacher), student, loss).fit(windows)
    _, aside = split_people(windows, 0.2, 0)
    losses = [row["valid_loss"] for row in distilled.history_]
    achieved = log_loss(aside.y, distilled.predict_proba(aside), labels=[0, 1, 2])
    assert len(losses) == 5
    assert min(losses) == pytest.approx(achieved, rel=1e-4)


def test_the_teacher_matters(teacher: SleepStager, student: SleepStager, windows: Windows) -> None:
    other = clone(teacher).set_params(random_state=8, max_epochs=8, lr=1e-2).fit(windows)
    losses = (None, LogitMatching(), FeatureMatching(), LabelSmoothing())
    for loss in losses:
        one, two = (
            Distiller(FrozenEstimator(t), student, loss).fit(windows) for t in (teacher, other)
        )
        assert not np.array_equal(one.predict_proba(windows), two.predict_proba(windows)), loss
        assert not np.array_equal(
            one.predict_proba(windows), clone(student).fit(windows).predict_proba(windows)
        ), loss


def test_a_student_comes_to_say_what_a_good_teacher_says(
    make_nights: Nights, tiny: dict[str, Any]
) -> None:
    """Labels are random: only the teacher can tell."""
    windows, test = make_nights(4, 30), make_nights(2, 30, seed=5, prefix="t")
    good = tiny | {"max_epochs": 25, "lr": 1e-2, "model_params": {"n_conv_chs": 4}}
    teacher = SleepStager(**good).fit(windows)
    noise = np.random.default_rng(0).integers(0, 3, len(windows))
    student = SleepStager(**good, channels=["Pz"], random_state=1, valid_size=0)
    distilled = Distiller(FrozenEstimator(teacher), student, SoftLabels(alpha=1.0))
    distilled.fit(windows, noise)
    assert distilled.score(test, test.y) > 0.7
    assert clone(student).fit(windows, noise).score(test, test.y) < 0.6


# ---------------------------------------------------------------------- what the student sees


@pytest.mark.parametrize("loss", [SoftLabels(), FeatureMatching(), MultiLevel()], ids=str)
def test_the_teachers_channels_are_not_looked_at_to_predict(
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
    target: Windows,
    loss: Objective,
) -> None:
    distilled = Distiller(FrozenEstimator(sequence_teacher), sequence_student, loss).fit(windows)
    assert distilled.ch_names_ == ("Pz",)
    expected = distilled.predict_proba(target)
    for view in (with_noise(target), target.pick(["Pz"]), target.pick(["Pz", "Fpz"])):
        np.testing.assert_array_equal(distilled.predict_proba(view), expected)
    noisy = with_noise(target, "Pz")
    assert not np.array_equal(distilled.predict_proba(noisy), expected)
    with pytest.raises(DataError, match="no channel 'Pz'; there are Fpz"):
        distilled.predict(target.pick(["Fpz"]))


def test_the_students_network_is_built_for_its_own_channels(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student, FeatureMatching()).fit(windows)
    alone = clone(student).fit(windows)
    shapes = [{k: v.shape for k, v in e.module_.state_dict().items()} for e in (distilled, alone)]
    assert shapes[0] == shapes[1]  # no projector is left in it
    assert distilled.n_parameters_ == alone.n_parameters_ != teacher.n_parameters_


# ---------------------------------------------------------------------- the teacher is frozen


@pytest.mark.parametrize("start", ["random", "teacher"])
@pytest.mark.parametrize(
    "loss", [SoftLabels(), FeatureMatching(), FeatureMatching(projector="teacher")], ids=str
)
def test_a_fitted_teacher_is_not_altered(
    teacher: SleepStager, student: SleepStager, windows: Windows, loss: Objective, start: str
) -> None:
    before, expected = state(teacher.module_), teacher.predict_proba(windows)
    flags = [p.requires_grad for p in teacher.module_.parameters()]
    teacher.module_.zero_grad()
    assert [name for name in before if "running_mean" in name]
    options = {"pretraining": AttentionTransfer(), "start": start}
    distilled = Distiller(FrozenEstimator(teacher), student, loss, **options).fit(windows)
    after = state(teacher.module_)
    assert set(after) == set(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert [p.requires_grad for p in teacher.module_.parameters()] == flags
    assert all(p.grad is None for p in teacher.module_.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.module_.modules())
    np.testing.assert_array_equal(teacher.predict_proba(windows), expected)
    assert distilled.teacher_.estimator is teacher


def test_a_teacher_that_is_not_fitted_is_cloned_and_fitted_on_the_same_windows(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    unfitted = clone(teacher)
    whole = Distiller(unfitted, student).fit(windows)
    assert not hasattr(unfitted, "module_")
    assert_same(whole.teacher_, teacher, windows)
    assert_same(whole, Distiller(FrozenEstimator(teacher), student).fit(windows), windows)
    assert set(Distiller(unfitted, student).prerequisites()) == {"teacher"}
    assert Distiller(FrozenEstimator(teacher), student).prerequisites() == {}


def test_a_teacher_can_start_the_student(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    started = Distiller(FrozenEstimator(teacher), student.set_params(max_epochs=0), start="teacher")
    given, own = teacher.module_.state_dict(), started.fit(windows).module_.state_dict()
    fitting = {name for name in own if own[name].shape == given[name].shape}
    same = {name for name in own if name in fitting and torch.equal(own[name], given[name])}
    assert same >= {n for n in fitting if "running" not in n and "num_batches" not in n}
    assert len(fitting) < len(own)  # the layers that see the channels are the student's own
    fresh = clone(student).fit(windows).module_.state_dict()
    for name in set(own) - fitting:
        assert torch.equal(own[name], fresh[name])


# ---------------------------------------------------------------------- outputs, by window


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each training."""
    calls: list[dict[str, Any]] = []

    def catch(module: nn.Module, data: Any, valid: Any, **rest: Any) -> list[dict[str, Any]]:
        calls.append({"module": module, "data": data, "valid": valid, **rest})
        return train(module, data, valid, **rest)

    monkeypatch.setattr(distiller, "train", catch)
    return calls


def live_loss(call: dict[str, Any], wanted: list[int], teacher: SleepStager, own: Any) -> tuple:
    """Loss of a batch as it was trained, and with a teacher that is asked there and then.

    Windows are found again by their signals, not by their positions.
    """
    x, target, _ = call["data"].__getitems__(wanted)
    module, criterion = call["module"].eval(), call["criterion"].eval()
    with torch.no_grad():
        trained = criterion(module(x), target)
    known = {np.asarray(own.pick(["Pz"]))[k].tobytes(): k for k in range(len(own))}
    flat = x.reshape(-1, *x.shape[-2:]).numpy()
    which = np.array([known[signals.tobytes()] for signals in flat])
    kinds = sorted({name.partition(".")[0] for name in target} - {"codes", "present"})
    live = teacher.read_out(own, kinds, attention=call["module"].attention)
    there = target["present"].numpy()
    direct = {name: torch.from_numpy(rows[which]) for name, rows in live.items()}
    labels = own.y[which]
    direct |= {"codes": torch.from_numpy(labels), "present": target["present"]}
    direct["codes"][~torch.from_numpy(there)] = -1
    with torch.no_grad():
        return trained, criterion(module(x), direct), there


@pytest.mark.parametrize("loss", [SoftLabels(), FeatureMatching(), AttentionTransfer()], ids=str)
def test_a_batch_is_compared_with_the_teacher_on_its_own_windows(
    teacher: SleepStager,
    student: SleepStager,
    make_nights: Nights,
    loss: Objective,
    caught: list,
) -> None:
    """Of a permuted view with windows left out."""
    windows = make_nights(3, 16)[np.random.default_rng(0).permutation(48)[:45]]
    options = {"pretraining": loss} if not loss.supervised else {"loss": loss}
    Distiller(FrozenEstimator(teacher), student, **options).fit(windows)
    wanted = [13, 2, 29, 0, 7]
    trained, live, _ = live_loss(caught[0], wanted, teacher, windows)
    torch.testing.assert_close(trained, live, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [SoftLabels(), FeatureMatching(), MultiLevel(), AttentionTransfer(groups=WINDOW_MAPS)],
    ids=str,
)
@pytest.mark.parametrize("length", [3, 40])
def test_sequences_are_compared_with_the_teacher_window_by_window(
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    make_nights: Nights,
    loss: Objective,
    length: int,
    caught: list,
) -> None:
    """The teacher's sequences are of another length, windows come in any order, with gaps."""
    windows = make_nights(3, 16, n_nights=2)[np.random.default_rng(0).permutation(96)[:88]]
    options = {"pretraining": loss} if not loss.supervised else {"loss": loss}
    student = sequence_student.set_params(sequence_length=length)
    Distiller(FrozenEstimator(sequence_teacher), student, **options).fit(windows)
    wanted = np.random.default_rng(1).permutation(len(caught[0]["data"]))[:6].tolist()
    trained, live, there = live_loss(caught[0], wanted, sequence_teacher, windows)
    assert not there.all()
    torch.testing.assert_close(trained, live, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("length", [None, 3])
def test_unlabelled_windows_are_compared_with_the_teacher_on_themselves(
    sequence_teacher: SleepStager,
    student: SleepStager,
    sequence_student: SleepStager,
    make_nights: Nights,
    windows: Windows,
    length: int | None,
    caught: list,
) -> None:
    """Their people and nights have the names of the labelled ones."""
    more = make_nights(3, 13, seed=4)
    learner = student if length is None else sequence_student.set_params(sequence_length=length)
    distilled = Distiller(FrozenEstimator(sequence_teacher), learner, unlabeled=True)
    distilled.fit(windows, X_target_unlabeled=more.without_labels())
    call = caught[0]
    x, target, _ = call["data"].__getitems__(range(len(call["data"])))
    live = {}
    for own, y in ((windows, windows.y), (more, np.full(39, -1))):
        logits = sequence_teacher.read_out(own)["logits"]
        signals = np.asarray(own.pick(["Pz"]))
        live |= {signals[k].tobytes(): (logits[k], y[k]) for k in range(len(own))}
    flat, there = x.reshape(-1, 1, 300).numpy(), target["present"].numpy()
    found = [live[signals.tobytes()] for signals in flat[there]]
    np.testing.assert_allclose(target["logits"][there], [row for row, _ in found], atol=1e-5)
    np.testing.assert_array_equal(target["codes"][there], [code for _, code in found])
    assert len({s.tobytes() for s in flat}) == 39 + len(split_people(windows, 0.2, 0)[0])


# ---------------------------------------------------------------------- the cache


def test_a_teacher_is_asked_once_for_all_students(
    teacher: SleepStager,
    student: SleepStager,
    windows: Windows,
    target: Windows,
    tmp_path: Path,
    read_outs: list,
) -> None:
    frozen = FrozenEstimator(teacher)
    unlabeled = {"X_target_unlabeled": target.without_labels()}
    plain = {}
    for cache in (None, tmp_path):
        read_outs.clear()
        for loss in (SoftLabels(), SoftLabels(0.2), LogitMatching(), FeatureMatching()):
            fitted = Distiller(frozen, student, loss, cache=cache).fit(windows)
            plain.setdefault(str(loss), fitted)
            assert_same(fitted, plain[str(loss)], windows)
        again = clone(student).set_params(random_state=5, data_seed=3)
        Distiller(frozen, again, LabelSmoothing(), cache=cache).fit(windows)
        Distiller(frozen, student, unlabeled=True, cache=cache).fit(windows, **unlabeled)
        asked = [kinds for module, kinds in read_outs if module is teacher.module_]
        if cache is None:
            assert len(asked) == 7
        else:  # of the windows two kinds; of the unlabelled ones one
            assert asked == [("logits",), ("features",), ("logits",)]
    assert len(list(tmp_path.iterdir())) == 3


def test_damage_in_the_cache_is_mended(
    teacher: SleepStager, student: SleepStager, windows: Windows, tmp_path: Path, read_outs: list
) -> None:
    one = Distiller(FrozenEstimator(teacher), student, cache=str(tmp_path)).fit(windows)
    (folder,) = tmp_path.iterdir()
    np.save(folder / "logits.npy", np.zeros((48, 3), np.float32))
    two = Distiller(FrozenEstimator(teacher), student, cache=tmp_path).fit(windows)
    assert_same(one, two, windows)
    assert [module is teacher.module_ for module, _ in read_outs].count(True) == 2
    assert {p.name for p in tmp_path.iterdir()} == {folder.name, f".damaged-{folder.name}-0"}


def test_hard_labels_ask_the_teacher_nothing(
    teacher: SleepStager, student: SleepStager, windows: Windows, tmp_path: Path, read_outs: list
) -> None:
    for loss in (HardLabels(), LabelSmoothing(0.1)):
        Distiller(FrozenEstimator(teacher), student, loss, cache=tmp_path).fit(windows)
    assert read_outs == []
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- windows without labels


def test_labels_of_unlabelled_windows_never_reach_it(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    sealed = target.take(np.arange(len(target)))
    sealed.__class__ = Sealed
    assert sealed.has_labels
    with pytest.raises(AssertionError, match="looked at"):
        _ = sealed.y
    inner = Distiller(clone(teacher), clone(student).set_params(random_state=3), unlabeled=True)
    distilled = Distiller(inner, student, unlabeled=True)
    one = clone(distilled).fit(windows, X_target_unlabeled=sealed)
    other = clone(distilled).fit(windows, X_target_unlabeled=target.without_labels())
    assert_same(one, other, windows)
    without = Distiller(clone(inner).set_params(unlabeled=False), student).fit(windows)
    assert not np.array_equal(without.predict_proba(target), one.predict_proba(target))


def test_unlabelled_windows_are_only_taken_if_they_are_wanted(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student)
    with_them = clone(distilled).fit(windows, X_target_unlabeled=target.without_labels())
    assert_same(with_them, distilled.fit(windows), windows)


def test_arrays_can_be_unlabelled_windows(
    windows: Windows, target: Windows, arrays: tuple, tiny: dict[str, Any]
) -> None:
    student = SleepStager(**tiny, channels=["1"], valid_size=0)
    teacher = FrozenEstimator(SleepStager(**tiny, random_state=7).fit(*arrays))
    distilled = Distiller(teacher, student, unlabeled=True)
    distilled.fit(*arrays, X_target_unlabeled=np.asarray(target))
    named = Distiller(teacher, clone(student).set_params(channels=["Pz"]), unlabeled=True)
    with pytest.raises(DataError, match="unpaired windows: the teacher sees channel '0'"):
        named.fit(windows, X_target_unlabeled=target)
    assert distilled.predict(arrays[0][:, 1:]).shape == (48,)


def test_a_pass_is_as_long_as_the_student_alone_has(
    teacher: SleepStager, student: SleepStager, windows: Windows, make_nights: Nights, caught: list
) -> None:
    """The number of updates does not depend on how many nights nobody scored."""
    kept, _ = split_people(windows, 0.2, 0)
    for n_people in (1, 5):
        more = make_nights(n_people, 16, seed=3, prefix="u")
        Distiller(FrozenEstimator(teacher), student, unlabeled=True).fit(
            windows, X_target_unlabeled=more.without_labels()
        )
        assert len(caught[-1]["data"]) == len(kept) + 16 * n_people
        assert caught[-1]["n_drawn"] == len(kept)


# ---------------------------------------------------------------------- who is measured


def criterion_facts(criterion: nn.Module) -> dict[str, Any]:
    facts = {k: v.numpy().copy() for k, v in criterion.state_dict().items()}
    return facts | {"smoothing": getattr(criterion.objective, "smoothing", None)}


@pytest.mark.parametrize(
    "loss", [FeatureMatching(), MultiLevel(), LabelSmoothing(), SoftLabels()], ids=str
)
def test_weights_scales_and_smoothing_come_from_the_training_people(
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
    target: Windows,
    monkeypatch: pytest.MonkeyPatch,
    loss: Objective,
) -> None:
    facts: list[dict[str, Any]] = []

    def catch(module: nn.Module, data: Any, valid: Any, criterion: Any, **rest: Any) -> list:
        facts.append(criterion_facts(criterion))
        return []

    monkeypatch.setattr(distiller, "train", catch)
    kept, aside = split_people(windows, 0.2, 0)
    student = sequence_student.set_params(class_weight="balanced")
    distilled = Distiller(FrozenEstimator(sequence_teacher), student, loss, unlabeled=True)

    def fit(rows: Windows, of: Windows) -> None:
        X, y = np.asarray(windows), windows.y
        X[rows.rows], y[rows.rows] = 3 * X[rows.rows][::-1], 0
        other = Windows.from_arrays(
            X, y, metadata=windows.metadata, ch_names=windows.ch_names, sfreq=10.0
        )
        distilled.fit(other, X_target_unlabeled=of)

    plain = target.without_labels()
    fit(aside[:0], plain)
    fit(aside, plain)
    fit(kept, plain)
    fit(aside[:0], plain.with_labels(np.zeros(32, dtype=int)))
    one, aside_changed, kept_changed, labels_changed = facts
    assert set(one) == set(aside_changed) >= {"class_weight", "smoothing"}
    for name, value in one.items():
        np.testing.assert_array_equal(aside_changed[name], value, err_msg=name)
        np.testing.assert_array_equal(labels_changed[name], value, err_msg=name)
    np.testing.assert_array_equal(one["class_weight"], balanced_weights(kept.y, 3))
    changed = {n for n in one if not np.array_equal(kept_changed[n], one[n])}
    measured = {n for n in one if n.endswith(("_mean", "_scale"))}
    assert changed >= measured | {"class_weight"}
    if isinstance(loss, LabelSmoothing):
        assert one["smoothing"] > 0
        assert "smoothing" in changed
    if loss.standardize:
        rows = teacher_outputs(sequence_teacher, windows, ["features"])["features"][kept.rows]
        more = teacher_outputs(sequence_teacher, target, ["features"])["features"]
        scaler = StandardScaler().fit(np.concatenate([rows, more]))
        np.testing.assert_allclose(one["features_mean"], scaler.mean_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(one["features_scale"], scaler.scale_, rtol=1e-4, atol=1e-6)


def test_labels_of_the_people_set_aside_do_not_move_a_pass(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    _, aside = split_people(windows, 0.2, 0)
    y = windows.y.copy()
    y[aside.rows] = (y[aside.rows] + 1) % 3
    for loss in (SoftLabels(), FeatureMatching(), LabelSmoothing()):
        one_pass = clone(student).set_params(max_epochs=1, class_weight="balanced")
        distilled = Distiller(FrozenEstimator(teacher), one_pass, loss)
        one, other = (clone(distilled).fit(windows, labels) for labels in (windows.y, y))
        assert_same(one, other, windows)


# ---------------------------------------------------------------------- phases


def test_two_phases_go_on_from_each_other(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    options = {"pretraining": AttentionTransfer(), "pretraining_epochs": 3}
    distilled = Distiller(FrozenEstimator(teacher), student, HardLabels(), **options).fit(windows)
    phases = [(row["phase"], row["epoch"]) for row in distilled.history_]
    assert phases == [*(("pretraining", k) for k in (1, 2, 3)), ("loss", 1), ("loss", 2)]
    assert not np.array_equal(
        distilled.predict_proba(windows), clone(student).fit(windows).predict_proba(windows)
    )
    default = clone(distilled).set_params(pretraining_epochs=None).fit(windows)
    assert [row["phase"] for row in default.history_].count("pretraining") == 2
    none = clone(distilled).set_params(pretraining_epochs=0).fit(windows)
    assert_same(none, clone(student).fit(windows), windows)
    assert {row["phase"] for row in none.history_} == {"loss"}


def test_attention_brings_the_students_maps_to_the_teachers(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    groups = MODELS["chambon2018"].attention
    distilled = Distiller(
        FrozenEstimator(teacher),
        student.set_params(lr=1e-2, max_epochs=0, valid_size=0),
        pretraining=AttentionTransfer(),
        pretraining_epochs=20,
    ).fit(windows)
    untrained = clone(student).fit(windows)
    other = teacher.read_out(windows, ["attention"], attention=groups)
    gaps = []
    for fitted in (distilled, untrained):
        own = fitted.read_out(windows, ["attention"], attention=groups)
        units = [
            {k: torch.nn.functional.normalize(torch.from_numpy(v), dim=1) for k, v in x.items()}
            for x in (own, other)
        ]
        gaps.append(sum((units[0][k] - units[1][k]).abs().mean().item() for k in own))
    assert gaps[0] < 0.9 * gaps[1]


def test_an_objective_without_labels_is_validated_by_its_own_value(
    teacher: SleepStager, student: SleepStager, windows: Windows, caught: list
) -> None:
    student.set_params(monitor="macro_f1")
    distilled = Distiller(
        FrozenEstimator(teacher), student, pretraining=AttentionTransfer(), pretraining_epochs=4
    ).fit(windows)
    scored = ["valid_macro_f1" in row for row in distilled.history_]
    assert scored == [False] * 4 + [True] * 2
    _, aside = split_people(windows, 0.2, 0)
    call = caught[0]
    x, target, _ = call["valid"].__getitems__(range(16))
    assert np.array_equal(x, np.asarray(aside.pick(["Pz"])))
    live = teacher.read_out(aside, ["attention"], attention=call["module"].attention)
    for name, rows in live.items():
        np.testing.assert_allclose(target[name], rows, rtol=1e-4, atol=1e-5)
    assert caught[1]["valid"] is not None
    assert not isinstance(caught[1]["valid"].__getitems__([0])[1], dict)
    assert all(np.isfinite(row["valid_loss"]) for row in distilled.history_)


# ---------------------------------------------------------------------- teachers of all kinds


def test_a_pipeline_of_features_can_teach_by_its_probabilities(
    student: SleepStager, windows: Windows, target: Windows
) -> None:
    teacher = make_pipeline(BandPower(bands=BANDS), StandardScaler(), LogisticRegression())
    whole = Distiller(teacher, student, SoftLabels(alpha=1.0)).fit(windows)  # labels in X
    frozen = FrozenEstimator(clone(teacher).fit(windows, windows.y))
    again = Distiller(frozen, student, SoftLabels(alpha=1.0)).fit(windows, windows.y)
    assert_same(whole, again, target)
    np.testing.assert_array_equal(
        whole.predict_proba(target), whole.predict_proba(with_noise(target))
    )


def test_the_loss_of_a_pipelines_probabilities_is_that_of_probabilities(
    student: SleepStager, windows: Windows, caught: list
) -> None:
    teacher = make_pipeline(BandPower(bands=BANDS), StandardScaler(), LogisticRegression())
    teacher.fit(windows, windows.y)
    Distiller(FrozenEstimator(teacher), student, SoftLabels(1.0, 1.0)).fit(windows)
    kept, _ = split_people(windows, 0.2, 0)
    call = caught[0]
    x, target, _ = call["data"].__getitems__(range(len(kept)))
    with torch.no_grad():
        outputs = call["module"].eval()(x)
        got = call["criterion"](outputs, target)
    p = torch.from_numpy(teacher.predict_proba(kept)).float()
    expected = F.kl_div(outputs["logits"].log_softmax(1), p, reduction="batchmean")
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_sequence_network_and_one_of_single_windows_can_teach_each_other(
    teacher: SleepStager,
    student: SleepStager,
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
) -> None:
    for who, learner in ((sequence_teacher, student), (teacher, sequence_student)):
        for loss in (SoftLabels(), FeatureMatching()):
            fitted = Distiller(FrozenEstimator(who), learner, loss).fit(windows)
            assert fitted.predict_proba(windows.pick(["Pz"])).shape == (48, 3)


@pytest.mark.parametrize("loss", [SoftLabels(), MultiLevel()], ids=str)
def test_a_chain_can_be_fitted_whole_or_link_by_link(
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    sequential: dict[str, Any],
    windows: Windows,
    loss: Objective,
    tmp_path: Path,
) -> None:
    assistant = SleepStager(**sequential, random_state=2)
    inner = Distiller(clone(sequence_teacher), assistant, loss)
    whole = Distiller(inner, sequence_student, loss).fit(windows)
    middle = Distiller(FrozenEstimator(sequence_teacher), assistant, loss).fit(windows)
    last = Distiller(FrozenEstimator(middle), sequence_student, loss, cache=tmp_path).fit(windows)
    assert_same(whole, last, windows)
    assert_same(whole.teacher_, middle, windows)
    assert set(Distiller(inner, sequence_student).prerequisites()) == {"teacher"}
    np.testing.assert_array_equal(
        whole.predict_proba(with_noise(windows)), whole.predict_proba(windows)
    )
    direct = Distiller(FrozenEstimator(sequence_teacher), sequence_student, loss).fit(windows)
    assert not np.array_equal(direct.predict_proba(windows), whole.predict_proba(windows))


def test_a_distilled_student_can_be_fine_tuned(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student).fit(windows)
    tuner = FineTuner(FrozenEstimator(distilled), "none", device="cpu")
    tuner.fit(windows, X_target_labeled=target.pick(["Pz"]))
    np.testing.assert_array_equal(tuner.predict_proba(target), distilled.predict_proba(target))


# ---------------------------------------------------------------------- keeping it


@pytest.mark.parametrize("sequences", [False, True])
def test_a_student_comes_back_from_the_store_as_it_was(
    teacher: SleepStager,
    student: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
    tmp_path: Path,
    sequences: bool,
) -> None:
    learner = sequence_student if sequences else student
    unfitted = Distiller(clone(teacher), learner, FeatureMatching(), pretraining=None)
    fitted = clone(unfitted).fit(windows, np.array(["N2", "R", "W"])[windows.y])
    store = ArtifactStore(tmp_path)
    store.save_artifact("key", fitted, {})
    assert store.has_artifact("key")
    again = store.load_artifact("key", unfitted)
    alone = windows.pick(["Pz"])
    np.testing.assert_array_equal(again.predict(alone), fitted.predict(windows))
    np.testing.assert_array_equal(again.transform(alone), fitted.transform(windows))
    assert again.history_ == fitted.history_
    assert again.classes_.tolist() == ["N2", "R", "W"]
    onward = Distiller(FrozenEstimator(again), clone(learner).set_params(random_state=4))
    onward.fit(windows, np.array(["N2", "R", "W"])[windows.y])


def test_a_pickle_predicts_the_same(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    fitted = Distiller(FrozenEstimator(teacher), student, FeatureMatching()).fit(windows)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(again.predict_proba(windows), fitted.predict_proba(windows))


def test_the_same_seed_gives_the_same_student_whatever_torchs_state(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    fitted = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        for loss in (FeatureMatching(),):
            fitted.append(Distiller(FrozenEstimator(teacher), student, loss).fit(windows))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same(*fitted, windows)
    refitted = fitted[0].fit(windows)
    assert_same(refitted, fitted[1], windows)


def test_it_must_be_fitted_first(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student)
    for method in ("predict", "predict_proba", "decision_function", "transform", "read_out"):
        with pytest.raises(NotFittedError):
            getattr(distilled, method)(windows)
    with pytest.raises(NotFittedError):
        distilled.fitted_state()


def test_unlabelled_windows_are_routed_by_name(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    unlabeled = {"X_target_unlabeled": target.without_labels()}
    alone = Distiller(FrozenEstimator(teacher), student, unlabeled=True)
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(clone(alone)).fit(windows, windows.y, **unlabeled)
    assert_same(pipeline[0], alone.fit(windows, **unlabeled), windows)


# ---------------------------------------------------------------------- errors


def refused(estimator: Any, windows: Windows, reason: str, error: type = ValueError) -> None:
    with pytest.raises(error, match=reason) as raised:
        estimator.fit(windows)
    assert "\n" not in str(raised.value)


class Untouchable(SleepStager):
    """A teacher that must not be fitted."""

    def fit(self, X: Any, y: Any = None) -> SleepStager:
        raise AssertionError("fitted before the parameters were looked at")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": SoftLabels(alpha=1.5)}, "alpha is the teacher's share of the loss"),
        ({"loss": SoftLabels(alpha=-0.1)}, "alpha is the teacher's share of the loss"),
        ({"loss": SoftLabels(temperature=0)}, "temperature is above 0, not 0"),
        ({"loss": SoftLabels(temperature=-2)}, "temperature is above 0, not -2"),
        ({"loss": SoftLabels(reduction="sum")}, "reduction is 'batchmean' or 'mean'"),
        ({"pretraining": AttentionTransfer(norm="space")}, "norm is 'time' or 'batch'"),
        ({"loss": AttentionTransfer()}, "learns no stages; give it as pretraining"),
        ({"loss": "soft"}, r"a loss is an objective such as SoftLabels\(\), not 'soft'"),
        ({"start": "student"}, "start is 'random' or 'teacher', not 'student'"),
        ({"unlabeled": True}, "unlabeled=True needs X_target_unlabeled"),
        ({"student": LogisticRegression()}, "with a SleepStager, not with a LogisticRegression"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused_before_a_teacher_is_fitted(
    student: SleepStager, windows: Windows, change: dict[str, Any], reason: str
) -> None:
    refused(Distiller(Untouchable(), student).set_params(**change), windows, reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": "chambon"}, "unknown model 'chambon'"),
        ({"class_weight": "even"}, "class_weight is 'balanced', 'attnsleep' or None"),
        ({"monitor": "accuracy"}, "monitor is 'loss' or 'macro_f1', not 'accuracy'"),
        ({"max_epochs": -1}, "max_epochs is at least 1, not -1"),
        ({"sequence_length": 4}, "'chambon2018' stages single windows; leave out sequence_length"),
        ({"model": "sequence-student"}, "'sequence-student' stages sequences; set sequence_length"),
        ({"channels": ["EOG"]}, "no channel 'EOG'; there are Fpz, Pz"),
    ],
    ids=str,
)
def test_a_student_that_does_not_fit_is_refused(
    teacher: SleepStager,
    student: SleepStager,
    windows: Windows,
    change: dict[str, Any],
    reason: str,
) -> None:
    params = {"model_params": None} if "model" in change else {}
    student.set_params(**change | params)
    refused(Distiller(FrozenEstimator(teacher), student), windows, reason, (ValueError, DataError))


def test_windows_without_the_teachers_channels_are_unpaired(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student)
    alone = windows.pick(["Pz"])
    reason = "unpaired windows: the teacher sees channel 'Fpz', these windows have only Pz"
    refused(distilled, alone, reason, DataError)
    distilled.set_params(unlabeled=True)
    for channel in ("Pz", "Fpz"):
        with pytest.raises(DataError, match="unpaired windows: the teacher sees channel"):
            distilled.fit(windows, X_target_unlabeled=target.pick([channel]))
    # Nothing is asked of the teacher, but the student's own channel is missing.
    distilled.set_params(loss=HardLabels())
    with pytest.raises(DataError, match="no channel 'Pz'; there are Fpz"):
        distilled.fit(windows, X_target_unlabeled=target.pick(["Fpz"]))


def test_unlabelled_windows_of_another_rate_are_refused(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    names = target.ch_names
    for X, sfreq in ((np.asarray(target), 20.0), (np.asarray(target)[:, :, :200], 10.0)):
        other = Windows.from_arrays(X, metadata=target.metadata, ch_names=names, sfreq=sfreq)
        for loss in (SoftLabels(), HardLabels()):
            distilled = Distiller(FrozenEstimator(teacher), student, loss, unlabeled=True)
            with pytest.raises(ValueError, match="windows of X_target_unlabeled hold"):
                distilled.fit(windows, X_target_unlabeled=other)


def test_a_teacher_that_knows_other_stages_is_refused(
    teacher: SleepStager, student: SleepStager, windows: Windows, make_nights: Nights
) -> None:
    distilled = Distiller(FrozenEstimator(teacher), student)
    reason = r"the teacher knows the stages \[0, 1, 2\], these labels are \[0, 1, 2, 3, 4\]"
    refused(distilled, make_nights(scheme="aasm5"), reason)
    with pytest.raises(ValueError, match="fit the teacher in the same stage scheme"):
        distilled.fit(windows, windows.y + 1)
    with pytest.raises(ValueError, match="fit the teacher in the same stage scheme"):
        distilled.fit(windows, np.array(["N2", "R", "W"])[windows.y])


@pytest.mark.filterwarnings("ignore:raw_feature_kl")
def test_networks_that_have_nothing_to_compare_are_refused(
    teacher: SleepStager,
    student: SleepStager,
    sequence_teacher: SleepStager,
    sequence_student: SleepStager,
    windows: Windows,
) -> None:
    single, sequence = FrozenEstimator(teacher), FrozenEstimator(sequence_teacher)
    attention = {"pretraining": AttentionTransfer()}
    bands = make_pipeline(BandPower(bands=BANDS), StandardScaler(), LogisticRegression())
    refused(Distiller(sequence, student, **attention), windows, "SequenceStager has no part")
    other = AttentionTransfer(groups=[["pools.0"]])
    refused(Distiller(single, student, pretraining=other), windows, "has no part 'pools.0'")
    none = AttentionTransfer(groups=())
    refused(
        Distiller(single, student, pretraining=none),
        windows,
        "the student's chambon2018 has no maps over time to compare",
    )
    refused(Distiller(bands, student, **attention), windows, "is no network, so it has no att")
    level = "SleepStagerChambon2018 stages single windows, so it has no window level of its own"
    for loss in (MultiLevel(), PUBLISHED["sleepkd-paper"], PUBLISHED["sleepkd-code"]):
        refused(Distiller(single, student, loss), windows, level)
        refused(Distiller(single, sequence_student, loss), windows, level)
        refused(Distiller(sequence, student, loss), windows, level)
        Distiller(sequence, sequence_student, loss).fit(windows)
    width = "features must have one shape: put a projector on one of them"
    refused(Distiller(single, student, PUBLISHED["ear-feature"]), windows, width)
    refused(Distiller(bands, student, FeatureMatching()), windows, "is no network, so it has no")
    for fitted in (teacher, sequence_teacher):
        pickle.dumps(fitted)  # no hook is left in a teacher


def test_a_start_from_a_teacher_with_other_weights_is_refused(
    teacher: SleepStager, sequence_student: SleepStager, student: SleepStager, windows: Windows
) -> None:
    reason = "start='teacher': no weight of the teacher's network fits the student's"
    refused(Distiller(FrozenEstimator(teacher), sequence_student, start="teacher"), windows, reason)
    bands = make_pipeline(BandPower(bands=BANDS), StandardScaler(), LogisticRegression())
    refused(Distiller(bands, student, start="teacher"), windows, reason)


def test_a_teacher_that_is_not_fitted_cannot_be_frozen(
    student: SleepStager, windows: Windows
) -> None:
    with pytest.raises((NotFittedError, AttributeError)):
        Distiller(FrozenEstimator(SleepStager()), student).fit(windows)


def test_a_random_generator_as_seed_is_taken(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    with seeded(0):
        student.set_params(random_state=None)
        Distiller(FrozenEstimator(teacher), student, FeatureMatching()).fit(windows)
    state_ = np.random.RandomState(0)
    distilled = Distiller(FrozenEstimator(teacher), student.set_params(random_state=state_))
    assert distilled.fit(windows).predict(windows).shape == (48,)
