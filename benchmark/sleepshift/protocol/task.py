"""`Task`: one question, read from one TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from sleepshift.digest import digest
from sleepshift.errors import TaskError
from sleepshift.protocol.protocols import Protocol
from sleepshift.protocol.section import Section
from sleepshift.protocol.submission import SubmissionSection
from sleepshift.stages import get_scheme, merge_map

if TYPE_CHECKING:
    from sleepshift.datasets import Dataset
    from sleepshift.protocol.fold import Fold
    from sleepshift.windows import Derivation, Windows
    from sleepshift.windows.store import Advance

__all__ = ["Task", "load_task", "task_files"]


class DatasetSection(Section):
    """Which dataset, its settings, and on what terms it is had."""

    name: str
    licence: str
    login: bool
    download: str
    params: dict[str, Any] = {}

    @property
    def sources(self) -> list[str]:
        """Names of the datasets that the people are from: those that are joined, or itself."""
        return [part["name"] for part in self.params.get("parts", ())] or [self.name]

    @model_validator(mode="after")
    def _exists(self) -> DatasetSection:
        from sleepshift.datasets import dataset_class

        try:
            settings = list(signature(dataset_class(self.name)).parameters)[1:]
        except TaskError as error:
            raise ValueError(str(error)) from None
        if unknown := [name for name in self.params if name not in settings]:
            raise ValueError(
                f"params: {self.name!r} has no setting {unknown[0]!r}; "
                f"there are {', '.join(settings) or 'none'}"
            )
        return self


def _known_scheme(name: str) -> str:
    try:
        return get_scheme(name).name
    except TaskError as error:
        raise ValueError(str(error)) from None


SchemeName = Annotated[str, AfterValidator(_known_scheme)]


class DerivationSection(Section):
    """Electrodes of a channel: the mean of `plus` minus the mean of `minus`."""

    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()


class WindowsSection(Section):
    """How recordings become windows; views name channels, or derivations from electrodes."""

    later = frozenset({"derivations", "empty_derivation"})

    scheme: SchemeName
    views: dict[str, tuple[str, ...]]
    derivations: dict[str, DerivationSection] = {}
    empty_derivation: Literal["raise", "zeros"] = "raise"
    sfreq: float | None = Field(default=None, ge=1, allow_inf_nan=False)
    trim_wake_minutes: float | None = Field(default=None, ge=0)
    scaling: Literal["robust", "window-minmax", "none"]

    @field_validator("views")
    @classmethod
    def _has_student(cls, views: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if not views.get("student"):
            raise ValueError("name the student's channels: student = [...]")
        for view, channels in views.items():
            if not channels or len(set(channels)) < len(channels):
                raise ValueError(f"view {view!r} must name its channels, each once")
        return views

    @field_validator("derivations")
    @classmethod
    def _can_be_derived(
        cls, sections: dict[str, DerivationSection], info: ValidationInfo
    ) -> dict[str, DerivationSection]:
        try:
            _derivations(sections)
        except TaskError as error:
            raise ValueError(str(error)) from None
        used = {name for view in info.data.get("views", {}).values() for name in view}
        if idle := [name for name in sections if name not in used]:
            raise ValueError(f"derivation {idle[0]!r} is in no view")
        return sections

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels of all views, each once."""
        return tuple(dict.fromkeys(name for view in self.views.values() for name in view))

    @property
    def derived(self) -> tuple[Derivation, ...]:
        """Derivations, as a `Recipe` takes them."""
        return _derivations(self.derivations)


def _derivations(sections: dict[str, DerivationSection]) -> tuple[Derivation, ...]:
    """Derivations of these names; TaskError where one makes no sense."""
    if not sections:
        return ()
    from sleepshift.derivations import Derivation, check_derivations

    made = tuple(Derivation(name, part.plus, part.minus) for name, part in sections.items())
    check_derivations(made)
    return made


class ScoringSection(Section):
    """What the primary figures are computed from."""

    scheme: SchemeName
    primary: Literal["macro_f1", "balanced_accuracy", "kappa", "accuracy", "weighted_f1"]


class TrainingSection(Section):
    """The budget of every network of the task; methods and the command line may change it."""

    later = frozenset({"teacher_model", "assistant_model", "sequence_length", "monitor"})

    model: str
    teacher_model: str | None = None
    assistant_model: str | None = None
    sequence_length: int | None = Field(default=None, ge=2)
    max_epochs: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    target_epochs: int = Field(default=40, ge=1)
    finetune_epochs: int = Field(default=10, ge=1)
    finetune_lr: float = Field(default=3e-4, gt=0, allow_inf_nan=False)
    pretext_epochs: int = Field(default=10, ge=1)
    n_pairs: int = Field(default=2000, ge=2)
    patience: int = Field(default=5, ge=1)
    monitor: Literal["loss", "macro_f1"] = "loss"


