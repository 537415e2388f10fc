"""Adversarial training of domains: what is reversed, what is compared, and that it works."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleepshift.estimators import DomainAdversarial, SleepStager, adversarial
from sleepshift.estimators.adversarial import _Adversary, reversal, reverse_gradient
from sleepshift.estimators.routing import route
from sleepshift.windows.windows import Windows


@pytest.fixture
def stager(tiny: dict[str, Any]) -> SleepStager:
    return SleepStager(**tiny)


def fit(stager: SleepStager, windows: Any, target: Any, **params: Any) -> DomainAdversarial:
    y = windows.y if isinstance(windows, Windows) else np.arange(len(windows)) % 3
    return DomainAdversarial(stager, **params).fit(windows, y, X_target_unlabeled=target)


def logits(fitted: Any, windows: Any) -> np.ndarray:
    return fitted.read_out(windows)["logits"]


# ---------------------------------------------------------------------- the layer and the loss


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
def test_the_gradient_comes_back_reversed_and_weighted(weight: float) -> None:
    x = torch.randn(4, 3, requires_grad=True)
    target = torch.randn(4, 3)
    (plain,) = torch.autograd.grad((x * target).sin().sum(), x)
    same = reverse_gradient(x, weight)
    assert torch.equal(same, x)
    (reversed_,) = torch.autograd.grad((same * target).sin().sum(), x)
    torch.testing.assert_close(reversed_, -weight * plain)


def test_the_weight_grows_as_published() -> None:
    assert reversal(0.0) == 0.0
    assert reversal(0.25) == pytest.approx(2 / (1 + np.exp(-2.5)) - 1)
    grown = [reversal(p) for p in np.linspace(0, 1, 11)]
    assert grown == sorted(grown)
    assert grown[-1] == pytest.approx(1, abs=1e-4)


def test_the_loss_is_that_of_stages_plus_that_of_domains() -> None:
    torch.manual_seed(0)
    criterion = _Adversary(5, 7, weight=2.0, n_updates=4)
    features = torch.randn(4, 5, requires_grad=True)
    scores = torch.randn(4, 3)
    codes = torch.tensor([2, 0, -1, -1])
    outputs = {"logits": scores, "features": features}
    log_p = scores.log_softmax(dim=1)
    stages = -(log_p[0, 2] + log_p[1, 0]) / 2
    is_target = torch.tensor([0.0, 0.0, 1.0, 1.0])
    for update in range(6):
        z = criterion.domain(features).flatten()
        domains = -(is_target * z.sigmoid().log() + (1 - is_target) * (-z).sigmoid().log()).mean()
        loss = criterion(outputs, codes)
        torch.testing.assert_close(loss, stages + domains)
        (ahead,) = torch.autograd.grad(domains, features)
        (back,) = torch.autograd.grad(loss, features)
        torch.testing.assert_close(back, -2.0 * reversal(min(1.0, update / 4)) * ahead)
    torch.testing.assert_close(criterion.eval()(outputs, codes), stages)
    assert criterion.n_done == 6  # validation is no update


def test_the_domain_classifier_learns_to_tell_domains() -> None:
    criterion = _Adversary(5, 7, weight=1.0, n_updates=4)
    outputs = {"logits": torch.zeros(2, 3), "features": torch.randn(2, 5, requires_grad=True)}
    criterion(outputs, torch.tensor([0, -1])).backward()
    z = criterion.domain(outputs["features"].detach()).flatten()
    own = torch.autograd.grad(
        torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor([0.0, 1.0])),
        list(criterion.domain.parameters()),
    )
    for parameter, gradient in zip(criterion.domain.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)  # not reversed


# ---------------------------------------------------------------------- training


def test_labels_of_the_target_are_not_looked_at(stager, windows, target, sealed):
    fitted = fit(stager, windows, sealed(target))
    open_ = fit(stager, windows, target.with_labels((target.y + 1) % 3))
    np.testing.assert_array_equal(logits(fitted, target), logits(open_, target))


def test_it_asks_for_signals_alone_and_needs_them(stager, windows):
    method = DomainAdversarial(stager)
    roles = {"X_target_labeled": 1, "y_target_labeled": 2, "X_target_unlabeled": 3}
    assert set(route(method, **roles)) == {"X_target_unlabeled"}
    with pytest.raises(ValueError, match="needs X_target_unlabeled"):
        method.fit(windows, windows.y)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of every training."""
    calls: list[dict[str, Any]] = []
    real = adversarial.train

    def train(module: Any, data: Any, valid: Any, **arguments: Any) -> Any:
        calls.append({"data": data, "valid": valid, **arguments})
        return real(module, data, valid, **arguments)

    monkeypatch.setattr(adversarial, "train", train)
    return calls


