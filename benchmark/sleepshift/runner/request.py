"""What a plan is made from, in plain values: all that other processes are told."""

from __future__ import annotations

import ast
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from sleepshift.atomic import read_json, write_json
from sleepshift.digest import digest
from sleepshift.errors import GridError, TaskError, one_line
from sleepshift.methods import get_methods
from sleepshift.protocol.task import Task
from sleepshift.runner.plan import Plan, TaskData, plan

__all__ = ["PlainSettings", "Request", "planned"]

#: Seconds that a worker waits for a request to appear.
_PATIENCE = 10


def _read(value: Any) -> Any:
    return ast.literal_eval(value) if isinstance(value, str) else value


#: Settings, written as Python writes them: JSON has no tuples, and no numbers for keys.
PlainSettings = Annotated[
    dict[str, Any], BeforeValidator(_read), PlainSerializer(repr, return_type=str)
]


class Request(BaseModel):
    """A grid in plain values, from which any process that sees the run's folder plans the same.

    Parameters
    ----------
    tasks : list of dict
        Dumps of `Task`.
    stores : list of str
        Names of their prepared windows, below ``windows/``.
    methods : list of str
    seeds : list of int
        Model seeds.
    folds : list of str or None
    data_seed : int
    device : str
    overrides : dict
        As `plan` takes them.
    allow_missing : bool
        See `Task.folds`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: list[dict[str, Any]]
    stores: list[str]
    methods: list[str]
    seeds: list[int] = Field(default=[0])
    folds: list[str] | None = None
    data_seed: int = 0
    device: str = "auto"
    overrides: PlainSettings = {}
    allow_missing: bool = False

    def open(self, root: Path) -> list[TaskData]:
        """The tasks with their windows.

        Parameters
        ----------
        root : Path
            Folder of the run.
        """
        return [
            TaskData.open(
                Task.model_validate(task),
                root / "windows" / store,
                data_seed=self.data_seed,
                allow_missing=self.allow_missing,
            )
            for task, store in zip(self.tasks, self.stores, strict=True)
        ]

    def plan(self, tasks: list[TaskData]) -> Plan:
        """Jobs and cells of what was opened.

        Parameters
        ----------
        tasks : list of TaskData
        """
        return plan(
            tasks,
            get_methods(self.methods),
            seeds=self.seeds,
            folds=self.folds,
            data_seed=self.data_seed,
            device=self.device,
            overrides=self.overrides,
        )

    def make(self, root: Path) -> tuple[Plan, list[TaskData]]:
        """Open and plan, and write down where workers find from what.

        Parameters
        ----------
        root : Path
            Folder of the run.

        Raises
        ------
        TaskError
            If a setting cannot be written down.
        """
        content = self.model_dump(mode="json")
        try:
            same = type(self).model_validate(content) == self
        except (ValueError, SyntaxError):
            same = False
        if not same:
            raise TaskError("--set: workers could not read these settings; use plain values")
        opened = self.open(root)
        made = self.plan(opened)
        made.request = (type(self), digest(content))
        write_json(root / "plans" / f"{made.request[1]}.json", content)
        return made, opened


@lru_cache(maxsize=2)
def planned(root: Path, kind: type[Request], name: str) -> Plan:
    """The plan of a request that was made, once in a process.

    Parameters
    ----------
    root : Path
        Folder of the run.
    kind, name
        The ``request`` of the plan.

    Raises
    ------
    GridError
        If this process does not see the folder, or what it finds there is no request.
    """
    path = root / "plans" / f"{name}.json"
    # Other machines see a new file on a shared disk a little later.
    for _ in range(_PATIENCE):
        if path.exists():
            break
        time.sleep(1)
    else:
        raise GridError(f"a worker does not see {path}; --out must be on a disk that all share")
    content = read_json(path)
    try:
        if digest(content) != name:
            raise ValueError("its content has changed")
        request = kind.model_validate(content)
    except (ValueError, SyntaxError, TypeError) as error:
        raise GridError(f"{path} is damaged ({one_line(error, 120)}); run again") from None
    return request.plan(request.open(root))