class Task(Section):
    """Dataset + views + stage scheme + split protocol + metrics.

    Made by `load_task`. `prepare` packs the windows; `folds` splits them.
    """

    later = frozenset({"submission"})

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    revision: int = Field(ge=1)
    description: str
    simulated: bool = False
    dataset: DatasetSection
    windows: WindowsSection
    scoring: ScoringSection
    training: TrainingSection
    protocol: Protocol
    submission: SubmissionSection = SubmissionSection()

    @model_validator(mode="after")
    def _schemes_fit(self) -> Task:
        try:
            dropped = (merge_map(self.windows.scheme, self.scoring.scheme) < 0).any()
        except TaskError as error:
            raise ValueError(f"scoring.scheme: {error}") from None
        if dropped:
            raise ValueError("scoring.scheme: it has no place for a stage of windows.scheme")
        return self

    @model_validator(mode="after")
    def _answers_fit(self) -> Task:
        try:
            dropped = (merge_map(self.windows.scheme, self.answer_scheme) < 0).any()
        except TaskError as error:
            raise ValueError(f"submission.scheme: {error}") from None
        if dropped:
            raise ValueError("submission.scheme: it has no place for a stage of windows.scheme")
        return self

    @model_validator(mode="after")
    def _simulated_is_said(self) -> Task:
        parts = self.dataset.params.get("parts", ())
        joined = [part.get("name") for part in parts if isinstance(part, dict)]
        if not self.simulated and "simulated" in [self.dataset.name, *joined]:
            raise ValueError("these people are simulated; say so: simulated = true")
        return self

    @model_validator(mode="after")
    def _views_fit(self) -> Task:
        if self.protocol.kind == "cross-modality" and "teacher" not in self.windows.views:
            raise ValueError("windows.views: name the teacher's channels: teacher = [...]")
        return self

    @property
    def answer_scheme(self) -> str:
        """Stages that submissions are written in."""
        return self.submission.scheme or self.windows.scheme

    @property
    def definition(self) -> str:
        """Hash of what the task asks, its words and the form of answers aside.

        Rows of another definition are another task's.
        """
        words = {"title", "description", "simulated", "submission"}
        return digest(self.model_dump(mode="json", exclude=words), 8)

    def make_dataset(self, data: Path | str | None = None) -> Dataset:
        """The dataset with the task's settings, on the user's folder."""
        from sleepshift.datasets import make_dataset

        return make_dataset(self.dataset.name, data, **self.dataset.params)

    def prepare(
        self,
        root: Path | str,
        *,
        data: Path | str | None = None,
        skip_bad: bool = False,
        advance: Advance | None = None,
    ) -> Path:
        """Pack the windows this task asks about; see `sleepshift.windows.prepare`."""
        from sleepshift.windows import Recipe, prepare

        recipe = Recipe(
            channels=self.windows.channels,
            sfreq=self.windows.sfreq,
            trim_wake_minutes=self.windows.trim_wake_minutes,
            scaling=self.windows.scaling,
            derivations=self.windows.derived,
            empty_derivation=self.windows.empty_derivation,
        )
        return prepare(
            self.make_dataset(data),
            recipe,
            Path(root),
            subjects=self.protocol.subjects(),
            skip_bad=skip_bad,
            advance=advance,
        )

    def folds(
        self, windows: Windows, *, data_seed: int = 0, allow_missing: bool = False
    ) -> list[Fold]:
        """Split the windows of a prepared store.

        Parameters
        ----------
        windows : Windows
            All windows of the store, labelled in the dataset's own scheme.
        data_seed : int
            Seed of every draw of people.
        allow_missing : bool
            Whether listed people may be absent (their recordings were bad and skipped).

        Returns
        -------
        list of Fold
            Audited: no person or window is in two roles.

        Raises
        ------
        LeakageError, TaskError, DataError
        """
        from sleepshift.protocol.fold import Fold
        from sleepshift.windows import audit_quality

        windows = windows.to_scheme(self.windows.scheme)
        audit_quality(windows, need_age=self.protocol.needs_age)
        table = windows.metadata[["subject", "age"]].drop_duplicates("subject")
        subjects = windows.subjects
        assert subjects is not None

        def of(people: Sequence[str] | None) -> Windows | None:
            import numpy as np

            return None if people is None else windows[np.isin(subjects, list(people))]

        folds = []
        for roles in self.protocol.roles(table, seed=data_seed, allow_missing=allow_missing):
            source, test, unlabeled = of(roles.source), of(roles.test), of(roles.unlabeled)
            assert source is not None
            assert test is not None
            student, teacher = (self.windows.views.get(v) for v in ("student", "teacher"))
            if unlabeled is not None:
                unlabeled = unlabeled.without_labels()
                unlabeled = unlabeled.pick(student) if roles.transductive else unlabeled
            fold = Fold(
                name=roles.name,
                group=roles.group,
                source=source,
                target_labeled=of(roles.labeled),
                target_unlabeled=unlabeled,
                test=test.without_labels().pick(student),
                transductive=roles.transductive,
                privileged=test.without_labels().pick(teacher) if teacher else None,
            )
            fold.audit()
            folds.append(fold)
        return folds


def task_files() -> dict[str, Path]:
    """Task files by name: those of ``./tasks`` before the copies in the package."""
    found: dict[str, Path] = {}
    for folder in (Path(__file__).parents[1] / "tasks", Path("tasks")):
        if folder.is_dir():
            found |= {path.stem: path for path in sorted(folder.glob("*.toml"))}
    return dict(sorted(found.items()))


def load_task(name_or_path: str | Path) -> Task:
    """Read and check a task.

    Parameters
    ----------
    name_or_path : str or Path
        A TOML file, or the name of one in ``./tasks`` or in the package.

    Raises
    ------
    TaskError
        If there is no such task, or the file is not a task: with the field and the reason.

    Examples
    --------
    >>> load_task("cross-age-simulated").scoring.primary
    'macro_f1'
    """
    path = Path(name_or_path)
    if not path.is_file():
        known = task_files()
        if str(name_or_path) not in known:
            what = "file" if path.suffix == ".toml" else "task"
            raise TaskError(
                f"no {what} {str(name_or_path)!r}; there are {', '.join(known)}, or give a file"
            )
        path = known[str(name_or_path)]
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} is not TOML: {error}") from None
    try:
        return Task.model_validate({"name": path.stem, **raw})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = " ".join(first["msg"].removeprefix("Value error, ").split())
        raise TaskError(": ".join(filter(None, (str(path), field, reason)))) from None
