"""Submissions: what is written, in which order, and what is said of those that are wrong."""

from __future__ import annotations

import io
import random
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.errors import AnswerError, TaskError
from sleepshift.leaderboard import answers
from sleepshift.leaderboard.answers import read_answers
from sleepshift.leaderboard.submissions import (
    answer_bytes,
    answer_frame,
    check_answer,
    expected_windows,
)
from sleepshift.protocol.submission import SubmissionSection

CODES = SubmissionSection(file="answer.txt", format="codes", n_lines=4)
TABLE = SubmissionSection()
EXPECTED = pd.DataFrame(
    {
        "subject": ["a", "a", "a", "b"],
        "session": ["1", "1", "2", "1"],
        "onset": [0.0, 30.0, np.nan, 123456.5],
    }
)
GOOD_TABLE = "subject,session,onset,stage\na,1,0,W\na,1,30,S1\na,2,,R\nb,1,123456.5,S4\n"


def zip_of(path: Path, files: dict[str, bytes], **settings: int) -> Path:
    with zipfile.ZipFile(path, "w", **{"compression": zipfile.ZIP_DEFLATED, **settings}) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def problems(tmp_path: Path, content: bytes | str, form=CODES, expected=None) -> list[str]:
    path = tmp_path / "answer.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = check_answer(path, form, "rk6", expected).problems
    assert all("\n" not in problem for problem in found)
    return found


# ---------------------------------------------------------------------- order


def night(subject, session, codes, onset=None):
    n = len(codes)
    return {
        "subject": np.repeat(subject, n),
        "session": np.repeat(session, n),
        "onset": np.full(n, np.nan) if onset is None else np.asarray(onset, dtype=float),
        "predicted": np.asarray(codes),
    }


def joined(*nights):
    return {name: np.concatenate([night[name] for night in nights]) for name in nights[0]}


def test_people_come_in_natural_order_then_nights_then_windows_as_they_lie():
    first = joined(night("p10", "2", [1, 2]), night("p10", "1", [0]), night("p9", "10", [5, 3]))
    second = joined(night("p2", "1", [4], [60.0]), night("p9", "9", [2, 0, 1]))
    frame = answer_frame([first, second], "rk6", "rk6")
    assert frame["subject"].tolist() == ["p2"] + ["p9"] * 5 + ["p10"] * 3
    assert frame["session"].tolist() == ["1", "9", "9", "9", "10", "10", "1", "2", "2"]
    assert frame["stage"].tolist() == [4, 2, 0, 1, 5, 3, 0, 1, 2]
    merged = answer_frame([first, second], "rk6", "aasm5")
    assert merged["stage"].tolist() == [3, 2, 0, 1, 4, 3, 0, 1, 2]


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


@given(st.lists(NAMES, min_size=1, max_size=8, unique=True))
def test_any_names_can_be_put_in_order(names):
    frame = answer_frame([joined(*(night(name, "1", [0, 1]) for name in names))], "rk6", "rk6")
    assert sorted(frame["subject"]) == sorted(names * 2)
    assert frame["stage"].tolist() == [0, 1] * len(names)


def fold(name, *people):
    frame = pd.DataFrame({"subject": people, "session": "1", "onset": 0.0, "age": 30.0})
    return SimpleNamespace(name=name, test=SimpleNamespace(metadata=frame))


def test_each_person_is_answered_once():
    found = expected_windows([fold("0", "10", "2"), fold("1", "1", "3")])
    assert found["subject"].tolist() == ["1", "2", "3", "10"]
    with pytest.raises(TaskError, match=r"person 2 is tested in folds 0 and 1; .* name one fold"):
        expected_windows([fold("0", "10", "2"), fold("1", "2")])


# ---------------------------------------------------------------------- writing


def test_an_archive_holds_the_one_file_and_is_the_same_each_time(tmp_path):
    frame = EXPECTED.assign(stage=[0, 1, 5, 4])
    content = answer_bytes(frame, CODES, "rk6", ".zip")
    assert content == answer_bytes(frame.copy(), CODES, "rk6", ".ZIP")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["answer.txt"]
        assert archive.read("answer.txt") == b"0\n1\n5\n4\n"
    assert answer_bytes(frame, CODES, "rk6", ".txt") == b"0\n1\n5\n4\n"
    assert answer_bytes(frame, TABLE, "rk6", ".csv").decode() == GOOD_TABLE


