"""BEETL's arrays: what is read of them, what is refused, and how they are fetched."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import pickle
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sleepshift.datasets import beetl as module
from sleepshift.datasets import figshare, make_dataset
from sleepshift.datasets.beetl import Beetl
from sleepshift.errors import DataError
from sleepshift.protocol import load_task
from sleepshift.windows import open_store, prepare, read_manifest
from sleepshift.windows.cut import Recipe

CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz")
RECIPE = Recipe(channels=CHANNELS, sfreq=100.0, trim_wake_minutes=None, scaling="robust")


def night(n: int = 3) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 2, 3000)) * 2e-5


def put(folder: Path, name: str, array: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.npy").write_bytes(pickle.dumps(array))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two nights of a source person, and of one leaderboard person without labels."""
    made = tmp_path / "arrays"
    for k in (1, 2):
        put(made, f"training_s10r{k}X", night())
        put(made, f"training_s10r{k}y", np.array([0, 5, 2], dtype=np.int32))
        put(made, f"leaderboard_s6r{k}X", night(4))
    return made


def refusal(folder: Path, subject: str = "source-10") -> str:
    """The one line that reading a person's nights ends with."""
    dataset = Beetl(folder)
    with pytest.raises(DataError) as caught:
        [dataset.read(recording) for recording in dataset.recordings([subject])]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------- listing


def test_everyone_is_found_by_name_in_order(beetl):
    nights = Beetl(beetl[0]).recordings()
    people = [f"source-{k}" for k in range(39)] + [f"leaderboard-{k}" for k in range(18)]
    people += [f"final-{k}" for k in range(14)]
    assert [(r.subject, r.session) for r in nights] == [(p, s) for p in people for s in "12"]
    assert {r.age for r in nights} == {None}
    assert str(nights[0]) == "training_s0r1X.npy"
    assert [r.subject for r in Beetl(beetl[0]).recordings(["final-13", "source-2"])] == [
        "source-2", "source-2", "final-13", "final-13"
    ]  # fmt: skip


