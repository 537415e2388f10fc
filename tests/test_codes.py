"""Stage codes one a line: what is a code, and what is told of the rest."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.codes import MAX_KEPT, few, read_codes, split_lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", ["", "\n", "\n\n\n", "\r\n \r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_lines_of_any_system_are_the_same(start, end, last):
    codes, problems = read_codes(start + end.join("0523") + last, 6)
    assert (codes.tolist(), problems) == ([0, 5, 2, 3], [])


@pytest.mark.parametrize("text", ["3", " 3\t", "3.0", "3.", "+3", "03", "3e0", "30e-1", "0.3e1"])
def test_whole_numbers_are_codes_unless_they_must_be_exact(text):
    assert read_codes(text, 6)[0].tolist() == [3]
    assert (not read_codes(text, 6, exact=True)[1]) == (text == "3")


def test_savetxt_without_a_format_is_understood():
    stream = io.StringIO()
    np.savetxt(stream, np.arange(6))
    assert read_codes(stream.getvalue(), 6)[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert len(read_codes(stream.getvalue(), 6, exact=True)[1]) == 6


@pytest.mark.parametrize(
    "text", ["6", "-1", "1.5", "nan", "inf", "1e9", "W", "1,2", "1 2", "0x1", "1_0", "３", "--1",
             "9" * 500, "1e999", "\x1b[31m", "True"]
)  # fmt: skip
def test_anything_else_is_named_with_its_line(text):
    for exact in (False, True):
        codes, problems = read_codes(f"0\n{text}\n5\n", 6, exact=exact)
        assert codes.tolist() == [0, -1, 5]
        (problem,) = problems
        assert problem.startswith("line 2: ")
        assert problem.isprintable()
        assert len(problem) < 120


def test_an_empty_line_between_others_is_a_problem():
    assert read_codes("0\n\n1", 6)[1] == ["line 2 is empty"]


def test_the_mark_of_a_withheld_label_is_taken_where_it_may_be():
    assert read_codes("-1\n-1.0\n0", 6, withheld=True) == (pytest.approx([-1, -1, 0]), [])
    assert len(read_codes("-1\n-2", 6, withheld=True)[1]) == 1


def test_a_byte_order_mark_is_a_problem_where_codes_must_be_exact():
    assert "byte-order mark" in read_codes("\ufeff1", 6, exact=True)[1][0]


def test_few_problems_are_told_and_not_all_are_kept():
    assert few(["a", "b"]) == ["a", "b"]
    problems = read_codes("x\n" * 5000, 6)[1]
    assert len(problems) == MAX_KEPT
    assert few(problems)[-1] == f"... and at least {MAX_KEPT - 5} more"


@given(st.lists(st.integers(0, 5), min_size=1), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_written_is_read(codes, end):
    text = end.join(map(str, codes))
    assert read_codes(text, 6, exact=True)[0].tolist() == codes
    assert split_lines(text) == [str(code) for code in codes]


@given(st.text())
def test_any_text_gives_codes_or_problems(text):
    for exact in (False, True):
        codes, problems = read_codes(text, 6, exact=exact)
        assert len(problems) >= (codes < 0).sum()
        assert ((codes >= -1) & (codes < 6)).all()
