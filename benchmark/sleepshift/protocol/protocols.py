"""Protocols: who is source, who is target, who is tested, and with whom in the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from sleepshift.errors import TaskError
from sleepshift.protocol.people import People, Subjects
from sleepshift.protocol.section import Section

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = [
    "IN_DOMAIN",
    "CrossAge",
    "CrossDataset",
    "CrossModality",
    "LabelBudget",
    "LeaveSubjectsOut",
    "Protocol",
    "Roles",
]

#: Group of source people who are tested themselves, by models of the other source people.
IN_DOMAIN = "in-domain"
#: Group of people who are tested once each, in folds that are told apart by nothing else.
_POOLED = "all"


class Roles(NamedTuple):
    """People per role of one fold; None where the fold has no such role.

    `group` is what the tables call the test people: folds of one group are pooled.
    """

    name: str
    group: str
    source: list[str]
    labeled: list[str] | None
    unlabeled: list[str] | None
    test: list[str]
    transductive: bool = False


class CrossAgeFold(Section):
    """One group of target people."""

    name: str
    labeled: People | None = None
    unlabeled: People | Literal["test"] | None = None
    test: People


class CrossAge(Section):
    """Learn on source people, adapt to few target people, test on others like them.

    Subject lists are taken as they stand, so a person listed twice is a leak that the
    audit reports. Age brackets give each person one role: those drawn as labelled or
    unlabelled are not tested. With `in_domain_folds` the source people are tested too, each
    once, by models of the other source people: what is lost from there to a target group is
    the transfer gap.
    """

    later: ClassVar[frozenset[str]] = frozenset({"in_domain_folds"})

    kind: Literal["cross-age"]
    source: People
    folds: tuple[CrossAgeFold, ...] = Field(min_length=1)
    in_domain_folds: int | None = Field(default=None, ge=2)

    @model_validator(mode="after")
    def _names_differ(self) -> CrossAge:
        names = [fold.name for fold in self.folds]
        if len(set(names)) < len(names):
            raise ValueError("two folds have the same name")
        if taken := [name for name in names if name.startswith(IN_DOMAIN)]:
            raise ValueError(f"fold {taken[0]!r}: that name is for folds of source people")
        return self

    @property
    def needs_age(self) -> bool:
        """Whether anyone is chosen by age."""
        return any(people.ages is not None for people in self._people)

    @property
    def _people(self) -> list[People]:
        parts = [part for fold in self.folds for part in (fold.labeled, fold.unlabeled, fold.test)]
        return [self.source, *(part for part in parts if isinstance(part, People))]

    def subjects(self) -> list[str] | None:
        """Everyone the protocol names; None if it chooses."""
        return _everyone(self._people)

    def roles(self, table: pd.DataFrame, *, seed: int, allow_missing: bool) -> list[Roles]:
        """Give everyone a role, fold by fold."""
        source = self.source.choose(table, seed=seed, allow_missing=allow_missing)
        all_roles = []
        for fold in self.folds:
            taken: set[str] = set()
            adapting: list[list[str] | None] = []
            for people in (fold.labeled, fold.unlabeled):
                chosen = None
                if isinstance(people, People):
                    rest = table if people.named else table[~table["subject"].isin(taken)]
                    chosen = people.choose(rest, seed=seed, allow_missing=allow_missing)
                    taken.update(chosen)
                adapting.append(chosen)
            rest = table if fold.test.named else table[~table["subject"].isin(taken)]
            test = fold.test.choose(rest, seed=seed, allow_missing=allow_missing)
            labeled, unlabeled = adapting
            own = fold.unlabeled == "test"
            unlabeled = test if own else unlabeled
            all_roles.append(Roles(fold.name, fold.name, source, labeled, unlabeled, test, own))
        if self.in_domain_folds is not None:
            shuffled = np.random.default_rng(seed).permutation(source).tolist()
            for k, test in enumerate(_parts(shuffled, self.in_domain_folds)):
                rest = [s for s in source if s not in test]
                all_roles.append(Roles(f"{IN_DOMAIN}-{k}", IN_DOMAIN, rest, None, None, test))
        return all_roles


def _parts(people: Sequence[str], n_folds: int) -> list[list[str]]:
    """Runs of nearly equal length."""
    if len(people) < n_folds:
        raise TaskError(f"{n_folds} folds need as many people; {len(people)} are there")
    return [list(map(str, part)) for part in np.array_split(np.array(people), n_folds)]


def _everyone(parts: Sequence[People]) -> list[str] | None:
    """Each person once; None if some are chosen by what they are."""
    if not all(people.named for people in parts):
        return None
    return list(dict.fromkeys(s for people in parts for s in people.subjects or ()))


class CrossDataset(CrossAge):
    """Learn on the people of one dataset, adapt to few of another, test on others of it.

    A choice such as ``{ dataset = "isruc", count = 2 }`` draws people of one of the datasets
    that are joined; those drawn to adapt to are not tested.
    """

    kind: Literal["cross-dataset"]  # type: ignore[assignment]


class LabelBudget(Section):
    """How much labels of target people are worth: few to many of them, drawn several times.

    The people of a budget are the first ones of a shuffled list, another list each draw, so
    that a larger budget adds people to the smaller one. All budgets test the same people; age
    brackets give each person one role, and target people are not tested.
    """

    kind: Literal["label-budget"]
    source: People
    target: People
    test: People
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    n_draws: int = Field(ge=1)
    unlabeled: Literal["test"] | None = None

    @model_validator(mode="after")
    def _budgets_differ(self) -> LabelBudget:
        if len(set(self.budgets)) < len(self.budgets):
            raise ValueError("two budgets are the same")
        return self

    @property
    def needs_age(self) -> bool:
        """Whether anyone is chosen by age."""
        return any(people.ages is not None for people in self._people)

    @property
    def _people(self) -> tuple[People, People, People]:
        return self.source, self.target, self.test

    def subjects(self) -> list[str] | None:
        """Everyone the protocol names; None if it chooses."""
        return _everyone(self._people)

    def roles(self, table: pd.DataFrame, *, seed: int, allow_missing: bool) -> list[Roles]:
        """Give everyone a role, fold by fold."""
        source, target = (
            people.choose(table, seed=seed, allow_missing=allow_missing)
            for people in (self.source, self.target)
        )
        rest = table if self.test.named else table[~table["subject"].isin(target)]
        test = self.test.choose(rest, seed=seed, allow_missing=allow_missing)
        if max(self.budgets) > len(target):
            raise TaskError(
                f"a budget of {max(self.budgets)} labelled people needs as many target people; "
                f"{len(target)} are there"
            )
        own, folds = self.unlabeled == "test", []
        draws = [
            np.random.default_rng([seed, draw]).permutation(target).tolist()
            for draw in range(self.n_draws)
        ]
        for budget in sorted(self.budgets):
            for k, drawn in enumerate(draws):
                roles = Roles(
                    name=f"{budget}-draw-{k}",
                    group=f"{budget} labelled",
                    source=source,
                    labeled=drawn[:budget],
                    unlabeled=test if own else None,
                    test=test,
                    transductive=own,
                )
                folds.append(roles)
        return folds


class PublishedFold(Section):
    """People whom a published split tests."""

    name: str
    test: Subjects


class LeaveSubjectsOut(Section):
    """k folds over people: each is tested once, learning on all others.

    `order` lists everyone in a published order, which is cut into `n_folds` runs of
    nearly equal length; without it people are shuffled by the data seed. Splits that others
    published can be asked beside the k folds; each is a group of its own in the tables.
    """

    later: ClassVar[frozenset[str]] = frozenset({"published"})

    kind: Literal["leave-subjects-out"]
    n_folds: int = Field(ge=2)
    order: Subjects | None = None
    published: tuple[PublishedFold, ...] = ()

    @field_validator("published")
    @classmethod
    def _names_differ(cls, folds: tuple[PublishedFold, ...]) -> tuple[PublishedFold, ...]:
        names = [fold.name for fold in folds]
        if len({*names, _POOLED}) <= len(names) or any(name.isdecimal() for name in names):
            raise ValueError("each needs a name of its own, and not a number")
        return folds

    @property
    def needs_age(self) -> bool:
        """Never: people are not chosen by age."""
        return False

    def subjects(self) -> list[str] | None:
        """Everyone the protocol names; None takes all there are."""
        return None if self.order is None else list(self.order)

    def roles(self, table: pd.DataFrame, *, seed: int, allow_missing: bool) -> list[Roles]:
        """Give everyone a role, fold by fold."""
        there = table["subject"].tolist()
        if self.order is None:
            order = [there[k] for k in np.random.default_rng(seed).permutation(len(there))]
        else:
            order = People(subjects=self.order).choose(
                table, seed=seed, allow_missing=allow_missing
            )
        tested = [(str(k), _POOLED, part) for k, part in enumerate(_parts(order, self.n_folds))]
        for fold in self.published:
            part = People(subjects=fold.test).choose(table, seed=seed, allow_missing=allow_missing)
            tested.append((fold.name, fold.name, part))
        return [
            Roles(name, group, [s for s in order if s not in test], None, None, test)
            for name, group, test in tested
        ]


class CrossModality(LeaveSubjectsOut):
    """k folds over people whose nights have two views: a teacher's and a student's.

    Learning sees both views of the other people, testing the student's view alone. With
    `labeled`, so many of the other people come with labels, drawn by the data seed; the
    rest are paired nights that nobody has scored.
    """

    kind: Literal["cross-modality"]  # type: ignore[assignment]
    labeled: int | None = Field(default=None, ge=2)

    def roles(self, table: pd.DataFrame, *, seed: int, allow_missing: bool) -> list[Roles]:
        """Give everyone a role, fold by fold."""
        folds = super().roles(table, seed=seed, allow_missing=allow_missing)
        if self.labeled is None:
            return folds
        rng = np.random.default_rng(seed)
        return [self._withhold(roles, rng) for roles in folds]

    def _withhold(self, roles: Roles, rng: np.random.Generator) -> Roles:
        assert self.labeled is not None
        if len(roles.source) <= self.labeled:
            raise TaskError(
                f"protocol.labeled: {self.labeled} people with labels leave none without; fold "
                f"{roles.name} learns from {len(roles.source)} people"
            )
        drawn = set(rng.choice(roles.source, self.labeled, replace=False).tolist())
        return roles._replace(
            source=[s for s in roles.source if s in drawn],
            unlabeled=[s for s in roles.source if s not in drawn],
        )


Protocol = Annotated[
    CrossAge | CrossDataset | CrossModality | LabelBudget | LeaveSubjectsOut,
    Field(discriminator="kind"),
]