def test_the_arrangement_of_folders_does_not_matter(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    for path in list(folder.glob("*r2*.npy")):
        path.rename(folder / "deep" / "er" / path.name)
    assert len(Beetl(folder).recordings()) == 4


def test_other_files_are_never_opened(folder, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    for name in ("headerInfo", "training_s10r3X", "training_s99r1X", "._training_s1r1X", "x"):
        put(folder, name, Attack())
    windows = open_store(prepare(Beetl(folder), RECIPE, tmp_path / "w"))
    assert len(windows) == 14
    put(folder, "training_s10r1X", Attack())
    assert "asks for posix.mkdir" in refusal(folder)
    assert not (tmp_path / "canary").exists()


def test_a_night_is_labelled_once(folder):
    windows = pickle.dumps(np.zeros((3, 2, 3000)))
    (folder / "testing_s7r1X.npy").write_bytes(windows)
    (folder / "testing_s7r1y.npy").write_bytes(pickle.dumps(np.array([0, 1, 2])))
    assert "final-7" in {recording.subject for recording in Beetl(folder).recordings()}
    (folder / "final_sleep_label.txt").write_text("0\n1\n2\n")
    with pytest.raises(DataError, match=r"testing_s7r1y\.npy and .* label the same night"):
        Beetl(folder).recordings()


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(
        DataError, match=r"no recording of subject source-1, final-3 in .* 2 people"
    ):
        Beetl(folder).recordings(["source-1", "source-10", "final-3"])
    with pytest.raises(DataError, match="is not a folder"):
        Beetl(tmp_path / "nowhere").recordings()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no training_s0r1X\.npy"):
        Beetl(tmp_path / "empty").recordings()
    (folder / "training_s10r1y.npy").unlink()
    assert "training_s10r1X.npy has no labels: put training_s10r1y.npy" in refusal(folder)
    (folder / "training_s10r2X.npy").unlink()
    assert "training_s10r2y.npy has no signals beside it" in refusal(folder)


@pytest.mark.parametrize("name", ["training_s10r1X.npy", "final_sleep_label.txt"])
def test_a_file_that_is_there_twice_is_refused(folder, name):
    (folder / "final_sleep_label.txt").write_text("0\n")
    (folder / "copy").mkdir()
    (folder / "copy" / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(DataError, match="is the same as"):
        Beetl(folder).recordings()


# ---------------------------------------------------------------------- reading


def test_signals_come_in_volts_by_channel_name_and_without_times(beetl):
    dataset = make_dataset("beetl", beetl[0])
    (first, _) = dataset.recordings(["source-3"])
    stored = pickle.loads(first.files[0].read_bytes())  # noqa: S301
    windows = dataset.read(first)
    np.testing.assert_array_equal(windows.x, stored.astype(np.float32))
    assert (windows.ch_names, windows.sfreq, windows.onset) == (CHANNELS, 100.0, None)
    swapped = dataset.read(first, CHANNELS[::-1])
    np.testing.assert_array_equal(swapped.x, windows.x[:, ::-1])
    np.testing.assert_array_equal(dataset.read(first, CHANNELS[1:]).x, windows.x[:, 1:])
    assert swapped.x.flags.c_contiguous
    with pytest.raises(DataError, match="no channel EOG"):
        dataset.read(first, ["EOG"])


def test_each_night_has_its_own_labels(beetl):
    folder, stages = beetl
    dataset = Beetl(folder)
    prefixes = {"source": "training", "leaderboard": "leaderboard", "final": "testing"}
    withheld = 0
    for recording in dataset.recordings():
        phase, _, number = recording.subject.partition("-")
        y = dataset.read(recording).y
        assert y.dtype == np.int64
        if phase == "leaderboard" and int(number) >= 6:
            assert (y == -1).all()
            withheld += 1
        else:
            expected = stages[f"{prefixes[phase]}_s{number}", int(recording.session)]
            assert y.tolist() == expected, recording
    assert withheld == 24


def test_without_the_published_labels_the_final_test_people_have_none(beetl, tmp_path):
    for path in beetl[0].rglob("testing_s5r*X.npy"):
        (tmp_path / path.name).symlink_to(path)
    dataset = Beetl(tmp_path)
    recording = dataset.recordings(["final-5"])[0]
    assert (dataset.read(recording).y == -1).all()
    (tmp_path / "final_sleep_label.txt").write_text("0\n")
    dataset = Beetl(tmp_path)  # another store, which must have another name
    assert dataset.recordings(["final-5"])[0].files != recording.files
    with pytest.raises(DataError, match="no recording of subject final-6"):
        dataset.read(dataset.recordings(["final-5"])[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0\n" * 10, "labels 10 windows; the 18 nights it belongs to have 1"),
        ("0\nW\n", "line 2: 'W' is not a stage code from 0 to 5"),
        ("6\n", "line 1: '6' is not"),
        ("-1\n", "line 1: '-1' is not"),
        ("0\n\n0\n", "line 2 is empty"),
    ],
)
def test_published_labels_that_do_not_fit_are_refused(beetl, tmp_path, text, reason):
    for path in beetl[0].rglob("testing_s*X.npy"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "final_sleep_label.txt").write_text(text)
    assert reason in refusal(tmp_path, "final-9")
    (tmp_path / "final_sleep_label.txt").write_bytes(b"0\n\xff\n")
    assert "is no text" in refusal(tmp_path, "final-9")


def test_published_labels_from_another_system_are_read(beetl, tmp_path):
    for path in beetl[0].rglob("testing_s*X.npy"):
        (tmp_path / path.name).symlink_to(path)
    text = (beetl[0] / "final_sleep_label.txt").read_text().replace("\n", ".0\r\n")
    (tmp_path / "final_sleep_label.txt").write_text("\ufeff" + text + "\r\n", encoding="utf-8")
    dataset = Beetl(tmp_path)
    assert (
        dataset.read(dataset.recordings(["final-13"])[1]).y.tolist() == (beetl[1]["testing_s13", 2])
    )


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("X", night(4), "training_s10r1X.npy has 4 windows and training_s10r1y.npy 3"),
        ("X", night()[:, :1], "shape (3, 1, 3000)"),
        ("X", night()[:, :, :2999], "shape (3, 2, 2999)"),
        ("X", night()[0], "shape (2, 3000)"),
        ("X", np.zeros((3, 2, 3000), dtype=int), "holds int64"),
        ("y", np.array([0, 6, 1]), "holds 6, which is no stage"),
        ("y", np.array([0, -1, 1]), "holds -1, which is no stage"),
        ("y", np.array([0, 0.5, 1]), "one whole number a window"),
        ("y", np.array([0, np.nan, 1]), "one whole number a window"),
        ("y", np.array([[0], [1], [1]]), "not shape (3, 1)"),
        ("y", {"y": [0, 1, 2]}, "training_s10r1y.npy is not loaded"),
    ],
)
def test_arrays_that_are_something_else_are_refused(folder, name, array, reason):
    put(folder, f"training_s10r1{name}", array)
    assert reason in refusal(folder)


def test_whole_labels_in_float_are_labels(folder):
    put(folder, "training_s10r1y", np.array([5.0, 0.0, 3.0]))
    dataset = Beetl(folder)
    assert dataset.read(dataset.recordings()[0]).y.tolist() == [5, 0, 3]


# ---------------------------------------------------------------------- withheld labels


def test_withheld_labels_are_kept_and_no_stage(folder, tmp_path):
    path = prepare(Beetl(folder), RECIPE, tmp_path / "w")
    manifest = read_manifest(path)
    assert manifest["n_per_stage"] == {"W": 2, "S1": 0, "S2": 2, "S3": 0, "S4": 0, "R": 2}
    assert (manifest["n_windows"], manifest["n_withheld"]) == (14, 8)
    windows = open_store(path)
    assert windows.y.tolist() == [0, 5, 2, 0, 5, 2] + [-1] * 8
    coarse = windows.to_scheme("aasm5")
    assert coarse.y.tolist() == [0, 4, 2, 0, 4, 2] + [-1] * 8
    deep = windows.to_scheme("wake-deep")  # which has no place for S2 and R
    assert deep.y.tolist() == [0, 0] + [-1] * 8
    assert deep.to_scheme("wake-deep").y.tolist() == deep.y.tolist()


@pytest.mark.parametrize("role", ["source", "target_labeled"])
def test_nobody_learns_from_labels_that_are_not_public(beetl, tmp_path, role):
    text = Path(load_task_path("beetl-leaderboard")).read_text()
    if role == "source":
        text = text.replace('    "source-0",', '    "source-0", "leaderboard-6",')
    else:
        text = text.replace('"leaderboard-5",', '"leaderboard-5", "leaderboard-6",')
    text = text.replace('    "leaderboard-6",', "   ").replace("25748", "288")
    (tmp_path / "task.toml").write_text(text)
    task = load_task(tmp_path / "task.toml")
    windows = open_store(task.prepare(tmp_path / "w", data=beetl[0]))
    with pytest.raises(DataError) as caught:
        task.folds(windows)
    assert str(caught.value).startswith(f"{role} has people whose labels are not public: leader")
    assert "\n" not in str(caught.value)


def load_task_path(name: str) -> Path:
    from sleepshift.protocol import task_files

    return task_files()[name]


# ---------------------------------------------------------------------- downloads


class Figshare:
    """A server that answers as figshare's does, and what it was asked for."""

    def __init__(self) -> None:
        self.articles: dict[int, dict[str, bytes]] = {}
        self.asked: list[str] = []
        self.changes: dict[str, object] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                content = outer.answer(self.path)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, path: str) -> bytes | None:
        parts = path.split("?")[0].strip("/").split("/")
        if parts[0] == "v2":
            files = self.articles.get(int(parts[2]))
            return None if files is None else json.dumps(self.listing(files)).encode()
        return next((f[parts[1]] for f in self.articles.values() if parts[1] in f), None)

    def listing(self, files: dict[str, bytes]) -> list[dict[str, object]]:
        return [
            {
                "id": k,
                "name": name,
                "size": len(content),
                "download_url": f"{self.url}/files/{name}",
                "computed_md5": hashlib.md5(content).hexdigest(),
                "supplied_md5": "",
            }
            | self.changes
            for k, (name, content) in enumerate(files.items())
        ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def archive_of(folder: Path, part: str, *patterns: str) -> bytes:
    paths = [path for pattern in patterns for path in (folder / part).rglob(pattern)]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return zipped({f"{part}/headerInfo.npy": b"cos\nsystem\n", **files})


@pytest.fixture
def server(beetl, monkeypatch, tmp_path):
    folder, made = beetl[0], Figshare()
    made.articles = {
        14839659: {"SleepSource.zip": archive_of(folder, "SleepSource", "training_s[01]r*")},
        14839653: {"LeaderboardSleep.zip": archive_of(folder, "LeaderboardSleep", "*_s[06]r*")},
        16586225: {
            "finalSleep.zip": archive_of(folder, "finalSleep", "*testing_s*X.npy", "*y.npy")
        },
        21602622: {
            "final_MI_label.txt": b"1\n",
            "final_sleep_label.txt": (folder / "final_sleep_label.txt").read_bytes(),
        },
    }
    monkeypatch.setattr(figshare, "API", f"{made.url}/v2")
    monkeypatch.setenv("MNE_DATA", str(tmp_path / "mne"))
    yield made
    made.close()


def test_only_the_phases_that_are_asked_for_are_fetched_and_once(server, beetl, tmp_path):
    dataset = Beetl()
    nights = dataset.recordings(["source-1", "leaderboard-6"])
    assert [r.subject for r in nights] == ["source-1"] * 2 + ["leaderboard-6"] * 2
    assert dataset.read(nights[0]).y.tolist() == beetl[1]["training_s1", 1]
    asked = [path.split("?")[0] for path in server.asked]
    assert asked == [
        "/v2/articles/14839659/files", "/files/SleepSource.zip",
        "/v2/articles/14839653/files", "/files/LeaderboardSleep.zip",
    ]  # fmt: skip
    root = tmp_path / "mne" / "beetl"
    assert sorted(path.name for path in root.iterdir()) == ["LeaderboardSleep", "SleepSource"]
    assert len(list((root / "SleepSource").iterdir())) == 8
    assert len(Beetl().recordings(["source-0"])) == 2
    assert len(server.asked) == 4


def test_the_published_labels_come_with_the_final_test_people(server, beetl):
    dataset = Beetl()
    assert dataset.read(dataset.recordings(["final-3"])[0]).y.tolist() == beetl[1]["testing_s3", 1]
    assert not any("21602622" in path for path in server.asked)
    dataset = Beetl()
    night = dataset.recordings(["final-12"])[1]
    assert dataset.read(night).y.tolist() == beetl[1]["testing_s12", 2]
    assert server.asked[-1] == "/files/final_sleep_label.txt"
    assert not any("final_MI" in path for path in server.asked)


def download_refusal(*subjects: str) -> str:
    with pytest.raises(DataError) as caught:
        Beetl().recordings(list(subjects))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_connection_it_says_what_to_fetch_by_hand(server, tmp_path):
    server.close()
    text = download_refusal("source-0", "final-6")
    assert "could not be downloaded" in text
    assert all(number in text for number in ("14839659", "16586225", "21602622", "--data DIR"))
    assert "14839653" not in text
    assert "21602622" not in download_refusal("final-0")


def test_people_that_are_not_there_are_refused_without_a_connection(server):
    assert "no recording of subject final-14" in download_refusal("final-14", "source-0")
    assert not server.asked


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"computed_md5": "0" * 32}, "hash"),
        ({"computed_md5": None, "supplied_md5": None}, "states no MD5"),
        ({"computed_md5": "sha256:00"}, "states no MD5"),
        ({"name": "other.zip"}, "lists no file SleepSource.zip"),
        ({"download_url": None}, ""),
        ({"download_url": "file:///etc/passwd"}, ""),
        ({"download_url": "ftp://127.0.0.1/x"}, ""),
    ],
)
def test_what_does_not_come_as_the_article_says_is_refused(server, tmp_path, change, reason):
    server.changes = change
    assert reason in download_refusal("source-0")
    root = tmp_path / "mne" / "beetl"
    assert not root.exists() or not list(root.iterdir())
    server.changes = {}
    assert len(Beetl().recordings(["source-0"])) == 2


