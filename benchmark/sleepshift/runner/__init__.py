"""Plan -> execute -> artifacts -> results."""

from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.execute import Outcome, execute
from sleepshift.runner.grid import read_grid, record_grid
from sleepshift.runner.plan import Plan, TaskData, check_overrides, plan

__all__ = [
    "ArtifactStore",
    "Outcome",
    "Plan",
    "TaskData",
    "check_overrides",
    "execute",
    "plan",
    "read_grid",
    "record_grid",
]
