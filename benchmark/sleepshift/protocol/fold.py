"""`Fold`: what a method is given, and what it is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sleepshift.errors import LeakageError
from sleepshift.windows.audit import audit_labels, audit_split
from sleepshift.windows.windows import Windows

__all__ = ["Fold"]


@dataclass(frozen=True)
class Fold:
    """One split of a task.

    Parameters
    ----------
    name : str
    source : Windows
        Labelled windows of the source people.
    target_labeled : Windows or None
        Labelled windows of few target people.
    target_unlabeled : Windows or None
        Signals of target people, labels withheld. Where the task is transductive these
        are the test people's own signals.
    test : Windows
        Signals of the test people in the student's view; labels withheld.
    transductive : bool
        Whether the task says that the unlabelled signals are the test people's own.
    privileged : Windows or None
        The test windows in the teacher's view, labels withheld: for the teacher as an upper
        bound, and for no other method.
    group : str
        What the tables call the test people; folds of one group are pooled.
    """

    name: str
    source: Windows
    target_labeled: Windows | None
    target_unlabeled: Windows | None
    test: Windows
    transductive: bool = False
    privileged: Windows | None = None
    group: str = "all"

    @property
    def n_labeled(self) -> int:
        """How many target people have labels to learn from."""
        if self.target_labeled is None or self.target_labeled.subjects is None:
            return 0
        return len(set(self.target_labeled.subjects))

    def audit(self) -> None:
        """Refuse a fold that leaks.

        Raises
        ------
        LeakageError
            If labels of test or unlabelled people can be read, a person has two roles, or
            a window was copied from one role to another.
        DataError
            If labels that methods learn from are not public.
        """
        for part in (self.test, self.target_unlabeled, self.privileged):
            if part is not None and part.has_labels:
                raise LeakageError(f"fold {self.name}: test labels can be read")
        own = self.target_unlabeled
        if self.transductive and (
            own is None
            or not own.shares_store(self.test)
            or not np.array_equal(own.rows, self.test.rows)
        ):
            raise LeakageError(f"fold {self.name}: not the test people's own signals")
        parts = {"source": self.source, "test": self.test}
        if self.target_labeled is not None:
            parts["target_labeled"] = self.target_labeled
        if self.target_unlabeled is not None and not self.transductive:
            parts["target_unlabeled"] = self.target_unlabeled
        audit_labels(parts)
        audit_split(parts)