def test_a_list_of_files_that_is_none_is_refused(server, monkeypatch):
    for answer in ({"files": 1}, ["a"], None):
        monkeypatch.setattr(server, "listing", lambda _, answer=answer: answer)
        assert "is not one" in download_refusal("source-0")
    server.articles.clear()
    assert "404" in download_refusal("source-0")


BOMB = {"training_s0r1X.npy": bytes(2**20)}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no archive", "cannot be unpacked"),
        (zipped({"training_s0r1X.npy": b"a"})[:-8], "cannot be unpacked"),
        (zipped({"readme.txt": b"a"}), "none of the files it should"),
        (zipped({"a/training_s0r1X.npy": b"a", "b/training_s0r1X.npy": b"b"}), "twice"),
        (zipped(BOMB), "more than it may"),
        (zipped(BOMB).replace(*(b"PK\1\2\x14\3\x14\0%c\0" % bit for bit in (0, 1))), "encrypted"),
    ],
)  # fmt: skip
def test_an_archive_that_cannot_be_unpacked_leaves_no_folder(
    server, tmp_path, monkeypatch, content, reason
):
    monkeypatch.setattr(module, "MAX_BYTES", 2**19 if reason == "more than it may" else 2**29)
    server.articles[14839659] = {"SleepSource.zip": content}
    assert reason in download_refusal("source-0")
    assert [path.name for path in (tmp_path / "mne" / "beetl").iterdir()] == ["SleepSource.zip"]


def test_all_files_together_may_not_be_too_large(server, monkeypatch):
    monkeypatch.setattr(figshare, "MAX_TOTAL_BYTES", 1000)
    assert "more than it may" in download_refusal("source-0")


def test_nothing_is_written_outside_the_folder(server, tmp_path):
    array = pickle.dumps(night())
    escaping = ("../training_s0r1X.npy", "/training_s0r2X.npy", "a/../../../training_s1r1X.npy")
    server.articles[14839659] = {
        "SleepSource.zip": zipped(
            {**dict.fromkeys(escaping, array), "..\\training_s1r2X.npy": array, "../evil": b"x"}
        )
    }
    Beetl().recordings(["source-0"])
    root = tmp_path / "mne" / "beetl"
    assert {path.parent for path in tmp_path.rglob("*.npy")} == {root / "SleepSource"}
    assert not list(tmp_path.rglob("*evil*"))


def test_a_claimed_size_does_not_decide_how_much_is_written(server, tmp_path):
    content = zipped(BOMB)
    small = content.replace((2**20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert small != content
    server.articles[14839659] = {"SleepSource.zip": small}
    assert "cannot be unpacked" in download_refusal("source-0")
