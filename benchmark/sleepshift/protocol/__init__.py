"""Tasks and folds: who is source, who is target, which channels a method may see."""

from sleepshift.protocol.task import Task, load_task, task_files

__all__ = ["Task", "load_task", "task_files"]
