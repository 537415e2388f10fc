"""What is written in Markdown and LaTeX, and that no name breaks it."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from sleepshift.leaderboard.text import to_latex, to_markdown

#: Names that are hard on a table.
AWKWARD = "a|b\n\nc_%&#${}\\~^ <d>"


def cells(line: str) -> list[str]:
    """Cells of a row of Markdown, bars that are escaped aside."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def grids(text: str) -> list[list[list[str]]]:
    """Every table of a Markdown text; fails on rows of another length than the heading."""
    found = []
    for block in re.findall(r"(?m)(?:^\|.*\n?)+", text):
        rows = [cells(line) for line in block.splitlines()]
        assert {len(row) for row in rows} == {len(rows[0])}
        assert set(rows[1]) == {"---"}
        found.append([rows[0], *rows[2:]])
    return found


@pytest.fixture
def old(rows_by_skill) -> pd.DataFrame:
    return rows_by_skill({"source-only": 0.8, "features-logreg": 0.6})


@pytest.fixture
def labelled(tasks) -> dict:
    """The task with all there is to say of it."""
    tasks["t"] |= {"simulated": True, "transductive": ["old"]}
    tasks["t"]["skipped_recordings"] = [{"recording": "x.edf", "reason": "x.edf: too short"}]
    return tasks


def lost(status: str, method: str = "rp-linear", group: str = "old") -> dict:
    return {"task": "t", "fold": group, "group": group, "method": method, "status": status}


# ---------------------------------------------------------------------- Markdown


def test_a_section_has_the_figures_of_its_table(old, results) -> None:
    found = results(old)
    text = to_markdown(found)
    assert text.startswith("## A task: old\n\nMean over 6 people")
    assert "1 model seed averaged in each person; sorted by kappa." in text
    header, *rows = grids(text)[0]
    assert header[:3] == ["rank", "method", "labels"]
    for row, expected in zip(rows, found.table.to_dict("records"), strict=True):
        shown = dict(zip(header, row, strict=True))
        assert (shown["rank"], shown["method"]) == (str(expected["rank"]), expected["method"])
        for name, words in (("kappa", "kappa"), ("macro_f1", "macro F1")):
            figures = [expected[name + end] for end in ("", "_low", "_high")]
            assert [float(n) for n in re.findall(r"[\d.]+", shown[words])] == pytest.approx(
                figures, abs=5.1e-4
            )
        assert shown["accuracy"] == f"{expected['accuracy']:.3f}"
        assert shown["G-mean"] == f"{expected['g_mean']:.3f}"
        assert shown["ECE"] == "0.100"


def test_a_bound_has_a_dash_for_a_rank(rows_by_skill, results) -> None:
    text = to_markdown(results(rows_by_skill({"features-logreg": 0.9, "teacher": 0.5})))
    assert "| - | teacher |" in text
    assert "| 1 | features-logreg |" in text


def test_markdown_says_what_is_chosen_on_the_test_people_and_why_it_has_no_rank(
    rows_by_skill, results
) -> None:
    found = results(rows_by_skill({"attnsleep@published": 0.9, "attnsleep": 0.7}))
    text = to_markdown(found)
    assert "| - | attnsleep@published |" in text
    assert "| 1 | attnsleep |" in text
    assert "the one is kept that is best on the very people tested" in text
    assert "so it has no rank: attnsleep@published." in text
    assert "so it has no rank: attnsleep@published." in to_latex(found)
    assert "no rank" not in to_markdown(results(rows_by_skill({"attnsleep": 0.7})))


def test_figures_of_all_windows_together_are_one_line(rows_by_skill, results) -> None:
    skills = {"source-only": 0.8, "attnsleep@published": 0.7, "majority": 0.2}
    found = results(rows_by_skill(skills))
    (line,) = (one for one in to_markdown(found).splitlines() if "All windows together" in one)
    by_method = found.pooled.set_index("method")
    for method in ("source-only", "attnsleep@published"):
        assert f"accuracy {by_method.loc[method, 'accuracy']:.3f}" in line
        assert f"G-mean {by_method.loc[method, 'g_mean']:.3f}" in line
    assert "attnsleep@published (optimistic: its training pass" in line
    assert "majority" not in line


