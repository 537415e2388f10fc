from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from sleepshift import runner
from sleepshift.errors import DamageWarning, TaskError
from sleepshift.estimators import SleepStager
from sleepshift.leaderboard.frame import read_confusion, results_frame
from sleepshift.methods import get_methods
from sleepshift.models import MODELS
from sleepshift.windows import Windows

SHARED = ["source-only", "finetune-all", "finetune-head"]


def test_the_source_model_is_fitted_once_for_all_methods_that_need_it(grid, count_fits) -> None:
    outcome = grid.run(SHARED, seeds=(0, 1))
    assert not outcome.failed
    assert len(outcome.scored) == 3 * 2 * 2
    # Both folds have the same source people, so once per seed serves them both.
    assert len(count_fits) == len(outcome.fitted) == 2
    assert [stager.random_state for stager in count_fits] == [0, 1]


def test_folds_with_other_source_people_get_a_source_model_each(
    toy_task, tmp_path, make_grid, count_fits
) -> None:
    text = toy_task.read_text()
    head = text[: text.index("[protocol]")]
    toy_task.write_text(head + '[protocol]\nkind = "leave-subjects-out"\nn_folds = 2\n')
    outcome = make_grid(toy_task, tmp_path / "runs").run(["source-only"], seeds=(0,))
    assert len(count_fits) == len(outcome.fitted) == 2


def test_a_second_run_fits_nothing(grid, count_fits) -> None:
    grid.run(SHARED)
    count_fits.clear()
    before = results_frame(grid.out)
    outcome = grid.run(SHARED)
    assert (count_fits, outcome.fitted, outcome.scored) == ([], [], [])
    assert outcome.kept == 6
    pd.testing.assert_frame_equal(results_frame(grid.out), before)


def test_a_stored_model_predicts_as_it_did_when_it_was_fitted(grid) -> None:
    plan = grid.plan(["source-only"], folds=["one"])
    runner.execute(plan, grid.store)
    (key, job), *_ = plan.fits.items()
    fold = grid.data.folds[0]
    fresh = job.estimator.fit(fold.source, fold.source.y)
    stored = grid.store.load_artifact(key, job.estimator)
    assert (stored.predict_proba(fold.test) == fresh.predict_proba(fold.test)).all()
    assert stored.history_[-1]["valid_loss"] == fresh.history_[-1]["valid_loss"]


def test_methods_without_chance_share_one_job_over_seeds(grid) -> None:
    plan = grid.plan(["features-logreg", "majority"], seeds=(0, 1, 2), folds=["one"])
    assert len(plan.grid) == 6
    assert len(plan.cells) == 2


def test_all_methods_run_and_give_a_row_a_person(grid) -> None:
    outcome = grid.run(folds=["one"])
    assert outcome.failed == {}
    frame = results_frame(grid.out)
    distilled = frame["method"].isin([m.name for m in get_methods() if m.family == "distillation"])
    assert set(frame[distilled]["status"]) == {"skipped: the task has no teacher's view"}
    frame = frame[~distilled]
    skipped = frame["status"].str.startswith("skipped")
    # The toy network has no batch normalisation, the toy view one channel.
    assert set(frame[skipped]["method"]) == {"adabn", "euclidean-alignment"}
    frame = frame[~skipped]
    assert set(frame["status"]) == {"ok"}
    n_others = sum(m.family != "distillation" for m in get_methods())
    assert len(frame) == (n_others - 2) * 2
    assert frame.groupby("method")["subject"].apply(set).map(lambda s: s == {"6", "7"}).all()


def test_what_cannot_run_is_listed_as_skipped_with_its_reason(grid) -> None:
    grid.run(["majority", "source-only"], folds=["0"], overrides={"model": "mlp"})
    frame = results_frame(grid.out).set_index("method")
    assert frame.loc["source-only", "status"] == (
        "skipped: model mlp takes features windows, not signal"
    )
    assert (frame.loc[["majority"], "status"] == "ok").all()


