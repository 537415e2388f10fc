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
    source_validation, target_validation : tuple of str
        Those of the test people who were held out of the source or of the labelled target
        people to choose settings on; see `hold_out`.
    """

    name: str
    source: Windows
    target_labeled: Windows | None
    target_unlabeled: Windows | None
    test: Windows
    transductive: bool = False
    privileged: Windows | None = None
    group: str = "all"
    source_validation: tuple[str, ...] = ()
    target_validation: tuple[str, ...] = ()

    @property
    def validation(self) -> dict[str, str]:
        """Person -> role, of those held out to choose settings on."""
        roles = ("source_validation", "target_validation")
        return {person: role for role in roles for person in getattr(self, role)}

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
        if self.transductive and not self._learns_from_test():
            raise LeakageError(f"fold {self.name}: not the test people's own signals")
        parts = {"source": self.source, "test": self.test}
        if self.target_labeled is not None:
            parts["target_labeled"] = self.target_labeled
        if self.target_unlabeled is not None and not self.transductive:
            parts["target_unlabeled"] = self.target_unlabeled
        audit_labels(parts)
        audit_split(parts)

    def _learns_from_test(self) -> bool:
        """Whether the unlabelled signals are those of the test people, and of no one held out."""
        own, test, people = self.target_unlabeled, self.test, self.test.subjects
        if own is None or people is None or not own.shares_store(test):
            return False
        held_out = np.isin(people, list(self.validation))
        return np.array_equal(own.rows, test.rows[~held_out])
