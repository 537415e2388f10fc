"""MATLAB files whose compressed parts would unpack to more than there is memory."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from sleepshift.datasets import matlab
from sleepshift.datasets.matlab import check_mat
from sleepshift.errors import DataError

HEAD = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"


def pack(content: bytes) -> bytes:
    """As a compressed part of a file."""
    body = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(body)) + body


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.set"


@pytest.fixture
def part(path) -> bytes:
    """An array of 400 kB of zeros, with its tag."""
    savemat(path, {"x": np.zeros(50_000)})
    return path.read_bytes()[128:]


def refuses(path, content: bytes, reason: str) -> None:
    path.write_bytes(HEAD + content)
    with pytest.raises(DataError, match=re.escape(f"a.set cannot be read ({reason})")):
        check_mat(path)


def test_what_unpacks_to_much_more_than_the_file_is_refused_before_it_does(path, part, monkeypatch):
    monkeypatch.setattr(matlab, "_MAX_BYTES", 2 * len(part))
    for n_parts in (2, 1):
        path.write_bytes(HEAD + n_parts * pack(part))
        check_mat(path)
    assert loadmat(path)["x"].shape == (1, 50_000)
    refuses(path, 3 * pack(part), "it unpacks to far more than such a file would")
    # What shrinks as signals do may have any size.
    monkeypatch.setattr(matlab, "_MAX_RATIO", len(part) // len(pack(part)))
    path.write_bytes(HEAD + 3 * pack(part))
    check_mat(path)


def test_no_more_is_unpacked_than_an_array_promises(path, part, monkeypatch):
    asked = []

    class Unpacker:
        def __init__(self):
            self.real = make()

        def __getattr__(self, name):
            return getattr(self.real, name)

        def decompress(self, data, limit):
            asked.append(limit)
            return self.real.decompress(data, limit)

    make = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", Unpacker)
    damaged = "a compressed part of it is damaged"
    refuses(path, pack(struct.pack("<II", 14, 8) + bytes(10**6)), damaged)
    assert asked == [8, 9]
    refuses(path, pack(part + b"\0"), damaged)
    refuses(path, pack(part[:-8]), damaged)
    body = zlib.compress(part)[:-4]  # without its checksum
    refuses(path, struct.pack("<II", 15, len(body)) + body, damaged)
    refuses(path, pack(part[:4]), "unpack requires a buffer of 8 bytes")


def test_a_compressed_part_within_another_is_refused(path):
    no_array = "a compressed part of it is no array"
    content = pack(struct.pack("<II", 14, 0))
    path.write_bytes(HEAD + content)
    check_mat(path)
    refuses(path, pack(content), no_array)
    for _ in range(2000):
        content = pack(content)
    refuses(path, content, no_array)
