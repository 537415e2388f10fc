"""The page of a leaderboard: one HTML file and its figures."""

from sleepshift.leaderboard.page.compare import differing_page, plotting
from sleepshift.leaderboard.page.render import Page, render_page, write_page

__all__ = ["Page", "differing_page", "plotting", "render_page", "write_page"]
