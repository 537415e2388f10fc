"""Stores: named by what made them, whole or absent, and honest about what is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sleepshift.datasets.base import Dataset, DatasetInfo, LabelledWindows, Recording
from sleepshift.datasets.simulated import Simulated
from sleepshift.errors import DataError
from sleepshift.windows import Recipe, cut_recording, open_store, prepare, read_manifest

PEOPLE = ((2, 25, 30), (1, 70, 75))
RECIPE = Recipe(channels=("EEG Fpz-Cz",), sfreq=100.0, trim_wake_minutes=None, scaling="robust")
ARRAYS = Recipe(channels=None, sfreq=None, trim_wake_minutes=None, scaling="none")


class Files(Dataset):
    """Recordings in text files, one number a window; ``bad`` in a file breaks its reading."""

    info = DatasetInfo(
        name="files", title="", licence="", login=False, download="", url="", citation=""
    )
    scheme = "aasm5"

    def __init__(self, data):
        super().__init__(data)
        self.reads = []

    def recordings(self, subjects=None):
        files = sorted(self.data.glob("*.txt"))
        found = [Recording(subject=f.stem, session="1", age=40.0, files=(f,)) for f in files]
        return [r for r in found if subjects is None or r.subject in subjects]

    def read(self, recording, channels=None):
        self.reads.append(recording.subject)
        text = recording.files[0].read_text()
        if "bad" in text:
            raise DataError(f"{recording} is bad")
        if "crash" in text:
            raise RuntimeError("not the user's fault")
        names = ("a", "b") if "two" in text else ("a",)
        sfreq = 20.0 if "fast" in text else 10.0
        values = np.array([float(word) for word in text.split() if word.isdigit()])
        noise = np.random.default_rng(len(text)).normal(size=(len(values), len(names), 300))
        return LabelledWindows(
            x=(noise + values[:, None, None]).astype(np.float32),
            y=values.astype(np.int64) % 5,
            onset=30.0 * np.arange(len(values)),
            ch_names=names,
            sfreq=sfreq,
        )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, text in {"p1": "0 1 2", "p2": "3 4", "p3": "0 0 0 7"}.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def root(tmp_path):
    return tmp_path / "stores"


def stores(root):
    """What lies in the stores' folder, temporary things included, the hash memory aside."""
    return sorted(p.name for p in root.iterdir() if p.name != "file-hashes.json")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    dataset = Simulated(people=PEOPLE, hours=0.5, seed=1)
    return dataset, prepare(dataset, RECIPE, tmp_path_factory.mktemp("stores"))


# ---------------------------------------------------------------------- what a store holds


class TwoScorers(Files):
    """A second scorer who calls every 1 a 2, and left every 4 out."""

    def read(self, recording, channels=None):
        windows = super().read(recording, channels)
        second = np.select([windows.y == 1, windows.y == 4], [2, -1], windows.y)
        return LabelledWindows(**{**windows.__dict__, "second": second})


def test_a_second_scorer_is_counted_against_the_first_and_kept_from_the_windows(folder, root):
    path = prepare(TwoScorers(folder), ARRAYS, root)
    counts = {k: np.array(v) for k, v in read_manifest(path)["second_scorer"].items()}
    assert np.argwhere(counts["p1"]).tolist() == [[0, 0], [1, 2], [2, 2]]
    assert counts["p2"].sum() == 1  # the window that nobody scored twice is in no count
    windows = open_store(path)
    assert windows.y.tolist() == [0, 1, 2, 3, 4, 0, 0, 0, 2]
    assert not any("second" in column for column in windows.metadata)


def test_one_scorer_is_no_agreement(folder, root):
    assert read_manifest(prepare(Files(folder), ARRAYS, root))["second_scorer"] == {}


def test_a_store_holds_what_was_cut(simulated):
    dataset, path = simulated
    windows = open_store(path)
    cuts = [cut_recording(dataset, r, RECIPE) for r in dataset.recordings()]
    np.testing.assert_array_equal(np.asarray(windows), np.concatenate([c.windows.x for c in cuts]))
    np.testing.assert_array_equal(windows.y, np.concatenate([c.windows.y for c in cuts]))
    frame = windows.metadata
    assert frame["onset"].tolist() == np.concatenate([c.windows.onset for c in cuts]).tolist()
    assert frame["digest"].tolist() == np.concatenate([c.digests for c in cuts]).tolist()
    assert frame["subject"].drop_duplicates().tolist() == ["0", "1", "2"]
    assert frame.groupby("subject")["age"].first().tolist() == [25.0, 30.0, 70.0]
    assert set(frame["sex"]) == {"female", "male"}
    assert windows.name == path.name
    assert windows.scheme == "rk6"
    assert isinstance(windows._signals, np.memmap)
    assert not windows._signals.flags.writeable


