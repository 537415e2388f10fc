"""Choosing people: by id, by age, by a seeded draw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sleepshift.errors import TaskError
from sleepshift.protocol.people import People

AGES = {"0": 25.0, "1": 30.0, "2": 60.0, "3": 60.5, "4": 80.0, "5": np.nan, "A": 95.0}


@pytest.fixture
def table():
    return pd.DataFrame({"subject": list(AGES), "age": list(AGES.values())})


@given(st.lists(st.integers(0, 200), min_size=1, unique=True))
def test_listing_people_keeps_them_and_their_order(ids):
    assert People(subjects=ids).subjects == tuple(map(str, ids))


@given(st.integers(0, 500), st.integers(0, 60))
def test_a_range_has_both_ends(low, more):
    subjects = People(subjects=[f"{low}-{low + more}"]).subjects
    assert subjects == tuple(str(k) for k in range(low, low + more + 1))


@pytest.mark.parametrize("name", ["A", "sub-07", "a-b", "-3", "3-", "S1-S2"])
def test_names_that_are_no_ranges_stay(name):
    assert People(subjects=[name]).subjects == (name,)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "give either subjects or ages"),
        ({"subjects": [1], "ages": [1, 2]}, "give either subjects or ages"),
        ({"subjects": ["7-5"]}, "range '7-5' runs backwards"),
        ({"subjects": [1, 2, "1"]}, "person 1 is listed twice"),
        ({"subjects": ["0-4", 3]}, "person 3 is listed twice"),
        ({"subjects": "0-4"}, "tuple"),
        ({"ages": [60, 50]}, "ages run backwards"),
        ({"ages": [60]}, "ages"),
        ({"ages": ["old", "older"]}, "valid number"),
        ({"subjects": [1, 2], "count": 1}, "count draws from an age bracket"),
        ({"ages": [1, 2], "count": 0}, "greater than or equal to 1"),
        ({"ages": [1, 2], "sex": "f"}, "Extra inputs"),
    ],
)
def test_choices_that_make_no_sense_are_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        People(**settings)


def test_people_are_chosen_by_id_in_the_order_listed(table):
    assert People(subjects=["A", "2-3", 0]).choose(table, seed=0) == ["A", "2", "3", "0"]


@pytest.mark.parametrize(
    ("ages", "chosen"),
    [
        ([25, 60], ["0", "1", "2"]),
        ([60, 60], ["2"]),
        ([60.1, 200], ["3", "4", "A"]),
        ([0, 200], ["0", "1", "2", "3", "4", "A"]),
    ],
)
def test_an_age_bracket_has_both_ends_and_nobody_of_unknown_age(table, ages, chosen):
    assert People(ages=ages).choose(table, seed=0) == chosen


def test_draws_follow_the_data_seed_and_nothing_else():
    table = pd.DataFrame({"subject": [str(k) for k in range(40)], "age": 50.0})
    people = People(ages=[40, 60], count=5)
    drawn = [tuple(people.choose(table, seed=seed)) for seed in range(8)]
    assert drawn == [tuple(people.choose(table, seed=seed)) for seed in range(8)]
    assert len(set(drawn)) == 8
    assert all(len(set(group)) == 5 for group in drawn)
    assert people.choose(table.assign(age=table["age"] + 1), seed=3) == list(drawn[3])


def test_drawing_everyone_draws_everyone(table):
    assert People(ages=[0, 100], count=6).choose(table, seed=9) == ["0", "1", "2", "3", "4", "A"]


def test_a_bracket_with_too_few_people_is_refused(table):
    with pytest.raises(TaskError, match=r"3 people of \(60.0, 61.0\) wanted, 2 there"):
        People(ages=[60, 61], count=3).choose(table, seed=0)


@pytest.mark.parametrize("allow_missing", [False, True])
def test_nobody_at_all_is_refused(table, allow_missing):
    for people in (People(ages=[1, 2]), People(subjects=[])):
        with pytest.raises(TaskError, match="nobody in the data fits"):
            people.choose(table, seed=0, allow_missing=allow_missing)


def test_missing_people_are_named_or_passed_over_when_allowed(table):
    people = People(subjects=[0, 8, 9])
    with pytest.raises(TaskError, match="people 8, 9 are not in the data; check the folder"):
        people.choose(table, seed=0)
    assert people.choose(table, seed=0, allow_missing=True) == ["0"]
    with pytest.raises(TaskError, match="nobody in the data fits"):
        People(subjects=[8]).choose(table, seed=0, allow_missing=True)
