"""The recipe of mixup and virtual adversarial training: its phases, rates and optimiser."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.base import clone
from skorch.callbacks import Callback

from sleepshift.estimators import MixupVAT, mixup_vat
from sleepshift.estimators.mixing import JointDomains, SameStageMixup
from sleepshift.estimators.routing import route
from sleepshift.estimators.training import watchers
from sleepshift.estimators.vat import focal_binary_cross_entropy
from sleepshift.windows.windows import Windows

QUICK = {
    "model_params": {"filters": (4, 4, 4), "n_hidden": 8},
    "sfreq": 10.0,
    "source_epochs": 1,
    "mixup_epochs": 2,
    "joint_epochs": 3,
    "batch_size": 16,
    "device": "cpu",
}


def fit(windows: Any, labeled: Any = None, unlabeled: Any = None, **params: Any) -> MixupVAT:
    stager = MixupVAT(**QUICK | params)
    labels = None if labeled is None else labeled.y
    return stager.fit(
        windows,
        windows.y,
        X_target_labeled=labeled,
        y_target_labeled=labels,
        X_target_unlabeled=unlabeled,
    )


def logits(fitted: MixupVAT, windows: Any) -> np.ndarray:
    return fitted.read_out(windows)["logits"]


@pytest.fixture
def others(make_nights) -> Windows:
    """Two people of whom there are signals."""
    return make_nights(2, seed=2, prefix="u")


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of every training."""
    calls: list[dict[str, Any]] = []
    real = mixup_vat.train

    def train(module: Any, data: Any, valid: Any, **arguments: Any) -> Any:
        calls.append({"data": data, "valid": valid, **arguments})
        return real(module, data, valid, **arguments)

    monkeypatch.setattr(mixup_vat, "train", train)
    return calls


