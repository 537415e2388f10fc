"""Hashes: equal for equal content, different for different content, stable over processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.digest import FileHashes, digest, digest_array

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), plain, min_size=2, max_size=5))
def test_key_order_does_not_matter(value):
    assert digest(value) == digest(dict(reversed(value.items())))


@given(plain, plain)
def test_equal_digests_mean_equal_json(first, second):
    assert (digest(first) == digest(second)) == (repr_of(first) == repr_of(second))


def repr_of(value):
    """Types kept apart (1, 1.0 and True differ), order of keys forgotten."""
    if isinstance(value, dict):
        return {key: repr_of(value[key]) for key in sorted(value)}
    return [repr_of(item) for item in value] if isinstance(value, list) else repr(value)


def test_containers_and_numpy_scalars_of_equal_content_agree():
    assert digest([1, 2]) == digest((1, 2)) == digest([np.int64(1), np.int32(2)])
    assert digest({"x": Path("a/b")}) == digest({"x": "a/b"})
    assert digest(np.float64(0.5)) == digest(0.5)


def test_the_digest_is_the_same_in_another_process():
    code = "from sleepshift.digest import digest; print(digest({'b': 'ä', 'a': [1, None, 0.1]}))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {digest({"a": [1, None, 0.1], "b": "ä"})}


@pytest.mark.parametrize("value", [print, {1, 2}, object(), {"deep": [lambda: 0]}, b"bytes"])
def test_what_has_no_plain_form_is_refused(value):
    with pytest.raises(TypeError, match="cannot hash a"):
        digest(value)


def test_keys_that_are_written_alike_are_refused_rather_than_merged():
    with pytest.raises(TypeError, match="written alike"):
        digest({1: "a", "1": "b"})


def test_length_is_asked_for():
    assert digest(1, length=7) == digest(1)[:7]


def test_arrays_differ_by_type_shape_and_content():
    x = np.arange(6, dtype=np.int64)
    versions = [x, x.astype(np.int32), x.reshape(2, 3), x + 1, x.astype(">i8"), x[:0], x[:0] + 0.0]
    assert len({digest_array(v) for v in versions}) == len(versions)


def test_arrays_agree_whatever_their_memory_layout():
    x = np.arange(12.0).reshape(3, 4)
    assert digest_array(x) == digest_array(np.asfortranarray(x)) == digest_array(x[::-1][::-1])


def test_a_file_hash_follows_content(tmp_path):
    file = tmp_path / "a.edf"
    file.write_bytes(b"12345")
    hashes = FileHashes(tmp_path / "memory.json")
    first = hashes(file)
    os.utime(file, ns=(1, 1))
    assert hashes(file) == first
    file.write_bytes(b"12346")
    os.utime(file, ns=(2, 2))
    assert hashes(file) != first


def test_file_hashes_are_remembered_until_the_file_changes(tmp_path):
    file, memory = tmp_path / "a.edf", tmp_path / "deep" / "memory.json"
    file.write_bytes(b"12345")
    hashes = FileHashes(memory)
    first = hashes(file)
    hashes.save()
    stat = file.stat()
    file.write_bytes(b"abcde")  # same size and, below, same time: only the memory can know
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert FileHashes(memory)(file) == first
    os.utime(file, ns=(5, 5))
    assert FileHashes(memory)(file) != first


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"x": 3}', "null"])
def test_a_damaged_memory_is_only_a_lost_shortcut(tmp_path, text):
    file, memory = tmp_path / "a.edf", tmp_path / "memory.json"
    file.write_bytes(b"12345")
    memory.write_text(text)
    hashes = FileHashes(memory)
    assert hashes(file) == FileHashes(tmp_path / "none.json")(file)
    hashes.save()
    assert str(file) in memory.read_text()


def test_a_damaged_entry_is_forgotten(tmp_path):
    file, memory = tmp_path / "a.edf", tmp_path / "memory.json"
    file.write_bytes(b"12345")
    stat = file.stat()
    memory.write_text(f'{{"{file.resolve()}": [{stat.st_size}, {stat.st_mtime_ns}]}}')
    assert len(FileHashes(memory)(file)) == 64
