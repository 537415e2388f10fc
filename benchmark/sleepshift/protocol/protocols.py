"""Protocols: who is source, who is target, who is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sleepshift.errors import TaskError
from sleepshift.protocol.people import People, Subjects

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CrossAge", "CrossModality", "LeaveSubjectsOut", "Protocol", "Roles"]


class Roles(NamedTuple):
    """People per role of one fold; None where the fold has no such role."""

    name: str
    source: list[str]
    labeled: list[str] | None
    unlabeled: list[str] | None
    test: list[str]
    transductive: bool = False


class CrossAgeFold(BaseModel):
    """One group of target people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    labeled: People | None = None
    unlabeled: People | Literal["test"] | None = None
    test: People


class CrossAge(BaseModel):
    """Learn on source people, adapt to few target people, test on others like them.

    Subject lists are taken as they stand, so a person listed twice is a leak that the
    audit reports. Age brackets give each person one role: those drawn as labelled or
    unlabelled are not tested.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cross-age"]
    source: People
    folds: tuple[CrossAgeFold, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> CrossAge:
        names = [fold.name for fold in self.folds]
        if len(set(names)) < len(names):
            raise ValueError("two folds have the same name")
        return self

    @property
    def pool_folds(self) -> bool:
        """Each fold is a target group of its own in the tables."""
        return False

    @property
    def needs_age(self) -> bool:
        """Whether anyone is chosen by age."""
        chosen = [self.source]
        for fold in self.folds:
            chosen += [
                p for p in (fold.labeled, fold.unlabeled, fold.test) if isinstance(p, People)
            ]
        return any(people.ages is not None for people in chosen)

    def subjects(self) -> list[str] | None:
        """Everyone the protocol names; None if it chooses by age."""
        if self.needs_age:
            return None
        named: list[str] = list(self.source.subjects or ())
        for fold in self.folds:
            for people in (fold.labeled, fold.unlabeled, fold.test):
                if isinstance(people, People):
                    named += people.subjects or ()
        return list(dict.fromkeys(named))

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
                    rest = table if people.ages is None else table[~table["subject"].isin(taken)]
                    chosen = people.choose(rest, seed=seed, allow_missing=allow_missing)
                    taken.update(chosen)
                adapting.append(chosen)
            rest = table if fold.test.ages is None else table[~table["subject"].isin(taken)]
            test = fold.test.choose(rest, seed=seed, allow_missing=allow_missing)
            labeled, unlabeled = adapting
            own = fold.unlabeled == "test"
            all_roles.append(
                Roles(fold.name, source, labeled, test if own else unlabeled, test, own)
            )
        return all_roles


class LeaveSubjectsOut(BaseModel):
    """k folds over people: each is tested once, learning on all others.

    `order` lists everyone in a published order, which is cut into `n_folds` runs of
    nearly equal length; without it people are shuffled by the data seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["leave-subjects-out"]
    n_folds: int = Field(ge=2)
    order: Subjects | None = None

    @property
    def pool_folds(self) -> bool:
        """All people, each tested once, are one group in the tables."""
        return True

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
        if len(order) < self.n_folds:
            raise TaskError(f"{self.n_folds} folds need as many people; {len(order)} are there")
        tested = [list(map(str, part)) for part in np.array_split(np.array(order), self.n_folds)]
        return [
            Roles(str(k), [s for s in order if s not in test], None, None, test)
            for k, test in enumerate(tested)
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


Protocol = Annotated[CrossAge | CrossModality | LeaveSubjectsOut, Field(discriminator="kind")]
