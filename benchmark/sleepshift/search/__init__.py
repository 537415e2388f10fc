"""Hyperparameter search: grids of settings, chosen on people held out, never on test people."""

from sleepshift.search.grid import combine
from sleepshift.search.plan import SearchRequest, plan_search, record_search
from sleepshift.search.rules import RULES, cv_results, oracle, select, selections, write_tables
from sleepshift.search.scores import Scores, read_scores

__all__ = [
    "RULES",
    "Scores",
    "SearchRequest",
    "combine",
    "cv_results",
    "oracle",
    "plan_search",
    "read_scores",
    "record_search",
    "select",
    "selections",
    "write_tables",
]