def test_only_the_second_half_of_the_passes_is_compared(monkeypatch, stager, windows, target):
    calls = recorded(monkeypatch)
    fitted = fit(stager.set_params(max_epochs=5, patience=None), windows, target)
    assert [call["max_epochs"] for call in calls] == [2, 3]
    rising, risen = calls
    assert rising["valid"] is None
    assert set(risen["valid"].subjects) | set(risen["data"].parts[0].subjects) == {"p0", "p1", "p2"}
    assert len(set(risen["valid"].subjects)) == 1
    assert rising["criterion"] is risen["criterion"]
    assert rising["criterion"].n_done == rising["criterion"].n_updates == 10
    assert [row["phase"] for row in fitted.history_] == ["rising"] * 2 + ["risen"] * 3
    assert ["valid_loss" in row for row in fitted.history_] == [False] * 2 + [True] * 3


def test_a_single_pass_is_validated(monkeypatch, stager, windows, target):
    calls = recorded(monkeypatch)
    fit(stager.set_params(max_epochs=1), windows, target)
    (call,) = calls
    assert call["max_epochs"] == 1
    assert call["valid"] is not None


@pytest.mark.parametrize(
    ("after", "first", "second"),
    [(1, (0.1, (1, 0.01)), (0.01, None)), (3, (0.1, (3, 0.01)), (0.1, (1, 0.01)))],
)
def test_a_drop_of_the_rate_comes_after_its_pass(
    monkeypatch, stager, windows, target, after, first, second
):
    calls = recorded(monkeypatch)
    fit(stager.set_params(max_epochs=4, lr=0.1, lr_drop=(after, 0.01)), windows, target)
    assert [(call["lr"], call["lr_drop"]) for call in calls] == [first, second]


def test_the_network_starts_as_the_stagers_does(stager, windows, target):
    """Of one seed, so that source-only and this differ by training alone."""
    seen = []
    real = SleepStager._build
    for method in (stager, DomainAdversarial(clone(stager))):
        own = type(method)._build

        def build(self: Any, *shape: Any, own: Any = own) -> Any:
            module = own(self, *shape)
            seen.append([p.detach().clone() for p in module.parameters()])
            return module

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(method), "_build", build, raising=False)
            extra = {} if method is stager else {"X_target_unlabeled": target}
            method.fit(windows, windows.y, **extra)
    assert SleepStager._build is real
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))


def test_it_starts_from_the_weights_that_the_stager_starts_from(stager, windows, tmp_path):
    fitted = clone(stager).fit(windows)
    given = {name: value.contiguous() for name, value in fitted.module_.state_dict().items()}
    save_file(given, tmp_path / "start.safetensors")
    method = DomainAdversarial(stager.set_params(weights=str(tmp_path / "start.safetensors")))
    started = method._build(windows.shape[1:], windows.sfreq, 3).state_dict()
    own = {name for name in given if not torch.equal(started[name], given[name])}
    assert own <= {"final_layer.weight", "final_layer.bias"}


def test_equal_seeds_give_equal_networks(stager, windows, target):
    a, b = (fit(clone(stager), windows, target) for _ in range(2))
    np.testing.assert_array_equal(logits(a, target), logits(b, target))
    c = fit(clone(stager).set_params(random_state=1), windows, target)
    assert (logits(a, target) != logits(c, target)).any()


