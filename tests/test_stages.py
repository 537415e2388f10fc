"""Stage schemes: what merges into what, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.errors import TaskError
from sleepshift.stages import SCHEMES, convert, get_scheme, merge_map

# Written out by hand, not from the tables of the module.
MERGED = {
    ("rk6", "aasm5"): ["W", "N1", "N2", "N3", "N3", "R"],
    ("rk6", "stages4"): ["W", "Light", "Light", "Deep", "Deep", "R"],
    ("rk6", "stages3"): ["W", "NREM", "NREM", "NREM", "NREM", "R"],
    ("rk6", "wake-deep"): ["W", None, None, "N3", "N3", None],
    ("aasm5", "stages4"): ["W", "Light", "Light", "Deep", "R"],
    ("aasm5", "stages3"): ["W", "NREM", "NREM", "NREM", "R"],
    ("aasm5", "wake-deep"): ["W", None, None, "N3", None],
}


@pytest.mark.parametrize(("pair", "names"), MERGED.items(), ids=["-".join(pair) for pair in MERGED])
def test_stages_merge_as_the_manuals_say(pair, names):
    source, target = pair
    stages = get_scheme(target).stages
    expected = [-1 if name is None else stages.index(name) for name in names]
    assert merge_map(source, target).tolist() == expected


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_starts_with_wake_and_maps_to_itself(name):
    scheme = get_scheme(name)
    assert scheme.stages[0] == "W"
    assert merge_map(name, name).tolist() == list(range(len(scheme)))


@pytest.mark.parametrize(
    ("source", "target"), [("aasm5", "rk6"), ("stages3", "stages4"), ("wake-deep", "aasm5")]
)
def test_finer_labels_are_never_invented(source, target):
    with pytest.raises(TaskError, match=f"'{source}' cannot be expressed in '{target}'"):
        merge_map(source, target)


def test_unknown_scheme_lists_the_known_ones():
    with pytest.raises(TaskError, match="'aasm6'; use one of rk6, aasm5"):
        get_scheme("aasm6")


@given(st.lists(st.integers(-1, 5), max_size=50), st.sampled_from(["stages4", "stages3"]))
def test_merging_in_two_steps_equals_merging_in_one(codes, target):
    y = np.array(codes, dtype=np.int64)
    two_steps = convert(convert(y, "rk6", "aasm5"), "aasm5", target)
    np.testing.assert_array_equal(two_steps, convert(y, "rk6", target))
    np.testing.assert_array_equal(two_steps == -1, y == -1)


@pytest.mark.parametrize("empty", [[], np.array([]), np.array([], dtype=np.int64)])
def test_no_labels_convert_to_no_labels(empty):
    assert convert(empty, "rk6", "aasm5").shape == (0,)


@pytest.mark.parametrize("bad", [[6], [-2], [0, 1, 99]])
def test_labels_outside_the_scheme_are_refused(bad):
    with pytest.raises(TaskError, match="outside scheme 'rk6'"):
        convert(np.array(bad), "rk6", "aasm5")


def test_labels_that_are_no_codes_are_refused():
    with pytest.raises(TaskError, match="whole numbers, not float64"):
        convert(np.array([0.0, 1.0]), "rk6", "aasm5")
