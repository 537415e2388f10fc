"""Folders of .npz: the two real ones, the published layouts, and files nobody should trust."""

from __future__ import annotations

import csv
import io
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sleepshift.datasets import make_dataset
from sleepshift.datasets.npz import NpzFolder
from sleepshift.errors import DataError, TaskError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
BANDPOWER = SHARED / "sleep_edf_bandpower"
UCDDB = SHARED / "ucddb_wake_deep"
TWO = ("EEG Fpz-Cz", "EEG Pz-Oz")


def write_table(folder: Path, rows: str, columns: str = "file subject session age sex") -> None:
    text = "\n".join([columns, *rows.strip().splitlines()]).replace(" ", "\t")
    (folder / "participants.tsv").write_text(text + "\n", encoding="utf-8")


def write_night(path: Path, **arrays) -> dict[str, np.ndarray]:
    """Write a night as AttnSleep's script does: (windows, 3000, 1) at 100 Hz; None leaves out."""
    rng = np.random.default_rng(0)
    night = {
        "x": rng.normal(size=(6, 3000, 1)).astype(np.float32),
        "y": np.array([0, 1, 2, 3, 4, 2], dtype=np.int32),
        "fs": 100.0,
        **arrays,
    }
    night = {key: value for key, value in night.items() if value is not None}
    np.savez(path, **night)
    return night


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.npz", "a.npz", "c.npz"):
        write_night(tmp_path / name)
    write_table(tmp_path, "a.npz 10 1 33 F\nb.npz 2 2 n/a male\nc.npz 2 1 61.5 n/a")
    return tmp_path


def attnsleep(folder: Path, **settings) -> NpzFolder:
    return NpzFolder(folder, **{"layout": "channels-last", **settings})


def refusal(folder: Path, **settings) -> str:
    """The one line that reading a.npz (subject 10) ends with."""
    dataset = attnsleep(folder, **settings)
    with pytest.raises(DataError) as caught:
        dataset.read(dataset.recordings(["10"])[0])
    assert "\n" not in str(caught.value)
    assert "a.npz" in str(caught.value)
    return str(caught.value)


def table_refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        NpzFolder(folder).recordings()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- listing


def test_recordings_come_from_the_table_sorted(folder):
    nights = NpzFolder(folder).recordings()
    assert [(n.subject, n.session, n.age, n.sex) for n in nights] == [
        ("2", "1", 61.5, None),
        ("2", "2", None, "male"),
        ("10", "1", 33, "female"),
    ]
    assert str(nights[2]) == "a.npz"
    assert [n.subject for n in NpzFolder(folder).recordings(["10"])] == ["10"]


def test_a_subject_that_is_not_there_is_named(folder):
    with pytest.raises(DataError, match=r"subject 7 in .*; there are 2, 10"):
        NpzFolder(folder).recordings(["7", "2"])


def test_columns_in_any_order_and_more_of_them_are_fine(folder):
    write_table(folder, "31 x 1 a.npz\n32 y 2 b.npz\n33 z 3 c.npz", "age note subject file")
    assert [n.age for n in NpzFolder(folder).recordings()] == [31, 32, 33]
    assert {n.session for n in NpzFolder(folder).recordings()} == {"1"}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("a.npz 1 1 33 F\nb.npz 2 1 33 F", "does not list c.npz"),
        ("a.npz 1 1 33 F\na.npz 2 1 33 F", "a.npz has a row already"),
        ("./a.npz 1 1 33 F\na.npz 2 1 33 F", "a.npz has a row already"),
        ("a.npz 1 1 33 F\nb.npz 1 1 33 F", "subject 1 has a session 1 already"),
        ("../a.npz 1 1 33 F", "below the folder"),
        ("/etc/a.npz 1 1 33 F", "below the folder"),
        ("x/../../a.npz 1 1 33 F", "below the folder"),
        ("C:\\a.npz 1 1 33 F", "below the folder"),
        ("a.pkl 1 1 33 F", "below the folder"),
        ("a.npz 1 1 -3 F", "age '-3'"),
        ("a.npz 1 1 130 F", "age '130'"),
        ("a.npz 1 1 old F", "age 'old'"),
        ("a.npz 1 1 inf F", "age 'inf'"),
        ("a.npz 1 1 33 2", "sex '2'"),
        ("a.npz n/a 1 33 F", "subject is missing"),
        ("", "has no rows"),
    ],
)
def test_a_wrong_table_is_refused(folder, rows, reason):
    write_table(folder, rows)
    message = table_refusal(folder)
    assert reason in message
    assert "participants.tsv" in message