def test_the_manifest_counts_right_and_names_what_made_the_store(simulated):
    dataset, path = simulated
    manifest, windows = read_manifest(path), open_store(path)
    assert manifest["n_windows"] == len(windows) == 180
    assert sum(manifest["n_per_stage"].values()) == 180
    names = np.array(["W", "S1", "S2", "S3", "S4", "R"])[windows.y]
    assert manifest["n_per_stage"] == {n: int((names == n).sum()) for n in manifest["n_per_stage"]}
    assert manifest["n_per_recording"] == [
        {"subject": str(k), "session": "1", "windows": 60} for k in range(3)
    ]
    assert manifest["recipe"]["scaling"] == "robust"
    assert manifest["params"] == json.loads(json.dumps(dataset.params()))
    assert manifest["skipped"] == []
    assert manifest["versions"]["numpy"] == np.__version__


def test_sources_are_listed_with_size_and_hash(folder, root):
    manifest = read_manifest(prepare(Files(folder), ARRAYS, root))
    (entry,) = manifest["sources"][1]["files"]
    assert entry["file"] == "p2.txt"
    assert entry["size"] == 3
    assert len(entry["sha256"]) == 64
    assert str(folder) not in json.dumps(manifest)


def test_the_header_written_last_is_a_plain_npy(folder, root):
    path = prepare(Files(folder), ARRAYS, root)
    signals = np.load(path / "signals.npy")
    assert signals.shape == (9, 1, 300)
    assert (path / "signals.npy").stat().st_size == 128 + signals.nbytes


def test_unknown_facts_stay_unknown(folder, root):
    class Ageless(Files):
        def recordings(self, subjects=None):
            return [
                Recording(subject=r.subject, session=r.session, files=r.files)
                for r in super().recordings(subjects)
            ]

        def read(self, recording, channels=None):
            fields = super().read(recording).__dict__ | {"onset": None}
            return LabelledWindows(**fields)

    windows = open_store(prepare(Ageless(folder), ARRAYS, root))
    assert windows.metadata["age"].isna().all()
    assert not windows.ordered


# ---------------------------------------------------------------------- its name