def test_a_failing_job_stops_neither_the_others_nor_the_next_run(grid, monkeypatch) -> None:
    def broken(self: SleepStager, X: object, y: object = None) -> SleepStager:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(SleepStager, "fit", broken)
        outcome = grid.run([*SHARED, "majority"], folds=["one"])
    assert len(outcome.scored) == 1
    status = results_frame(grid.out).set_index("method")["status"]
    assert (status[["majority"]] == "ok").all()
    assert "out of luck" in status["source-only"]
    assert status["finetune-all"].startswith("failed: prerequisite")
    assert "out of luck" in status["finetune-all"]
    assert not grid.run([*SHARED, "majority"], folds=["one"]).failed
    assert set(results_frame(grid.out)["status"]) == {"ok"}


def test_damage_is_set_aside_and_mended(grid) -> None:
    grid.run(["source-only", "finetune-head"], folds=["one"])
    before = results_frame(grid.out)
    plan = grid.plan(["source-only", "finetune-head"], folds=["one"])
    (key,) = plan.fits
    weights = grid.out / "artifacts" / key / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    no_manifest, bad_people = plan.cells
    (grid.out / "cells" / no_manifest / "manifest.json").unlink()
    (grid.out / "cells" / bad_people / "people.json").write_text("[]")
    with pytest.warns(DamageWarning) as caught:
        outcome = grid.run(["source-only", "finetune-head"], folds=["one"])
    assert len(caught) == 3
    assert (len(outcome.fitted), len(outcome.scored)) == (1, 2)
    assert weights.read_bytes() == content
    times = ["fit_seconds", "predict_seconds"]
    after = results_frame(grid.out)
    pd.testing.assert_frame_equal(after.drop(columns=times), before.drop(columns=times))
    assert len(list(grid.out.glob("*/.damaged-*"))) == 3


def test_other_test_labels_change_the_scores_and_nothing_that_is_fitted(grid) -> None:
    methods = ["source-only", "finetune-all", "rp-linear"]
    plan = grid.plan(methods, folds=["one"])
    runner.execute(plan, grid.store)
    windows, test = grid.data.windows, grid.data.folds[0].test
    flipped = windows.y.copy()
    flipped[np.isin(windows.rows, test.rows)] = 0
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
    again = runner.plan([data], get_methods(methods), folds=["one"])
    assert again.fits.keys() == plan.fits.keys()
    assert again.cells.keys() == plan.cells.keys()
    store = runner.ArtifactStore(grid.out.with_name("other"))
    runner.execute(again, store)
    for key in plan.cells:
        ours, theirs = (
            np.load(root / "cells" / key / "predictions.npz") for root in (grid.out, store.root)
        )
        assert np.array_equal(ours["probability"], theirs["probability"])
        assert not np.array_equal(ours["truth"], theirs["truth"])


def test_rows_follow_from_the_stored_predictions_by_scikit_learn(
    toy_task, tmp_path, make_grid
) -> None:
    """Methods work in six R&K stages, figures are in five."""
    text = toy_task.read_text().replace('scheme = "aasm5"\nsfreq', 'scheme = "rk6"\nsfreq')
    toy_task.write_text(text)
    grid = make_grid(toy_task, tmp_path / "runs")
    grid.run(["features-logreg", "target-only"], folds=["one"])
    frame = results_frame(grid.out).set_index(["method", "subject"])
    merged = np.array([0, 1, 2, 3, 3, 4])
    for cell in grid.plan(["features-logreg", "target-only"], folds=["one"]).grid:
        stored = np.load(grid.out / "cells" / cell.key / "predictions.npz")
        people = grid.data.windows.metadata["subject"].to_numpy()[stored["row"]]
        assert np.array_equal(stored["truth"], grid.data.windows.y[stored["row"]])
        for person in np.unique(people):
            own = people == person
            truth, predicted = stored["truth"][own], stored["predicted"][own]
            row = frame.loc[(cell.method, person)]
            counts = confusion_matrix(truth, predicted, labels=range(6))
            assert np.array_equal(read_confusion(row["confusion"]), counts)
            right = stored["probability"][own][np.arange(own.sum()), truth]
            assert row["nll"] == pytest.approx(-np.log(right.clip(1e-12)).mean(), rel=1e-4)
            truth, predicted = merged[truth], merged[predicted]
            assert row["accuracy"] == pytest.approx((truth == predicted).mean())
            assert row["kappa"] == pytest.approx(cohen_kappa_score(truth, predicted))
            f1 = f1_score(truth, predicted, average="macro")
            assert row["macro_f1"] == pytest.approx(f1)


