"""Which people: by id, by age, by dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from sleepshift.datasets.joined import SEPARATOR
from sleepshift.errors import TaskError
from sleepshift.protocol.section import Section

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["People", "Subjects"]


def _expand(value: Any) -> Any:
    """Write ``[3, "5-7", "A"]`` out as ``("3", "5", "6", "7", "A")``."""
    if not isinstance(value, (list, tuple)):
        return value
    subjects: list[str] = []
    for item in value:
        low, dash, high = str(item).partition("-")
        if dash and low.isdigit() and high.isdigit():
            if int(low) > int(high):
                raise ValueError(f"range {item!r} runs backwards")
            subjects += [str(k) for k in range(int(low), int(high) + 1)]
        else:
            subjects.append(str(item))
    if len(set(subjects)) < len(subjects):
        twice = next(s for s in subjects if subjects.count(s) > 1)
        raise ValueError(f"person {twice} is listed twice")
    return tuple(subjects)


Subjects = Annotated[tuple[str, ...], BeforeValidator(_expand)]


class People(Section):
    """A choice of people, by id (``subjects``), by age in years, both ends included, or all of
    one dataset of several; ``count`` of those who fit, or all.

    Examples
    --------
    >>> People(subjects=[1, "3-5"]).subjects
    ('1', '3', '4', '5')
    """

    later: ClassVar[frozenset[str]] = frozenset({"dataset"})

    subjects: Subjects | None = None
    ages: tuple[float, float] | None = None
    dataset: str | None = None
    count: int | None = Field(default=None, ge=1, description="draw so many, by the data seed")

    @model_validator(mode="after")
    def _one_choice(self) -> People:
        if self.named == (self.ages is not None or self.dataset is not None):
            raise ValueError("give either subjects or ages (or, of several datasets, dataset)")
        if self.ages is not None and self.ages[0] > self.ages[1]:
            raise ValueError("ages run backwards")
        if self.count is not None and self.named:
            raise ValueError("count draws from an age bracket; list the subjects, or give ages")
        return self

    @property
    def named(self) -> bool:
        """Whether people are listed; others are chosen, and have one role each."""
        return self.subjects is not None

    def choose(self, table: pd.DataFrame, *, seed: int, allow_missing: bool = False) -> list[str]:
        """Pick the people.

        Parameters
        ----------
        table : DataFrame, one row a person
            Columns ``subject`` and ``age``.
        seed : int
            Data seed of the draw, where `count` is given.
        allow_missing : bool
            Whether listed people who are not in the data are passed over.

        Raises
        ------
        TaskError
            If someone listed is not in the data, or a bracket has too few people.
        """
        there = table["subject"].tolist()
        if self.subjects is not None:
            missing = [subject for subject in self.subjects if subject not in there]
            if missing and not allow_missing:
                raise TaskError(
                    f"people {', '.join(missing)} are not in the data; check the folder, "
                    "or edit the task's subject lists"
                )
            chosen = [subject for subject in self.subjects if subject in there]
        else:
            fits = np.ones(len(table), dtype=bool)
            if self.ages is not None:
                fits &= table["age"].between(*self.ages).to_numpy()
            if self.dataset is not None:
                own = f"{self.dataset}{SEPARATOR}"
                fits &= table["subject"].str.startswith(own).to_numpy()
            chosen = table.loc[fits, "subject"].tolist()
        if self.count is not None:
            if len(chosen) < self.count:
                who = " and ".join(str(k) for k in (self.dataset, self.ages) if k is not None)
                raise TaskError(f"{self.count} people of {who} wanted, {len(chosen)} there")
            drawn = np.random.default_rng(seed).choice(len(chosen), self.count, replace=False)
            chosen = [chosen[k] for k in sorted(drawn)]
        if not chosen:
            labels = sorted({s.partition(SEPARATOR)[0] for s in there if SEPARATOR in s})
            known = f"; there are {', '.join(labels)}" if self.dataset and labels else ""
            raise TaskError(f"nobody in the data fits {self.model_dump(exclude_none=True)}{known}")
        return chosen