def test_a_missing_or_unreadable_table_says_what_it_must_hold(folder):
    table = folder / "participants.tsv"
    for content in (
        "",
        "name\tage\nx\t3\n",
        b"\xff\xfe\x00binary",
        "file\tsubject\na\tb\tc\td\n" * 2,
    ):
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert "participants.tsv" in table_refusal(folder)
    table.unlink()
    assert "columns file and subject" in table_refusal(folder)


def test_each_file_may_be_a_person_where_the_user_says_so(folder):
    assert len(NpzFolder(folder, person_per_file=True).recordings(["2"])) == 2
    (folder / "participants.tsv").unlink()
    nights = NpzFolder(folder, person_per_file=True).recordings()
    assert [(n.subject, n.session, n.age) for n in nights] == [
        ("a", "1", None),
        ("b", "1", None),
        ("c", "1", None),
    ]


def test_folders_without_recordings_are_refused(tmp_path):
    with pytest.raises(DataError, match="--data"):
        NpzFolder().recordings()
    assert "not a folder" in table_refusal(tmp_path / "nowhere")
    assert "holds no .npz" in table_refusal(tmp_path)


# ---------------------------------------------------------------- reading


def test_published_arrays_come_out_as_windows_of_one_channel(folder):
    stored = write_night(folder / "a.npz")
    windows = attnsleep(folder).read(attnsleep(folder).recordings(["10"])[0])
    assert windows.x.shape == (6, 1, 3000)
    assert windows.x.dtype == np.float32
    assert windows.x.flags.c_contiguous
    np.testing.assert_array_equal(windows.x[:, 0], stored["x"][:, :, 0])
    assert windows.y.dtype == np.int64
    assert windows.y.tolist() == stored["y"].tolist()
    assert windows.sfreq == 100
    assert windows.onset is None  # a window may have been dropped anywhere


@pytest.mark.parametrize("layout", ["channels-first", "channels-last"])
def test_two_dimensions_are_one_channel_in_either_layout(folder, layout):
    stored = write_night(folder / "a.npz", x=np.ones((6, 3000)), fs=None)
    dataset = NpzFolder(folder, layout=layout, sfreq=100)
    windows = dataset.read(dataset.recordings(["10"])[0])
    np.testing.assert_array_equal(windows.x[:, 0], stored["x"])


@pytest.mark.parametrize("layout", ["channels-first", "channels-last"])
def test_channels_are_picked_by_name(folder, layout):
    x = np.random.default_rng(1).normal(size=(6, 2, 3000))
    write_night(folder / "a.npz", x=x if layout == "channels-first" else x.transpose(0, 2, 1))
    dataset = NpzFolder(folder, layout=layout, ch_names=TWO)
    night = dataset.recordings(["10"])[0]
    for names, picks in ((TWO, [0, 1]), (TWO[::-1], [1, 0]), (TWO[1:], [1])):
        windows = dataset.read(night, names)
        assert windows.ch_names == tuple(names)
        np.testing.assert_array_equal(windows.x, x[:, picks].astype(np.float32))
        assert windows.x.flags.c_contiguous
    with pytest.raises(DataError, match="no channel ECG; ch_names says EEG Fpz-Cz, EEG Pz-Oz"):
        dataset.read(night, ["ECG"])


def test_order_comes_from_the_file_or_from_the_user(folder):
    def onset(ordered=False, **arrays):
        write_night(folder / "a.npz", **arrays)
        dataset = attnsleep(folder, ordered=ordered)
        return dataset.read(dataset.recordings(["10"])[0]).onset

    places = np.array([0, 1, 2, 4, 5, 9])
    assert onset(window=places).tolist() == [0, 30, 60, 120, 150, 270]
    assert onset(onset_s=places * 30.0, window=places + 1).tolist() == [0, 30, 60, 120, 150, 270]
    assert onset(ordered=True).tolist() == [0, 30, 60, 90, 120, 150]
    assert onset(ordered=True, y=[0, -1, 2, 3, -1, 2]).tolist() == [0, 60, 90, 150]


def test_windows_without_a_stage_are_left_out(folder):
    stored = write_night(folder / "a.npz", y=np.array([0.0, -1, 2, 3, -1, 2]))
    windows = attnsleep(folder).read(attnsleep(folder).recordings(["10"])[0])
    assert windows.y.tolist() == [0, 2, 3, 2]
    np.testing.assert_array_equal(windows.x[:, 0], stored["x"][[0, 2, 3, 5], :, 0])


