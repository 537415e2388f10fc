"""Two ends of training before its time, which skorch would take for one."""

from __future__ import annotations

__all__ = ["Enough", "Interrupted"]


class Enough(KeyboardInterrupt):
    """Early stopping's own interruption."""


class Interrupted(BaseException):
    """The user's interruption, on its way past skorch."""