@pytest.mark.parametrize("form", [CODES, TABLE])
@pytest.mark.parametrize("suffix", [".zip", ".txt", ""])
def test_what_is_written_is_valid_and_comes_back(tmp_path, form, suffix):
    path = tmp_path / f"answer{suffix}"
    path.write_bytes(answer_bytes(EXPECTED.assign(stage=[0, 1, 5, 4]), form, "rk6", suffix))
    checked = check_answer(path, form, "rk6", EXPECTED)
    assert (checked.problems, checked.n_windows) == ([], 4)
    assert checked.counts == {"W": 1, "S1": 1, "S2": 0, "S3": 0, "S4": 1, "R": 1}
    assert read_answers(path, "rk6").codes.tolist() == [0, 1, 5, 4]


def test_names_with_commas_and_quotes_survive_a_table(tmp_path):
    frame = EXPECTED.assign(subject=['a, "x"', 'a, "x"', 'a, "x"', "ü"], stage=0)
    path = tmp_path / "a.csv"
    path.write_bytes(answer_bytes(frame, TABLE, "rk6", ".csv"))
    assert not check_answer(path, TABLE, "rk6", frame).problems


# ---------------------------------------------------------------------- codes


@pytest.mark.parametrize("text", ["0\n1\n2\n5\n", "0\n1\n2\n5", "0\r\n1\r\n2\r\n5\r\n\r\n"])
def test_good_codes_are_valid(tmp_path, text):
    assert problems(tmp_path, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0\n1\n2\n", ["it has 3 lines, 4 expected"]),
        ("0\n" * 5, ["it has 5 lines, 4 expected"]),
        ("0\n6\n2\n5\n", ["line 2: '6' is not a stage code from 0 to 5"]),
        ("0\n1\n2.0\n5\n", ["line 3: '2.0' is not a stage code from 0 to 5"]),
        ("0\n1\n-1\n5\n", ["line 3: '-1' is not a stage code from 0 to 5"]),
        ("0\n\n2\n5\n", ["line 2 is empty"]),
        ("stage\n0\n1\n2\n", ["line 1: 'stage' is not a stage code from 0 to 5"]),
        ("W\n1\nx\n", [
            "it has 3 lines, 4 expected",
            "line 1: 'W' is not a stage code from 0 to 5",
            "line 3: 'x' is not a stage code from 0 to 5",
        ]),
        ("\ufeff0\n1\n2\n5\n", [
            "line 1 begins with a byte-order mark; save the file as plain UTF-8"
        ]),
    ],
)  # fmt: skip
def test_each_wrong_line_is_told_with_its_number(tmp_path, text, expected):
    assert problems(tmp_path, text) == expected


def test_the_number_of_windows_comes_from_the_data_where_the_task_has_none(tmp_path):
    form = SubmissionSection(format="codes", file="answer.txt")
    assert problems(tmp_path, "0\n" * 4, form, EXPECTED) == []
    assert problems(tmp_path, "0\n" * 3, form, EXPECTED) == ["it has 3 lines, 4 expected"]


# ---------------------------------------------------------------------- tables


