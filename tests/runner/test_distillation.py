"""Teachers are shared, what they compute is computed once, and nobody sees what they should not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.frozen import FrozenEstimator

from sleepshift import runner
from sleepshift.errors import TaskError
from sleepshift.estimators import Distiller, OnlineDistiller, SleepStager, readout
from sleepshift.estimators.objectives import (
    AttentionTransfer,
    FeatureMatching,
    Objective,
    SoftLabels,
)
from sleepshift.leaderboard.frame import results_frame
from sleepshift.leaderboard.report import check_report, write_report
from sleepshift.methods import METHODS, Method
from sleepshift.methods.floors import METHODS as FLOORS
from sleepshift.methods.transfer import stager
from sleepshift.windows import Windows

TEACHER, STUDENT = ("EEG Fpz-Cz", "EEG Pz-Oz"), ("ECG",)
#: Students that learn from the trained teacher, one way or another.
TAUGHT = [
    "transfer-init",
    "label-smoothing",
    "kd-softmax",
    "kd-attention",
    "kd-feature",
    "kd-logit-mse",
    "kd-unlabeled",
    "takd",
]
SOME = ["teacher", "student-only", *TAUGHT]


@pytest.fixture
def grid(toy_views_task: Path, tmp_path: Path, make_grid: Any) -> Any:
    return make_grid(toy_views_task, tmp_path / "runs")


@pytest.fixture
def count_outputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(windows, kind) of everything a teacher computes, with who it is."""
    computed: list[tuple[str, str]] = []
    kept, run = readout.computed_once, readout._run

    def counted(module: Any, windows: Windows, kinds: Any, *rest: Any) -> Any:
        people = ",".join(sorted(set(windows.subjects)))
        weights = next(iter(module.state_dict().values())).sum().item()
        computed.extend((f"{weights:.12g} {people}", kind) for kind in kinds)
        return run(module, windows, kinds, *rest)

    def once(cache: Any, keys: Any, compute: Any) -> Any:
        def noted(kinds: Any) -> Any:  # a student's own predictions are not kept, nor counted
            with monkeypatch.context() as patch:
                patch.setattr(readout, "_run", counted)
                return compute(kinds)

        return kept(cache, keys, noted)

    monkeypatch.setattr(readout, "computed_once", once)
    return computed


def _seen_by(fitted: list[SleepStager], channels: tuple[str, ...]) -> list[int]:
    return [stager.random_state for stager in fitted if tuple(stager.channels) == channels]


# ---------------------------------------------------------------------- sharing


def test_a_teacher_is_fitted_once_per_fold_and_seed_for_all_students(grid, count_fits) -> None:
    methods = ["teacher", "student-only", "label-smoothing", "kd-softmax", "kd-unlabeled", "takd"]
    outcome = grid.run(methods, seeds=(0, 1))
    assert outcome.failed == {}
    assert len(outcome.scored) == len(methods) * 2 * 2
    assert sorted(_seen_by(count_fits, TEACHER)) == [1000, 1000, 1001, 1001]
    assert sorted(_seen_by(count_fits, STUDENT)) == [0, 0, 1, 1]
    assert len(count_fits) == 2 * 2 * 2


def test_students_alone_have_their_teacher_fitted(grid, count_fits) -> None:
    grid.run(["kd-softmax"], folds=["0"])
    assert _seen_by(count_fits, TEACHER) == [1000]
    grid.run(["teacher"], folds=["0"])
    assert len(count_fits) == 1


def test_a_teachers_outputs_are_computed_once_for_a_set_of_windows(grid, count_outputs) -> None:
    grid.run(SOME, folds=["0"], seeds=(0, 1))
    assert len(count_outputs) == len(set(count_outputs))
    fold = grid.data.folds[0]
    source, unlabeled = (
        ",".join(sorted(set(part.subjects))) for part in (fold.source, fold.target_unlabeled)
    )
    by_kind = pd.Series([kind for _, kind in count_outputs]).value_counts().to_dict()
    # Of each seed: logits of the source nights by the teacher and by the assistant, and of
    # the unlabelled night.
    assert by_kind == {"logits": 6, "attention": 2, "features": 2}
    logits = [who.split()[1] for who, kind in count_outputs if kind == "logits"]
    assert sorted(logits) == sorted([source] * 4 + [unlabeled] * 2)


