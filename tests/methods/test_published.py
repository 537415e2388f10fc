"""Published systems: their arithmetic, what they are given, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

from sleepshift.estimators import EveryPass, FineTuner, SleepStager
from sleepshift.estimators.inputs import split_people
from sleepshift.estimators.routing import fit_routed, route
from sleepshift.estimators.training import attnsleep_weights
from sleepshift.methods import METHODS, Settings
from sleepshift.models.parts import tensors
from sleepshift.protocol.fold import Fold
from sleepshift.runner.keys import Keyed, target_roles
from sleepshift.windows.windows import Windows

SETTINGS = Settings(
    model="chambon2018",
    channels=("C3", "Fpz"),
    max_epochs=2,
    target_epochs=2,
    batch_size=16,
    lr=1e-3,
    finetune_epochs=1,
    finetune_lr=3e-4,
    pretext_epochs=1,
    n_pairs=32,
    patience=3,
    monitor="macro_f1",
    random_state=5,
    data_seed=6,
    device="cpu",
)


def night(
    people: list[str], *, scheme: str = "aasm5", sfreq: float = 100.0, seed: int = 0
) -> Windows:
    rng = np.random.default_rng([seed, *"".join(people).encode()])
    n_stages = 6 if scheme == "rk6" else 5
    y = np.tile(np.arange(40) % n_stages, len(people))
    frame = pd.DataFrame({"subject": np.repeat(people, 40), "session": "0"})
    frame["onset"] = np.tile(30.0 * np.arange(40), len(people))
    X = rng.normal(size=(len(y), 2, int(30 * sfreq))).astype("float32")
    made = {"metadata": frame, "ch_names": ["C3", "Fpz"], "sfreq": sfreq, "scheme": scheme}
    return Windows.from_arrays(X, y, **made)


def make_fold(**form: Any) -> Fold:
    return Fold(
        "one",
        source=night(["a", "b", "c"], **form),
        target_labeled=night(["d", "e"], **form),
        target_unlabeled=night(["f"], **form).without_labels(),
        test=night(["g"], **form).without_labels(),
    )


def made(name: str, **changed: Any) -> Any:
    return METHODS[name].make(replace(SETTINGS, **changed))


def weights_of(estimator: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in tensors(estimator.module_).items()}


@pytest.fixture
def criteria(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Class weights of every training, in order."""
    import sleepshift.estimators.finetuner as tuner
    import sleepshift.estimators.stager as stager
    from sleepshift.estimators.training import cross_entropy

    seen: list[list[float]] = []

    def spy(weight: torch.Tensor | None = None) -> Any:
        seen.append([] if weight is None else weight.tolist())
        return cross_entropy(weight)

    for module in (tuner, stager):
        monkeypatch.setattr(module, "cross_entropy", spy)
    return seen


# ---------------------------------------------------------------------- AttnSleep


def test_attnsleep_is_trained_as_published_but_for_who_chooses_the_pass() -> None:
    sound, chosen = made("attnsleep"), made("attnsleep@published")
    assert isinstance(sound, SleepStager)
    assert isinstance(chosen, EveryPass)
    found = sound.get_params()
    published = {
        "model": "attnsleep-original", "channels": ("C3",), "lr": 1e-3, "weight_decay": 1e-3,
        "optimizer_params": {"amsgrad": True}, "lr_drop": (10, 1e-4), "class_weight": "attnsleep",
        "max_epochs": 2, "batch_size": 16, "monitor": "macro_f1", "sequence_length": None,
    }  # fmt: skip
    assert {name: found[name] for name in published} == published
    assert found["valid_size"] > 0
    assert chosen.estimator.get_params() == found | {"valid_size": 0.0}


def test_it_has_its_own_network_whatever_the_tasks() -> None:
    sequences = {"model": "sequence-student", "sequence_length": 4}
    for name in ("attnsleep", "beetl-attnsleep"):
        assert made(name, **sequences).get_params() == made(name).get_params()


@pytest.mark.parametrize(
    ("scheme", "sfreq", "runs"),
    [
        ("aasm5", 100.0, True),
        ("rk6", 100.0, True),
        ("aasm5", 125.0, True),
        ("aasm5", 50.0, False),
        ("stages4", 100.0, False),
    ],
)
def test_it_is_skipped_where_rate_or_stages_are_not_its_own(
    scheme: str, sfreq: float, runs: bool
) -> None:
    given = make_fold(sfreq=sfreq)
    if scheme != "aasm5":
        y = given.source.y % 4
        form = {"metadata": given.source.metadata, "sfreq": sfreq, "scheme": scheme}
        form["ch_names"] = given.source.ch_names
        source = Windows.from_arrays(np.asarray(given.source), y, **form)
        given = replace(given, source=source)
    for name in ("attnsleep", "attnsleep@published", "beetl-attnsleep"):
        reason = METHODS[name].skip_reason(given, SETTINGS)
        assert (reason is None) == runs
        if not runs:
            assert "64, 100, 125, 128, 200 or 256 Hz, in five or six stages" in str(reason)


def test_features_of_the_task_do_not_matter_to_a_method_with_a_network_of_its_own() -> None:
    settings = replace(SETTINGS, model="mlp")
    assert METHODS["beetl-rp"].skip_reason(make_fold(), settings) is None
    assert METHODS["source-only"].skip_reason(make_fold(), settings) is not None


