"""Pickles: those that NumPy writes are read, all others are refused, and none is ever run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleepshift.datasets import pickles
from sleepshift.datasets.pickles import load_array
from sleepshift.errors import DataError

RNG = np.random.default_rng(0)
ARRAYS = {
    "signals": RNG.normal(size=(3, 2, 5)),
    "float32": RNG.normal(size=(3, 2, 5)).astype(np.float32),
    "labels": np.array([0, 5, 3, 3], dtype=np.int32),
    "fortran": np.asfortranarray(RNG.normal(size=(3, 2, 5))),
    "transposed": RNG.normal(size=(3, 2, 5)).transpose(1, 0, 2),
    "every other": RNG.normal(size=(6, 2, 5))[::2],
    "big-endian": RNG.normal(size=(2, 3)).astype(">f8"),
    "big-endian labels": np.array([1, -2, 70000], dtype=">i4"),
    "bytes": np.array([0, 200, 255], dtype=np.uint8),
    "all bytes": np.arange(256, dtype=np.uint8).view("<i8"),
    "int64": np.array([[2**62, -1]]),
    "scalar": np.array(2.5),
}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that hostile pickles would make."""
    return tmp_path / "canary"


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "night.npy"
    path.write_bytes(content)
    return path


def refusal(tmp_path: Path, content: bytes) -> str:
    """The one line that loading ends with; it names the file."""
    with pytest.raises(DataError) as caught:
        load_array(write(tmp_path, content))
    text = str(caught.value)
    assert "night.npy" in text
    assert "\n" not in text
    assert len(text) < 400
    return text


def opcode(name: str) -> bytes:
    return next(op.code for op in pickletools.opcodes if op.name == name).encode("latin-1")


# ---------------------------------------------------------------------- what is read


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_what_numpy_writes_comes_back_the_same(tmp_path, name, protocol):
    array = ARRAYS[name]
    found = load_array(write(tmp_path, pickle.dumps(array, protocol)))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(found, array)
    assert not found.flags.writeable


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_1_named_its_modules_otherwise(tmp_path, protocol):
    content = pickle.dumps(ARRAYS["signals"], protocol)
    for new, old in (("numpy._core.multiarray", "numpy.core.multiarray"),
                     ("numpy._core.numeric", "numpy.core.numeric")):  # fmt: skip
        content = content.replace(new.encode() + b"\n", old.encode() + b"\n")
        content = content.replace(
            bytes([len(new)]) + new.encode(), bytes([len(old)]) + old.encode()
        )
    assert b"_core" not in content
    if protocol >= 4:  # the frame is one byte shorter
        size = struct.unpack("<Q", content[3:11])[0] - 1
        content = content[:3] + struct.pack("<Q", size) + content[11:]
    np.testing.assert_array_equal(load_array(write(tmp_path, content)), ARRAYS["signals"])


@pytest.mark.parametrize("protocol", [0, 2])
def test_python_2_wrote_the_numbers_as_text(tmp_path, protocol):
    array = np.array([-1.5, 2.25, 1e300])
    raw = array.tobytes()
    if protocol == 0:
        text = (b"S'" + b"".join(b"\\x%02x" % byte for byte in raw) + b"'\n", b"S'b'\n", b"S'f8'\n",
                b"S'<'\n")  # fmt: skip
        number = lambda n: b"I%d\n" % n  # noqa: E731
    else:
        text = tuple(b"U" + bytes([len(t)]) + t for t in (raw, b"b", b"f8", b"<"))
        number = lambda n: b"J" + struct.pack("<i", n)  # noqa: E731
    data, kind, code, order = text
    content = b"\x80\x02" if protocol else b""
    content += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(" + number(0) + b"t"
    content += kind + b"tR(" + number(1) + b"(" + number(3) + b"tcnumpy\ndtype\n(" + code
    content += number(0) + number(1) + b"tR(" + number(3) + order + b"NNN" + number(-1) * 2
    content += number(0) + b"tbI00\n" + data + b"tb."
    np.testing.assert_array_equal(pickle.loads(content, encoding="latin1"), array)  # noqa: S301
    np.testing.assert_array_equal(load_array(write(tmp_path, content)), array)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_the_npy_format_is_read_as_well(tmp_path, name, version):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, ARRAYS[name], version=version)
    found = load_array(write(tmp_path, stream.getvalue()))
    assert found.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(found, ARRAYS[name])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"night\.npy does not exist"):
        load_array(tmp_path / "night.npy")


# ---------------------------------------------------------------------- what is refused


