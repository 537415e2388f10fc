"""Named recipes: what they make, and what they need of a fold."""

from __future__ import annotations

import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone, is_classifier

from sleepshift.errors import DataError, TaskError
from sleepshift.leaderboard.marks import fair, marks
from sleepshift.methods import (
    METHODS,
    Method,
    Settings,
    adaptation,
    distillation,
    floors,
    get_methods,
    mixup,
    published,
    selfsupervised,
    transfer,
)
from sleepshift.methods.needs import NEEDS
from sleepshift.models import model_spec
from sleepshift.protocol.fold import Fold
from sleepshift.windows.windows import Windows

TEACHER, ASSISTANT, STUDENT = ("C3",), ("C3", "Fpz"), ("Fpz",)
VALUES: dict[str, Any] = {
    "model": "chambon2018",
    "channels": STUDENT,
    "teacher_channels": None,
    "assistant_channels": None,
    "teacher_model": None,
    "assistant_model": None,
    "sequence_length": None,
    "monitor": "macro_f1",
    "max_epochs": 1,
    "target_epochs": 2,
    "batch_size": 16,
    "lr": 0.011,
    "finetune_epochs": 3,
    "finetune_lr": 0.022,
    "pretext_epochs": 1,
    "n_pairs": 32,
    "patience": 4,
    "random_state": 5,
    "data_seed": 6,
    "device": "cpu",
}
SETTINGS = Settings(**VALUES)
TWO_VIEWS = replace(SETTINGS, teacher_channels=TEACHER, assistant_channels=ASSISTANT)
SEQUENCES = replace(
    TWO_VIEWS,
    model="sequence-student",
    teacher_model="sequence-teacher",
    assistant_model="sequence-assistant",
    sequence_length=4,
)
DISTILLED = {name: m for name, m in METHODS.items() if m.family == "distillation"}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
distilled = pytest.mark.parametrize("method", DISTILLED.values(), ids=DISTILLED)


def fitting(method: Method) -> Settings:
    """Settings of a task that offers what a method needs."""
    if method.model is not None:
        return replace(SETTINGS, model=method.model)
    if "sequences" in method.needs:
        return SEQUENCES
    if "utime" in method.needs:
        return replace(TWO_VIEWS, model="utime")
    if "batch_norm" in method.needs:
        return replace(SETTINGS, model="chambon2018-bn")
    if "several_channels" in method.needs:
        return replace(SETTINGS, channels=("C3", "Fpz"))
    return TWO_VIEWS if "teacher" in method.needs else SETTINGS


def small(estimator: Any) -> Any:
    """The same method with few filters in its networks, where they can have few."""
    for path, value in estimator.get_params().items():
        if path.rpartition("__")[2] == "model" and value in ("chambon2018", "chambon2018-bn"):
            estimator.set_params(**{f"{path}_params": {"n_conv_chs": 2}})
        if path.rpartition("__")[2] == "model" and value == "utime":
            estimator.set_params(**{f"{path}_params": {"filters": [2] * 5}})
    return estimator


def night(
    people: list[str],
    *,
    n: int = 40,
    features: bool = False,
    times: bool = True,
    n_times: int = 600,
) -> Windows:
    """Labelled windows of a few people, the teacher's channel first."""
    rng = np.random.default_rng(len(people))
    y = np.tile(np.arange(n) % 5, len(people))
    frame = pd.DataFrame({"subject": np.repeat(people, n), "session": "0"})
    frame["onset"] = np.tile(30.0 * np.arange(n), len(people)) if times else np.nan
    shape = (len(y), 2, 10 if features else n_times)
    X = rng.normal(size=shape) + y[:, None, None]
    return Windows.from_arrays(
        X,
        y,
        metadata=frame,
        ch_names=["C3", "Fpz"],
        sfreq=None if features else 100.0,
        scheme="aasm5",
    )


def fold(*, labeled: bool = True, **form: Any) -> Fold:
    return Fold(
        "one",
        source=night(["a", "b"], **form),
        target_labeled=night(["c", "d"], **form) if labeled else None,
        target_unlabeled=night(["e"], **form).without_labels(),
        test=night(["f"], **form).without_labels().pick(STUDENT),
        privileged=night(["f"], **form).without_labels().pick(TEACHER),
    )


def test_the_settings_here_are_all_there_are() -> None:
    assert {field.name for field in fields(Settings)} == set(VALUES)


def test_names_are_unique_over_all_families() -> None:
    families = (floors, transfer, adaptation, selfsupervised, published, mixup, distillation)
    names = [m.name for family in families for m in family.METHODS]
    assert len(names) == len(set(names)) == len(METHODS)
    assert list(METHODS) == names