def test_notes_come_first_and_what_was_left_out_last(old, results, labelled) -> None:
    frame = pd.concat([old, pd.DataFrame([lost("skipped: no order")])], ignore_index=True)
    text = to_markdown(results(frame, notes=["PARTIAL: 1 cells are missing", "MIXED: t"]))
    assert text.startswith("**PARTIAL: 1 cells are missing**\n\n**MIXED: t**\n\n## ")
    assert "## A task: old (simulated data)" in text
    assert text.endswith(
        "## Left out\n\n- t (old): rp-linear: skipped: no order\n"
        "- t: x.edf: recording left out: x.edf: too short\n"
    )


def test_what_was_left_out_for_one_reason_is_one_line(old, results, labelled) -> None:
    rows = [
        lost(f"skipped: {why}", method, group)
        for group in ("old", "new")
        for method, why in (("sleepkd", "no sequences"), ("takd", "no helper"), ("ts-linear", ""))
    ]
    rows.append(lost("missing", "sleepkd@published"))
    rows.append(lost("skipped: no sequences"))
    rows.append(rows[0] | {"fold": "another", "seed": 5})
    rows.append(lost("unscored: the labels are not public", "pooled", "new"))
    frame = pd.concat([old, pd.DataFrame(rows)], ignore_index=True)
    _, left_out = to_markdown(results(frame)).split("## Left out")
    assert left_out.strip().splitlines() == [
        "- t (old): sleepkd, rp-linear: skipped: no sequences",
        "- t (new): sleepkd: skipped: no sequences",
        "- t (old, new): takd: skipped: no helper",
        "- t (old, new): ts-linear: skipped",
        "- t (old): sleepkd@published: missing",
        "- t (new): pooled: unscored: the labels are not public",
        "- t: x.edf: recording left out: x.edf: too short",
    ]


def test_markdown_says_who_learned_from_the_test_peoples_signals_and_where(
    rows_by_skill, results, labelled
) -> None:
    frame = rows_by_skill({"rp-linear": 0.7})
    both = pd.concat([frame, frame.assign(fold="new", group="new")])
    old, new = to_markdown(results(both)).split("## A task: new")
    assert "(their labels stay withheld): rp-linear." in old
    assert "withheld" not in new
    assert "withheld" not in to_markdown(results(rows_by_skill({"source-only": 0.7})))


def test_captions_count_labels_and_people_with_one_stage(old, results) -> None:
    text = to_markdown(results(old))
    assert "Labels of the target" not in text
    assert "one scored stage" not in text
    old.loc[old["subject"] == "3", "n_stages"] = 1
    text = to_markdown(results(old.assign(n_labeled=4)))
    assert "Labels of the target are those of 4 people who are not tested." in text
    assert "1 of them with one scored stage only: not in macro F1, kappa and G-mean." in text


def test_a_second_scorer_is_in_the_caption(old, results, tasks) -> None:
    counts = np.full((5, 5), 1) + 9 * np.eye(5, dtype=int)
    people = {str(k): counts.tolist() for k in range(3)}
    tasks["t"]["second_scorer"] = {"scheme": "aasm5", "counts": people}
    text = to_markdown(results(old))
    assert "agrees with the first, over 3 people: macro F1 0.714 [0.714, 0.714], kappa" in text


def test_gaps_and_ranks_are_written_where_there_are_some(rows_of, results, tasks) -> None:
    rng = np.random.default_rng(0)
    parts = [
        rows_of({"source-only": rng.random(5), "majority": rng.random(5)}, task=task, group=group)
        for task in ("t", "u")
        for group in ("old", "in-domain")
    ]
    found = results(pd.concat(parts), of={"t": tasks["t"], "u": tasks["t"]})
    text = to_markdown(found)
    tables = grids(text)
    headings = [table[0] for table in tables]
    assert headings.count(["method", "source's own people", "here", "gap"]) == 2
    assert tables[-1][0] == ["method", "mean rank"]
    assert f"{found.ranks.attrs['critical_difference']:.2f} apart" in text
    assert "## Over tasks" in text
    alone = to_markdown(results(parts[0]))
    assert "Transfer gap" not in alone
    assert "Over tasks" not in alone


@pytest.mark.parametrize("people", [1, 2])
def test_few_people_or_methods_leave_no_nan(people: int, rows_of, results) -> None:
    frame = rows_of({"source-only": [0.5] * people})
    for rows in (frame, frame.assign(kappa=np.nan, g_mean=np.nan, macro_f1=np.nan)):
        found = results(rows)
        for text in (to_markdown(found), to_latex(found)):
            assert "nan" not in text
            assert "inf" not in text


