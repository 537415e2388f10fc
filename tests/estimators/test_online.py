"""Teacher and student trained together: who hears what from whom."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss
from torch import nn
from torch.nn import functional as F

from sleepshift.errors import DataError
from sleepshift.estimators import OnlineDistiller, SleepStager, online
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
from sleepshift.estimators.training import seeded, train
from sleepshift.models.taps import tapped
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.windows.windows import Windows

PLAIN = {"n_conv_chs": 2, "drop_prob": 0.0}
RAW = FeatureMatching(standardize=False)
LOSSES = [SoftLabels(0.4, 2.0), LogitMatching(0.5), RAW, FeatureMatching(1.0, "teacher", False)]


@pytest.fixture
def teacher(tiny: dict[str, Any]) -> SleepStager:
    """On both channels, without dropout, whose draws teacher and student would share."""
    return SleepStager(**tiny | {"model_params": PLAIN}, random_state=7)


@pytest.fixture
def student(tiny: dict[str, Any]) -> SleepStager:
    return SleepStager(**tiny | {"model_params": PLAIN}, channels=["Pz"])


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each training."""
    calls: list[dict[str, Any]] = []

    def catch(module: nn.Module, data: Any, valid: Any, **rest: Any) -> list[dict[str, Any]]:
        calls.append({"module": module, "data": data, "valid": valid, **rest})
        return train(module, data, valid, **rest)

    monkeypatch.setattr(online, "train", catch)
    return calls


def gradients(call: dict[str, Any], wanted: list[int]) -> dict[str, dict[str, torch.Tensor]]:
    """Of the loss of a batch, by network."""
    x, y, _ = call["data"].__getitems__(wanted)
    pair, criterion = call["module"].train(), call["criterion"].train()
    pair.zero_grad()
    criterion(pair(x), y).backward()
    nets = {"teacher": pair.teacher.module, "student": pair.student.module}
    return {
        name: {k: p.grad.clone() for k, p in net.named_parameters()} for name, net in nets.items()
    }


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6, msg=name)


# ---------------------------------------------------------------------- who hears whom


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_one_way_the_teacher_hears_labels_alone_and_mutually_the_student_too(
    teacher: SleepStager, student: SleepStager, windows: Windows, loss: Objective, caught: list
) -> None:
    wanted = [3, 30, 17, 8, 12]
    found = []
    for mutual in (False, True):
        OnlineDistiller(teacher, student, loss, mutual=mutual).fit(windows)
        call = caught[-1]
        found.append(gradients(call, wanted))
        x, y, _ = call["data"].__getitems__(wanted)
        net = call["module"].teacher.module
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        labels = {k: p.grad.clone() for k, p in net.named_parameters()}
        if not mutual:
            assert_close(found[-1]["teacher"], labels)
        else:
            apart = [not torch.allclose(found[-1]["teacher"][k], labels[k]) for k in labels]
            assert any(apart)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("mutual", [False, True])
def test_each_learns_from_the_other_as_from_a_fact(
    teacher: SleepStager,
    student: SleepStager,
    windows: Windows,
    loss: Objective,
    mutual: bool,
    caught: list,
) -> None:
    """The gradients are those of two losses, in each of which the other's outputs are fixed."""
    OnlineDistiller(teacher, student, loss, mutual=mutual).fit(windows)
    call, wanted = caught[0], [3, 30, 17, 8, 12]
    got = gradients(call, wanted)
    x, y, _ = call["data"].__getitems__(wanted)
    pair, criterion = call["module"], call["criterion"]
    nets = {"teacher": (pair.teacher.module, x), "student": (pair.student.module, x[:, 1:])}
    outputs = {}
    for name, (net, view) in nets.items():
        with tapped(net, loss.kinds) as taken:
            net(view)
        outputs[name] = dict(taken)
    for me, other in (("student", "teacher"), ("teacher", "student")):
        if me == "teacher" and not mutual:
            continue
        net = nets[me][0]
        net.zero_grad()
        facts = {k: v.detach() for k, v in outputs[other].items()}
        target = {"codes": y, "present": torch.ones(5, dtype=torch.bool), **facts}
        getattr(criterion, me)(outputs[me], target).backward(retain_graph=True)
        assert_close({k: p.grad for k, p in net.named_parameters()}, got[me])


