"""Who has the same people, under the names that people write."""

from __future__ import annotations

import itertools

import pytest

from sleepshift.datasets import DATASETS, dataset_class
from sleepshift.datasets.relatives import common_people, named, same_people


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
        assert name in named(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("Sleep-EDF-20", {"sleep-edf"}),
        ("sleepEDFx", {"sleep-edf"}),
        ("physionet_sleep_edf_78", {"sleep-edf"}),
        ("EDF-78", {"sleep-edf"}),
        ("MASS-SS3", {"mass"}),
        ("mass1", {"mass"}),
        ("Massachusetts General Hospital", set()),
        ("The Sleep Heart Health Study (visit 1)", {"shhs"}),
        ("ds005555 and ds004348", {"boas", "eesm17"}),
        ("TUEG", set()),
        ("", set()),
        ("睡眠", set()),
        ("edf", set()),
    ],
)
def test_names_are_found_in_what_people_write(words: str, expected: set[str]) -> None:
    assert named(words) == expected


@pytest.mark.parametrize(
    ("learned", "tested", "expected"),
    [
        (["sleep-edf"], ["beetl"], True),  # the same people under other numbers
        (["beetl"], ["sleep-edf"], True),
        (["shhs", "Sleep-EDF Expanded"], ["sleep-edf"], True),
        (["my clinic", "sleep-edf"], ["sleep-edf"], True),
        (["shhs", "mass"], ["sleep-edf"], False),
        (["shhs"], ["isruc", "shhs"], True),
        ([], ["npz"], False),  # trained on nothing
        (["my clinic"], ["sleep-edf"], None),
        (["npz"], ["sleep-edf"], None),  # which may be an export of it
        (["shhs"], ["npz"], None),
        (["npz"], ["npz"], True),
        (["睡眠"], ["sleep-edf"], None),
        (None, ["sleep-edf"], None),
    ],
)
def test_what_was_learned_may_know_who_is_tested(learned, tested, expected) -> None:
    assert common_people(learned, tested) is expected
