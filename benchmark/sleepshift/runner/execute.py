"""Execute a plan: what is missing, in order, in this process or on Dask's workers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sleepshift.errors import StorageError
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.plan import Plan
from sleepshift.runner.work import Done, Options, Workbench

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Outcome", "execute", "missing"]

#: Called as ``report(event, text)``: "start" of a job of this process, "done" with a cell,
#: "failed" job, "note" for the user; the text is the job's name, or what the note says.
Report = Callable[[str, str], None]


@dataclass
class Outcome:
    """What a run did.

    Parameters
    ----------
    fitted, scored : list of str
        Names of the jobs that were run, in the order they ended.
    kept : int
        Cells that were there already.
    failed : dict of str to str
        Key of a job -> one line of why.
    """

    fitted: list[str] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def missing(plan: Plan, store: ArtifactStore) -> dict[str, list[str]]:
    """Jobs of a plan that are not stored, in an order that can be kept.

    Parameters
    ----------
    plan : Plan
    store : ArtifactStore

    Returns
    -------
    dict of str to list of str
        Key of each job -> keys of those among them that come before it.
    """
    found: dict[str, list[str]] = {}
    stored: dict[str, bool] = {}

    def there(key: str) -> bool:
        if key not in stored:
            stored[key] = key in plan.fits and store.has_artifact(key)
        return stored[key]

    def add(key: str) -> None:
        if key not in found and not there(key):
            after = plan.job(key).after
            for before in after:
                add(before)
            found[key] = [before for before in after if before in found]

    for key in plan.cells:
        if not store.has_cell(key):
            add(key)
    return found


def execute(
    plan: Plan,
    store: ArtifactStore,
    *,
    todo: dict[str, list[str]] | None = None,
    client: Client | None = None,
    options: Options | None = None,
    report: Report | None = None,
) -> Outcome:
    """Run the jobs of a plan that are not stored yet.

    A failing job is recorded with its traceback; cells that need it say which
    prerequisite failed; all others go on.

    Parameters
    ----------
    plan : Plan
    store : ArtifactStore
    todo : dict or None
        What `missing` gave, where that has been asked already.
    client : dask.distributed.Client or None
        Whose workers do the jobs; the plan was made by a `Request` then, and they see the
        store's folder by the same path. None does them here, one after the other.
    options : Options or None
    report : callable or None
        Told of every job, for progress bars.

    Returns
    -------
    Outcome

    Raises
    ------
    StorageError
        If nothing more can be stored; what is finished is kept.
    ClusterError
        If the scheduler is lost, or the workers cannot work.
    SleepShiftError
        If a timeout is asked for where nothing can stop a job.
    """
    options, say = options or Options(), report or (lambda event, text: None)
    todo = missing(plan, store) if todo is None else todo
    outcome = Outcome()
    for key, cell in plan.cells.items():
        if key not in todo:
            outcome.kept += 1
            say("done", cell.name)
    if not todo:
        return outcome
    if client is None:
        options.check_alarm()
        finished = _here(plan, store, todo, options, say)
    else:
        from sleepshift.runner.cluster import on_workers

        finished = on_workers(client, plan, store.root, todo, options, say)
    with closing(finished):
        _follow(plan, finished, outcome, say)
    return outcome


def _here(
    plan: Plan, store: ArtifactStore, todo: dict[str, list[str]], options: Options, say: Report
) -> Generator[Done]:
    bench = Workbench(plan, store, options)
    before: dict[str, Done] = {}
    for key, after in todo.items():
        say("start", plan.job(key).name)
        before[key] = bench.do(key, [before[other] for other in after])
        yield before[key]


def _follow(plan: Plan, finished: Iterable[Done], outcome: Outcome, say: Report) -> None:
    """Count jobs as they end."""
    heard: set[str] = set()
    for done in finished:
        for note in done.notes:
            if note not in heard:
                say("note", note)
            heard.add(note)
        if done.status == "stopped":
            raise StorageError(done.reason)
        if done.status == "failed":
            outcome.failed[done.key] = done.reason
            say("failed", done.name)
        elif done.status == "fitted":
            outcome.fitted.append(done.name)
        elif done.status == "scored":
            outcome.scored.append(done.name)
        elif done.key in plan.cells:
            outcome.kept += 1
        if done.key in plan.cells:
            say("done", done.name)
