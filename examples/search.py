"""Search hyperparameters with scikit-learn and with Optuna: ``python examples/search.py``.

The estimators are scikit-learn's kind, so any tool that searches those searches these. Two things
to mind: folds part people, never windows (`GroupKFold` over ``windows.subjects``), and whoever is
left for the final test is not among ``windows``. Networks on band powers of nine simulated people
keep this short; the scores say nothing about people.

``sleepshift search`` does the same for a task and a method, with shared teachers and a table of
what each rule of choice would have scored.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import optuna
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score

from sleepshift.datasets import make_dataset
from sleepshift.estimators import BandPower, Distiller, SleepStager
from sleepshift.estimators.objectives import SoftLabels
from sleepshift.windows import Recipe, Windows, open_store, prepare

VIEWS = {"teacher": ["EEG Fpz-Cz", "EEG Pz-Oz"], "student": ["ECG"]}


def simulated_windows(folder: Path) -> Windows:
    """Band powers of 45 minutes each of nine people: EEG for the teacher, ECG for the student."""
    dataset = make_dataset("simulated", None, people=[[9, 25, 60]], nights=1, hours=0.75, seed=0)
    channels = (*VIEWS["teacher"], *VIEWS["student"])
    recipe = Recipe(channels=channels, sfreq=100.0, trim_wake_minutes=None, scaling="robust")
    windows = open_store(prepare(dataset, recipe, folder)).to_scheme("stages3")
    powers = BandPower().fit_transform(windows).reshape(len(windows), len(channels), -1)
    return Windows.from_arrays(
        powers, windows.y, metadata=windows.metadata, ch_names=channels, scheme=windows.scheme
    )


def search_temperature(windows: Windows) -> GridSearchCV:
    """Temperature and weight of a distillation loss, by scikit-learn's grid search."""
    budget = {"max_epochs": 12, "lr": 3e-3, "batch_size": 16}
    teacher = SleepStager("mlp", channels=VIEWS["teacher"], random_state=1, **budget)
    student = SleepStager("mlp", channels=VIEWS["student"], **budget)
    search = GridSearchCV(
        Distiller(teacher, student, SoftLabels()),
        {"loss__temperature": [1.0, 4.0], "loss__alpha": [0.3, 0.7]},
        scoring="f1_macro",
        cv=GroupKFold(3),
    )
    return search.fit(windows, windows.y, groups=windows.subjects)


def search_learning_rate(windows: Windows, n_trials: int = 5) -> optuna.Study:
    """Learning rate and batch size of a stager, by Optuna's sampler."""

    def score(trial: optuna.Trial) -> float:
        stager = SleepStager(
            "mlp",
            channels=VIEWS["student"],
            max_epochs=12,
            lr=trial.suggest_float("lr", 1e-4, 1e-2, log=True),
            batch_size=trial.suggest_categorical("batch_size", [16, 64]),
        )
        scores = cross_val_score(
            stager,
            windows,
            windows.y,
            groups=windows.subjects,
            scoring="f1_macro",
            cv=GroupKFold(3),
        )
        return scores.mean()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(score, n_trials=n_trials)
    return study


def main() -> None:
    """Run both searches and print what they found."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        windows = simulated_windows(Path(folder))
        grid = search_temperature(windows)
        study = search_learning_rate(windows)
    results = grid.cv_results_
    for params, mean, std in zip(
        results["params"], results["mean_test_score"], results["std_test_score"], strict=True
    ):
        print(f"{mean:.3f} ± {std:.3f}  {params}")
    print(f"scikit-learn: macro F1 {grid.best_score_:.3f} with {grid.best_params_}")
    print(f"Optuna: macro F1 {study.best_value:.3f} with {study.best_params}")


if __name__ == "__main__":
    main()