def test_outputs_are_there_for_methods_that_come_later(grid, count_outputs) -> None:
    grid.run(["kd-softmax"], folds=["0"])
    before = list(count_outputs)
    assert [kind for _, kind in before] == ["logits"]
    grid.run(["kd-logit-mse", "label-smoothing", "kd-softmax@published"], folds=["0"])
    assert count_outputs == before
    grid.run(["kd-unlabeled"], folds=["0"])
    (more,) = count_outputs[1:]
    unlabeled = grid.data.folds[0].target_unlabeled
    assert more[0].split()[1] == ",".join(sorted(set(unlabeled.subjects)))


def test_a_second_run_fits_and_computes_nothing(grid, count_fits, count_outputs) -> None:
    grid.run(SOME, folds=["1"])
    count_fits.clear()
    count_outputs.clear()
    before = results_frame(grid.out)
    outcome = grid.run(SOME, folds=["1"])
    assert (count_fits, count_outputs, outcome.fitted, outcome.scored) == ([], [], [], [])
    assert outcome.kept == len(SOME)
    pd.testing.assert_frame_equal(results_frame(grid.out), before)


def test_damaged_outputs_are_set_aside_and_computed_again(grid, count_outputs) -> None:
    grid.run(["kd-softmax"], folds=["0"])
    (path,) = grid.out.glob("outputs/*/logits.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    grid.run(["kd-logit-mse"], folds=["0"])
    assert [kind for _, kind in count_outputs] == ["logits", "logits"]
    assert path.read_bytes() == whole
    assert len(list(grid.out.glob("outputs/.damaged-*"))) == 1


def test_cached_outputs_change_nothing(grid) -> None:
    plan = grid.plan(["kd-softmax"], folds=["0"])
    runner.execute(plan, grid.store)
    job = next(fit for fit in plan.fits.values() if isinstance(fit.estimator, Distiller))
    fold = grid.data.folds[0]
    fresh = job.estimator.fit(fold.source, fold.source.y)
    assert job.estimator.cache is None
    stored = grid.store.load_artifact(job.key, job.estimator)
    assert np.array_equal(stored.predict_proba(fold.test), fresh.predict_proba(fold.test))


def test_an_untrained_teacher_is_another_one(grid, count_fits) -> None:
    grid.run(["kd-random-teacher", "kd-softmax"], folds=["0"])
    assert [stager.max_epochs for stager in count_fits] == [0, 2]
    assert _seen_by(count_fits, TEACHER) == [1000, 1000]


def test_a_method_that_trains_its_own_teacher_needs_none(grid, count_fits) -> None:
    outcome = grid.run(["kd-online", "kd-mutual"], folds=["0"])
    assert len(outcome.fitted) == 2
    assert count_fits == []


def test_a_teacher_that_fails_fails_its_students_alone(grid, monkeypatch) -> None:
    original = SleepStager.fit

    def fit(self: SleepStager, X: object, y: object = None) -> SleepStager:
        if tuple(self.channels) == TEACHER:
            raise RuntimeError("gone home")
        return original(self, X, y)

    with monkeypatch.context() as patch:
        patch.setattr(SleepStager, "fit", fit)
        outcome = grid.run(["teacher", "student-only", "kd-softmax", "takd"], folds=["0"])
    assert len(outcome.scored) == 1
    status = results_frame(grid.out).set_index("method")["status"]
    assert (status[["student-only"]] == "ok").all()
    for method in ("kd-softmax", "takd"):
        assert status[method].startswith("failed: prerequisite")
        assert "gone home" in status[method]
    assert not grid.run(["teacher", "student-only", "kd-softmax", "takd"], folds=["0"]).failed


def test_what_a_student_costs_includes_its_teachers(grid) -> None:
    plan = grid.plan(["teacher", "takd"], folds=["0"])
    runner.execute(plan, grid.store)
    seconds = {
        job.name: grid.store.artifact_facts(key)["fit_seconds"] for key, job in plan.fits.items()
    }
    teacher, assistant, student = sorted(seconds.values())
    assert teacher < assistant < student


# ---------------------------------------------------------------------- who sees what


def test_every_method_that_fits_the_task_runs(grid) -> None:
    outcome = grid.run(folds=["0"])
    assert outcome.failed == {}
    frame = results_frame(grid.out)
    status = frame.groupby("method")["status"].unique().map(list)
    skipped = {
        "the task has no labelled target people": (
            "features-logreg-target", "features-logreg-pooled", "target-only", "pooled",
            "finetune-all", "finetune-head",
        ),
        "with a teacher's view beside the student's it is student-only": tuple(
            name for name, method in METHODS.items() if "one_view" in method.needs
        ),
        "the task's network stages single windows, which have one level of features": (
            "sleepkd", "sleepkd@published", "sleepkd-code@published",
        ),
        "it is published for --set model=utime": (
            "kd-attention@published", "kd-attention-softmax@published",
        ),
        "teacher and student have different networks or numbers of channels": (
            "kd-feature@published", "kd-online@published",
        ),
    }  # fmt: skip
    expected = {m: [f"skipped: {why}"] for why, names in skipped.items() for m in names}
    assert status.to_dict() == {name: expected.get(name, ["ok"]) for name in METHODS}
    people = frame[frame["status"] == "ok"].groupby("method")["subject"].apply(set)
    assert people.map(lambda who: who == set(grid.data.folds[0].test.subjects)).all()


def test_the_teacher_is_scored_on_its_own_view(grid) -> None:
    plan = grid.plan(["teacher", "student-only", "kd-softmax"], folds=["0"])
    runner.execute(plan, grid.store)
    fold = grid.data.folds[0]
    tested = {job.name.split(" · ")[-1]: job.test for job in plan.cells.values()}
    assert tested["teacher"].ch_names == TEACHER
    assert tested["student-only"].ch_names == tested["kd-softmax"].ch_names == STUDENT
    cells = {cell.method: cell.key for cell in plan.grid}
    assert len(set(cells.values())) == 3
    job = plan.cells[cells["teacher"]]
    fresh = job.estimator.fit(fold.source, fold.source.y)
    with np.load(grid.out / "cells" / cells["teacher"] / "predictions.npz") as stored:
        assert np.array_equal(stored["row"], fold.test.rows)
        assert np.array_equal(stored["truth"], grid.data.windows.labels_of(fold.test))
        expected = fresh.predict_proba(fold.privileged)
        np.testing.assert_allclose(stored["probability"], expected, atol=1e-6)


def test_teacher_and_student_are_keyed_apart_on_one_view_too(
    toy_views_task, tmp_path, make_grid
) -> None:
    """As where a large network teaches a small one."""
    text = toy_views_task.read_text().replace('student = ["ECG"]', f"student = {list(TEACHER)}")
    toy_views_task.write_text(text)
    grid = make_grid(toy_views_task, tmp_path / "runs")
    plan = grid.plan(["teacher", "student-only", "transfer-init"], folds=["0"])
    fold = grid.data.folds[0]
    assert fold.privileged.fingerprint == fold.test.fingerprint
    assert len(plan.cells) == len(plan.fits) == 3
    assert not runner.execute(plan, grid.store).failed
    found = [
        np.load(grid.out / "cells" / key / "predictions.npz")["probability"] for key in plan.cells
    ]
    assert not np.array_equal(found[0], found[1])


def test_withheld_labels_change_nothing_that_is_fitted(grid) -> None:
    """Neither those of the test people nor those of the unlabelled nights."""
    methods = ["teacher", "student-only", "label-smoothing", "kd-unlabeled", "takd", "rp-linear"]
    plan = grid.plan(methods, folds=["0"])
    runner.execute(plan, grid.store)
    windows, fold = grid.data.windows, grid.data.folds[0]
    flipped = windows.y.copy()
    flipped[~np.isin(windows.rows, fold.source.rows)] = 0
    other = Windows(
        windows._signals,
        windows.metadata,
        flipped,
        ch_names=windows.ch_names,
        sfreq=windows.sfreq,
        scheme=windows.scheme,
        name=windows.name,
    )
    data = runner.TaskData(grid.data.task, other, grid.data.task.folds(other))
    again = runner.plan([data], grid._methods(methods), folds=["0"])
    assert again.fits.keys() == plan.fits.keys()
    assert again.cells.keys() == plan.cells.keys()
    store = runner.ArtifactStore(grid.out.with_name("other"))
    assert not runner.execute(again, store).failed
    for key in plan.cells:
        ours, theirs = (
            np.load(root / "cells" / key / "predictions.npz") for root in (grid.out, store.root)
        )
        assert np.array_equal(ours["probability"], theirs["probability"])
        assert not np.array_equal(ours["truth"], theirs["truth"])


def test_other_unlabelled_nights_matter_to_who_learns_from_them(grid) -> None:
    """The teacher and the student alone stay one artifact each."""
    names = ["teacher", "student-only", "kd-unlabeled"]
    plan = grid.plan(names, folds=["0"])
    fold = grid.data.folds[0]
    fewer = replace(fold, target_unlabeled=fold.target_unlabeled[:-5])
    data = runner.TaskData(grid.data.task, grid.data.windows, [fewer])
    other = runner.plan([data], grid._methods(names), folds=["0"])
    shared = {cell.method for cell in plan.grid if cell.key in other.cells}
    assert shared == {"teacher", "student-only"}


def test_unlabelled_nights_are_learned_from(grid) -> None:
    grid.run(["kd-softmax", "kd-unlabeled"], folds=["0"])
    found = {
        cell.method: np.load(grid.out / "cells" / cell.key / "predictions.npz")["probability"]
        for cell in grid.plan(["kd-softmax", "kd-unlabeled"], folds=["0"]).grid
    }
    assert not np.array_equal(found["kd-softmax"], found["kd-unlabeled"])


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ({"alpha": 1.5}, "alpha is the teacher's share of the loss, from 0 to 1, not 1.5"),
        ({"alpha": float("nan")}, "alpha is .* not nan"),
        ({"temperature": 0}, "temperature is above 0, not 0"),
        ({"temperature": float("inf")}, "temperature is above 0, not inf"),
        ({"loss__temperature": -1}, "temperature is above 0, not -1"),
        ({"teacher__loss__temperature": -1}, "temperature is above 0, not -1"),
        ({"pretraining__norm": "rows"}, "norm is 'time' or 'batch', not 'rows'"),
        ({"smoothing": 2}, "smoothing is a share from 0 to 1, not 2"),
        ({"weight": -0.5}, "weight is a weight, 0 or more, not -0.5"),
        ({"projector": "both"}, "projector is 'student' or 'none' or 'teacher', not 'both'"),
        ({"monitor": "kappa"}, "monitor"),
        ({"teacher_model": "nonsense"}, "unknown model 'nonsense'"),
        ({"sequence_length": 1}, "sequence_length"),
    ],
)  # fmt: skip
def test_a_setting_that_makes_no_sense_is_refused_before_anything_is_fitted(
    grid, setting: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TaskError, match=reason) as caught:
        grid.plan(SOME, overrides=setting)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["teacher", "student", "loss", "pretraining", "start", "unlabeled", "mutual", "cache",
     "student__channels", "teacher__random_state", "teacher__model", "teacher__loss"],
)  # fmt: skip
def test_a_setting_that_would_make_a_distilled_method_another_one_is_refused(grid, name) -> None:
    with pytest.raises(TaskError, match="it stays"):
        grid.plan([*SOME, "kd-mutual"], overrides={name: "x"})