def test_the_loss_is_that_of_both(
    teacher: SleepStager, student: SleepStager, windows: Windows, caught: list
) -> None:
    wanted = [3, 30, 17, 8, 12]
    for mutual in (False, True):
        OnlineDistiller(teacher, student, SoftLabels(0.25, 2.0), mutual=mutual).fit(windows)
        call = caught[-1]
        x, y, _ = call["data"].__getitems__(wanted)
        with torch.no_grad():
            got = call["criterion"](call["module"].train()(x), y).item()
            seen, own = call["module"].teacher.module(x), call["module"].student.module(x[:, 1:])

        def kl(learner: torch.Tensor, other: torch.Tensor) -> float:
            log_q, p = (learner / 2).log_softmax(1), (other / 2).softmax(1)
            return 4 * F.kl_div(log_q, p, reduction="batchmean").item()

        ce = [F.cross_entropy(logits, y).item() for logits in (seen, own)]
        of_student = 0.25 * kl(own, seen) + 0.75 * ce[1]
        of_teacher = 0.25 * kl(seen, own) + 0.75 * ce[0] if mutual else ce[0]
        assert got == pytest.approx(of_student + of_teacher, rel=1e-4)


def test_one_way_the_teacher_makes_the_steps_of_plain_training(
    teacher: SleepStager, student: SleepStager, windows: Windows, caught: list
) -> None:
    """With all windows in a batch the order does not matter."""
    budget = {"batch_size": 64, "valid_size": 0, "lr": 1e-2, "max_epochs": 3}
    student.set_params(**budget)
    alone = clone(teacher).set_params(**budget).fit(windows)
    for loss in LOSSES:
        OnlineDistiller(teacher, student, loss).fit(windows)
        taught = caught[-1]["module"].teacher.module
        after = alone.module_.state_dict()
        for name, tensor in taught.state_dict().items():
            torch.testing.assert_close(tensor, after[name], rtol=1e-3, atol=1e-5, msg=name)
    OnlineDistiller(teacher, student, mutual=True).fit(windows)
    mutual = caught[-1]["module"].teacher.module.state_dict()
    assert not all(torch.allclose(mutual[k], after[k], rtol=1e-3, atol=1e-5) for k in after)


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_with_hard_labels_it_is_the_student_alone(
    teacher: SleepStager,
    student: SleepStager,
    windows: Windows,
    mutual: bool,
    class_weight: str | None,
) -> None:
    windows = windows.with_labels(np.where(np.arange(48) % 5 == 0, 2, windows.y))
    student.set_params(class_weight=class_weight, max_epochs=4)
    together = OnlineDistiller(teacher, student, HardLabels(), mutual=mutual).fit(windows)
    alone = clone(student).fit(windows)
    np.testing.assert_array_equal(together.predict_proba(windows), alone.predict_proba(windows))


def test_the_teacher_matters(teacher: SleepStager, student: SleepStager, windows: Windows) -> None:
    for loss in LOSSES:
        one, other = (
            OnlineDistiller(clone(teacher).set_params(random_state=seed), student, loss)
            for seed in (7, 8)
        )
        found = [e.fit(windows).predict_proba(windows) for e in (one, other)]
        assert not np.array_equal(*found), loss


# ---------------------------------------------------------------------- what the student sees


