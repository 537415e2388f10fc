"""Marks: read back from the flags of a table, and what they say of a method."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from sleepshift.leaderboard.marks import MARKS, fair, inflated, kinds, marks, start_facts, words


def test_flags_are_read_back_as_the_marks_they_were() -> None:
    for n in range(len(MARKS) + 1):
        for found in itertools.combinations(MARKS, n):
            assert kinds(words(list(found))) == list(found)
    assert len({mark.sign for mark in MARKS.values()}) == len(MARKS)


@pytest.mark.parametrize(
    ("facts", "began", "expected"),
    [
        ({}, None, []),
        ({"privileged": True}, None, ["bound"]),
        ({"selected_on_test": True}, ["no"], ["chosen"]),
        ({"selected_on_test": True}, ["yes"], ["chosen", "saw"]),
        ({}, ["no", "unknown"], ["unknown"]),
        ({}, ["unknown", "yes"], ["saw"]),
        ({}, [None, None], []),
    ],
)
def test_what_is_recorded_decides(facts, began, expected) -> None:
    rows = None if began is None else pd.DataFrame({"pretrained_saw": began})
    assert marks(facts, rows) == expected


def test_who_competes_and_whose_figures_are_too_high() -> None:
    assert fair([])
    assert {kind for kind in MARKS if fair([kind])} == {"floor", "unknown"}
    assert {kind for kind in MARKS if inflated([kind])} == {"chosen", "saw"}
    assert not inflated(["target"])  # what a page has besides


@pytest.mark.parametrize(
    ("trained_on", "answer"),
    [
        ([["shhs"], ["mass"]], "yes"),
        ([None, ["shhs"]], "yes"),
        ([None, []], "unknown"),
        ([[]], "no"),
    ],
)
def test_of_several_starts_the_worst_counts(trained_on, answer) -> None:
    starts = [{"name": f"w{k}", "trained_on": one} for k, one in enumerate(trained_on)]
    found = start_facts(starts, ["shhs"])
    assert found["pretrained_saw"] == answer
    assert all(start["name"] in found["pretrained"] for start in starts)
    assert start_facts([], ["shhs"]) == {"pretrained": None, "pretrained_saw": None}
