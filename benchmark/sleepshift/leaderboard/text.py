"""The leaderboard as Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from sleepshift.leaderboard.marks import marks
from sleepshift.leaderboard.table import left_out

if TYPE_CHECKING:
    from sleepshift.leaderboard.results import Results

__all__ = ["FEW_PEOPLE", "INTERVALS_OF_FEW", "PAIRED_TEST", "to_latex", "to_markdown"]

PAIRED_TEST = (
    "below 20 people a permutation test that flips the signs of their differences, else "
    "Wilcoxon's signed-rank test"
)

#: Below so many people percentile intervals are clearly too narrow.
FEW_PEOPLE = 12
INTERVALS_OF_FEW = (
    "With so few people the intervals are too narrow: of normal figures they hold the mean in "
    "about 84 % of cases with five people, 88 % with eight and 93 % with twelve."
)

_METRICS = {
    "macro_f1": "macro F1",
    "balanced_accuracy": "balanced accuracy",
    "kappa": "kappa",
    "accuracy": "accuracy",
    "g_mean": "G-mean",
    "ece": "ECE",
}
_WITH_INTERVAL = ("macro_f1", "balanced_accuracy", "kappa")
_READ_AT_A_GLANCE = {
    "total_sleep_time": "total sleep time, min",
    "sleep_efficiency": "sleep efficiency, %",
    "sleep_latency": "sleep latency, min",
    "waso": "wake after sleep onset, min",
}


def to_markdown(results: Results) -> str:
    """The leaderboard as Markdown: one section per task and group, and what it leaves out.

    Parameters
    ----------
    results : Results
        What was measured.
    """
    parts = [f"**{_line(note)}**" for note in results.manifest["notes"]]
    for (task, group), part in results.table.groupby(["task", "group"], sort=False):
        facts = results.tasks[str(task)]
        label = " (simulated data)" if facts["simulated"] else ""
        parts.append(_line(f"## {facts['title']}: {group}{label}"))
        parts += _caption(results, str(task), str(group), part)
        parts.append(_leaderboard(part))
        parts += _pooled(_of(results.pooled, task, group), part, results.methods)
        parts += _gaps(_of(results.gaps, task, group), part["method"].tolist())
        parts += _gains(_of(results.gains, task, group), facts["scoring"]["primary"])
        parts += _sleep(_of(results.sleep, task, group), part["method"].tolist())
    parts += _ranks(results.ranks)
    parts += _left_out(results)
    return "\n\n".join(parts) + "\n"


def _of(table: pd.DataFrame, task: Any, group: Any) -> pd.DataFrame:
    if table.empty:
        return table
    return table[(table["task"] == task) & (table["group"] == group)]


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [_row(header), "|" + "---|" * len(header)]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_line(cell).replace("|", r"\|") for cell in cells) + " |"


def _line(text: str) -> str:
    return " ".join(text.split())


def _caption(results: Results, task: str, group: str, part: pd.DataFrame) -> list[str]:
    facts, methods = results.tasks[task], results.methods
    people, seeds = int(part["n_people"].max()), int(part["n_seeds"].max())
    plural = "s" if seeds > 1 else ""
    parts = [
        f"Mean over {people} people [95 % bootstrap interval over people], {seeds} model "
        f"seed{plural} averaged in each person; sorted by {facts['scoring']['primary']}."
    ]
    if people < FEW_PEOPLE:
        parts.append(INTERVALS_OF_FEW)
    if one_stage := int(part["n_one_stage"].max()):
        parts.append(
            f"{one_stage} of them with one scored stage only: not in macro F1, kappa and G-mean."
        )
    if n_labeled := int(part["n_labeled"].max()):
        whose = "one person who is" if n_labeled == 1 else f"{n_labeled} people who are"
        parts.append(f"Labels of the target are those of {whose} not tested.")
    adapted = [m for m in part["method"] if methods[m]["unlabeled"]]
    if adapted and group in facts["transductive"]:
        parts.append(
            "Learned from the test people's own unlabelled signals (their labels stay "
            f"withheld): {', '.join(adapted)}."
        )
    if chosen := [m for m in part["method"] if "chosen" in marks(methods[m])]:
        parts.append(
            "Chosen on the test people: of all training passes the one is kept that is best on the "
            "very people tested, as published. It scores more than it would on others, so it has "
            f"no rank: {', '.join(chosen)}."
        )
    if began := _began(results, task, group):
        parts.append(
            f"Networks that did not start afresh: {'; '.join(began)}. One that saw this dataset "
            "may have seen the people tested, so it has no rank."
        )
    human = _of(results.human, task, group)
    if len(human):
        row = human.iloc[0]
        parts.append(
            f"A second human scorer agrees with the first, over {row['n_people']} people: macro "
            f"F1 {_interval(row, 'macro_f1')}, kappa {_interval(row, 'kappa')}."
        )
    return parts


def _began(results: Results, task: str, group: str) -> list[str]:
    """Methods that began with weights of a file, and what it says of itself."""
    rows = _of(results.rows, task, group)
    if "pretrained" not in rows:
        return []
    told = rows.dropna(subset=["pretrained"]).drop_duplicates(["method", "pretrained"])
    return [
        f"{method} from {words}"
        for words, part in told.groupby("pretrained", sort=False)
        for method in [", ".join(part["method"])]
    ]


def _leaderboard(part: pd.DataFrame) -> str:
    recovered = "recovery" in part and part["recovery"].notna().any()
    header = ["rank", "method", "labels", *_METRICS.values()]
    header += [*(["recovery"] if recovered else []), "fit s", ""]
    rows = []
    for row in part.to_dict("records"):
        cells = ["-" if pd.isna(row["rank"]) else str(row["rank"]), row["method"]]
        cells += [row["labels"].replace(" ", ", ")]
        cells += [_metric(row, name) for name in _METRICS]
        cells += [_interval(row, "recovery", 2)] if recovered else []
        rows.append([*cells, f"{row['fit_seconds']:.1f}", row["flag"]])
    return _grid(header, rows)


def _metric(row: Mapping[Any, Any], name: str) -> str:
    if name in _WITH_INTERVAL:
        return _interval(row, name)
    return _number(row[name])


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _interval(row: Mapping[Any, Any] | pd.Series, name: str, digits: int = 3) -> str:
    if np.isnan(row[name]):
        return ""
    value, low, high = (f"{row[name + end]:.{digits}f}" for end in ("", "_low", "_high"))
    return value if np.isnan(row[f"{name}_low"]) else f"{value} [{low}, {high}]"


def _pooled(part: pd.DataFrame, table: pd.DataFrame, methods: Mapping[str, Any]) -> list[str]:
    """Figures of all predictions together, of the best ranked and of published methods."""
    by_method, said = part.set_index("method"), []
    for method, rank in zip(table["method"], table["rank"], strict=True):
        best = not pd.isna(rank) and rank == 1
        if best or methods[method]["family"] == "published":
            row = by_method.loc[method]
            shown = {words: _number(row[k]) for k, words in _METRICS.items() if k in row}
            figures = ", ".join(f"{words} {figure}" for words, figure in shown.items() if figure)
            why = f" ({row['flag']})" if row["flag"] else ""
            said.append(f"{method}{why} {figures}")
    if not said:
        return []
    text = "All windows together instead of a mean over people, as published figures often are: "
    return [_line(f"{text}{'; '.join(said)}. All methods: pooled.csv.")]


def _gaps(part: pd.DataFrame, order: list[str]) -> list[str]:
    if part.empty:
        return []
    text = (
        "Transfer gap: score of the source's own people (each tested by models of the others) "
        "minus the score here [95 % bootstrap interval over both groups of people]. Methods that "
        "learned from labels of the target are held against source-only or features-logreg there."
    )
    rows = [
        [
            row["method"],
            f"{row['in_domain']:.3f} ({row['in_domain_of']})",
            f"{row['score']:.3f}",
            _interval(row, "gap"),
            row["flag"],
        ]
        for row in part.sort_values("method", key=lambda m: m.map(order.index)).to_dict("records")
    ]
    header = ["method", "source's own people", "here", "gap", ""]
    n_columns = len(header) if any(row[-1] for row in rows) else len(header) - 1
    return [text, _grid(header[:n_columns], [row[:n_columns] for row in rows])]


def _gains(part: pd.DataFrame, primary: str) -> list[str]:
    """What each method gained over the controls, paired over people."""
    if part.empty:
        return []
    references = list(dict.fromkeys(part["reference"]))
    rows = []
    for method in dict.fromkeys(part["method"]):
        own = part[part["method"] == method].set_index("reference")
        cells = [_gain(own.loc[name]) if name in own.index else "" for name in references]
        rows.append([str(method), *cells])
    text = (
        f"Gain in {primary} over the controls: mean over people of the paired difference [95 % "
        f"bootstrap interval over people], two-sided p ({PAIRED_TEST}), Holm-corrected in each "
        "column."
    )
    return [text, _grid(["method", *(f"over {name}" for name in references)], rows)]


def _gain(row: pd.Series) -> str:
    interval = f"[{row['gain_low']:+.3f}, {row['gain_high']:+.3f}]"
    tested = f"p = {row['p_holm']:.2g}" if not np.isnan(row["p_holm"]) else "no test"
    return f"{row['gain']:+.3f} {interval}, {tested}"


def _sleep(part: pd.DataFrame, order: list[str]) -> list[str]:
    if part.empty:
        return []
    shown = {k: words for k, words in _READ_AT_A_GLANCE.items() if k in set(part["statistic"])}
    scored = part.groupby("statistic")["scored"].first()
    header = [f"{words} (scored: {scored[name]:.0f})" for name, words in shown.items()]
    by = part.set_index(["method", "statistic"])
    rows = [
        [
            method,
            *(_bias(by.loc[(method, k)]) if (method, k) in by.index else "" for k in shown),
        ]
        for method in order
    ]
    text = (
        "What clinicians read, predicted minus scored: bias (95 % limits of agreement of one "
        "night). A night begins and ends with its windows, so trimmed wake is in no figure."
    )
    return [text, _grid(["method", *header], rows)]


def _bias(row: pd.Series) -> str:
    if np.isnan(row["limit_low"]):
        return f"{row['bias']:+.1f}"
    return f"{row['bias']:+.1f} ({row['limit_low']:+.0f} to {row['limit_high']:+.0f})"


def _ranks(ranks: pd.DataFrame) -> list[str]:
    if ranks.empty:
        return []
    n, cd = int(ranks["n_tasks"].max()), ranks.attrs["critical_difference"]
    p = ranks.attrs["friedman_p"]
    text = (
        f"Mean rank over {n} tasks, of the methods that all of them have. By Nemenyi's test two "
        f"differ when they lie {cd:.2f} apart (5 % level)"
        + ("." if np.isnan(p) else f"; Friedman's test of all together: p = {p:.2g}.")
    )
    rows = [[row["method"], f"{row['mean_rank']:.2f}"] for row in ranks.to_dict("records")]
    return ["## Over tasks", text, _grid(["method", "mean rank"], rows)]


def _left_out(results: Results) -> list[str]:
    lines = []
    for found in left_out(results.rows, results.tasks):
        where = f"{found['task']} ({found['groups']})" if found["groups"] else found["task"]
        why = ": ".join(filter(None, (found["kind"], found["reason"])))
        lines.append(f"- {where}: {found['what']}: {why}")
    return ["## Left out", "\n".join(map(_line, lines))] if lines else []


_LATEX = str.maketrans({c: "\\" + c for c in "&%$#_{}"})
_LATEX |= str.maketrans({"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"})


def to_latex(results: Results) -> str:
    """The leaderboard as LaTeX ``table`` environments; they need the package booktabs.

    Parameters
    ----------
    results : Results
        What was measured.
    """
    parts = []
    for (task, group), part in results.table.groupby(["task", "group"], sort=False):
        facts = results.tasks[str(task)]
        label = " Simulated data." if facts["simulated"] else ""
        notes = " ".join(["", *(f"{note}." for note in results.manifest["notes"])])
        caption = f"{facts['title']}: {group}.{label} "
        caption += " ".join(_caption(results, str(task), str(group), part)) + notes
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}}}"]
        lines += [r"\begin{tabular}{rll" + "r" * len(_METRICS) + "l}", r"\toprule"]
        lines += [_latex_row(["", "method", "labels", *_METRICS.values(), ""]), r"\midrule"]
        for row in part.to_dict("records"):
            rank = "--" if pd.isna(row["rank"]) else str(row["rank"])
            cells = [_metric(row, name) for name in _METRICS]
            labels = row["labels"].replace(" ", ", ")
            lines.append(_latex_row([rank, row["method"], labels, *cells, row["flag"]]))
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]))
    return "\n\n".join(parts) + "\n"


def _latex_row(cells: list[str]) -> str:
    return " & ".join(map(_latex, cells)) + r" \\"


def _latex(text: str) -> str:
    return _line(text).translate(_LATEX)