class Calls:
    """Pickles to a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "attack",
    [
        lambda canary: Calls(os.system, f"touch {canary}"),
        lambda canary: Calls(eval, f"open({str(canary)!r}, 'w')"),
        lambda canary: Calls(exec, f"open({str(canary)!r}, 'w')"),
        lambda canary: Calls(open, str(canary), "w"),
        lambda canary: Calls(os.mkdir, str(canary)),
        lambda canary: Calls(np.load, str(canary)),
        lambda canary: Calls(np.memmap, str(canary), "u1", "w+", 0, (8,)),
        lambda canary: Calls(np.save, str(canary), 1),
        lambda canary: Calls(getattr, Calls(__import__, "os"), "system"),
        lambda canary: Calls(Calls, Calls(os.system, f"touch {canary}")),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_unrun(tmp_path, canary, attack, protocol):
    content = pickle.dumps(attack(canary), protocol)
    assert "night.npy is not loaded" in refusal(tmp_path, content)
    assert not canary.exists()


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_beside_or_inside_an_array_is_not_run(tmp_path, canary, protocol):
    attack = Calls(os.system, f"touch {canary}")
    for content in (
        pickle.dumps(np.array([attack], dtype=object), protocol),
        pickle.dumps((ARRAYS["labels"], attack), protocol),
        pickle.dumps([ARRAYS["labels"], attack], protocol),
        pickle.dumps(ARRAYS["labels"], protocol) + pickle.dumps(attack, protocol),
        pickle.dumps(attack, protocol) + pickle.dumps(ARRAYS["labels"], protocol),
        pickle.dumps(np.zeros(1, np.dtype("f8", metadata={"a": attack})), protocol),
    ):
        refusal(tmp_path, content)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([attack], dtype=object))
    assert "Python objects" in refusal(tmp_path, stream.getvalue())
    assert not canary.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os\nsystem",
        "builtins\neval",
        "builtins\ngetattr",
        "numpy\nload",
        "numpy\nmemmap",
        "numpy\narray",
        "numpy\nmatrix",
        "numpy\n__builtins__",
        "numpy\nndarray.__subclasses__",
        "numpy\ndtype.__class__",
        "numpy.core.multiarray\nscalar",
        "numpy.core.multiarray\nfromfile",
        "_codecs\nlookup_error",
        "codecs\nencode",
        "sleepshift.datasets.pickles\n_StandIn",
        "\x1b[31mred\nname",
    ],
)
def test_no_other_name_can_be_asked_for(tmp_path, name):
    text = refusal(tmp_path, f"c{name}\n(tR.".encode())
    assert "it asks for" in text
    assert "\x1b" not in text
    module, attribute = name.encode().split(b"\n")
    stacked = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t for t in (module, attribute))
    refusal(tmp_path, stacked + b"\x93)R.")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ([1.0, 2.0], "instruction"),
        ({"x": 1}, "instruction"),
        (3, "holds no array"),
        ("text", "holds no array"),
        (None, "holds no array"),
        (np.ndarray, "holds no array"),
        (np.dtype("f8"), "holds no array"),
        (np.float64(3), "numpy._core.multiarray.scalar"),
        (np.array([None]), "instruction"),
        (np.array(["a"]), "'U1'"),
        (np.array([b"a"]), "'S1'"),
        (np.array([True]), "'b1'"),
        (np.array([1j]), "'c16'"),
        (np.array(["2020"], dtype="M8[D]"), ""),
        (np.array([1], dtype=[("a", "f8")]), ""),
        (np.array([1.0], dtype=np.float16), "'f2'"),
        (np.ma.array([1.0]), ""),
        (np.matrix([[1.0]]), ""),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_what_is_no_array_of_plain_numbers_is_refused(tmp_path, made, reason, protocol):
    assert reason in refusal(tmp_path, pickle.dumps(made, protocol))


def test_objects_in_the_npy_format_and_newer_versions_are_refused(tmp_path):
    for array, version in ((np.array([None]), (1, 0)), (np.array(["ü"]), (1, 0)),
                           (np.zeros(1, [("ü", "f8")]), (3, 0))):  # fmt: skip
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, version=version)
        refusal(tmp_path, stream.getvalue())


def tower(levels: int, first: int = 0) -> bytes:
    """A tuple of three times the tuple below, remembered at ``first + levels``."""
    get = [b"h" + bytes([first + k]) for k in range(levels)]
    return b"K\x01\x94" + b"".join(below + below + b"\x87\x94" for below in get)


@pytest.mark.parametrize("place", ["type", "axes"])
def test_a_tower_of_tuples_is_refused_at_once(tmp_path, place):
    # Written out, or held against its like, it takes longer by three with every level.
    dtype = b"cnumpy\ndtype\n"
    if place == "type":
        content = b"\x80\x04" + tower(30) + dtype + b"h" + bytes([30]) + b"\x85R."
    else:
        content = b"\x80\x04" + tower(20) + tower(20, 21) + b"cnumpy._core.numeric\n_frombuffer\n("
        content += b"C\x08" + bytes(8) + dtype + b"\x8c\x02f8\x85RK\x01\x85\x8c\x01C"
        content += b"h" + bytes([20]) + b"h" + bytes([41]) + b"\x86tR."
    before = time.perf_counter()
    text = refusal(tmp_path, content)
    assert time.perf_counter() - before < 3
    assert ("holds Python objects" if place == "type" else "axes of its array") in text


def test_persistent_ids_extensions_and_buffers_are_refused(tmp_path):
    assert "BINPERSID" in refusal(tmp_path, b"\x80\x02U\x01aQ.")
    assert "PERSID" in refusal(tmp_path, b"Pa\n.")
    assert "EXT1" in refusal(tmp_path, b"\x80\x02\x82\x01.")
    buffers: list = []
    content = pickle.dumps(ARRAYS["signals"], 5, buffer_callback=buffers.append)
    assert "NEXT_BUFFER" in refusal(tmp_path, content)


F8 = b"cnumpy\ndtype\n(U\x02f8K\x00K\x01tR"


def _array_pickle(**changed: object) -> bytes:
    """A pickle of six float64 as NumPy writes it, with parts of what it says replaced."""
    parts = {
        "kind": b"cnumpy\nndarray\n",
        "shape": b"K\x02K\x03\x86",
        "dtype": F8 + b"(K\x03U\x01<NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb",
        "fortran": b"\x89",
        "raw": b"U0" + np.arange(6.0).tobytes(),
    } | changed
    start = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(" + parts["kind"] + b"(K\x00tU\x01btR"
    middle = parts["shape"] + parts["dtype"] + parts["fortran"] + parts["raw"]
    return start + b"(K\x01" + middle + b"tb."


def test_the_pickle_that_is_changed_below_is_a_good_one(tmp_path):
    found = load_array(write(tmp_path, _array_pickle()))
    np.testing.assert_array_equal(found, np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": b"K\x02K\x04\x86"},
        {"shape": b"J\xff\xff\xff\xffJ\xfa\xff\xff\xff\x86"},  # -1 x -6
        {"shape": b"\x8a\x08" + (2**62).to_bytes(8, "little") + b"K\x04\x86"},
        {"shape": b"\x8a\xff" + b"\x7f" * 255 + b"\x85"},
        {"shape": b"K\x06"},
        {"shape": b"\x88K\x06\x86"},  # True x 6
        {"shape": b"U\x016\x85"},
        {"shape": b"(" + b"K\x01" * 60 + b"K\x06t"},
        {"kind": b"K\x00"},
        {"kind": b"cnumpy\ndtype\n"},
        {"raw": b"N"},
        {"raw": b"K\x05"},
        {"raw": b"U/" + np.arange(6.0).tobytes()[:-1]},
        {"raw": b"X\x02\x00\x00\x00\xc4\x80"},  # text that is no latin-1
        {"dtype": b"N"},
        {"dtype": b"cnumpy\ndtype\n"},
        {"dtype": F8 + b"K\x07b"},
        {"dtype": F8 + b"(K\x03U\x01<U\x01aNNtb"},
        {"dtype": F8 + b"(K\x03U\x01xNNNtb"},
        {"dtype": F8 + b"(K\x03U\x02<<NNNtb"},
        {"dtype": b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR"},
        {"dtype": b"cnumpy\ndtype\n(K\x05tR"},
        {"dtype": b"cnumpy\ndtype\n)R"},
        {"dtype": b"cnumpy\ndtype\n(U\x05f8,f8tR"},
        {"dtype": b"cnumpy\ndtype\n(U\x0f(1000000000,)f8tR"},
    ],
)
def test_an_array_that_contradicts_itself_is_refused(tmp_path, changed):
    refusal(tmp_path, _array_pickle(**changed))


def test_a_pickle_cannot_change_what_the_next_one_finds(tmp_path):
    before = {name: repr(vars(pickles)[name]) for name in ("_NAMES", "_PLAIN", "_ALLOWED")}
    for target in (b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n"):
        refusal(tmp_path, target + b"(NNtb.")
        refusal(tmp_path, target + b"(U\x01aU\x01btb.")
        refusal(tmp_path, target + b"}(U\x01aU\x01bub.")
        refusal(tmp_path, target + target + b"b.")
    assert before == {name: repr(vars(pickles)[name]) for name in before}
    load_array(write(tmp_path, _array_pickle()))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b".",
        b"\x80\x04.",
        b"\x80\x09" + pickle.dumps(ARRAYS["labels"], 4)[2:],
        b"\x80\x02\x8e" + (2**62).to_bytes(8, "little") + b"ab.",  # claims 4 EiB of bytes
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little"),
        b"T\xff\xff\xff\x7fab.",
        b"T\xff\xff\xff\xffab.",
        b"\x80\x04\x95" + b"\xff" * 8 + b"N.",
        b"Nr\xff\xff\xff\xff.",  # a memo of 2^32 places
        b"Np4294967295\n.",
        b"Np-1\n.",
        b"Npx\n.",
        b"N" * 10_000 + b".",
        b"(" * 10_000,
        b"(" * 150 + b"t" * 150 + b".",
        b"I" + b"9" * 10_000 + b"\n.",
        b"L" + b"9" * 100_000 + b"L\n.",
        b"\x8b\xff\xff\xff\x7f",
        b"g0\n.",
        b"R.",
        b"NNb.",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"\x93NUMPY\x09\x00",
    ],
)
def test_damage_and_claims_end_in_one_line_and_little_memory(tmp_path, content):
    tracemalloc.start()
    refusal(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f8', 'shape': (3,\n", b"{'descr': '''<f8\n", b"((((\n", b"{'a':\\\n"]
)
def test_a_header_that_is_no_python_ends_in_one_line(tmp_path, header):
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(24)
    assert "is damaged" in refusal(tmp_path, content)


def test_the_header_of_a_npy_cannot_claim_more_than_is_there(tmp_path):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2, 3000), }\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    assert "claims 1000000000000 x 2 x 3000" in refusal(tmp_path, start + bytes(64))
    shape = header.replace(b"(1000000000000, 2, 3000)", b"(-1, 2, 3000)           ")
    refusal(tmp_path, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(shape)) + shape + bytes(64))


def test_a_file_too_large_for_a_night_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_BYTES", 200)
    load_array(write(tmp_path, pickle.dumps(np.zeros(1))))
    assert "too much for one night" in refusal(tmp_path, pickle.dumps(np.zeros(100)))


def test_trailing_data_and_a_second_array_are_refused(tmp_path):
    content = pickle.dumps(ARRAYS["labels"])
    assert "goes on after" in refusal(tmp_path, content + b"\0")
    assert "goes on after" in refusal(tmp_path, content * 2)
    stream = io.BytesIO()
    np.save(stream, ARRAYS["labels"])
    refusal(tmp_path, stream.getvalue() + b"\0")


@pytest.mark.parametrize("protocol", range(6))
def test_a_file_cut_short_anywhere_is_refused(tmp_path, protocol):
    content = pickle.dumps(ARRAYS["labels"], protocol)
    for end in range(len(content)):
        refusal(tmp_path, content[:end])


# ---------------------------------------------------------------------- what is flipped


def loaded(path: Path) -> np.ndarray | None:
    """The array, or None where it is refused in one line."""
    try:
        return load_array(path)
    except DataError as error:
        return None if "\n" not in str(error) else pytest.fail(str(error))


@given(
    st.sampled_from(range(6)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_flipped_bytes_give_an_error_or_a_plain_array(tmp_path_factory, protocol, flips):
    content = bytearray(pickle.dumps(ARRAYS["labels"], protocol))
    for place, value in flips:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "flipped.npy"
    path.write_bytes(content)
    array = loaded(path)
    if array is not None:
        assert type(array) is np.ndarray
        assert array.dtype.kind in "fiu"
        assert array.nbytes == ARRAYS["labels"].nbytes


@given(st.binary(max_size=300))
def test_any_bytes_give_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "noise.npy"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_array(path)


_PIECES = [
    b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n", b"cos\nsystem\n",
    b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy.core.numeric\n_frombuffer\n",
    b"(", b"t", b")", b"R", b"b", b"N", b"K\x00", b"K\x01", b"U\x01b", b"U\x02f8", b"q\x00",
    b"h\x00", b"\x85", b"\x86", b"\x87", b"X\x06\x00\x00\x00latin1", b"C\x08" + bytes(8),
    b"U\x01C", b"U\x01<",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=40))
def test_any_program_of_allowed_parts_gives_an_error_or_a_plain_array(tmp_path_factory, pieces):
    path = tmp_path_factory.getbasetemp() / "program.npy"
    path.write_bytes(b"".join(pieces) + b".")
    assert type(loaded(path)) in (np.ndarray, type(None))


def test_the_allowed_instructions_are_ones_there_are():
    names = {op.name for op in pickletools.opcodes}
    assert names >= pickles._ALLOWED
    assert not pickles._ALLOWED & {"NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "LONG_BINPUT", "DUP"}
    assert opcode("STOP") == b"."