def test_the_teachers_channels_are_not_looked_at_to_predict(
    teacher: SleepStager, student: SleepStager, windows: Windows, target: Windows
) -> None:
    teacher.set_params(channels=["Pz", "Fpz"])
    fitted = OnlineDistiller(teacher, student, mutual=True).fit(windows)
    assert fitted.ch_names_ == ("Pz",)
    X = np.asarray(target)
    X[:, 0] = np.random.default_rng(0).normal(size=X[:, 0].shape)
    noisy = Windows.from_arrays(X, metadata=target.metadata, ch_names=target.ch_names, sfreq=10.0)
    expected = fitted.predict_proba(target)
    for view in (noisy, target.pick(["Pz"]), target.pick(["Pz", "Fpz"])):
        np.testing.assert_array_equal(fitted.predict_proba(view), expected)
    assert fitted.n_parameters_ == clone(student).fit(windows).n_parameters_


@pytest.mark.parametrize(
    ("seen", "own"),
    [(["Fpz"], ["Pz"]), (["Pz"], ["Fpz", "Pz"]), (["Pz", "Fpz"], ["Fpz"]), (None, ["Pz"])],
)
def test_each_network_gets_its_own_channels_in_their_order(
    teacher: SleepStager, student: SleepStager, windows: Windows, seen: Any, own: Any, caught: list
) -> None:
    teacher.set_params(channels=seen)
    OnlineDistiller(teacher, student.set_params(channels=own)).fit(windows)
    call = caught[0]
    pair = call["module"].train()
    x, _, positions = call["data"].__getitems__([4, 2])
    outputs = pair(x)
    kept, _ = split_people(windows, 0.2, 0)
    for name, net, channels in (
        ("teacher.logits", pair.teacher.module, seen),
        ("logits", pair.student.module, own),
    ):
        alone = torch.from_numpy(np.asarray(kept[positions].pick(channels)))
        torch.testing.assert_close(outputs[name], net(alone))


def test_the_student_alone_is_validated(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    student.set_params(max_epochs=6, patience=None, lr=1e-2)
    for mutual in (False, True):
        fitted = OnlineDistiller(teacher, student, mutual=mutual).fit(windows)
        _, aside = split_people(windows, 0.2, 0)
        achieved = log_loss(aside.y, fitted.predict_proba(aside), labels=[0, 1, 2])
        losses = [row["valid_loss"] for row in fitted.history_]
        assert len(losses) == 6
        assert achieved == pytest.approx(min(losses), rel=1e-4)
    scored = OnlineDistiller(teacher, student.set_params(monitor="macro_f1")).fit(windows)
    best = max(row["valid_macro_f1"] for row in scored.history_)
    assert f1_score(aside.y, scored.predict(aside), average="macro") == pytest.approx(best)


@pytest.mark.parametrize("mutual", [False, True])
def test_networks_of_sequences_can_be_trained_together(
    windows: Windows, target: Windows, sequential: dict[str, Any], mutual: bool
) -> None:
    teacher = SleepStager(**sequential | {"model": "sequence-assistant"}, random_state=7)
    student = SleepStager(**sequential, channels=["Pz"])
    uneven = windows[np.delete(np.arange(48), [3, 20, 21])]
    for loss in (SoftLabels(), MultiLevel(standardize=False), LabelSmoothing(0.1)):
        fitted = OnlineDistiller(teacher, student, loss, mutual=mutual).fit(uneven)
        proba = fitted.predict_proba(target.pick(["Pz"]))
        order = np.random.default_rng(0).permutation(len(target))
        np.testing.assert_array_equal(fitted.predict_proba(target[order]), proba[order])


# ---------------------------------------------------------------------- keeping it


def test_the_same_seeds_give_the_same_student_and_others_another(
    student: SleepStager, tiny: dict[str, Any], windows: Windows
) -> None:
    """With dropout in both networks."""
    student.set_params(model_params={"n_conv_chs": 2})
    teacher, other = (SleepStager(**tiny, random_state=seed) for seed in (7, 8))
    state = torch.get_rng_state()
    fitted = [OnlineDistiller(t, student).fit(windows) for t in (teacher, teacher, other)]
    assert torch.equal(torch.get_rng_state(), state)
    one, same, another = (e.predict_proba(windows) for e in fitted)
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, another)
    np.testing.assert_array_equal(fitted[0].fit(windows).predict_proba(windows), one)
    assert not hasattr(teacher, "module_")
    assert not hasattr(student, "module_")


