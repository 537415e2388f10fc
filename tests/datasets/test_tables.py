"""Tables beside recordings: what is a table, and what is refused before it is one."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from sleepshift.datasets.tables import read_table
from sleepshift.errors import DataError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tsv"


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(path, ["a"])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_cells_are_text_without_the_blanks_around_them(path):
    path.write_bytes(b"\xef\xbb\xbfa \tb\r\n 01\tn/a\r\n\r\n\xc2\xa02 \r\n")
    table = read_table(path, ["a", "b"])
    assert table.to_dict("records") == [{"a": "01", "b": "n/a"}, {"a": "2", "b": ""}]
    assert all(dtype == "str" for dtype in table.dtypes)


def test_a_stray_quote_swallows_no_rows(path):
    notes = ["x", '"x', "x", 'x"', '"']
    path.write_text("a\tnote\n" + "".join(f"{k}\t{note}\n" for k, note in enumerate(notes)))
    table = read_table(path, ["a"])
    assert table["a"].tolist() == list("01234")
    assert table["note"].tolist() == notes


@pytest.mark.parametrize(
    ("limit", "content", "reason"),
    [
        ("_MAX_BYTES", "a\n" + "1\n" * 8, "more than 0 MB"),
        ("_MAX_CELLS", "a\tb\tc\n" + "1\n" * 2, "more than 8 cells"),
        ("_MAX_COLUMNS", "a" + "\tb" * 8 + "\n1", "more than 8 columns"),
        ("_MAX_COLUMNS", "\r\ra" + "\tb" * 8 + "\r1", "more than 8 columns"),
    ],
)
def test_what_is_too_large_for_a_table_never_reaches_pandas(
    path, monkeypatch, limit, content, reason
):
    monkeypatch.setattr(f"sleepshift.datasets.tables.{limit}", 8)
    path.write_text(content)
    monkeypatch.setattr("pandas.read_csv", None)
    assert re.search(rf"a.tsv cannot be read \(it has {reason}\)", refusal(path))


def test_a_table_may_have_as_many_columns_as_its_limit(path):
    names = ["a", *(f"c{k}" for k in range(999))]
    path.write_text("\t".join(names) + "\n" + "\t".join(" 1" for _ in names))
    assert read_table(path, ["a"]).iloc[0].tolist() == ["1"] * 1000


@pytest.mark.parametrize("error", [SystemError, MemoryError])
def test_errors_of_a_compiled_reader_are_one_line(path, monkeypatch, error):
    def fail(*_, **__):
        raise error("error return\nwithout exception set")

    monkeypatch.setattr(pd, "read_csv", fail)
    path.write_text("a\n1\n")
    assert "a.tsv cannot be read (error return" in refusal(path)
