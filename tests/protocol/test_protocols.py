"""Protocols: everyone's role, and that nobody has two."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sleepshift.errors import TaskError
from sleepshift.protocol.protocols import (
    IN_DOMAIN,
    CrossAge,
    CrossDataset,
    CrossModality,
    LabelBudget,
    LeaveSubjectsOut,
    Protocol,
)


def people_table(n=40):
    """People "0", "1", ... of 20, 22, 24, ... years."""
    return pd.DataFrame(
        {"subject": [str(k) for k in range(n)], "age": [20.0 + 2 * k for k in range(n)]}
    )


def cross_age(**fold):
    return CrossAge(kind="cross-age", source={"subjects": ["0-9"]}, folds=[{"name": "old", **fold}])


# ---------------------------------------------------------------------- cross-age


def test_lists_become_roles_as_they_stand():
    protocol = cross_age(labeled={"subjects": [30]}, unlabeled={"subjects": [31]},
                         test={"subjects": ["39", "32-33"]})  # fmt: skip
    (roles,) = protocol.roles(people_table(), seed=0, allow_missing=False)
    assert roles.name == "old"
    assert roles.source == [str(k) for k in range(10)]
    assert (roles.labeled, roles.unlabeled, roles.test) == (["30"], ["31"], ["39", "32", "33"])
    assert protocol.subjects() == [*map(str, range(10)), "30", "31", "39", "32", "33"]
    assert not protocol.needs_age


def test_roles_that_are_not_asked_for_are_none():
    (roles,) = cross_age(test={"subjects": [30]}).roles(people_table(), seed=0, allow_missing=False)
    assert roles.labeled is None
    assert roles.unlabeled is None


def test_unlabeled_test_is_the_test_people():
    protocol = cross_age(unlabeled="test", test={"subjects": [30, 31]})
    (roles,) = protocol.roles(people_table(), seed=0, allow_missing=False)
    assert roles.unlabeled == roles.test == ["30", "31"]
    assert protocol.subjects() == [*map(str, range(10)), "30", "31"]


@given(
    seed=st.integers(0, 1000), n_labeled=st.integers(1, 5), n_unlabeled=st.integers(1, 5),
    low=st.integers(50, 70),
)  # fmt: skip
def test_age_brackets_give_each_target_person_one_role(seed, n_labeled, n_unlabeled, low):
    bracket = [low, low + 28]
    protocol = cross_age(
        labeled={"ages": bracket, "count": n_labeled},
        unlabeled={"ages": bracket, "count": n_unlabeled},
        test={"ages": bracket},
    )
    (roles,) = protocol.roles(people_table(), seed=seed, allow_missing=False)
    assert (len(roles.labeled), len(roles.unlabeled)) == (n_labeled, n_unlabeled)
    everyone = [*roles.labeled, *roles.unlabeled, *roles.test]
    inside = [str(k) for k in range(40) if bracket[0] <= 20 + 2 * k <= bracket[1]]
    assert sorted(everyone, key=int) == inside
    assert protocol.needs_age
    assert protocol.subjects() is None


def test_people_listed_as_labelled_are_not_tested_by_a_bracket():
    protocol = cross_age(labeled={"subjects": [38]}, test={"ages": [90, 120]})
    (roles,) = protocol.roles(people_table(), seed=0, allow_missing=False)
    assert roles.test == ["35", "36", "37", "39"]


def test_draws_change_with_the_data_seed_only():
    protocol = cross_age(labeled={"ages": [60, 100], "count": 3}, test={"ages": [60, 100]})

    def draw(seed):
        (roles,) = protocol.roles(people_table(), seed=seed, allow_missing=False)
        return tuple(roles.labeled)

    assert [draw(s) for s in range(6)] == [draw(s) for s in range(6)]
    assert len({draw(s) for s in range(6)}) > 3


def test_missing_people_are_refused_unless_allowed():
    protocol = cross_age(test={"subjects": [39, 40]})
    with pytest.raises(TaskError, match="people 40 are not in the data"):
        protocol.roles(people_table(), seed=0, allow_missing=False)
    (roles,) = protocol.roles(people_table(), seed=0, allow_missing=True)
    assert roles.test == ["39"]


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        ([], "at least 1 item"),
        ([{"name": "a", "test": {"subjects": [1]}}] * 2, "two folds have the same name"),
        ([{"name": "a"}], "test"),
        ([{"name": "a", "test": "all"}], "test"),
        ([{"name": "a", "test": {"subjects": [1]}, "unlabeled": "others"}], "'test'"),
    ],
)
def test_folds_that_make_no_sense_are_refused(folds, reason):
    with pytest.raises(ValidationError, match=reason):
        CrossAge(kind="cross-age", source={"subjects": [0]}, folds=folds)


# ---------------------------------------------------------------------- in-domain folds


def in_domain(n_folds, source=("0-9",), **fold):
    fold = fold or {"labeled": {"subjects": [30]}, "test": {"subjects": [31, 32]}}
    return CrossAge(
        kind="cross-age", source={"subjects": list(source)}, folds=[{"name": "old", **fold}],
        in_domain_folds=n_folds,
    )  # fmt: skip


@given(st.data())
def test_every_source_person_is_tested_once_by_models_of_the_others(data):
    n = data.draw(st.integers(2, 30))
    n_folds = data.draw(st.integers(2, n))
    seed = data.draw(st.integers(0, 99))
    protocol = in_domain(n_folds, [f"0-{n - 1}"])
    old, *home = protocol.roles(people_table(), seed=seed, allow_missing=False)
    everyone = [str(k) for k in range(n)]
    assert (old.name, old.group, old.source) == ("old", "old", everyone)
    assert [roles.name for roles in home] == [f"{IN_DOMAIN}-{k}" for k in range(n_folds)]
    tested = [person for roles in home for person in roles.test]
    assert sorted(tested, key=int) == everyone
    sizes = [len(roles.test) for roles in home]
    assert max(sizes) - min(sizes) <= 1
    for roles in home:
        assert roles.group == IN_DOMAIN
        assert roles.source == [s for s in everyone if s not in roles.test]
        assert roles.labeled is roles.unlabeled is None
        assert not roles.transductive


def test_in_domain_folds_change_with_the_data_seed_and_the_others_do_not():
    protocol = in_domain(3)

    def draw(seed):
        old, *home = protocol.roles(people_table(), seed=seed, allow_missing=False)
        return old, tuple(tuple(roles.test) for roles in home)

    assert draw(1) == draw(1)
    assert draw(1)[0] == draw(2)[0]
    assert len({draw(seed)[1] for seed in range(4)}) == 4


def test_source_people_chosen_by_age_are_tested_too():
    protocol = CrossAge(
        kind="cross-age", source={"ages": [20, 40], "count": 6}, in_domain_folds=2,
        folds=[{"name": "old", "unlabeled": "test", "test": {"ages": [80, 99]}}],
    )  # fmt: skip
    old, *home = protocol.roles(people_table(), seed=3, allow_missing=False)
    assert sorted(person for roles in home for person in roles.test) == sorted(old.source)
    assert len(old.source) == 6
    assert old.transductive
    assert not any(roles.transductive for roles in home)


def test_absent_source_people_are_in_no_in_domain_fold():
    protocol = in_domain(2, ["0-3", "50"])
    _, *home = protocol.roles(people_table(), seed=0, allow_missing=True)
    assert sorted(person for roles in home for person in roles.test) == list("0123")


def test_without_in_domain_folds_roles_are_as_ever():
    with_them, without = (
        in_domain(n).roles(people_table(), seed=0, allow_missing=False) for n in (4, None)
    )
    assert with_them[:1] == without
    assert in_domain(4).subjects() == in_domain(None).subjects()


def test_more_in_domain_folds_than_source_people_are_refused():
    with pytest.raises(TaskError, match="11 folds need as many people; 10 are there"):
        in_domain(11).roles(people_table(), seed=0, allow_missing=False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"in_domain_folds": 1}, "greater than or equal to 2"),
        ({"in_domain_folds": "all"}, "valid integer"),
        ({"folds": [{"name": "in-domain-0", "test": {"subjects": [1]}}]}, "is for folds of source"),
        ({"folds": [{"name": "in-domain", "test": {"subjects": [1]}}]}, "is for folds of source"),
    ],
)
def test_in_domain_folds_that_make_no_sense_are_refused(changed, reason):
    asked = {
        "kind": "cross-age", "source": {"subjects": [0]}, "in_domain_folds": 2,
        "folds": [{"name": "old", "test": {"subjects": [1]}}],
    }  # fmt: skip
    with pytest.raises(ValidationError, match=reason):
        CrossAge(**asked | changed)


# ---------------------------------------------------------------------- label budgets


def label_budget(budgets=(1, 2, 4), n_draws=3, **changed):
    asked = {
        "source": {"subjects": ["0-9"]}, "target": {"subjects": ["20-27"]},
        "test": {"subjects": ["30-39"]},
    }  # fmt: skip
    return LabelBudget(kind="label-budget", budgets=budgets, n_draws=n_draws, **asked | changed)


@given(
    budgets=st.sets(st.integers(1, 8), min_size=1).map(sorted), n_draws=st.integers(1, 4),
    seed=st.integers(0, 99), by_age=st.booleans(),
)  # fmt: skip
def test_budgets_are_nested_within_a_draw_and_test_the_same_people(budgets, n_draws, seed, by_age):
    ages = {"target": {"ages": [60, 98], "count": 8}, "test": {"ages": [60, 98]}}
    protocol = label_budget(budgets, n_draws, **(ages if by_age else {}))
    found = protocol.roles(people_table(), seed=seed, allow_missing=False)
    assert [roles.name for roles in found] == [
        f"{budget}-draw-{k}" for budget in budgets for k in range(n_draws)
    ]
    assert [roles.group for roles in found] == [
        f"{budget} labelled" for budget in budgets for _ in range(n_draws)
    ]
    sizes = [budget for budget in budgets for _ in range(n_draws)]
    for roles, budget in zip(found, sizes, strict=True):
        assert len(roles.labeled) == len(set(roles.labeled)) == budget
        assert all(type(person) is str for person in roles.labeled)
        assert roles.source == found[0].source
        assert roles.test == found[0].test
        assert roles.unlabeled is None
        assert not set(roles.labeled) & {*roles.test, *roles.source}
        assert not set(roles.source) & set(roles.test)
    by_draw = [[r.labeled for r in found if r.name.endswith(f"-{k}")] for k in range(n_draws)]
    for draw in by_draw:
        for smaller, larger in pairwise(draw):
            assert larger[: len(smaller)] == smaller
    assert protocol.needs_age == by_age


def test_draws_differ_and_follow_the_data_seed():
    def draw(seed, n_draws=5):
        found = label_budget((3,), n_draws).roles(people_table(), seed=seed, allow_missing=False)
        return [tuple(roles.labeled) for roles in found]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert len(set(draw(0))) == 5
    # More draws add to the same ones.
    assert draw(0, 2) == draw(0)[:2]
    drawn = {person for seed in range(20) for people in draw(seed) for person in people}
    assert drawn == {str(k) for k in range(20, 28)}


def test_a_budget_does_not_depend_on_the_other_budgets():
    alone, among = (
        label_budget(budgets).roles(people_table(), seed=0, allow_missing=False)
        for budgets in ((2,), (4, 2, 1))
    )
    assert [roles for roles in among if roles.group == "2 labelled"] == alone
    assert list(dict.fromkeys(roles.group for roles in among)) == [
        "1 labelled", "2 labelled", "4 labelled",
    ]  # fmt: skip


def test_all_target_people_can_be_labelled():
    (roles,) = label_budget((8,), 1).roles(people_table(), seed=0, allow_missing=False)
    assert sorted(roles.labeled) == [str(k) for k in range(20, 28)]


def test_own_signals_of_the_test_people_can_be_given():
    for roles in label_budget(unlabeled="test").roles(people_table(), seed=0, allow_missing=False):
        assert roles.transductive
        assert roles.unlabeled == roles.test


def test_a_budget_names_its_people():
    everyone = [*map(str, range(10)), *map(str, range(20, 28)), *map(str, range(30, 40))]
    assert label_budget().subjects() == everyone
    assert label_budget(test={"ages": [80, 99]}).subjects() is None


@pytest.mark.parametrize(
    ("changed", "allow_missing", "reason"),
    [
        ({"budgets": (1, 9)}, False, "a budget of 9 labelled people needs .*; 8 are there"),
        ({"target": {"subjects": ["38-45"]}, "test": {"subjects": [30]}}, True, "; 2 are there"),
        ({"target": {"subjects": ["38-45"]}}, False, "people 40, 41, .* are not in the data"),
        ({"target": {"ages": [60, 98]}, "test": {"ages": [60, 98]}}, False, "nobody in the data"),
        ({"target": {"ages": [60, 61], "count": 4}}, False, "4 people of .* wanted, 1 there"),
    ],
)  # fmt: skip
def test_too_few_people_for_a_budget_are_one_line(changed, allow_missing, reason):
    protocol = label_budget(changed.pop("budgets", (1, 4)), **changed)
    with pytest.raises(TaskError, match=reason) as caught:
        protocol.roles(people_table(), seed=0, allow_missing=allow_missing)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"budgets": ()}, "at least 1 item"),
        ({"budgets": (0, 1)}, "greater than or equal to 1"),
        ({"budgets": (2, 2)}, "two budgets are the same"),
        ({"n_draws": 0}, "greater than or equal to 1"),
        ({"unlabeled": "target"}, "'test'"),
        ({"draws": 3}, "Extra inputs"),
        ({"target": {}}, "give either subjects or ages"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(changed, reason):
    with pytest.raises(ValidationError, match=reason):
        label_budget(**changed)


# ---------------------------------------------------------------------- groups


def test_folds_are_grouped_by_whom_they_test():
    two = CrossAge(
        kind="cross-age", source={"subjects": [0, 1]}, in_domain_folds=2,
        folds=[{"name": name, "test": {"subjects": [k]}} for name, k in (("old", 5), ("older", 6))],
    )  # fmt: skip
    groups = {
        protocol: [r.group for r in protocol.roles(people_table(8), seed=0, allow_missing=False)]
        for protocol in (two, make_loso(3), make_cross(2), make_cross(2, 2))
    }
    assert list(groups.values()) == [
        ["old", "older", IN_DOMAIN, IN_DOMAIN], ["all"] * 3, ["all"] * 2, ["all"] * 2,
    ]  # fmt: skip


# ---------------------------------------------------------------------- leave subjects out


def make_loso(n_folds, order=None):
    return LeaveSubjectsOut(kind="leave-subjects-out", n_folds=n_folds, order=order)


@given(st.data())
def test_everyone_is_tested_exactly_once_and_taught_by_all_others(data):
    n = data.draw(st.integers(2, 40))
    n_folds = data.draw(st.integers(2, n))
    seed = data.draw(st.integers(0, 99))
    order = data.draw(st.none() | st.permutations(range(n)))
    all_roles = make_loso(n_folds, order).roles(people_table(n), seed=seed, allow_missing=False)
    everyone = {str(k) for k in range(n)}
    assert [roles.name for roles in all_roles] == [str(k) for k in range(n_folds)]
    tested = [person for roles in all_roles for person in roles.test]
    assert len(tested) == n
    assert set(tested) == everyone
    if order is not None:
        assert tested == [str(k) for k in order]
    sizes = [len(roles.test) for roles in all_roles]
    assert max(sizes) - min(sizes) <= 1
    for roles in all_roles:
        assert set(roles.source) == everyone - set(roles.test)
        assert len(roles.source) == n - len(roles.test)
        assert roles.labeled is roles.unlabeled is None


def test_the_shuffle_follows_the_data_seed():
    def tests(seed):
        return [r.test for r in make_loso(4).roles(people_table(), seed=seed, allow_missing=False)]

    assert tests(1) == tests(1)
    assert tests(1) != tests(2)


def test_an_order_takes_part_of_the_people():
    protocol = make_loso(2, ["5", "1", "9"])
    first, second = protocol.roles(people_table(), seed=0, allow_missing=False)
    assert (first.test, first.source) == (["5", "1"], ["9"])
    assert (second.test, second.source) == (["9"], ["5", "1"])
    assert protocol.subjects() == ["5", "1", "9"]
    assert make_loso(2).subjects() is None


def test_long_names_are_not_cut_off():
    table = pd.DataFrame({"subject": ["a", "a-very-long-name", "b"], "age": 30.0})
    all_roles = make_loso(3).roles(table, seed=0, allow_missing=False)
    assert {r.test[0] for r in all_roles} == set(table["subject"])
    assert all(type(r.test[0]) is str for r in all_roles)


def test_more_folds_than_people_are_refused():
    with pytest.raises(TaskError, match="5 folds need as many people; 3 are there"):
        make_loso(5).roles(people_table(3), seed=0, allow_missing=False)
    with pytest.raises(TaskError, match="3 folds need as many people; 2 are there"):
        make_loso(3, [0, 1, 7]).roles(people_table(2), seed=0, allow_missing=True)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"kind": "leave-one-out"}, "leave-one-out"),
        ({"n_folds": 3}, "discriminator 'kind'"),
        ({"kind": "leave-subjects-out"}, "n_folds"),
        ({"kind": "leave-subjects-out", "n_folds": 1}, "greater than or equal to 2"),
        ({"kind": "leave-subjects-out", "n_folds": 2, "order": [1, 1]}, "listed twice"),
    ],
)
def test_protocols_that_make_no_sense_are_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        TypeAdapter(Protocol).validate_python(settings)


# ---------------------------------------------------------------------- cross-modality


def make_cross(n_folds, labeled=None, order=None):
    return CrossModality(kind="cross-modality", n_folds=n_folds, labeled=labeled, order=order)


@given(st.data())
def test_labels_are_withheld_of_all_but_some_of_the_people_to_learn_from(data):
    n = data.draw(st.integers(6, 40))
    n_folds = data.draw(st.integers(2, n // 2))
    labeled = data.draw(st.integers(2, n - -(-n // n_folds) - 1))
    seed = data.draw(st.integers(0, 99))
    order = data.draw(st.none() | st.permutations(range(n)))
    found = make_cross(n_folds, labeled, order).roles(
        people_table(n), seed=seed, allow_missing=False
    )
    whole = make_cross(n_folds, None, order).roles(people_table(n), seed=seed, allow_missing=False)
    plain = make_loso(n_folds, order).roles(people_table(n), seed=seed, allow_missing=False)
    assert whole == plain
    assert sorted(p for roles in found for p in roles.test) == sorted(map(str, range(n)))
    for roles, other in zip(found, whole, strict=True):
        assert (roles.name, roles.test, roles.labeled) == (other.name, other.test, None)
        assert len(roles.source) == labeled
        assert not set(roles.source) & set(roles.unlabeled)
        assert sorted(roles.source + roles.unlabeled) == sorted(other.source)
        assert not roles.transductive
        assert all(type(person) is str for person in roles.source + roles.unlabeled)


def test_who_comes_with_labels_follows_the_data_seed_only():
    protocol = make_cross(4, 3, list(range(20)))

    def draw(seed):
        found = protocol.roles(people_table(20), seed=seed, allow_missing=False)
        assert [r.test for r in found] == [
            [str(k) for k in range(j, j + 5)] for j in (0, 5, 10, 15)
        ]
        return tuple(tuple(r.source) for r in found)

    assert [draw(seed) for seed in range(5)] == [draw(seed) for seed in range(5)]
    assert len({draw(seed) for seed in range(5)}) == 5


def test_every_person_can_be_drawn_with_labels():
    drawn = set()
    for seed in range(60):
        for roles in make_cross(3, 2).roles(people_table(9), seed=seed, allow_missing=False):
            drawn.update(roles.source)
    assert drawn == {str(k) for k in range(9)}


def test_as_many_labels_as_people_are_refused():
    for labeled, n in ((4, 6), (5, 6), (3, 5)):
        with pytest.raises(TaskError, match=rf"protocol\.labeled: {labeled} people with labels"):
            make_cross(3, labeled).roles(people_table(n), seed=0, allow_missing=False)
    (first, *_) = make_cross(3, 3).roles(people_table(6), seed=0, allow_missing=False)
    assert (len(first.source), len(first.unlabeled)) == (3, 1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"labeled": 1}, "labeled\n.*greater than or equal to 2"),
        ({"labeled": "few"}, "labeled\n.*valid integer"),
        ({"n_folds": 1}, "n_folds\n.*greater than or equal to 2"),
        ({"kind": "leave-subjects-out", "labeled": 3}, "labeled\n.*Extra"),
        ({"labelled": 3}, "labelled\n.*Extra"),
    ],
)
def test_cross_modality_that_makes_no_sense_is_refused(settings, reason):
    with pytest.raises(ValidationError, match=reason):
        TypeAdapter(Protocol).validate_python({"kind": "cross-modality", "n_folds": 3, **settings})


def test_a_kind_makes_its_own_protocol():
    made = TypeAdapter(Protocol).validate_python({"kind": "cross-modality", "n_folds": 3})
    assert type(made) is CrossModality
    assert not made.needs_age
    made = TypeAdapter(Protocol).validate_python({"kind": "leave-subjects-out", "n_folds": 3})
    assert type(made) is LeaveSubjectsOut


# ---------------------------------------------------------------------- published folds


def published(kind="leave-subjects-out", **fold):
    fold = {"name": "published", "test": ["3", "7-8"], **fold}
    settings = {"kind": kind, "n_folds": 3, "published": [fold]}
    return TypeAdapter(Protocol).validate_python(settings)


@pytest.mark.parametrize("kind", ["leave-subjects-out", "cross-modality"])
def test_a_published_split_is_a_fold_and_a_group_of_its_own(kind):
    *folds, last = published(kind).roles(people_table(9), seed=0, allow_missing=False)
    assert [fold.group for fold in folds] == ["all"] * 3
    assert sorted(s for fold in folds for s in fold.test) == [str(k) for k in range(9)]
    assert (last.name, last.group, last.test) == ("published", "published", ["3", "7", "8"])
    assert sorted(last.source) == ["0", "1", "2", "4", "5", "6"]
    plain = TypeAdapter(Protocol).validate_python({"kind": kind, "n_folds": 3})
    assert folds == plain.roles(people_table(9), seed=0, allow_missing=False)
    assert "published" not in plain.model_dump()


def test_a_published_split_needs_its_people_unless_they_may_be_missing():
    with pytest.raises(TaskError, match="people 7, 8 are not in the data"):
        published().roles(people_table(5), seed=0, allow_missing=False)
    *_, last = published().roles(people_table(5), seed=0, allow_missing=True)
    assert last.test == ["3"]


@pytest.mark.parametrize("name", ["all", "3"])
def test_a_published_split_has_a_name_that_no_other_fold_has(name):
    with pytest.raises(ValidationError, match="a name of its own"):
        published(name=name)


# ---------------------------------------------------------------------- cross-dataset


def clinics():
    """Six people of one dataset and eight of another, of 20, 22, ... years in each."""
    names = [f"north:{k}" for k in range(6)] + [f"south:{k}" for k in range(8)]
    ages = [20.0 + 2 * int(name.partition(":")[2]) for name in names]
    return pd.DataFrame({"subject": names, "age": ages})


def cross_dataset(**fold):
    settings = {"source": {"dataset": "north"}, "folds": [{"name": "south", **fold}]}
    return CrossDataset(kind="cross-dataset", **settings)


@given(seed=st.integers(0, 100), n_labeled=st.integers(1, 4), n_unlabeled=st.integers(1, 3))
def test_people_of_another_dataset_have_one_role_each(seed, n_labeled, n_unlabeled):
    protocol = cross_dataset(
        labeled={"dataset": "south", "count": n_labeled},
        unlabeled={"dataset": "south", "count": n_unlabeled},
        test={"dataset": "south"},
    )
    (roles,) = protocol.roles(clinics(), seed=seed, allow_missing=False)
    assert roles.source == [f"north:{k}" for k in range(6)]
    assert (len(roles.labeled), len(roles.unlabeled)) == (n_labeled, n_unlabeled)
    everyone = [*roles.labeled, *roles.unlabeled, *roles.test]
    assert sorted(everyone) == [f"south:{k}" for k in range(8)]
    assert protocol.subjects() is None
    assert not protocol.needs_age


def test_a_dataset_and_ages_choose_together():
    protocol = cross_dataset(test={"dataset": "south", "ages": [24, 30]})
    (roles,) = protocol.roles(clinics(), seed=0, allow_missing=False)
    assert roles.test == ["south:2", "south:3", "south:4", "south:5"]
    assert protocol.needs_age


def test_a_dataset_is_not_another_whose_name_begins_alike():
    table = pd.DataFrame({"subject": ["south:0", "south-2:0", "a:0"], "age": [1.0, 2.0, 3.0]})
    protocol = CrossDataset(
        kind="cross-dataset",
        source={"dataset": "a"},
        folds=[{"name": "south", "test": {"dataset": "south"}}],
    )
    (roles,) = protocol.roles(table, seed=0, allow_missing=False)
    assert roles.test == ["south:0"]


def test_too_few_people_of_a_dataset_are_one_line():
    protocol = cross_dataset(labeled={"dataset": "south", "count": 9}, test={"dataset": "south"})
    with pytest.raises(TaskError, match="9 people of south wanted, 8 there"):
        protocol.roles(clinics(), seed=0, allow_missing=False)
    with pytest.raises(TaskError, match=r"nobody in the data fits .*west"):
        cross_dataset(test={"dataset": "west"}).roles(clinics(), seed=0, allow_missing=False)


@pytest.mark.parametrize("people", [{"dataset": "a", "subjects": ["a:1"]}, {}, {"count": 2}])
def test_people_are_named_or_chosen(people):
    with pytest.raises(ValidationError, match="give either subjects or ages"):
        cross_dataset(test=people)
