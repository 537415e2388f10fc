"""People held out of a fold: who they are, and that nothing is learned from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.errors import LeakageError, TaskError
from sleepshift.protocol import load_task
from sleepshift.protocol.fold import Fold
from sleepshift.protocol.holdout import hold_out
from sleepshift.windows import Windows, open_store

PER_PERSON = 3


def make_fold(n_source=5, n_labeled=3, n_unlabeled=1, n_test=2, *, own=False):
    """A fold of people "s0", ..., "l0", ..., "u0", ..., "t0", ... with two channels each."""
    roles = {"s": n_source, "l": n_labeled, "u": n_unlabeled, "t": n_test}
    people = [f"{letter}{k}" for letter, n in roles.items() for k in range(n)]
    n = PER_PERSON * len(people)
    frame = pd.DataFrame(
        {
            "subject": np.repeat(people, PER_PERSON),
            "session": "1",
            "onset": np.tile(30.0 * np.arange(PER_PERSON), len(people)),
            "digest": [f"d{k}" for k in range(n)],
            "flat": False,
            "nan": False,
        }
    )
    signals = np.arange(2 * n, dtype=np.float32).reshape(n, 2, 1)
    windows = Windows(
        signals, frame, np.arange(n) % 5, ch_names=["C3", "EAR"], sfreq=1.0, scheme="aasm5"
    )

    def of(letter):
        chosen = np.char.startswith(frame["subject"].to_numpy(dtype=str), letter)
        return windows[chosen] if chosen.any() else None

    test = of("t").without_labels()
    unlabeled = of("u").without_labels() if n_unlabeled else None
    fold = Fold(
        name="one",
        source=of("s"),
        target_labeled=of("l"),
        target_unlabeled=test.pick(["EAR"]) if own else unlabeled,
        test=test.pick(["EAR"]),
        transductive=own,
        privileged=test.pick(["C3"]),
    )
    fold.audit()
    return fold


def people(windows):
    return set() if windows is None else set(windows.subjects)


@given(
    n_source=st.integers(2, 12),
    n_labeled=st.integers(0, 6),
    n_unlabeled=st.integers(0, 3),
    own=st.booleans(),
    data_seed=st.integers(0, 50),
)
def test_everyone_keeps_one_role_and_those_held_out_teach_nothing(
    n_source, n_labeled, n_unlabeled, own, data_seed
):
    fold = make_fold(n_source, n_labeled, n_unlabeled, own=own)
    held = hold_out(fold, data_seed=data_seed)
    held.audit()
    source, target = set(held.source_validation), set(held.target_validation)
    assert people(held.source) == people(fold.source) - source
    assert people(held.target_labeled) == people(fold.target_labeled) - target
    assert people(held.test) == people(held.privileged) == people(fold.test) | source | target
    assert people(held.target_unlabeled) == people(fold.target_unlabeled)
    assert source <= people(fold.source)
    assert target <= people(fold.target_labeled)
    assert len(source) >= 1
    assert len(people(held.source)) >= min(2, n_source - 1)
    assert len(target) == (n_labeled > 1)
    assert held.validation == {
        **dict.fromkeys(source, "source_validation"),
        **dict.fromkeys(target, "target_validation"),
    }


@pytest.mark.parametrize(
    ("n_source", "n_held"), [(2, 1), (3, 1), (4, 1), (10, 2), (12, 2), (13, 3)]
)
def test_a_fifth_of_the_source_people_is_held_out(n_source, n_held):
    assert len(hold_out(make_fold(n_source)).source_validation) == n_held


def test_people_held_out_are_shown_as_test_people_are():
    fold = make_fold()
    held = hold_out(fold)
    for part, channel, k in ((held.test, "EAR", 1), (held.privileged, "C3", 0)):
        assert part.ch_names == (channel,)
        assert not part.has_labels
        assert len(part) == PER_PERSON * len(people(part))
        np.testing.assert_array_equal(np.asarray(part)[:, 0, 0], 2 * part.rows + k)
    np.testing.assert_array_equal(held.test.rows[: len(fold.test)], fold.test.rows)
    assert held.source.ch_names == ("C3", "EAR")
    np.testing.assert_array_equal(held.source.y, held.source.rows % 5)


def test_without_a_teachers_view_there_is_none_afterwards():
    assert hold_out(replace(make_fold(), privileged=None)).privileged is None


def test_a_single_source_person_cannot_be_held_out():
    with pytest.raises(TaskError, match="fold one has one source person"):
        hold_out(make_fold(n_source=1))


def test_draws_follow_the_data_seed_and_the_people_alone():
    few, many = make_fold(8, 3, 0, 1), make_fold(8, 6, 2, 5)
    draws = [hold_out(few, data_seed=seed).source_validation for seed in range(8)]
    assert draws == [hold_out(many, data_seed=seed).source_validation for seed in range(8)]
    assert len(set(draws)) > 3
    assert len({hold_out(many, data_seed=seed).target_validation for seed in range(8)}) > 2


def test_unlabelled_test_people_are_theirs_alone_when_others_are_asked_too():
    held = hold_out(make_fold(own=True))
    assert people(held.target_unlabeled) == {"t0", "t1"}
    for unlabeled in (held.test, held.test[1:], None):
        with pytest.raises(LeakageError, match="not the test people's own"):
            replace(held, target_unlabeled=unlabeled).audit()


def test_a_window_copied_from_someone_held_out_is_refused():
    fold = make_fold()
    held_out = hold_out(fold).source_validation[0]
    frame = fold.source._frame
    other = next(s for s in sorted(people(fold.source)) if s != held_out)
    for subject in (held_out, other):
        frame.loc[frame.index[frame["subject"] == subject][0], "digest"] = "the same"
    with pytest.raises(LeakageError, match="the same in source and test"):
        hold_out(fold)


@pytest.mark.parametrize("name", ["toy_task", "toy_views_task"])
def test_every_fold_of_a_task_can_give_people_up(name, request, tmp_path):
    task = load_task(request.getfixturevalue(name))
    folds = task.folds(open_store(task.prepare(tmp_path)))
    for fold in folds:
        before = people(fold.source), people(fold.target_labeled), len(fold.test)
        held = hold_out(fold)
        assert (people(fold.source), people(fold.target_labeled), len(fold.test)) == before
        assert held.test.ch_names == fold.test.ch_names
        assert people(held.target_unlabeled) == people(fold.target_unlabeled)
        assert not set(held.validation) & (people(held.source) | people(held.target_unlabeled))
