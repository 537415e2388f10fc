"""What is committed under leaderboards/ follows from its own rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from sleepshift.leaderboard.report import check_report

FOLDER = Path(__file__).resolve().parents[2] / "leaderboards"
COMMITTED = sorted(path.parent for path in FOLDER.glob("*/manifest.json"))


def test_leaderboards_are_committed() -> None:
    assert COMMITTED


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: path.name)
def test_every_figure_follows_from_the_rows(folder: Path) -> None:
    assert check_report(folder) > 0
    assert (folder / "README.md").is_file()
