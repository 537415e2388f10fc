"""Track training and scores with Weights & Biases, which never delays or fails a run.

One thread of a process talks to wandb; training only leaves word with it. Whoever has to wait
for it waits `PATIENCE` seconds at most, and whatever goes wrong there is one warning, after
which this process tracks nothing more. Files are below the ``wandb`` folder of a run.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

from sleepshift.digest import digest
from sleepshift.errors import TaskError, one_line

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tracker", "TrackingWarning"]

#: Seconds that a job waits for wandb, all in all.
PATIENCE = 60.0
_SHORT = 2.0

#: Curves and scores are sent, and nothing of the machine, the code or the person. Versions of
#: wandb that lack one of these settings do without it.
_SETTINGS: dict[str, Any] = {
    "silent": True,
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "disable_job_creation": True,
    "save_code": False,
    "symlink": False,
    "host": "",
    "program": "",
    "x_executable": "",
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
    "init_timeout": PATIENCE / 3,
    "finish_timeout": PATIENCE / 3,
}


class TrackingWarning(UserWarning):
    """Tracking was switched off; the run goes on without it."""


@dataclass(frozen=True)
class Tracker:
    """What follows a run with wandb; plain, so that it can be sent to other processes.

    Without credentials of wandb, or with ``WANDB_MODE=offline``, everything is written to files
    that ``wandb sync`` can send later. Nobody is ever asked for a key.

    Parameters
    ----------
    project : str or None
        Project of wandb; None tracks nothing, and wandb is not imported.
    folder : Path
        Of the run.

    Raises
    ------
    TaskError
        If wandb would refuse the name.
    """

    project: str | None
    folder: Path

    def __post_init__(self) -> None:
        if self.project is not None and not re.fullmatch(r"[^/\\#?%:\s]{1,128}", self.project):
            raise TaskError(
                f"--wandb {self.project!r}: name a project, without spaces and any of /\\#?%: "
                "(a team is named by WANDB_ENTITY)"
            )

    @contextmanager
    def job(
        self, *, key: str, kind: str, name: str, task: str, config: Mapping[str, Any]
    ) -> Iterator[None]:
        """Log what is trained inside the block as one run of wandb; without training, none.

        Parameters
        ----------
        key : str
            Identifies the run: a job that is done again replaces what it logged before.
        kind : {"fit", "cell"}
        name, task : str
            Runs are grouped by task.
        config : mapping
            The job in plain values.
        """
        if self.project is None:
            yield
            return
        from skorch.callbacks import WandbLogger

        from sleepshift.estimators.training import watchers

        facts = {"id": key, "job_type": kind, "name": name, "group": task, "config": dict(config)}
        run = _JobRun(lambda: _begin(self.project, self.folder, **facts))
        token = watchers.set((*watchers.get(), WandbLogger(run, save_model=False)))
        failed, patience = True, PATIENCE
        try:
            yield
            failed = False
        except BaseException as error:
            if not isinstance(error, Exception):
                patience = _SHORT  # whoever stops a run does not wait for wandb
            raise
        finally:
            watchers.reset(token)
            run.finish(exit_code=int(failed), patience=patience)

    def summary(
        self,
        task: str,
        *,
        config: Mapping[str, Any],
        tables: Mapping[str, pd.DataFrame],
        figures: Mapping[str, float],
    ) -> None:
        """Log what came out for a task as one run of wandb, in place of an earlier one.

        Parameters
        ----------
        task : str
        config : mapping
            The task in plain values.
        tables : mapping of str to DataFrame
        figures : mapping of str to float
            What runs are compared by.
        """
        if self.project is None:
            return
        name = digest([task, "summary", self.folder.resolve()])
        facts = {"id": name, "job_type": "summary", "name": task, "group": task}

        def write() -> None:
            from wandb import Table

            run = _begin(self.project, self.folder, **facts, config=dict(config))
            # Tables take no missing values of pandas, of which JSON knows nothing.
            plain = {k: t.astype(object).where(t.notna(), None) for k, t in tables.items()}
            run.log({k: Table(dataframe=t, allow_mixed_types=True) for k, t in plain.items()})
            run.summary.update(dict(figures))
            run.finish()

        _desk(os.getpid()).call(write)
        _desk(os.getpid()).settle(PATIENCE)

    def hint(self) -> str | None:
        """One line on how to send what was logged offline; None where there is nothing to send."""
        offline = self.folder.glob("wandb/offline-run-*")
        if self.project is None or all(any(run.glob("*.synced")) for run in offline):
            return None
        return f"tracked offline; send it with: wandb sync {self.folder}/wandb/offline-run-*"


class _JobRun:
    """What skorch's `WandbLogger` takes for a run of wandb; the real one begins with training."""

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self._n_trainings = self._n_passes = 0
        self._run: Any = None

    def watch(self, module: Any) -> None:
        """Training begins. The histograms of gradients that wandb offers here would slow it."""
        self._n_trainings, self._n_passes = self._n_trainings + 1, 0
        if self._n_trainings == 1:
            _desk(os.getpid()).call(self._start)

    def _start(self) -> None:
        self._run = self._begin()

    def log(self, row: dict[str, Any]) -> None:
        """Log a training pass; steps go on over all trainings of a job."""
        self._n_passes += 1
        row = {**row, "training": self._n_trainings, "epoch": self._n_passes}
        _desk(os.getpid()).call(lambda: self._run.log(row))

    def finish(self, exit_code: int, patience: float) -> None:
        """Wait until all is logged."""
        if self._n_trainings:
            desk = _desk(os.getpid())
            desk.call(lambda: self._run.finish(exit_code=exit_code))
            desk.settle(patience)


