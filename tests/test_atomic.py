"""Files and folders appear whole or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sleepshift.atomic import (
    new_folder,
    read_json,
    seal,
    whole,
    write_json,
    write_text,
)
from sleepshift.errors import DamageWarning


def fill_and_fail(path):
    with new_folder(path) as folder:
        (folder / "half.txt").write_text("x")
        raise KeyboardInterrupt


def test_a_folder_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "cell"
    with new_folder(path) as folder:
        (folder / "rows.csv").write_text("a")
        assert not path.exists()
        assert folder.parent == path.parent  # the same file system, so that the rename is one step
    assert [p.name for p in path.parent.iterdir()] == ["cell"]
    assert (path / "rows.csv").read_text() == "a"


def test_a_folder_that_fails_midway_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fill_and_fail(tmp_path / "cell")
    assert list(tmp_path.iterdir()) == []


def test_who_finishes_first_stays(tmp_path):
    with new_folder(tmp_path / "cell") as slow:
        with new_folder(tmp_path / "cell") as fast:
            (fast / "who").write_text("fast")
        (slow / "who").write_text("slow")
    assert (tmp_path / "cell" / "who").read_text() == "fast"
    assert [p.name for p in tmp_path.iterdir()] == ["cell"]


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "cell").write_text("not a folder")
    with pytest.raises(OSError, match="cell"), new_folder(tmp_path / "cell"):
        pass
    assert (tmp_path / "cell").read_text() == "not a folder"


def test_others_may_read_what_was_written(tmp_path):
    with new_folder(tmp_path / "cell"):
        pass
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "cell").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_a_killed_writer_leaves_no_folder_under_the_name(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from sleepshift.atomic import new_folder\n"
        "with new_folder(Path(sys.argv[1])) as f:\n"
        "    (f / 'half').write_text('x'); print('in', flush=True); time.sleep(60)\n"
    )
    path = tmp_path / "cell"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "in\n"
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    assert not path.exists()
    with new_folder(path) as folder:
        (folder / "whole").write_text("y")
    assert [p.name for p in path.iterdir()] == ["whole"]


def test_text_replaces_a_file_in_one_step(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "first\n")
    before = path.stat().st_ino
    write_text(path, "zweite ä\r\n")
    assert path.read_bytes() == "zweite ä\r\n".encode()
    assert path.stat().st_ino != before
    assert list(path.parent.iterdir()) == [path]


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert list(json.loads(path.read_text())) == ["b", "a"]
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert read_json(path) == {"b": 1, "a": [1.5, None]}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_damaged_json_reads_as_the_default(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json", default=7) == 7
    assert read_json(tmp_path / "none.json") is None
    assert read_json(tmp_path) is None


def test_readers_never_see_half_a_file(tmp_path):
    """One process writes two long texts in turn; every read is one of them."""
    path = tmp_path / "a.txt"
    code = (
        "import sys; from pathlib import Path; from sleepshift.atomic import write_text\n"
        "for k in range(300): write_text(Path(sys.argv[1]), 'ab'[k % 2] * 200_000)\n"
    )
    write_text(path, "a" * 200_000)
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        while writer.poll() is None:
            text = path.read_text()
            assert len(text) == 200_000
            assert len(set(text)) == 1
            time.sleep(0.002)
    assert writer.returncode == 0


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path) -> None:
    import os
    import socket

    host = socket.gethostname()
    gone = tmp_path / f".tmp-999999999-{host}-~x"
    kept = [
        tmp_path / f".tmp-{os.getpid()}-{host}-~x",
        tmp_path / f".tmp-999999999-{host}-2-~x",
        tmp_path / f".tmp-{10**40}-{host}-~x",
        tmp_path / "other",
    ]
    for folder in (gone, *kept):
        folder.mkdir()
    with new_folder(tmp_path / "new"):
        pass
    assert not gone.exists()
    assert all(folder.exists() for folder in kept)


def sealed(path, facts=None):
    with new_folder(path) as folder:
        (folder / "rows.csv").write_text("a")
        (folder / "other.bin").write_bytes(bytes(range(256)))
        seal(folder, facts)
    return path


def test_a_sealed_folder_is_whole_and_says_its_facts(tmp_path):
    path = sealed(tmp_path / "cell", {"seconds": 1.5})
    assert whole(path)
    assert whole(path)
    manifest = read_json(path / "manifest.json")
    assert manifest["seconds"] == 1.5
    assert set(manifest["checksums"]) == {"rows.csv", "other.bin"}
    assert [p.name for p in tmp_path.iterdir()] == ["cell"]
    assert whole(sealed(tmp_path / "plain"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "rows.csv").write_text("b"),
        lambda path: (path / "rows.csv").unlink(),
        lambda path: (path / "new.csv").write_text("a"),
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "manifest.json").write_text("[]"),
        lambda path: (path / "manifest.json").write_text("{"),
        lambda path: (path / "rows.csv").rename(path / "renamed.csv"),
        lambda path: (path / "folder").mkdir(),
    ],
)
def test_a_damaged_folder_is_moved_out_of_the_way_and_kept(tmp_path, damage):
    path = tmp_path / "cell"
    for n in range(2):
        damage(sealed(path))
        with pytest.warns(DamageWarning, match=f"set aside as .damaged-cell-{n}"):
            assert not whole(path)
        assert not path.exists()
        assert (tmp_path / f".damaged-cell-{n}").is_dir()
        assert not whole(path)
    assert whole(sealed(path))
    assert {p.name for p in tmp_path.iterdir()} == {"cell", ".damaged-cell-0", ".damaged-cell-1"}


def test_files_that_a_system_leaves_are_no_damage(tmp_path):
    (sealed(tmp_path / "cell") / ".DS_Store").write_text("x")
    assert whole(tmp_path / "cell")


def test_what_is_not_there_is_not_whole(tmp_path):
    assert not whole(tmp_path / "cell")
    (tmp_path / "cell").write_text("a file")
    assert not whole(tmp_path / "cell")
    assert (tmp_path / "cell").read_text() == "a file"
