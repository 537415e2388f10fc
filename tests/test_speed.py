"""The speed harness: it runs, hides no missed goal, and leaves the page to a whole run."""

from __future__ import annotations

import math
import time

import numpy as np
import pandas as pd
import pytest

from speed import __main__ as speed
from speed.grid import METHODS, compare_scores
from speed.measure import Figure, Measured, in_turns
from speed.report import page, table


@pytest.fixture(autouse=True)
def untouched(monkeypatch, tmp_path):
    """The page would be written here, and not into the repository."""
    monkeypatch.setattr(speed, "PAGE", tmp_path / "speed.md")
    monkeypatch.setattr(speed, "_quiet", lambda: None)
    return tmp_path / "speed.md"


def slower(ours: float, other: float, goal: float = 0.9) -> Measured:
    works = {"ours": lambda: time.sleep(ours), "other": lambda: time.sleep(other)}
    seconds = in_turns(works, 3)
    return Measured(
        [Figure.of_times("naps", seconds["ours"], seconds["other"], goal=goal)], "Naps."
    )


def test_cheap_measurements_run_and_write_nothing(untouched, capsys):
    names = ["training", "reading", "packing"]
    assert speed.main(["--quick", *names]) == 0
    said = capsys.readouterr().out
    assert "did not finish" not in said
    assert all(f"**{name}.**" in said for name in names)
    assert "windows/s" in said
    assert "- processor: " in said
    assert not untouched.exists()


def test_a_missed_goal_is_said(monkeypatch, untouched, capsys):
    found = {"slow": lambda quick: slower(0.03, 0.01), "fast": lambda quick: slower(0.01, 0.03)}
    monkeypatch.setattr(speed, "MEASUREMENTS", found)
    assert speed.main([]) == 1
    rows = [line for line in untouched.read_text().splitlines() if line.startswith("| naps")]
    assert rows[0].endswith("| >= 0.90 | **no** |")
    assert rows[1].endswith("| >= 0.90 | yes |")
    assert "Not reached: naps." in capsys.readouterr().out
    assert speed.main(["fast"]) == 0
    assert speed.main(["--quick", "slow"]) == 0  # tiny sizes say nothing of goals


def test_some_measurements_leave_the_page_alone(monkeypatch, untouched):
    monkeypatch.setattr(speed, "MEASUREMENTS", {"fast": lambda quick: slower(0.01, 0.03)})
    assert speed.main(["fast"]) == 0
    assert not untouched.exists()


def test_what_fails_is_shown_and_the_others_go_on(monkeypatch, untouched):
    def broken(quick: bool) -> Measured:
        raise RuntimeError("no network\nno luck")

    found = {"broken": broken, "fast": lambda quick: slower(0.01, 0.03)}
    monkeypatch.setattr(speed, "MEASUREMENTS", found)
    assert speed.main([]) == 1
    text = untouched.read_text()
    assert "| broken | - | - | - | 0 | - | **did not finish** |" in text
    assert "RuntimeError: no luck" in text
    assert "| naps" in text


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit) as refused:
        speed.main(["reeding"])
    assert refused.value.code == 2
    assert "no measurement 'reeding'" in capsys.readouterr().err


def test_turns_alternate_and_the_first_is_not_counted():
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = in_turns(works, 3)
    assert order == list("baabbaab")
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_figures_are_medians_of_ratios():
    figure = Figure.of_times("x", [1.0, 2.0, 4.0], [2.0, 2.0, 4.0], goal=1.5)
    assert (figure.ours, figure.other, figure.ratio, figure.met) == (2.0, 2.0, 1.0, False)
    limit = Figure.within("x", [4.0, 10.0, 2.0], 5.0)
    assert (limit.ours, limit.ratio, limit.met) == (4.0, 1.25, True)
    assert not Figure.within("x", [math.nan], 5.0).met
    assert "| limit 5 s |" in table({"x": Measured([limit], "")})


def test_a_page_without_misses_says_so():
    text = page({"x": Measured([Figure.within("x", [4.0], 5.0)], "Words.")}, {"cores": "2"})
    assert "All goals are reached." in text
    assert "- cores: 2" in text
    assert "**x.** Words." in text


def scores(of_seeds: list[float], n_windows: int = 10) -> pd.DataFrame:
    rows = [
        {"fold": "f", "method": m, "subject": "1", "seed": s, "macro_f1": v, "n_windows": n_windows}
        for m in METHODS
        for s, v in enumerate(of_seeds)
    ]
    return pd.DataFrame(rows)


def test_scores_are_held_against_the_spread_over_seeds():
    ours = scores([0.5, 0.6, 0.7])
    text, gap = compare_scores(ours, scores([0.6, 0.7, 0.8]))
    assert np.isclose(gap, 1.0)
    assert text.count("within noise") == len(METHODS) + 1
    text, gap = compare_scores(ours, scores([0.9, 0.9, 0.9]))
    assert np.isclose(gap, 3.0)
    assert text.count("beyond noise") == len(METHODS) + 1
    assert "| kd-softmax | 0.600 | 0.100 | 0.900 | 0.000 | 3.0 |" in text


def test_scores_of_other_windows_are_refused():
    with pytest.raises(ValueError, match="same windows"):
        compare_scores(scores([0.5, 0.6]), scores([0.5, 0.6], n_windows=11))