def test_settings_reach_objectives_and_keep_teachers_shared(grid) -> None:
    changed = {"temperature": 2.0, "alpha": 0.25, "weight_decay": 0.5}
    plan = grid.plan(
        ["teacher", "student-only", "kd-softmax", "takd"], folds=["0"], overrides=changed
    )
    teachers = [j for j in plan.fits.values() if getattr(j.estimator, "channels", None) == TEACHER]
    assert len(teachers) == 1
    distillers = [j.estimator for j in plan.fits.values() if isinstance(j.estimator, Distiller)]
    assert len(distillers) == 3
    for made in distillers:
        assert (made.loss.temperature, made.loss.alpha) == (2.0, 0.25)
        assert made.student.weight_decay == 0.5
    plain = grid.plan(["kd-softmax"], folds=["0"])
    assert not set(plain.cells) & set(plan.cells)


# ---------------------------------------------------------------------- beyond the registry


def _plain_teacher(settings: Any) -> Any:
    floor = next(m for m in FLOORS if m.name == "features-logreg")
    teacher = floor.make(replace(settings, channels=settings.teacher_channels))
    return Distiller(teacher, stager(settings), SoftLabels(temperature=1.0))


@pytest.mark.parametrize("name", ["kd-softmax", "takd"])
def test_what_is_set_of_the_teacher_holds_for_the_teacher_that_is_tested(grid, name) -> None:
    pair = [METHODS["teacher"], METHODS[name]]
    for overrides in (
        {"teacher__weight_decay": 0.5, "weight_decay": 0.1},
        {"weight_decay": 0.1, "teacher__weight_decay": 0.5},
    ):
        plan = grid.plan(pair, overrides=overrides, folds=["0"])
        bound, taught = (plan.cells[cell.key] for cell in plan.grid)
        assert bound.estimator.weight_decay == 0.5
        assert taught.estimator.student.weight_decay == 0.1
        needs, jobs = [taught.artifact], []
        while needs:
            jobs.append(needs.pop())
            needs += plan.fits[jobs[-1]].needs.values()
        assert bound.artifact in jobs
    for method in pair:
        assert grid.plan([method], overrides={"teacher__weight_decay": 0.5}, folds=["0"]).cells