def test_a_second_scorer_goes_with_the_windows_that_the_first_scored(folder):
    write_night(folder / "a.npz", y=[0, -1, 2, 3, -1, 2], y_second=[0, 1, 2, 2, 4, -1])
    windows = attnsleep(folder).read(attnsleep(folder).recordings(["10"])[0])
    assert windows.second.tolist() == [0, 2, 2, -1]
    write_night(folder / "a.npz", y_second=[0, 1])
    assert "y_second has 2 windows and y 6" in refusal(folder)
    write_night(folder / "a.npz", y_second=[0, 1, 2, 3, 4, 9])
    assert "holds 9, outside scheme" in refusal(folder)


def test_six_classes_need_the_six_class_scheme(folder):
    write_night(folder / "a.npz", y=[0, 1, 2, 3, 4, 5])
    assert "y holds 5, outside scheme 'aasm5'" in refusal(folder)
    dataset = attnsleep(folder, scheme="rk6")
    assert dataset.read(dataset.recordings(["10"])[0]).y[-1] == 5


def test_a_listed_file_that_is_gone_is_refused_on_reading(folder):
    (folder / "a.npz").unlink()
    assert len(NpzFolder(folder).recordings()) == 3
    assert "does not exist" in refusal(folder)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"y": None}, "has no array y; it holds 'fs', 'x'"),
        ({"x": np.ones(6)}, "x has shape (6,)"),
        ({"x": np.ones((6, 1, 3000, 1))}, "x has shape"),
        ({"x": np.ones((0, 3000, 1)), "y": np.ones(0)}, "x has shape (0,"),
        ({"x": np.ones((6, 3000, 2))}, "x has 2 channels and ch_names 1"),
        ({"x": np.ones((6, 1, 3000))}, "state layout='channels-first'"),
        ({"x": np.ones((6, 3001, 1))}, "3001 samples at 100 Hz last 30.01 s"),
        ({"x": np.full((6, 3000, 1), "a")}, "dtype <U1"),
        ({"x": np.ones((6, 3000, 1), dtype=complex)}, "dtype complex128"),
        ({"y": np.zeros(5)}, "x has 6 windows and y 5"),
        ({"y": np.eye(6)}, "y has shape (6, 6)"),
        ({"y": np.full(6, 0.5)}, "whole numbers"),
        ({"y": np.full(6, np.nan)}, "whole numbers"),
        ({"y": np.full(6, "W")}, "whole numbers"),
        ({"y": np.full(6, np.inf)}, "outside scheme"),
        ({"y": np.full(6, -2)}, "y holds -2"),
        ({"y": np.full(6, 2**63, dtype=np.uint64)}, "outside scheme"),
        ({"y": np.full(6, -1)}, "no window with a stage"),
        ({"fs": None}, "has no fs"),
        ({"fs": 0}, "fs must be one rate"),
        ({"fs": "100"}, "fs must be one rate"),
        ({"fs": [100, 100]}, "fs must be one rate"),
        ({"fs": 128}, "last 23.4375 s"),
        ({"window": np.arange(5)}, "window must be one number a window"),
        ({"window": np.zeros(6)}, "window must differ"),
        ({"onset_s": np.full(6, np.nan)}, "onset_s must differ"),
    ],
)
def test_arrays_that_cannot_be_right_are_refused(folder, arrays, reason):
    write_night(folder / "a.npz", **arrays)
    assert reason in refusal(folder)


def test_a_rate_other_than_the_one_stated_is_refused(folder):
    assert "fs is 100 Hz, sfreq 128" in refusal(folder, sfreq=128)


def test_settings_that_make_no_sense_are_refused(folder):
    for settings in (
        {"scheme": "aasm6"},
        {"layout": "last"},
        {"kind": "raw"},
        {"ch_names": "EEG"},
        {"ch_names": []},
        {"ch_names": ["EEG", "EEG"]},
        {"sfreq": 0},
        {"sfreq": 100, "kind": "features"},
        {"channels": 3},
    ):
        with pytest.raises(TaskError):
            make_dataset("npz", folder, **settings)


def test_params_rebuild_the_dataset(folder):
    dataset = attnsleep(folder, ch_names=TWO, sfreq=128, scheme="rk6", ordered=True)
    assert NpzFolder(folder, **dataset.params()).params() == dataset.params()
    assert dataset.params() != attnsleep(folder).params()