def test_without_the_reversal_only_the_source_teaches(stager, windows, target):
    """The domain classifier alone moves no weight of the network, which has no statistics."""
    free = fit(stager, windows, target, adversarial_weight=0.0)
    other = fit(stager, windows, 5 * np.asarray(target)[::-1], adversarial_weight=0.0)
    np.testing.assert_array_equal(logits(free, windows), logits(other, windows))
    bound = fit(stager, windows, target, adversarial_weight=5.0)
    assert (logits(free, windows) != logits(bound, windows)).any()


def test_plain_arrays_channels_by_name_and_pickles(stager, windows, target):
    X = np.asarray(windows)
    stager = stager.set_params(channels=["1"])
    fitted = DomainAdversarial(stager).fit(X, windows.y, X_target_unlabeled=np.asarray(target))
    named = fit(clone(stager).set_params(channels=["Pz"]), windows, target)
    assert fitted.ch_names_ == ("1",)
    assert named.ch_names_ == ("Pz",)
    again = pickle.loads(pickle.dumps(named))  # noqa: S301
    np.testing.assert_array_equal(logits(named, target), logits(again, target.pick(["Pz"])))
    assert named.transform(target).shape[0] == len(target)


def test_a_fitted_one_can_be_stored_and_restored(stager, windows, target):
    fitted = fit(stager, windows, target)
    module, facts = fitted.fitted_state()
    again = clone(fitted)
    again.restore(facts).load_state_dict(module.state_dict())
    np.testing.assert_array_equal(logits(again, target), logits(fitted, target))
    assert again.history_ == fitted.history_


def test_parameters_inside_can_be_set_and_a_clone_holds_nothing_fitted(stager, windows, target):
    fitted = fit(stager, windows, target)
    copied = clone(fitted).set_params(stager__lr=0.5, n_hidden=3)
    assert copied.get_params()["stager__lr"] == 0.5
    assert not hasattr(copied, "module_")
    assert not hasattr(stager, "module_")


def test_what_makes_no_sense_is_refused(stager, windows, target):
    with pytest.raises(ValueError, match="stager is a SleepStager, not a DomainAdversarial"):
        fit(DomainAdversarial(stager), windows, target)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="network of single windows"):
        fit(SleepStager(sequence_length=4), windows, target)
    with pytest.raises(ValueError, match="adversarial_weight is 0 or more, not -1"):
        fit(stager, windows, target, adversarial_weight=-1)
    with pytest.raises(ValueError, match="hold 200 values; fitted on 300"):
        fit(stager, windows, np.asarray(target)[..., :200])


# ---------------------------------------------------------------------- does it work


def rooms(seed: int, shift: float, misleading: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of three stages; the fourth tells the domain, and may mislead about stages."""
    rng, y = np.random.default_rng(seed), np.arange(600) % 3
    x = rng.normal(size=(600, 1, 6))
    x[:, 0, :3] += 1.5 * np.eye(3)[y]
    x[:, 0, 3] += shift + misleading * (y == 0)
    return x.astype(np.float32), y


def separability(fitted: Any, X: np.ndarray, T: np.ndarray) -> float:
    """Area under the curve of a fresh linear classifier of domains on the features."""
    features = np.concatenate([fitted.transform(X), fitted.transform(T)])
    domain = np.repeat([0, 1], [len(X), len(T)])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    return cross_val_score(probe, features, domain, cv=5, scoring="roc_auc").mean()


def test_features_tell_less_of_the_domain_and_stage_the_target_better() -> None:
    (X, y), (T, t) = rooms(0, 0.0, misleading=2.0), rooms(1, 3.0, misleading=0.0)
    stager = SleepStager(
        model="mlp",
        model_params={"n_hidden": 16, "drop_prob": 0.0},
        max_epochs=20,
        batch_size=32,
        lr=1e-2,
        patience=None,
        device="cpu",
        random_state=1,
    )
    alone, free, bound = (
        clone(stager).fit(X, y),
        *(
            DomainAdversarial(stager, weight).fit(X, y, X_target_unlabeled=T)
            for weight in (0.0, 1.0)
        ),
    )
    for plain in (alone, free):  # the second has the target in its statistics too
        assert separability(bound, X, T) < separability(plain, X, T) - 0.05
        assert bound.score(T, t) > plain.score(T, t) + 0.1