def test_any_classifier_can_teach_by_its_probabilities(toy_views_task, tmp_path, make_grid) -> None:
    # Longer nights, so that everybody has every stage: it knows no others.
    toy_views_task.write_text(toy_views_task.read_text().replace("hours = 0.5", "hours = 1.0"))
    grid = make_grid(toy_views_task, tmp_path / "runs")
    method = Method(
        name="kd-features",
        family="distillation",
        summary="taught by band powers",
        learns_from="source labels; both views of the source nights",
        labels=("source",),
        make=_plain_teacher,
        needs=("teacher",),
        deep=True,
    )
    outcome = grid.run([method, "student-only"], folds=["0"])
    assert outcome.failed == {}
    assert len(outcome.scored) == 2


@pytest.mark.parametrize(
    "objective",
    [SoftLabels(), FeatureMatching(), AttentionTransfer()],
    ids=lambda objective: type(objective).__name__,
)
def test_distilled_students_come_back_from_the_store_as_they_were(
    objective: Objective, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 2, 300)).astype(np.float32)
    y = np.arange(24) % 3
    tiny = {"sfreq": 10.0, "max_epochs": 1, "model_params": {"n_conv_chs": 2}, "device": "cpu"}
    teacher, student = SleepStager(channels=["0"], **tiny), SleepStager(channels=["1"], **tiny)
    fitted = FrozenEstimator(teacher.fit(X, y))
    made = [Distiller(fitted, student, pretraining=objective, cache=tmp_path / "outputs")]
    if "attention" not in objective.kinds:
        made = [Distiller(fitted, student, objective)]
        online = objective
        if hasattr(objective, "standardize"):
            online = FeatureMatching(standardize=False)
        made.append(OnlineDistiller(teacher, student, online))
    store = runner.ArtifactStore(tmp_path)
    for k, estimator in enumerate(made):
        whole = estimator.fit(X, y)
        store.save_artifact(str(k), whole, {})
        assert store.has_artifact(str(k))
        again = store.load_artifact(str(k), estimator)
        assert np.array_equal(again.predict_proba(X), whole.predict_proba(X))
        assert again.ch_names_ == ("1",)
        assert again.n_parameters_ == whole.n_parameters_
        assert again.history_ == whole.history_


def test_a_run_ends_with_gains_shares_and_a_bound(grid) -> None:
    grid.run(["majority", "teacher", "student-only", "kd-softmax"], seeds=(0, 1))
    out = grid.out / "leaderboard"
    results = write_report(grid.out, out)
    table = results.table.set_index("method")
    assert pd.isna(table.loc["teacher", "rank"])
    assert table.loc["teacher", "flag"].startswith("bound")
    assert table["n_people"].tolist() == [6] * 4
    text = (out / "leaderboard.md").read_text()
    assert "Gain in macro_f1 over the controls" in text
    assert "over student-only" in text
    assert check_report(out) == 4 * 6 * 2
    found = results.gains
    assert set(found["method"]) == {"teacher", "kd-softmax"}
    means = results_frame(grid.out).pivot_table("macro_f1", index="subject", columns="method")
    expected = (means["kd-softmax"] - means["student-only"]).mean()
    gain = found.set_index("method").loc["kd-softmax", "gain"]
    assert gain == pytest.approx(expected)