def test_names_with_bars_and_line_ends_break_no_row(rows_of, results, tasks, facts) -> None:
    names = ["source-only", f"one {AWKWARD}", f"two {AWKWARD}"]
    methods = dict.fromkeys([*names, "x|y\r\nz"], facts["source-only"])
    rng = np.random.default_rng(0)
    parts = [
        rows_of({name: rng.random(4) for name in methods}, group=group)
        for group in (AWKWARD, "in-domain")
    ]
    rows = [lost(f"failed: {AWKWARD}", names[1], AWKWARD), lost("missing", "x|y\r\nz", AWKWARD)]
    frame = pd.concat([*parts, pd.DataFrame(rows)], ignore_index=True)
    tasks["t"]["title"] = f"title {AWKWARD}"
    tasks["t"]["skipped_recordings"] = [{"recording": "r", "reason": f"r: {AWKWARD}"}]
    found = results(frame, methods=methods, notes=[f"PARTIAL: {AWKWARD}"])
    text = to_markdown(found)
    tables = grids(text)
    assert [len(table) for table in tables] == [5, 5, 5]
    assert {len(table[0]) for table in tables} == {11, 4}
    shown = {row[1] for row in tables[0][1:]}
    assert "one a\\|b c_%&#${}\\~^ <d>" in shown
    headings = re.findall(r"(?m)^## .*", text)
    assert len(headings) == 3
    _, left_out = text.split("## Left out\n\n")
    assert all(line.startswith("- ") for line in left_out.splitlines())
    assert text.startswith("**PARTIAL: a|b c_")


# ---------------------------------------------------------------------- LaTeX

_ESCAPED = re.compile(
    r"\\(?:[&%$#_{}]|textbackslash\{\}|textasciitilde\{\}|\^\{\}|\\|(?:begin|end)\{\w+\}|centering"
    r"|caption\{|toprule|midrule|bottomrule)"
)


def bare(latex: str) -> str:
    """A text without its commands; what is special must not be left."""
    return _ESCAPED.sub("", latex)


def test_latex_has_a_row_a_method_and_as_many_cells_as_columns(old, results) -> None:
    found = results(old)
    text = to_latex(found)
    (columns,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", text)
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0].replace(r"\midrule", "")
    rows = [line for line in body.strip().splitlines() if line]
    assert len(rows) == 3
    assert all(line.endswith(r" \\") for line in rows)
    assert {len(re.split(r"(?<!\\)&", line)) for line in rows} == {len(columns)}
    assert all(text.count(rf"\{end}{{{what}}}") == 1 for end in ("begin", "end")
               for what in ("table", "tabular"))  # fmt: skip
    kappa = found.table["kappa"].iloc[0]
    assert f"{kappa:.3f} [" in rows[1]
    assert r"sorted by kappa." in text
    assert r"95 \% bootstrap" in text


def test_what_is_special_in_latex_is_escaped(rows_of, results, tasks, facts) -> None:
    name = f"m {AWKWARD}"
    tasks["t"] |= {"title": f"title {AWKWARD}", "simulated": True}
    tasks["t"]["scoring"]["primary"] = "macro_f1"
    frame = rows_of({name: [0.1, 0.2]}, group=f"g {AWKWARD}")
    methods = {name: facts["majority"]}
    text = to_latex(results(frame, methods=methods, notes=[f"MIXED: {AWKWARD}"]))
    escaped = r"a|b c\_\%\&\#\$\{\}\textbackslash{}\textasciitilde{}\^{} <d>"
    assert text.count(escaped) == 4
    assert r"sorted by macro\_f1" in text
    rest = bare(re.sub(r"\\begin\{tabular\}\{\w+\}", "", text))
    rows = rest.split(" & ")
    assert len(rows) - 1 == 2 * 9
    for character in "\\%#$_^~{":
        assert character not in rest, character
    # The brace that closes the caption.
    assert rest.count("}") == 1
    # An empty line in an argument ends it with an error.
    assert all("\n\n" not in part for part in re.findall(r"\\caption\{.*?\n\\begin", text, re.S))


def test_latex_marks_bounds_and_says_what_is_simulated(rows_by_skill, results, labelled) -> None:
    text = to_latex(results(rows_by_skill({"features-logreg": 0.9, "teacher": 0.5})))
    assert "A task: old. Simulated data. Mean over 6 people" in text
    assert "-- & teacher &" in text
    assert "bound: the teacher on its own view" in text


def test_latex_has_a_table_for_every_group(old, results) -> None:
    text = to_latex(results(pd.concat([old, old.assign(group="new")])))
    assert text.count(r"\begin{table}") == 2