def _begin(project: str | None, folder: Path, **facts: Any) -> Any:
    """A new run of wandb in place of what an earlier one of the same id left here."""
    import wandb

    # Its lines on the terminal would tear the progress bars, and it says some of them before
    # it looks at the settings of a run.
    mode: Any = wandb.setup(wandb.Settings(silent=True)).settings.mode
    if mode not in ("offline", "dryrun", "disabled"):
        known = wandb.run is not None or wandb.login(prompt=False, verify=False)
        mode = None if known else "offline"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"wandb/*run-*-{facts['id']}"):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
    settings = {k: v for k, v in _SETTINGS.items() if k in wandb.Settings.model_fields}
    return wandb.init(
        project=project,
        dir=folder,
        mode=mode,
        reinit="create_new",
        settings=wandb.Settings(**settings),
        **facts,
    )


class _Desk:
    """The thread of a process that talks to wandb, call by call, until one of them fails."""

    def __init__(self) -> None:
        self._calls: Queue[Callable[[], None]] = Queue()
        self._trouble = ""
        self._said = False
        threading.Thread(target=self._work, name="sleepshift-wandb", daemon=True).start()

    def call(self, function: Callable[[], None]) -> None:
        """Leave a call to be made; does not wait for it."""
        if not self._trouble:
            self._calls.put(function)

    def settle(self, patience: float) -> None:
        """Wait until all calls have been made, or it is clear that they will not be."""
        with self._calls.all_tasks_done:
            waited = self._calls.all_tasks_done.wait_for(
                lambda: not self._calls.unfinished_tasks or self._trouble, patience
            )
        if not waited:
            self._trouble = f"it did not answer within {patience:g} s"
            # wandb waits for its own process when this one ends, however long that takes; its
            # teardown takes that hook away before it waits, and nobody waits for this thread.
            threading.Thread(target=_tear_down, daemon=True).start()
        if self._trouble and not self._said:
            self._said = True
            warnings.warn(
                f"tracking with wandb is off, the run goes on: {self._trouble}",
                TrackingWarning,
                stacklevel=2,
            )

    def _work(self) -> None:
        while True:
            function = self._calls.get()
            try:
                if not self._trouble:
                    function()
            # A run is not worth less for what a server or a library does.
            except BaseException as error:  # noqa: BLE001
                self._trouble = f"{type(error).__name__}: {one_line(error, 200)}"
            finally:
                self._calls.task_done()


def _tear_down() -> None:
    import wandb

    wandb.teardown(exit_code=1)


@lru_cache(maxsize=1)
def _desk(process: int) -> _Desk:
    """One desk a process; a forked one has no thread, and needs its own."""
    return _Desk()