class Rates(Callback):
    """What is updated how, at every update."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.optimisers: set[tuple[Any, ...]] = set()

    def on_train_begin(self, net: Any, *args: Any, **kwargs: Any) -> None:
        self.rates.append([])

    def on_batch_begin(self, net: Any, *args: Any, training: bool = True, **kwargs: Any) -> None:
        (group,) = net.optimizer_.param_groups
        self.rates[-1].append(group["lr"])
        how = group["decoupled_weight_decay"], group["weight_decay"]
        self.optimisers.add((type(net.optimizer_).__name__, *how))


def followed(*parts: Any, **params: Any) -> Rates:
    rates = Rates()
    token = watchers.set((rates,))
    try:
        fit(*parts, **params)
    finally:
        watchers.reset(token)
    return rates


# ---------------------------------------------------------------------- phases


def test_defaults_are_the_published_numbers() -> None:
    params = MixupVAT().get_params()
    published = {
        "source_epochs": 5,
        "mixup_epochs": 10,
        "joint_epochs": 20,
        "lr": 1e-3,
        "mixup_lr": 1e-4,
        "mixup_rate": 0.6,
        "joint_rate": 0.4,
        "target_share": 0.75,
        "gamma": 2.0,
        "label_smoothing": 0.05,
        "vat_weight": 0.01,
        "xi": 10.0,
        "eps": 1.0,
        "batch_size": 120,
        "weight_decay": 5e-4,
    }
    assert {name: params[name] for name in published} == published


def test_three_phases_see_what_they_should(trainings, windows, target, others):
    fitted = fit(windows, target, others)
    source, mixup, joint = trainings
    assert source["data"].y.tolist() == windows.y.tolist()
    assert isinstance(mixup["data"], SameStageMixup)
    assert mixup["data"].rate == 0.6
    assert [len(part) for part in mixup["data"].parts] == [len(windows), len(target)]
    assert isinstance(joint["data"], JointDomains)
    assert (joint["data"].rate, joint["data"].target_share) == (0.4, 0.75)
    assert [len(part) for part in joint["data"].parts] == [len(windows), len(target), len(others)]
    assert [call["max_epochs"] for call in trainings] == [1, 2, 3]
    assert [call["valid"] for call in trainings] == [None] * 3  # no pass is chosen
    assert [row["phase"] for row in fitted.history_] == ["source"] + ["mixup"] * 2 + ["joint"] * 3


@pytest.mark.parametrize(
    ("labeled", "unlabeled", "phases"),
    [
        (False, False, ["source"]),
        (True, False, ["source", "mixup"]),
        (False, True, ["source", "joint"]),
    ],
)
def test_phases_without_their_windows_are_left_out(
    trainings, windows, target, others, labeled, unlabeled, phases
):
    fitted = fit(windows, target if labeled else None, others if unlabeled else None)
    assert list(dict.fromkeys(row["phase"] for row in fitted.history_)) == phases
    if phases[-1] == "joint":
        assert trainings[-1]["data"].target_share == 0


def test_phases_can_be_left_out_by_hand(windows, target, others):
    fitted = fit(windows, target, others, source_epochs=0, joint_epochs=0)
    assert {row["phase"] for row in fitted.history_} == {"mixup"}
    with pytest.raises(ValueError, match="no pass to make; set source_epochs"):
        fit(windows, source_epochs=0)


def test_the_rate_cycles_in_the_first_and_third_phase(windows, target, others):
    rates = followed(windows, target, others, lr=1e-2, mixup_lr=1e-3, source_epochs=4)
    source, mixup, joint = rates.rates
    assert len(source) == 4 * 3
    assert len(joint) == 3 * 3  # half of 80 windows, in batches of 16
    for cycle in (source, joint):
        top = int(np.argmax(cycle))
        assert 0.8e-2 < cycle[top] <= 1e-2 * (1 + 1e-9)
        assert cycle[0] == pytest.approx(1e-2 / 25)
        assert cycle[-1] < 1e-5
        assert cycle[: top + 1] == sorted(cycle[: top + 1])
        assert cycle[top:] == sorted(cycle[top:], reverse=True)
    assert set(mixup) == {1e-3}
    assert rates.optimisers == {("Adam", True, 5e-4)}


@pytest.mark.parametrize("batch_size", [47, 48, 100])
def test_cycles_are_as_long_as_training_whatever_the_last_batch(windows, batch_size):
    rates = followed(windows, source_epochs=3, batch_size=batch_size)
    assert [len(cycle) for cycle in rates.rates] == [3]  # of 47, a last window is left out


def test_decoupled_decay_is_that_of_adamw() -> None:
    """As the optimiser that training makes has it."""
    start = torch.randn(5)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    adam = torch.optim.Adam(weights[:1], lr=0.1, weight_decay=0.3, decoupled_weight_decay=True)
    adamw = torch.optim.AdamW(weights[1:], lr=0.1, weight_decay=0.3)
    for weight, optimiser in zip(weights, (adam, adamw), strict=True):
        for _ in range(4):
            optimiser.zero_grad()
            weight.square().sum().backward()
            optimiser.step()
    assert torch.equal(*weights)


def test_the_loss_is_focal_plus_the_penalty() -> None:
    criterion = mixup_vat._Focal(2.0, 0.05)
    scores, codes = torch.randn(4, 3), torch.tensor([[0], [1], [-1], [2]])
    focal = focal_binary_cross_entropy(scores, codes.flatten(), 2.0, 0.05)
    torch.testing.assert_close(criterion({"logits": scores}, codes), focal)
    both = criterion({"logits": scores, "penalty": torch.tensor(0.5)}, codes)
    torch.testing.assert_close(both, focal + 0.5)


# ---------------------------------------------------------------------- target labels


def test_labels_of_unlabelled_people_are_not_looked_at(windows, target, others, sealed):
    fitted = fit(windows, target, sealed(others))
    open_ = fit(windows, target, others.with_labels((others.y + 1) % 3))
    np.testing.assert_array_equal(logits(fitted, target), logits(open_, target))


def test_every_role_teaches(windows, target, others):
    before = logits(fit(windows, target, others), windows)
    flipped = target.with_labels((target.y + 1) % 3)
    assert (logits(fit(windows, flipped, others), windows) != before).any()
    louder = Windows.from_arrays(
        3 * np.asarray(others), metadata=others.metadata, ch_names=others.ch_names, sfreq=10.0
    )
    assert (logits(fit(windows, target, louder), windows) != before).any()


def test_it_asks_for_all_roles() -> None:
    roles = {"X_target_labeled": 1, "y_target_labeled": 2, "X_target_unlabeled": 3}
    assert route(MixupVAT(), **roles) == roles


# ---------------------------------------------------------------------- as an estimator


def test_equal_seeds_give_equal_networks(windows, target, others):
    a, b, c = (fit(windows, target, others, random_state=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(logits(a, target), logits(b, target))
    assert (logits(a, target) != logits(c, target)).any()


def test_probabilities_are_sigmoids_that_sum_to_one(windows):
    fitted = fit(windows)
    p = expit(logits(fitted, windows).astype(np.float64))
    proba = fitted.predict_proba(windows)
    np.testing.assert_allclose(proba, p / p.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(fitted.classes_[proba.argmax(1)], fitted.predict(windows))


def test_plain_arrays_give_what_windows_give(windows, target, others):
    named = fit(windows, target, others, channels=["Pz"])
    stager = MixupVAT(**QUICK, channels=["1"])
    X, T, U = (np.asarray(part) for part in (windows, target, others))
    stager.fit(X, windows.y, X_target_labeled=T, y_target_labeled=target.y, X_target_unlabeled=U)
    assert named.ch_names_ == ("Pz",)
    assert stager.ch_names_ == ("1",)
    np.testing.assert_array_equal(stager.predict_proba(T), named.predict_proba(target))


def test_pickles_clones_and_what_is_stored(windows, target):
    fitted = fit(windows, target)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(logits(again, target), logits(fitted, target))
    copied = clone(fitted)
    assert not hasattr(copied, "module_")
    module, facts = fitted.fitted_state()
    copied.restore(facts).load_state_dict(module.state_dict())
    np.testing.assert_array_equal(copied.predict_proba(target), fitted.predict_proba(target))
    assert copied.history_ == fitted.history_


@pytest.mark.parametrize("name", ["mixup_rate", "joint_rate", "target_share", "label_smoothing"])
def test_shares_are_shares(windows, name):
    with pytest.raises(ValueError, match=f"{name} is a share from 0 to 1, not 1.5"):
        fit(windows, **{name: 1.5})


def test_windows_that_do_not_fit_are_refused(windows, target):
    with pytest.raises(ValueError, match="came without X_target_labeled"):
        MixupVAT(**QUICK).fit(windows, windows.y, y_target_labeled=target.y)
    strange = target.with_labels(target.y + 5)
    with pytest.raises(ValueError, match="are not among the classes"):
        fit(windows, strange)
    short = np.asarray(target)[..., :200]
    with pytest.raises(ValueError, match="hold 200 values; fitted on 300"):
        MixupVAT(**QUICK).fit(windows, windows.y, X_target_unlabeled=short)
    with pytest.raises(ValueError, match="takes signal windows, not features"):
        MixupVAT(**QUICK | {"sfreq": None}).fit(np.asarray(windows), windows.y)


def test_it_learns(make_nights):
    """Rhythms of three frequencies, of people whose signals are louder in the target."""
    windows, target = make_nights(4, 30), make_nights(2, 30, seed=1, prefix="q")
    params = {"filters": (8, 8, 8), "n_hidden": 16}
    epochs = {"source_epochs": 15, "joint_epochs": 10}
    others = make_nights(2, 30, seed=2, prefix="u").without_labels()
    test = make_nights(2, 30, seed=5, prefix="t")
    for unlabeled in (None, others):
        fitted = fit(windows, target, unlabeled, lr=1e-2, model_params=params, **epochs)
        assert fitted.score(test, test.y) > 0.8