# ---------------------------------------------------------------- files nobody vouches for


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("key", ["x", "y", "fs"])
def test_a_pickle_is_refused_and_never_run(folder, key):
    trap = folder / "owned"
    write_night(folder / "a.npz", **{key: np.array([Hostile(trap)], dtype=object)})
    assert f"{key} is a pickle" in refusal(folder)
    (folder / "a.npz").write_bytes(pickle.dumps(Hostile(trap)))
    assert "no readable .npz" in refusal(folder)
    assert not trap.exists()


def test_pickles_beside_the_arrays_are_not_opened(folder):
    trap = folder / "owned"
    write_night(folder / "a.npz", header_raw=np.array([Hostile(trap)], dtype=object), ch_label="x")
    assert len(attnsleep(folder).read(attnsleep(folder).recordings(["10"])[0]).y) == 6
    assert not trap.exists()


@pytest.mark.parametrize("shape", [(10**6, 3000, 1), (2**62, 8, 8), (-1, 3000, 1)])
def test_an_array_that_claims_too_much_is_refused_before_it_is_loaded(folder, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    write_night(folder / "a.npz", x=None)
    with zipfile.ZipFile(folder / "a.npz", "a") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(100))
    assert "x claims shape" in refusal(folder)


def test_a_file_that_python_2_wrote_is_read(folder):
    write_night(folder / "a.npz", y=None)
    header = io.BytesIO()
    np.save(header, np.array([0, 1, 2, 3, 4, 2]))
    old = header.getvalue().replace(b"(6,)", b"(6L,)").replace(b"}  ", b"} ")
    with zipfile.ZipFile(folder / "a.npz", "a") as archive:
        archive.writestr("y.npy", old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        windows = attnsleep(folder).read(attnsleep(folder).recordings(["10"])[0])
    assert windows.y.tolist() == [0, 1, 2, 3, 4, 2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", bytes(999)])
def test_what_is_no_npz_is_refused(folder, content):
    (folder / "a.npz").write_bytes(content)
    assert "no readable .npz" in refusal(folder)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(folder, save, share):
    save(folder / "a.npz", **write_night(folder / "a.npz"))
    content = (folder / "a.npz").read_bytes()
    (folder / "a.npz").write_bytes(content[: int(share * len(content))])
    assert "no readable .npz" in refusal(folder)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("seed", range(100))
def test_any_flipped_byte_reads_the_same_or_is_a_data_error(folder, save, seed):
    path = folder / "a.npz"
    x = np.random.default_rng(seed).normal(size=(2, 30, 1)).astype(np.float32)
    save(path, x=x, y=np.array([0, 1]), fs=1)
    broken = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    broken[rng.integers(len(broken))] ^= rng.integers(1, 256)
    path.write_bytes(broken)
    dataset = attnsleep(folder)
    try:
        windows = dataset.read(dataset.recordings(["10"])[0])
    except DataError:
        return
    np.testing.assert_array_equal(windows.x[:, 0], x[:, :, 0])
    assert windows.y.tolist() == [0, 1]


# ---------------------------------------------------------------- real folders


@pytest.mark.skipif(not BANDPOWER.is_dir(), reason="the Sleep-EDF band powers are not at hand")
def test_all_153_nights_of_band_powers():
    names = ("Fpz-Cz", "Pz-Oz", "EOG horizontal")
    dataset = NpzFolder(BANDPOWER, ch_names=names, kind="features")
    with (BANDPOWER / "participants.tsv").open(newline="") as file:
        counts = {row["file"]: int(row["windows"]) for row in csv.DictReader(file, delimiter="\t")}
    nights = dataset.recordings()
    assert len({night.subject for night in nights}) == 78
    total = 0
    for night in nights:
        windows = dataset.read(night, names[::-1])
        assert windows.sfreq is None
        assert windows.x.shape == (counts[night.files[0].name], 3, 10)
        assert (np.diff(windows.onset) >= 30).all()
        total += len(windows.y)
    assert total == 195_079
    stored = np.load(nights[-1].files[0])
    np.testing.assert_array_equal(windows.x, stored["x"][:, ::-1])
    np.testing.assert_array_equal(windows.y, stored["y"])


@pytest.mark.skipif(not UCDDB.is_dir(), reason="the UCDDB windows are not at hand")
def test_all_23_people_of_ucddb():
    dataset = NpzFolder(UCDDB, layout="channels-last", person_per_file=True)
    nights = dataset.recordings()
    assert len({night.subject for night in nights}) == 23
    total = 0
    for night in nights:
        windows = dataset.read(night)
        assert windows.x.shape[1:] == (1, 3840)
        assert windows.sfreq == 128
        assert set(windows.y) <= {0, 3}
        assert (np.diff(windows.onset) >= 30).all()
        total += len(windows.y)
    assert total == 6_447