def test_a_good_table_is_valid(tmp_path):
    assert problems(tmp_path, GOOD_TABLE, TABLE, EXPECTED) == []
    assert problems(tmp_path, "\ufeff" + GOOD_TABLE, TABLE, EXPECTED) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("a,2,,R\n", "", [
            "it has 3 rows, 4 expected", "subject a session 2 is missing (1 windows)",
        ]),
        ("a,1,30,S1\n", "", [
            "it has 3 rows, 4 expected", "subject a session 1 has 1 windows, not 2",
        ]),
        ("a,2,", "c,2,", [
            "line 4: subject c session 2 is not asked about",
            "subject a session 2 is missing (1 windows)",
        ]),
        (",S1", ",N1", ["line 3: 'N1' is not a stage; they are W, S1, S2, S3, S4, R"]),
        (",S1", ",1", ["line 3: '1' is not a stage; they are W, S1, S2, S3, S4, R"]),
        (",30,", ",60,", ["line 3 is about a 1 60; by order it must be about a 1 30"]),
        ("a,1,0,W\na,1,30,S1\n", "a,1,30,S1\na,1,0,W\n", [
            "line 2 is about a 1 30; by order it must be about a 1 0"
        ]),
        ("subject,", "person,", [
            "it has 0 rows, 4 expected", "line 1 is not the header subject,session,onset,stage",
        ]),
        ("a,2,,R\n", "a,2,R\n", ["it has 3 rows, 4 expected", "line 4 has 3 columns, not 4"]),
        ("a,2,,R\n", "\n", ["it has 3 rows, 4 expected", "line 4 is empty"]),
        ("a,2,,R\n", 'a,"2,,R\n', ["it has 3 rows, 4 expected", "line 4 has 0 columns, not 4"]),
        ("a,2,,R\n", "a,\x00,,R\n", ["line 4: subject a session \\x00 is not asked about"]),
    ],
)  # fmt: skip
def test_each_wrong_row_is_told_with_its_number(tmp_path, old, new, expected):
    assert old in GOOD_TABLE
    found = problems(tmp_path, GOOD_TABLE.replace(old, new), TABLE, EXPECTED)
    assert found[: len(expected)] == expected


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "answer.txt is empty"),
        (b"\n\n\r\n", "answer.txt is empty"),
        (b"0\n1\n\xff\n", "is not UTF-8 text (byte 0xff at 4)"),
        ("0\n1\n".encode("utf-16"), "is not UTF-8 text"),
        (b"0\n" * (answers.MAX_BYTES // 2 + 1), "has more than 16 MiB"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, content, reason):
    (problem,) = problems(tmp_path, content)
    assert reason in problem


@pytest.mark.parametrize("content", ["\ufeff", "\u00a0\n", "\n \n", "\ufeff\r\n"])
@pytest.mark.parametrize("table", [True, False])
def test_a_file_of_nothing_is_empty(tmp_path, content, table):
    path = tmp_path / "answer.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(AnswerError, match="is empty"):
        read_answers(path, "aasm5", table=table)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing.zip"):
        (problem,) = check_answer(path, CODES, "rk6").problems
        assert "is not a file" in problem


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no file answer.txt at its top; it holds nothing"),
        ({"pred.txt": b"0\n"}, "has no file answer.txt at its top; it holds pred.txt"),
        ({"out/answer.txt": b"0\n"}, "has no file answer.txt at its top; it holds out/answer.txt"),
        ({"answer.txt": b"0\n", "other.txt": b"0"}, "must hold one file; it holds"),
        ({"answer.txt": b""}, "answer.txt in"),
        ({"answer.txt": b"\xff"}, "is not UTF-8 text"),
        ({"answer.txt": bytes(answers.MAX_BYTES + 1)}, "claims to unpack to 16 MiB"),
        ({f"{k}.txt": b"" for k in range(9)}, "it holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ..."),
        ({"\x1b[31m": b"0"}, "\\x1b[31m"),
    ],
)
def test_an_archive_must_hold_the_one_file(tmp_path, files, reason):
    path = zip_of(tmp_path / "answer.zip", files)
    (problem,) = check_answer(path, CODES, "rk6").problems
    assert reason in problem
    assert problem.isprintable()


def test_a_folder_in_an_archive_is_no_file_of_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("empty")
        archive.writestr("__MACOSX/._answer.txt", "what macOS adds")
        archive.writestr("answer.txt", "0\n1\n2\n3\n")
    assert not check_answer(tmp_path / "a.zip", CODES, "rk6").problems


def test_an_archive_under_another_name_is_one_all_the_same(tmp_path):
    path = zip_of(tmp_path / "answer.txt", {"answer.txt": b"0\n1\n2\n3\n"})
    assert not check_answer(path, CODES, "rk6").problems
    (tmp_path / "answer.zip").write_bytes(b"0\n1\n2\n3\n")
    (problem,) = check_answer(tmp_path / "answer.zip", CODES, "rk6").problems
    assert "no readable zip archive" in problem


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(tmp_path):
    import tracemalloc

    size = 3 * answers.MAX_BYTES
    content = zip_of(tmp_path / "a.zip", {"answer.txt": bytes(size)}).read_bytes()
    lying = content.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(lying)
    tracemalloc.start()
    (problem,) = check_answer(tmp_path / "a.zip", CODES, "rk6").problems
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "no readable zip archive" in problem
    assert peak < 2 * answers.MAX_BYTES


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_unusual_archives_are_refused(tmp_path, compression):
    files = {"answer.txt": b"0\n1\n2\n3\n"}
    path = zip_of(tmp_path / "a.zip", files, compression=compression)
    (problem,) = check_answer(path, CODES, "rk6").problems
    assert "packed in an unusual way" in problem


def test_a_damaged_archive_gives_a_problem_and_no_traceback(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"answer.txt": b"0\n1\n2\n3\n" * 40})
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        check_answer(path, CODES, "rk6")
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert check_answer(path, CODES, "rk6").problems, end
    assert zlib.crc32(content)


def test_reading_names_the_file(tmp_path):
    with pytest.raises(AnswerError, match=r"nothing\.txt is not a file"):
        read_answers(tmp_path / "nothing.txt", "rk6")


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a\\b", ".hidden", "a\nb", "C:x"])
def test_the_name_in_the_archive_is_a_name(name):
    with pytest.raises(ValueError, match="name a file, without a folder"):
        SubmissionSection(file=name)
