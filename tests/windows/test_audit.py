"""The audit: shared people, copied windows, dead signals, unknown ages."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.errors import DataError, LeakageError
from sleepshift.windows import Windows, audit_quality, audit_split
from sleepshift.windows.cut import window_digests

PER_PERSON = 5


def make(people, *, x=None, seed=0, **columns):
    """Windows of some people as a store holds them."""
    n = PER_PERSON * len(people)
    if x is None:
        x = np.random.default_rng(seed).normal(size=(n, 1, 20)).astype(np.float32)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(people, PER_PERSON),
            "session": "1",
            "age": 40.0,
            "onset": np.tile(30.0 * np.arange(PER_PERSON), len(people)),
            "digest": window_digests(x),
            "flat": (x.max(axis=2) == x.min(axis=2)).any(axis=1),
            "nan": np.isnan(x).any(axis=(1, 2)),
        }
    )
    x = np.nan_to_num(x)
    y = np.zeros(n, int)
    return Windows.from_arrays(x, y, metadata=frame.assign(**columns), scheme="aasm5", sfreq=1.0)


def part(windows, *people):
    return windows[np.isin(windows.subjects, people)]


def test_a_clean_split_passes():
    windows = make(["a", "b", "c"])
    audit_split({"source": part(windows, "a"), "test": part(windows, "b"), "x": part(windows, "c")})
    audit_split({"source": windows})
    audit_split({})


def test_a_shared_person_is_named_with_the_parts():
    windows = make(["a", "b", "c", "d"])
    with pytest.raises(LeakageError, match="person b, c is in both source and test"):
        audit_split({"source": part(windows, "a", "b", "c"), "test": part(windows, "c", "d", "b")})


def test_a_person_shared_by_any_two_parts_is_found():
    windows = make(["a", "b", "c"])
    parts = {"source": part(windows, "a"), "test": part(windows, "b"), "few": part(windows, "b")}
    with pytest.raises(LeakageError, match="person b is in both test and few"):
        audit_split(parts)


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_a_split_passes_exactly_when_nobody_is_shared(ours, theirs):
    windows = make(list("abcdef"))
    parts = {"source": part(windows, *ours), "test": part(windows, *theirs)}
    if ours & theirs:
        with pytest.raises(LeakageError, match=", ".join(sorted(ours & theirs))):
            audit_split(parts)
    else:
        audit_split(parts)


def test_a_copied_window_is_refused_with_both_people_and_times():
    x = np.random.default_rng(0).normal(size=(2 * PER_PERSON, 1, 20)).astype(np.float32)
    x[8] = x[1]
    windows = make(["a", "b"], x=x)
    parts = {"source": part(windows, "a"), "test": part(windows, "b").without_labels()}
    with pytest.raises(
        LeakageError,
        match=r"1 window\(s\) are the same in source and test; the first is "
        r"person a session 1 at 30 s and person b session 1 at 90 s",
    ):
        audit_split(parts)


def test_a_copy_within_one_part_is_no_leak():
    x = np.random.default_rng(0).normal(size=(3 * PER_PERSON, 1, 20)).astype(np.float32)
    x[8] = x[1]
    windows = make(["a", "b", "c"], x=x)
    audit_split({"source": part(windows, "a", "b"), "test": part(windows, "c")})


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_dead_windows_do_not_count_as_copies(value):
    x = np.random.default_rng(0).normal(size=(2 * PER_PERSON, 1, 20)).astype(np.float32)
    x[[1, 8]] = value
    windows = make(["a", "b"], x=x)
    audit_split({"source": part(windows, "a"), "test": part(windows, "b")})


def test_windows_of_nobody_cannot_be_split():
    nameless = Windows.from_arrays(np.zeros((3, 1, 4)), [0, 1, 0])
    with pytest.raises(LeakageError, match="does not say whose windows they are"):
        audit_split({"source": make(["a"]), "test": nameless})


@pytest.mark.parametrize("kind", ["flat", "nan"])
def test_a_person_with_too_many_dead_windows_is_named_with_the_share(kind):
    dead = np.zeros(2 * PER_PERSON, dtype=bool)
    dead[[5]] = True
    audit_quality(make(["a", "b"], **{kind: dead}))  # one in five is the most that may be
    dead[[5, 6]] = True
    with pytest.raises(DataError, match="person b: 40% of the windows are flat or not finite"):
        audit_quality(make(["a", "b"], **{kind: dead}))
    audit_quality(make(["a", "b"], **{kind: dead}), max_bad_share=0.4)


def test_flat_and_gappy_windows_count_together_but_not_twice():
    flat, nan = np.zeros(PER_PERSON, dtype=bool), np.zeros(PER_PERSON, dtype=bool)
    flat[0] = nan[0] = True
    audit_quality(make(["a"], flat=flat, nan=nan))
    nan[1] = True
    with pytest.raises(DataError, match="40%"):
        audit_quality(make(["a"], flat=flat, nan=nan))


def test_unknown_ages_matter_only_where_ages_are_asked_about():
    age = np.full(2 * PER_PERSON, 40.0)
    age[PER_PERSON:] = np.nan
    windows = make(["a", "b"], age=age)
    audit_quality(windows)
    audit_quality(part(windows, "a"), need_age=True)
    with pytest.raises(DataError, match="person b: the age is not known"):
        audit_quality(windows, need_age=True)