@every
def test_a_method_says_in_words_what_it_is(method: Method) -> None:
    assert method.summary
    assert method.learns_from
    learnt = {"transfer", "adaptation", "self-supervised", "published", "distillation"}
    assert method.family in learnt | {"floor"}
    assert set(method.needs) <= set(NEEDS)
    assert not (method.deep and method.floor)


def test_the_teacher_alone_is_tested_on_another_view() -> None:
    assert [m.name for m in METHODS.values() if m.privileged] == ["teacher"]


def test_one_method_is_chosen_on_the_test_people_and_its_name_says_so() -> None:
    chosen = [m for m in METHODS.values() if m.selected_on_test]
    assert [m.name for m in chosen] == ["attnsleep@published"]
    assert "best on the test people" in chosen[0].summary
    assert "test labels" in chosen[0].learns_from
    unfair = {m.name for m in METHODS.values() if not fair(marks(vars(m)))}
    assert unfair == {"teacher", "attnsleep@published"}


@every
def test_a_method_makes_a_fresh_classifier_that_clones(method: Method) -> None:
    settings = fitting(method)
    estimator = method.make(settings)
    assert is_classifier(estimator)
    assert method.make(settings) is not estimator
    assert repr(clone(estimator).get_params()) == repr(estimator.get_params())


