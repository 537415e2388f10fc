"""The same estimators inside MOABB's transfer evaluation, offline on its fake data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sleepshift.estimators import FineTuner, RelativePositioning, SleepStager

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"sfreq": 64.0, "max_epochs": 1, "model_params": {"n_conv_chs": 2}, "device": "cpu"}
N_TRIALS, N_SUBJECTS = 20, 3


class SpyTuner(FineTuner):
    """A fine-tuner that remembers what it was given."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_target_labeled: Any = None,
        y_target_labeled: Any = None,
        X_target_unlabeled: Any = None,
    ) -> SpyTuner:
        super().fit(X, y, X_target_labeled=X_target_labeled, y_target_labeled=y_target_labeled)
        self.seen.append({"X": X, "target": X_target_labeled, "y_target": y_target_labeled})
        return self


class SpyEncoder(RelativePositioning):
    """An encoder that remembers what it was given."""

    seen: ClassVar[list[Any]] = []

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> SpyEncoder:
        self.seen.append((X, X_target_unlabeled))
        super().fit(X, y, X_target_unlabeled=X_target_unlabeled)
        return self


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pd.DataFrame]:
    """Leave-one-subject-out evaluation of pipelines under a named mode of target access."""
    for name in ("MNE_DATA", "_MNE_FAKE_HOME_DIR", "MOABB_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    from moabb.datasets.fake import FakeDataset
    from moabb.evaluations import CrossSubjectEvaluation
    from moabb.paradigms import LeftRightImagery

    dataset = FakeDataset(
        event_list=["left_hand", "right_hand"],
        n_subjects=N_SUBJECTS,
        n_sessions=1,
        n_runs=1,
        n_events=N_TRIALS,
        duration=60,
        seed=0,
        sfreq=64,
    )

    def run(pipelines: dict[str, Any], mode: str) -> pd.DataFrame:
        evaluation = CrossSubjectEvaluation(
            paradigm=LeftRightImagery(fmin=1, fmax=30),
            datasets=[dataset],
            cs_mode=mode,
            overwrite=True,
            hdf5_path=str(tmp_path),
            random_state=None,
        )
        return evaluation.process(pipelines)

    return run


def test_labelled_calibration_windows_reach_the_fine_tuner(
    evaluate: Callable[..., pd.DataFrame],
) -> None:
    SpyTuner.seen.clear()
    pipelines = {
        "tuned": SpyTuner(SleepStager(**SMALL), max_epochs=1, device="cpu"),
        "in-a-pipeline": make_pipeline(SpyTuner(SleepStager(**SMALL), max_epochs=1, device="cpu")),
    }
    results = evaluate(pipelines, "train_and_target_labeled_20p")
    # Scored by the area under the curve, so that decision values of two classes count too.
    assert len(results) == 2 * N_SUBJECTS
    assert results["score"].between(0, 1).all()
    assert len(SpyTuner.seen) == 2 * N_SUBJECTS
    for given in SpyTuner.seen:
        assert len(given["X"]) == (N_SUBJECTS - 1) * N_TRIALS
        assert len(given["target"]) == len(given["y_target"]) == N_TRIALS // 5
        ours = {x.tobytes() for x in np.asarray(given["X"])}
        assert not ours & {x.tobytes() for x in np.asarray(given["target"])}


def test_unlabelled_calibration_windows_reach_an_encoder_in_a_pipeline(
    evaluate: Callable[..., pd.DataFrame],
) -> None:
    SpyEncoder.seen.clear()
    encoder = SpyEncoder(**SMALL, embedding_size=4, n_pairs=16, tau_pos=60.0, tau_neg=90.0)
    pipeline = make_pipeline(encoder, LogisticRegression())
    results = evaluate({"rp": pipeline}, "train_and_target_unlabeled_20p")
    assert len(results) == N_SUBJECTS
    assert [len(target) for _, target in SpyEncoder.seen] == [N_TRIALS // 5] * N_SUBJECTS


def test_nothing_of_the_target_is_given_without_calibration(
    evaluate: Callable[..., pd.DataFrame],
) -> None:
    SpyTuner.seen.clear()
    tuner = SpyTuner(SleepStager(**SMALL), trainable="head", max_epochs=1, device="cpu")
    assert len(evaluate({"tuned": tuner}, "train")) == N_SUBJECTS
    assert [given["target"] for given in SpyTuner.seen] == [None] * N_SUBJECTS
