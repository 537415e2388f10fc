"""The page of a leaderboard: one HTML file and its figures."""

from sleepshift.leaderboard.page.render import render_page, write_page

__all__ = ["render_page", "write_page"]