def test_its_weights_are_counted_on_the_people_trained_on(criteria: list[list[float]]) -> None:
    given = make_fold()
    kept, aside = split_people(given.source, 0.2, SETTINGS.data_seed)
    y = given.source.y.copy()
    y[aside.rows] = 0  # all awake: would count for nothing if the others alone are counted
    made("attnsleep", max_epochs=1).fit(given.source, y)
    made("attnsleep@published", max_epochs=1).fit(given.source, y)
    expected = [attnsleep_weights(y[kept.rows], 5).tolist(), attnsleep_weights(y, 5).tolist()]
    assert expected[0] == pytest.approx([0.3, 0.4, 0.3, 0.2, 0.3])
    assert criteria == expected


def test_all_people_train_and_all_passes_are_made() -> None:
    given = make_fold()
    every = made("attnsleep@published", max_epochs=2, patience=1).fit(given.source)
    assert len(every.passes_) == 2
    assert "valid_loss" not in every.classifier_.history_[0]


def test_neither_is_given_anything_of_the_test_or_target_people() -> None:
    given = make_fold()
    assert not given.test.has_labels
    for name in ("attnsleep", "attnsleep@published", "beetl-attnsleep", "beetl-rp"):
        estimator = made(name)
        assert route(estimator, **target_roles(given)) == {}
        other = replace(given, target_labeled=None, target_unlabeled=None)
        assert Keyed(estimator).key(given) == Keyed(estimator).key(other)


# ---------------------------------------------------------------------- BEETL


def test_the_beetl_base_has_no_decay_no_schedule_and_the_sources_weights() -> None:
    base = made("beetl-attnsleep").get_params()
    own = {"weight_decay": 0.0, "optimizer_params": None, "lr_drop": None}
    assert base == made("attnsleep").get_params() | own


@pytest.mark.parametrize("scheme", ["aasm5", "rk6"])
def test_fine_tuning_keeps_the_sources_weights_and_changes_its_base_in_nothing(
    scheme: str, criteria: list[list[float]]
) -> None:
    given = make_fold(scheme=scheme)
    y = given.source.y.copy()
    y[y == 1] = np.where(np.arange((y == 1).sum()) > 0, 0, 1)  # one window is left
    tuner = made("beetl-attnsleep-finetune", max_epochs=1)
    source = given.source.with_labels(y)
    fit_routed(tuner, source, y, **target_roles(given))
    base, tuned = criteria.copy()
    n = 5 if scheme == "aasm5" else 6
    assert tuned == attnsleep_weights(y, n).tolist()
    assert tuned != attnsleep_weights(given.target_labeled.y, n).tolist()
    alone = made("beetl-attnsleep", max_epochs=1).fit(source, y)
    kept, _ = split_people(source, 0.2, SETTINGS.data_seed)
    assert base == attnsleep_weights(kept.y, n).tolist()
    before, after = weights_of(alone), weights_of(tuner.base_)
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = weights_of(tuner)
    assert any(not torch.equal(before[name], moved[name]) for name in before)


def test_all_layers_are_trained_at_the_bases_rate_from_its_weights() -> None:
    tuner, base = made("beetl-attnsleep-finetune"), made("beetl-attnsleep")
    assert isinstance(tuner, FineTuner)
    assert (tuner.trainable, tuner.lr, tuner.class_weight) == ("all", 1e-3, "attnsleep")
    assert tuner.base.get_params() == base.get_params()
    given = make_fold()
    keys = {name: Keyed(made(name)) for name in ("beetl-attnsleep-finetune", "beetl-attnsleep")}
    shared = keys["beetl-attnsleep-finetune"].prerequisites["base"]
    assert shared.key(given) == keys["beetl-attnsleep"].key(given)


def test_as_published_nobody_validates_the_fine_tuning() -> None:
    sound, published = (made(f"beetl-attnsleep-finetune{end}") for end in ("", "@published"))
    params = sound.get_params(deep=False) | {"valid_size": 0.0, "base": published.base}
    assert published.get_params(deep=False) == params
    assert published.base.get_params() == sound.base.get_params()
    given = make_fold()
    fit_routed(published, given.source, given.source.y, **target_roles(given))
    assert len(published.history_) == SETTINGS.finetune_epochs
    assert "valid_loss" not in published.history_[0]


def test_relative_positioning_is_that_of_the_entry() -> None:
    encoder, scaler, classifier = (step for _, step in made("beetl-rp").steps)
    assert (encoder.model, encoder.embedding_size) == ("chambon2018-bn", 100)
    assert (encoder.tau_pos, encoder.tau_neg) == (60.0, 900.0)
    assert encoder.channels == ("C3", "Fpz")
    assert (scaler.with_mean, scaler.with_std) == (True, True)
    assert (classifier.class_weight, classifier.C) == ("balanced", 1.0)
    fitted = encoder.fit(night(["a", "b"]))
    assert fitted.n_parameters_ == 68_202


def test_the_classifier_leaves_the_encoder_as_the_source_signals_made_it() -> None:
    given = make_fold()
    whole = made("beetl-rp")
    alone = clone(whole.steps[0][1]).fit(given.source.without_labels())
    fit_routed(whole, given.source, given.source.y, **target_roles(given))
    encoder = whole.steps[0][1]
    assert "X_target_unlabeled" not in route(whole, X_target_unlabeled=given.target_unlabeled)
    for name, tensor in tensors(encoder.encoder_).items():
        assert torch.equal(tensor, tensors(alone.encoder_)[name]), name