def test_a_student_comes_back_from_the_store_as_it_was(
    teacher: SleepStager, student: SleepStager, windows: Windows, tmp_path: Path
) -> None:
    unfitted = OnlineDistiller(teacher, student, RAW, mutual=True)
    fitted = clone(unfitted).fit(windows)
    store = ArtifactStore(tmp_path)
    store.save_artifact("key", fitted, {})
    alone = windows.pick(["Pz"])
    for again in (store.load_artifact("key", unfitted), pickle.loads(pickle.dumps(fitted))):  # noqa: S301
        np.testing.assert_array_equal(again.predict_proba(alone), fitted.predict_proba(windows))


def test_it_must_be_fitted_first(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    with pytest.raises(NotFittedError):
        OnlineDistiller(teacher, student).predict(windows)


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"loss": AttentionTransfer()}, "online: the loss must learn from labels; attention has"),
        ({"loss": PUBLISHED["ecg-attention"]}, "online: the loss must learn from labels"),
        ({"loss": FeatureMatching()}, "features have no fixed scale; set loss__standardize=False"),
        ({"loss": MultiLevel()}, "features have no fixed scale; set loss__standardize=False"),
        ({"loss": LabelSmoothing()}, "no fixed teacher can be measured; set loss__smoothing"),
        ({"loss": SoftLabels(alpha=2)}, "alpha is the teacher's share of the loss"),
        ({"loss": SoftLabels(temperature=0)}, "temperature is above 0"),
        ({"loss": "soft"}, "a loss is an objective such as"),
        ({"loss": MultiLevel(standardize=False)}, "has no window level of its own"),
        ({"loss": PUBLISHED["ear-feature"]}, "must have one shape: put a projector on one of them"),
        ({"student": LogisticRegression()}, "with a SleepStager, not with a LogisticRegression"),
        ({"teacher__sequence_length": 4}, "must take sequences of one length"),
        ({"student__max_epochs": 0}, "max_epochs is at least 1, not 0"),
        ({"student__class_weight": "even"}, "class_weight is 'balanced', 'attnsleep' or None"),
        ({"teacher__model": "chambon"}, "unknown model 'chambon'"),
        ({"teacher__channels": ["EOG"]}, "no channel 'EOG'; there are Fpz, Pz"),
    ],
    ids=str,
)
def test_what_cannot_be_trained_together_is_refused_in_one_line(
    teacher: SleepStager,
    student: SleepStager,
    windows: Windows,
    change: dict[str, Any],
    reason: str,
) -> None:
    together = OnlineDistiller(teacher, student).set_params(**change)
    with pytest.raises((ValueError, DataError), match=reason) as error:
        together.fit(windows)
    assert "\n" not in str(error.value)


def test_a_fitted_teacher_cannot_learn_along(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    with pytest.raises(ValueError, match="with a SleepStager, not with a FrozenEstimator"):
        OnlineDistiller(FrozenEstimator(teacher.fit(windows)), student).fit(windows)


def test_a_seed_of_the_teacher_does_not_reach_the_student(
    teacher: SleepStager, student: SleepStager, windows: Windows
) -> None:
    """A student starts as it would alone, whatever is drawn for the teacher before."""
    student.set_params(lr=0.0, max_epochs=1)
    with seeded(3):
        fitted = OnlineDistiller(teacher, student, RAW).fit(windows)
    alone = clone(student).set_params(max_epochs=0).fit(windows)
    np.testing.assert_array_equal(fitted.predict_proba(windows), alone.predict_proba(windows))