def test_preparing_twice_reads_once(folder, root):
    first = Files(folder)
    path = prepare(first, ARRAYS, root)
    before = {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    again = Files(folder)
    assert prepare(again, ARRAYS, root) == path
    assert first.reads == ["p1", "p2", "p3"]
    assert again.reads == []
    assert {p.name: p.stat().st_mtime_ns for p in path.iterdir()} == before
    assert stores(root) == [path.name]


def test_a_touched_file_keeps_the_name(folder, root):
    path = prepare(Files(folder), ARRAYS, root)
    os.utime(folder / "p2.txt", ns=(1, 1))
    assert prepare(Files(folder), ARRAYS, root) == path


def test_a_changed_byte_changes_the_name(folder, root):
    path = prepare(Files(folder), ARRAYS, root)
    (folder / "p2.txt").write_text("3 3")
    os.utime(folder / "p2.txt", ns=(1, 1))
    other = prepare(Files(folder), ARRAYS, root)
    assert other != path
    assert open_store(other).y.tolist() != open_store(path).y.tolist()


def test_the_folder_that_data_lie_in_does_not_change_the_name(folder, root, tmp_path):
    path = prepare(Files(folder), ARRAYS, root)
    moved = folder.rename(tmp_path / "elsewhere")
    assert prepare(Files(moved), ARRAYS, tmp_path / "other stores").name == path.name


def test_all_that_decides_the_content_changes_the_name(tmp_path):
    def name(seed=1, people=PEOPLE[:1], subjects=None, **recipe):
        plain = {k: v for k, v in RECIPE.plain().items() if k not in ("window_seconds", "clip")}
        dataset = Simulated(people=people, hours=0.2, seed=seed)
        return prepare(dataset, Recipe(**plain | recipe), tmp_path, subjects=subjects).name

    names = [
        name(),
        name(seed=2),
        name(people=((2, 25, 31),)),
        name(subjects=["1"]),
        name(sfreq=50.0),
        name(scaling="none"),
        name(trim_wake_minutes=1.0),
        name(channels=("EEG Pz-Oz",)),
    ]
    assert len(set(names)) == len(names)
    assert stores(tmp_path) == sorted(names)


# ---------------------------------------------------------------------- bad recordings


@pytest.mark.parametrize(("word", "error"), [("bad", DataError), ("crash", RuntimeError)])
def test_a_dataset_that_fails_midway_leaves_no_store(folder, root, word, error):
    (folder / "p2.txt").write_text(word)
    with pytest.raises(error):
        prepare(Files(folder), ARRAYS, root)
    assert stores(root) == []


def test_bad_recordings_are_left_out_and_listed_when_asked(folder, root):
    (folder / "p1.txt").write_text("bad")
    path = prepare(Files(folder), ARRAYS, root, skip_bad=True)
    manifest = read_manifest(path)
    assert manifest["skipped"] == [{"recording": "p1.txt", "reason": "p1.txt is bad"}]
    assert len(manifest["sources"]) == 3
    assert [r["subject"] for r in manifest["n_per_recording"]] == ["p2", "p3"]
    assert set(open_store(path).subjects) == {"p2", "p3"}


def test_a_store_with_gaps_is_not_passed_off_as_whole_later(folder, root):
    (folder / "p1.txt").write_text("bad")
    (folder / "p3.txt").write_text("bad too")
    path = prepare(Files(folder), ARRAYS, root, skip_bad=True)
    with pytest.raises(DataError, match=r"p1\.txt is bad \(2 bad in all; --skip-bad"):
        prepare(Files(folder), ARRAYS, root)
    assert prepare(Files(folder), ARRAYS, root, skip_bad=True) == path


def test_a_crash_is_not_skipped(folder, root):
    (folder / "p1.txt").write_text("crash")
    with pytest.raises(RuntimeError, match="not the user's fault"):
        prepare(Files(folder), ARRAYS, root, skip_bad=True)
    assert stores(root) == []


def test_nothing_usable_is_an_error_even_when_skipping(folder, root):
    for file in folder.iterdir():
        file.write_text("bad")
    with pytest.raises(DataError, match=r"no recording could be used: p1\.txt is bad"):
        prepare(Files(folder), ARRAYS, root, skip_bad=True)
    with pytest.raises(DataError, match="lists no recording"):
        prepare(Files(folder), ARRAYS, root, subjects=["nobody"])
    assert stores(root) == []


@pytest.mark.parametrize("word", ["two", "fast"])
def test_recordings_that_differ_in_channels_or_rate_are_refused(folder, root, word):
    (folder / "p2.txt").write_text(f"1 2 {word}")
    with pytest.raises(DataError, match=r"p2\.txt has windows of .*, the recordings before it"):
        prepare(Files(folder), ARRAYS, root)
    assert stores(root) == []


def test_progress_is_told_of_every_recording(folder, root):
    (folder / "p2.txt").write_text("bad")
    told = []
    prepare(Files(folder), ARRAYS, root, skip_bad=True, advance=lambda *step: told.append(step))
    assert told == [("", 0, 3), ("p1.txt", 1, 3), ("p2.txt", 2, 3), ("p3.txt", 3, 3)]


# ---------------------------------------------------------------------- damaged stores


def truncate(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def drop_key(path):
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["n_windows"]
    (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGE = {
    "signals cut short": lambda p: truncate(p / "signals.npy", 0.9),
    "signals empty": lambda p: truncate(p / "signals.npy", 0),
    "signals gone": lambda p: (p / "signals.npy").unlink(),
    "signals of other channels": lambda p: np.save(
        p / "signals.npy", np.zeros((9, 2, 300), np.float32)
    ),
    "labels cut short": lambda p: truncate(p / "labels.npy", 0.5),
    "labels empty": lambda p: truncate(p / "labels.npy", 0),
    "labels fewer": lambda p: np.save(p / "labels.npy", np.zeros(3, int)),
    "labels a pickle": lambda p: np.save(p / "labels.npy", np.array([{}] * 9), allow_pickle=True),
    "metadata cut short": lambda p: truncate(p / "metadata.parquet", 0.5),
    "metadata gone": lambda p: (p / "metadata.parquet").unlink(),
    "metadata fewer": lambda p: pd.DataFrame({"subject": ["a"]}).to_parquet(p / "metadata.parquet"),
    "manifest gone": lambda p: (p / "manifest.json").unlink(),
    "manifest cut short": lambda p: truncate(p / "manifest.json", 0.5),
    "manifest a list": lambda p: (p / "manifest.json").write_text("[]"),
    "manifest lacks a key": drop_key,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_store_is_one_line_that_says_what_to_do(folder, root, damage):
    path = prepare(Files(folder), ARRAYS, root)
    damage(path)
    with pytest.raises(DataError, match="remove it and prepare") as caught:
        open_store(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_without_its_manifest_is_refused_before_hours_of_packing(folder, root):
    path = prepare(Files(folder), ARRAYS, root)
    (path / "manifest.json").unlink()
    dataset = Files(folder)
    with pytest.raises(DataError, match="remove it and prepare"):
        prepare(dataset, ARRAYS, root)
    assert dataset.reads == []
    shutil.rmtree(path)
    assert prepare(dataset, ARRAYS, root) == path


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a window store"):
        open_store(tmp_path / "nowhere")


# ---------------------------------------------------------------------- several processes


def test_two_processes_may_prepare_the_same_store_at_once(root):
    code = (
        "import sys; from pathlib import Path\n"
        "from sleepshift.datasets.simulated import Simulated\n"
        "from sleepshift.windows import Recipe, prepare\n"
        "recipe = Recipe(channels=('EEG Fpz-Cz',), sfreq=100.0, trim_wake_minutes=None,"
        " scaling='robust')\n"
        "dataset = Simulated(people=((3, 25, 30),), hours=0.5)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(prepare(dataset, recipe, Path(sys.argv[1])))\n"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    (path,) = {Path(out.strip()) for out, _ in answers}
    assert stores(root) == [path.name]
    assert len(open_store(path)) == 180