@every
def test_a_method_stages_the_test_people_of_a_fold(method: Method) -> None:
    from sleepshift.estimators.routing import fit_routed
    from sleepshift.runner.keys import target_roles

    # AttnSleep takes 30 s and nothing shorter.
    form: dict[str, Any] = {"n_times": 3000} if "attnsleep" in method.needs else {}
    given = fold(**form)
    estimator = small(method.make(replace(fitting(method), n_pairs=16)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="raw_feature_kl")
        fit_routed(estimator, given.source, given.source.y, **target_roles(given))
    other = given.privileged
    test = night(["f"], **form).without_labels().pick(fitting(method).channels)
    if method.privileged:
        test, other = other, test
    proba = estimator.predict_proba(test)
    assert proba.shape == (40, 5)
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    if method.deep:
        with pytest.raises(DataError, match="no channel"):
            estimator.predict(other)


@every
def test_seeds_and_budget_reach_every_network(method: Method) -> None:
    settings = fitting(method)
    params = method.make(settings).get_params()
    found = {name: [v for k, v in params.items() if k.split("__")[-1] == name] for name in VALUES}
    if not method.deep:
        assert not found["model"]
        return
    validation = () if method.name == "mixup-vat" else ("data_seed", "patience")
    for name in ("device", "batch_size", *validation):
        assert found[name]
        assert set(found[name]) == {VALUES[name]}
    views = {settings.teacher_channels, settings.assistant_channels, settings.channels}
    networks = {settings.teacher_model, settings.assistant_model, settings.model}
    assert set(found["channels"]) <= views
    assert set(found["model"]) <= networks
    # A linear classifier behind an encoder has a random state of its own.
    seed = VALUES["random_state"]
    assert (1000 if method.privileged else 0) + seed in found["random_state"]
    assert set(found["lr"]) <= {VALUES["lr"], VALUES["finetune_lr"]}
    assert set(found["sequence_length"]) <= {settings.sequence_length}
    assert set(found["monitor"]) <= {VALUES["monitor"]}


@every
def test_a_method_runs_where_its_needs_are_met(method: Method) -> None:
    assert method.skip_reason(fold(), fitting(method)) is None


@every
def test_methods_that_need_target_labels_are_skipped_without_them(method: Method) -> None:
    reason = method.skip_reason(fold(labeled=False), fitting(method))
    if "target_labeled" in method.needs:
        assert reason == "the task has no labelled target people"
    else:
        assert reason is None


@every
def test_methods_that_need_order_are_skipped_without_it(method: Method) -> None:
    reason = method.skip_reason(fold(times=False), fitting(method))
    if "order" in method.needs:
        assert reason == "the windows have lost their order in the night"
    else:
        assert reason is None


@every
def test_networks_that_do_not_fit_the_windows_are_skipped(method: Method) -> None:
    settings = fitting(method)
    reason = method.skip_reason(fold(features=True), settings)
    if "several_channels" in method.needs:
        assert reason == "there is one channel, or none of signals, to whiten"
        return
    if "attnsleep" in method.needs:
        assert reason == NEEDS["attnsleep"].unmet
        return
    if method.deep:
        assert (
            reason == f"model {method.model or settings.model} takes signal windows, not features"
        )
    else:
        assert reason is None
    if (method.model or settings.model) == "chambon2018" and "maps" not in method.needs:
        assert method.skip_reason(fold(features=True), replace(settings, model="mlp")) is None


# ---------------------------------------------------------------------- needs

# Need -> why it is not met, the settings it is met with, those it is not met with; or folds.
CASES: dict[str, tuple[str, Any, Any]] = {
    "target_labeled": (
        "the task has no labelled target people",
        fold(),
        fold(labeled=False),
    ),
    "order": (
        "the windows have lost their order in the night",
        fold(),
        fold(times=False),
    ),
    "target_unlabeled": (
        "the task has no unlabelled target signals",
        fold(),
        replace(fold(), target_unlabeled=None),
    ),
    "batch_norm": (
        "the task's network has no batch normalisation",
        replace(SETTINGS, model="chambon2018-bn"),
        SETTINGS,
    ),
    "several_channels": (
        "there is one channel, or none of signals, to whiten",
        replace(SETTINGS, channels=("C3", "Fpz")),
        SETTINGS,
    ),
    "teacher": ("the task has no teacher's view", TWO_VIEWS, SETTINGS),
    "one_view": (
        "with a teacher's view beside the student's it is student-only",
        SETTINGS,
        TWO_VIEWS,
    ),
    "unlabeled_pairs": (
        "the task has no unlabelled nights with both views",
        fold(),
        replace(fold(), target_unlabeled=None),
    ),
    "single_windows": ("the task's network stages sequences", TWO_VIEWS, SEQUENCES),
    "sequences": (
        "the task's network stages single windows, which have one level of features",
        SEQUENCES,
        TWO_VIEWS,
    ),
    "assistant": (
        "the task names neither a view nor a network for an assistant",
        TWO_VIEWS,
        replace(TWO_VIEWS, assistant_channels=None),
    ),
    "same_network": (
        "teacher and student have different networks",
        TWO_VIEWS,
        replace(TWO_VIEWS, teacher_model="usleep"),
    ),
    "same_width": (
        "teacher and student have different networks or numbers of channels",
        TWO_VIEWS,
        replace(TWO_VIEWS, teacher_channels=("C3", "Fpz")),
    ),
    "maps": (
        "teacher and student have no maps over time in common",
        TWO_VIEWS,
        replace(TWO_VIEWS, model="mlp"),
    ),
    "attnsleep": (
        "AttnSleep takes signals at 64, 100, 125, 128, 200 or 256 Hz, in five or six stages",
        fold(),
        fold(features=True),
    ),
    "utime": (
        "it is published for --set model=utime",
        replace(TWO_VIEWS, model="utime"),
        TWO_VIEWS,
    ),
}


def test_every_need_is_tried_here_and_used_by_a_method() -> None:
    assert set(CASES) == set(NEEDS) == {need for m in METHODS.values() for need in m.needs}


@pytest.mark.parametrize(("need", "case"), CASES.items(), ids=CASES)
def test_a_need_is_checked_and_says_why_it_is_not_met(
    need: str, case: tuple[str, Any, Any]
) -> None:
    unmet, good, bad = case
    assert NEEDS[need].words
    assert NEEDS[need].unmet == unmet
    on_good, on_bad = (
        (part, TWO_VIEWS) if isinstance(part, Fold) else (fold(), part) for part in (good, bad)
    )
    assert NEEDS[need].met(*on_good)
    assert not NEEDS[need].met(*on_bad)
    (method, *_) = [m for m in METHODS.values() if need in m.needs]
    alone = replace(method, needs=(need,), deep=False)
    assert alone.skip_reason(*on_good) is None
    assert alone.skip_reason(*on_bad) == unmet


def test_one_network_may_be_named_twice_or_once() -> None:
    named = replace(TWO_VIEWS, teacher_model=TWO_VIEWS.model)
    for need in ("same_network", "same_width", "maps"):
        assert NEEDS[need].met(fold(), TWO_VIEWS)
        assert NEEDS[need].met(fold(), named)
        assert not NEEDS[need].met(fold(), replace(TWO_VIEWS, teacher_model="usleep"))


def test_unlabelled_nights_must_have_the_teachers_view() -> None:
    there = fold().target_unlabeled
    assert there is not None
    student = replace(fold(), target_unlabeled=there.pick(STUDENT))
    assert not NEEDS["unlabeled_pairs"].met(student, TWO_VIEWS)


def test_an_assistant_may_be_a_view_or_a_network() -> None:
    alone = replace(TWO_VIEWS, assistant_channels=None)
    for settings in (replace(alone, assistant_model="usleep"), TWO_VIEWS):
        assert NEEDS["assistant"].met(fold(), settings)


# ---------------------------------------------------------------------- distillation


def networks(method: Method, settings: Settings) -> dict[str, Any]:
    """Paths of a method's networks -> the stagers that train them."""
    estimator = method.make(settings)
    if hasattr(estimator, "model_params") and not hasattr(estimator, "student"):
        return {"": estimator}
    parts = estimator.get_params()
    return {path: part for path, part in parts.items() if hasattr(part, "weight_decay")}


@distilled
@pytest.mark.parametrize("seed", [0, 3])
def test_teachers_and_assistants_do_not_start_from_the_students_weights(
    method: Method, seed: int
) -> None:
    settings = replace(fitting(method), random_state=seed)
    found = networks(method, settings)
    seeds = {path: stager.random_state for path, stager in found.items()}
    assert len(set(seeds.values())) == len(seeds)
    students = [path for path in found if path in ("student", "")]
    if not method.privileged:
        assert [seeds[path] for path in students] == [seed]
    for path, stager in found.items():
        assert (
            stager.channels
            == {
                "": TEACHER if method.privileged else STUDENT,
                "student": STUDENT,
                "teacher": TEACHER,
                "teacher__student": ASSISTANT,
                "teacher__teacher": TEACHER,
            }[path]
        )


@distilled
def test_all_students_and_all_teachers_of_a_task_are_one_recipe(method: Method) -> None:
    """They differ in what they are told, not in network, initialisation or budget."""
    settings = fitting(method)
    found = networks(method, settings)
    teacher, student = (
        METHODS[name].make(settings).get_params() for name in ("teacher", "student-only")
    )
    shares_its_passes = {"kd-attention", "kd-attention-softmax"}
    if not method.privileged:
        own = (found.get("student") or found[""]).get_params()
        if method.name in shares_its_passes:
            own |= {"max_epochs": student["max_epochs"]}
        assert own == student
    for path in {"teacher", "teacher__teacher"} & set(found):
        if path == "teacher__teacher" or "teacher__teacher" not in found:
            own = found[path].get_params()
            if method.name == "kd-random-teacher":
                assert own["max_epochs"] == 0
                own |= {"max_epochs": teacher["max_epochs"]}
            assert own == teacher


def test_controls_and_variants_have_the_loss_of_what_they_are_held_against() -> None:
    made = {name: m.make(fitting(m)) for name, m in DISTILLED.items()}
    soft = made["kd-softmax"].loss
    for name in ("kd-random-teacher", "kd-unlabeled", "kd-online", "kd-mutual", "takd"):
        assert type(made[name].loss) is type(soft)
        assert made[name].loss.get_params() == soft.get_params()
    smoothed = made["label-smoothing"].loss.get_params()
    assert smoothed.pop("smoothing") is None
    assert smoothed == {name: soft.get_params()[name] for name in smoothed}
    assert made["takd"].teacher.loss.get_params() == soft.get_params()
    assert [name for name, one in made.items() if getattr(one, "unlabeled", False)] == [
        "kd-unlabeled"
    ]
    assert [name for name, m in DISTILLED.items() if m.unlabeled] == ["kd-unlabeled"]
    assert [name for name, one in made.items() if getattr(one, "start", "") == "teacher"] == [
        "transfer-init"
    ]
    assert [name for name, one in made.items() if getattr(one, "mutual", False)] == ["kd-mutual"]


@pytest.mark.parametrize("passes", [1, 2, 7])
@pytest.mark.parametrize("name", ["kd-attention", "kd-attention-softmax"])
def test_attention_and_labels_share_the_passes_of_student_only(name: str, passes: int) -> None:
    made = METHODS[name].make(replace(TWO_VIEWS, max_epochs=passes))
    assert made.pretraining_epochs >= 1
    assert made.student.max_epochs >= 1
    if passes > 1:
        assert made.pretraining_epochs + made.student.max_epochs == passes


@distilled
def test_a_teacher_with_a_network_of_its_own_has_it_everywhere(method: Method) -> None:
    settings = replace(SEQUENCES, random_state=0)
    for path, stager in networks(method, settings).items():
        role = "teacher" if path.endswith("teacher") else "student"
        role = "teacher" if method.privileged else role
        role = "assistant" if path == "teacher__student" else role
        assert stager.model == f"sequence-{role}"
        assert model_spec(stager.model).sequence
        assert stager.sequence_length == 4


def test_a_student_with_one_channel_at_most_takes_the_first_of_its_view() -> None:
    settings = replace(TWO_VIEWS, channels=("Fpz", "C3"), model="attnsleep")
    assert METHODS["student-only"].make(settings).channels == ("Fpz",)
    settings = replace(settings, teacher_model="chambon2018", teacher_channels=("C3", "Fpz"))
    assert METHODS["teacher"].make(settings).channels == ("C3", "Fpz")


def test_methods_come_in_the_order_of_tables_however_they_are_asked_for() -> None:
    names = list(METHODS)
    assert [m.name for m in get_methods()] == names
    assert [m.name for m in get_methods([names[3], names[0]])] == [names[0], names[3]]
    assert get_methods([]) == []


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(TaskError, match="unknown method 'fine'; use some of majority, features-"):
        get_methods(["majority", "fine"])
