"""Weights that networks start from, and whether they saw the dataset of the test people."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sleepshift.estimators import Distiller, SleepStager
from sleepshift.models import build_model
from sleepshift.models.pretrained import save_weights
from sleepshift.runner.jobs import _pretrained


@pytest.fixture
def start(tmp_path: Any) -> Any:
    """``start(trained_on)``: a stager that starts from weights that say so."""

    def make(trained_on: list[str] | None) -> SleepStager:
        path = tmp_path / f"{'-'.join(trained_on or ['unknown'])}.safetensors"
        network = build_model("mlp", n_chans=1, n_times=10, sfreq=None, n_outputs=5)
        save_weights(network, path, trained_on=trained_on)
        return SleepStager(model="mlp", weights=str(path))

    return make


def told(estimator: Any, dataset: str, **params: Any) -> str | None:
    task = SimpleNamespace(dataset=SimpleNamespace(name=dataset, params=params))
    job: Any = SimpleNamespace(estimator=estimator, data=SimpleNamespace(task=task))
    return _pretrained(job)["pretrained_saw"]


@pytest.mark.parametrize(
    ("dataset", "trained_on", "expected"),
    [
        ("sleep-edf", ["Sleep-EDF"], "yes"),
        ("beetl", ["sleep-edf"], "yes"),  # the same people under other numbers
        ("sleep-edf", ["beetl"], "yes"),
        ("sleep-edf", ["shhs"], "no"),
        ("sleep-edf", None, "unknown"),
        ("npz", ["shhs"], "unknown"),  # whoever is in the folder
        ("npz", ["npz"], "yes"),
    ],
)
def test_a_start_that_saw_the_people_is_known_by_all_names_of_the_dataset(
    start, dataset: str, trained_on: list[str] | None, expected: str
) -> None:
    assert told(start(trained_on), dataset) == expected


def test_parts_of_joined_datasets_and_parts_of_methods_count(start) -> None:
    parts = [{"label": "a", "name": "shhs"}, {"label": "b", "name": "isruc"}]
    assert told(start(["isruc"]), "joined", parts=parts) == "yes"
    assert told(start(["mass"]), "joined", parts=parts) == "no"
    taught = Distiller(start(["shhs"]), SleepStager(model="mlp"))
    assert told(taught, "shhs") == "yes"
    assert told(SleepStager(), "shhs") is None
