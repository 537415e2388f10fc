"""Plan -> execute -> artifacts -> results."""

from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.execute import Outcome, execute, missing
from sleepshift.runner.grid import read_grid, record_grid
from sleepshift.runner.overrides import check_overrides
from sleepshift.runner.plan import Plan, TaskData, plan
from sleepshift.runner.request import Request
from sleepshift.runner.tracking import Tracker
from sleepshift.runner.work import Options

__all__ = [
    "ArtifactStore",
    "Options",
    "Outcome",
    "Plan",
    "Request",
    "TaskData",
    "Tracker",
    "check_overrides",
    "execute",
    "missing",
    "plan",
    "read_grid",
    "record_grid",
]
