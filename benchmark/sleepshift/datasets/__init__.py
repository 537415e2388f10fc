"""Where recordings come from: one file per dataset, one registry."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sleepshift.datasets.base import Dataset, DatasetInfo, LabelledWindows, Recording
from sleepshift.errors import TaskError

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetInfo",
    "LabelledWindows",
    "Recording",
    "dataset_class",
    "make_dataset",
]

#: Name -> "module:Class"; the module is imported when the dataset is asked for.
DATASETS: dict[str, str] = {
    "simulated": "sleepshift.datasets.simulated:Simulated",
    "sleep-edf": "sleepshift.datasets.sleep_edf:SleepEDF",
    "beetl": "sleepshift.datasets.beetl:Beetl",
    "npz": "sleepshift.datasets.npz:NpzFolder",
    "isruc": "sleepshift.datasets.isruc:Isruc",
    "shhs": "sleepshift.datasets.shhs:Shhs",
    "physionet2018": "sleepshift.datasets.physionet2018:PhysioNet2018",
    "mass": "sleepshift.datasets.mass:Mass",
    "hmc": "sleepshift.datasets.hmc:Hmc",
    "ucddb": "sleepshift.datasets.ucddb:Ucddb",
    "joined": "sleepshift.datasets.joined:Joined",
    "bids": "sleepshift.datasets.bids:BidsFolder",
    "eesm17": "sleepshift.datasets.eesm:Eesm17",
    "eesm19": "sleepshift.datasets.eesm:Eesm19",
    "boas": "sleepshift.datasets.boas:Boas",
}


def dataset_class(name: str) -> type[Dataset]:
    """Look a dataset class up by name.

    Raises
    ------
    TaskError
        If there is no such dataset.
    """
    if name not in DATASETS:
        raise TaskError(f"unknown dataset {name!r}; use one of {', '.join(DATASETS)}")
    module, attribute = DATASETS[name].split(":")
    return getattr(import_module(module), attribute)


def make_dataset(name: str, data: Any = None, **params: Any) -> Dataset:
    """Build a dataset from its name, folder and settings.

    Raises
    ------
    TaskError
        If the name or a setting is unknown.
    """
    cls = dataset_class(name)
    if cls.needs_folder and data is None:
        raise TaskError(f"dataset {name!r} reads a folder: name it with --data")
    try:
        return cls(data, **params)
    except TypeError as error:
        raise TaskError(f"dataset {name!r}: {error}") from None