def test_an_unknown_setting_is_refused(grid) -> None:
    with pytest.raises(TaskError, match="no chosen method has it"):
        grid.plan(["majority"], overrides={"nonsense": 1})
    with pytest.raises(TaskError, match="max_epochs"):
        grid.plan(["majority"], overrides={"max_epochs": 0})
    with pytest.raises(TaskError, match="unknown model"):
        grid.plan(["majority"], overrides={"model": "nonsense"})
    with pytest.raises(TaskError, match="has no fold 'three'"):
        grid.plan(["majority"], folds=["three"])


def test_a_setting_reaches_a_base_wherever_it_stands_so_that_it_stays_shared(grid) -> None:
    plan = grid.plan(SHARED, folds=["0"], overrides={"weight_decay": 0.5})
    (base,) = plan.fits.values()
    assert base.estimator.weight_decay == 0.5
    tuners = [c.estimator for c in plan.cells.values() if hasattr(c.estimator, "base")]
    assert [(t.weight_decay, t.base.weight_decay) for t in tuners] == [(0.5, 0.5)] * 2


@pytest.mark.parametrize("name", ["random_state", "trainable", "base", "base__channels"])
def test_a_setting_that_would_make_a_method_another_one_is_refused(grid, name) -> None:
    with pytest.raises(TaskError, match="it stays"):
        grid.plan(["finetune-head"], overrides={name: "all"})


@pytest.mark.parametrize("model", [m for m, spec in MODELS.items() if spec.kind == "signal"])
def test_every_network_comes_back_from_the_store_as_it_was(model, tmp_path) -> None:
    X = np.random.default_rng(0).normal(size=(8, 1, 3000)).astype(np.float32)
    stager = SleepStager(model=model, sfreq=100.0, max_epochs=1, batch_size=4, valid_size=0)
    stager.set_params(sequence_length=4 if MODELS[model].sequence else None)
    fitted = stager.fit(X, np.arange(8) % 2)
    store = runner.ArtifactStore(tmp_path)
    store.save_artifact("key", fitted, {})
    assert store.has_artifact("key")
    again = store.load_artifact("key", stager)
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.parametrize("name", ["bandpower", "logisticregression", "base__model"])
def test_a_step_cannot_be_replaced_by_a_setting(grid, name) -> None:
    with pytest.raises(TaskError, match="it stays"):
        grid.plan(["features-logreg", "finetune-head"], overrides={name: "passthrough"})


def test_rows_name_the_code_that_fitted_their_model(grid, monkeypatch) -> None:
    plan = grid.plan(["source-only"], folds=["one"])
    runner.execute(plan, grid.store)
    (cell,) = plan.cells
    (grid.out / "cells" / cell / "manifest.json").unlink()
    monkeypatch.setattr("sleepshift.windows.store._code", lambda: "new")
    runner.execute(plan, grid.store)
    versions = grid.store.read_cell(cell)[1]["versions"]["sleepshift"].split(",")
    assert len(versions) == 2
    assert versions[0].endswith("+new")


def test_a_control_that_is_never_trained_does_not_begin_trained() -> None:
    from sleepshift.methods import METHODS, Settings
    from sleepshift.runner.overrides import override

    settings = Settings(
        model="chambon2018", channels=("b",), teacher_channels=("a",), max_epochs=1,
        target_epochs=1, batch_size=8, lr=0.1, finetune_epochs=1, finetune_lr=0.1,
        pretext_epochs=1, n_pairs=8, patience=1,
    )  # fmt: skip
    for name in ("weights", "teacher__weights"):
        control = METHODS["kd-random-teacher"].make(settings)
        override(control, {name: "w.safetensors"})
        assert control.teacher.weights is None
        taught = METHODS["kd-softmax"].make(settings)
        override(taught, {name: "w.safetensors"})
        assert taught.teacher.weights == "w.safetensors"
