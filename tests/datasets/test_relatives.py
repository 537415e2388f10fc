"""Who has the same people, under the names that people write."""

from __future__ import annotations

import itertools

import pytest

from sleepshift.datasets import DATASETS, dataset_class
from sleepshift.datasets.relatives import common_people, same_people


def test_having_the_same_people_is_mutual_and_of_known_datasets() -> None:
    for one, other in itertools.product(DATASETS, repeat=2):
        assert same_people(one, other) is same_people(other, one)
        assert same_people(one, one)
    for name in DATASETS:
        others = dataset_class(name).info.people_of or ()
        assert set(others) <= set(DATASETS)
        for other in others:
            assert name in (dataset_class(other).info.people_of or ())


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_known_by_its_name_and_its_title(name: str) -> None:
    info = dataset_class(name).info
    for words in (name, name.upper(), info.title, *info.also_called):
        assert common_people([words], [name]) is True
        assert common_people(["shhs", f"mine, {words}"], [name]) is True


@pytest.mark.parametrize(
    ("learned", "tested", "expected"),
    [
        (["sleep-edf"], "beetl", True),  # the same people under other numbers
        (["beetl"], "sleep-edf", True),
        (["shhs", "Sleep-EDF Expanded"], "sleep-edf", True),
        (["my clinic", "Sleep-EDF-20"], "sleep-edf", True),
        (["sleepEDFx"], "sleep-edf", True),
        (["physionet_sleep_edf_78"], "sleep-edf", True),
        (["EDFx"], "sleep-edf", True),
        (["EDF-78"], "sleep-edf", True),
        (["SHHS, SEDF and CAP"], "sleep-edf", True),
        (["MASS-SS3"], "mass", True),
        (["mass1"], "mass", True),
        (["The Sleep Heart Health Study (visit 1)"], "shhs", True),
        (["ds005555 and ds004348"], "boas", True),
        (["EESM 2017"], "eesm17", True),
        (["npz"], "npz", True),
        (["shhs", "mass"], "sleep-edf", False),
        (["SHHS visit 1, MASS-SS3 & ISRUC"], "sleep-edf", False),
        (["PhysioNet/CinC Challenge 2018"], "sleep-edf", False),
        ([], "npz", False),  # trained on nothing
        (["my clinic"], "sleep-edf", None),
        (["shhs and my clinic"], "sleep-edf", None),
        (["SHHS, mine"], "sleep-edf", None),
        (["Mass General Hospital"], "mass", None),
        (["Massachusetts"], "mass", None),
        (["converted to EDF, 20 nights"], "sleep-edf", None),
        (["npz"], "sleep-edf", None),  # which may be an export of it
        (["shhs"], "npz", None),
        (["joined"], "sleep-edf", None),
        (["睡眠"], "sleep-edf", None),
        ([""], "sleep-edf", None),
        (["?"], "sleep-edf", None),
        (None, "sleep-edf", None),
    ],
)
def test_what_was_learned_may_know_who_is_tested(learned, tested, expected) -> None:
    assert common_people(learned, [tested]) is expected
