"""Downloads, from a server on this machine that breaks off, lies and forgets."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse

import pytest

from sleepshift.datasets import download
from sleepshift.errors import DataError

NIGHT = bytes(range(256)) * 2000
FILES = {"p/1.0/recordings/a 1.edf": NIGHT, "p/1.0/b.txt": b"0\n1\n"}


class Archive:
    """What the server holds, what it was asked, and how it misbehaves."""

    def __init__(self):
        self.files = dict(FILES)
        self.asked: list[tuple[str, str | None]] = []
        self.break_after: list[int] = []
        self.ranges = True
        self.page_size = 2

    def sums(self) -> bytes:
        lines = [
            f"{hashlib.sha256(content).hexdigest()} {name.removeprefix('p/1.0/')}"
            for name, content in FILES.items()
        ]
        return "\n".join(lines).encode()

    def listing(self, query: dict[str, list[str]]) -> bytes:
        keys = sorted(key for key in self.files if key.startswith(query["prefix"][0]))
        start = int(query.get("continuation-token", ["0"])[0])
        page = keys[start : start + self.page_size]
        entries = "".join(
            f"<Contents><Key>{key}</Key><ETag>&quot;{self.tag(key)}&quot;</ETag>"
            f"<Size>{len(self.files[key])}</Size></Contents>"
            for key in page
        )
        more = start + self.page_size
        token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more < len(keys) else ""
        space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
        return f"<ListBucketResult {space}>{entries}{token}</ListBucketResult>".encode()

    def tag(self, key: str) -> str:
        md5 = hashlib.md5(self.files[key]).hexdigest()
        return f"{md5}-2" if key.endswith(".set") else md5


@pytest.fixture
def archive(monkeypatch):
    state = Archive()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            url = urlparse(self.path)
            name, span = unquote(url.path).lstrip("/"), self.headers.get("Range")
            state.asked.append((name, span))
            if "list-type" in url.query:
                content = state.listing(parse_qs(url.query))
            elif name == "p/1.0/SHA256SUMS.txt":
                content = state.sums()
            elif name in state.files:
                content = state.files[name]
            else:
                self.send_error(404)
                return
            start = int(span.removeprefix("bytes=").rstrip("-")) if span and state.ranges else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = len(content)
            if name in state.files and state.break_after:
                stop = start + state.break_after.pop(0)
            self.wfile.write(content[start:stop])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(download, "PHYSIONET", address)
    monkeypatch.setattr(download, "OPENNEURO", address)
    yield state
    server.shutdown()
    server.server_close()


def fetched(state):
    return [(name, span) for name, span in state.asked if name in state.files]


def test_files_arrive_whole_under_their_names_and_once(archive, tmp_path):
    assert download.list_physionet("p/1.0") == ["recordings/a 1.edf", "b.txt"]
    for _ in range(2):
        download.fetch_physionet("p/1.0", ["recordings/a 1.edf", "b.txt"], tmp_path)
    assert (tmp_path / "recordings" / "a 1.edf").read_bytes() == NIGHT
    assert (tmp_path / "b.txt").read_bytes() == b"0\n1\n"
    assert len(fetched(archive)) == 2
    there = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert there == {"a 1.edf", "b.txt"}


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(archive, tmp_path):
    archive.break_after = [131_072, 65_536]
    download.fetch_physionet("p/1.0", ["recordings/a 1.edf"], tmp_path)
    assert (tmp_path / "recordings" / "a 1.edf").read_bytes() == NIGHT
    assert [span for _, span in fetched(archive)] == [None, "bytes=131072-", "bytes=196608-"]


def test_what_arrived_is_kept_for_the_next_run(archive, tmp_path):
    archive.break_after = [65_536, 0, 0]
    with pytest.raises(DataError, match=r"a 1\.edf could not be downloaded .*run it again") as e:
        download.fetch_physionet("p/1.0", ["recordings/a 1.edf"], tmp_path)
    assert "\n" not in str(e.value)
    assert not (tmp_path / "recordings" / "a 1.edf").exists()
    download.fetch_physionet("p/1.0", ["recordings/a 1.edf"], tmp_path)
    assert fetched(archive)[-1] == ("p/1.0/recordings/a 1.edf", "bytes=65536-")
    assert (tmp_path / "recordings" / "a 1.edf").read_bytes() == NIGHT


def test_a_server_that_cannot_go_on_sends_all_again(archive, tmp_path):
    archive.break_after, archive.ranges = [100_000], False
    download.fetch_physionet("p/1.0", ["recordings/a 1.edf"], tmp_path)
    assert (tmp_path / "recordings" / "a 1.edf").read_bytes() == NIGHT


def test_a_file_with_another_hash_is_refused_and_removed(archive, tmp_path):
    archive.files["p/1.0/b.txt"] = b"0\n2\n"
    with pytest.raises(DataError, match=r"b\.txt .*another SHA256 than the archive states"):
        download.fetch_physionet("p/1.0", ["b.txt"], tmp_path)
    assert not any(path.suffix in (".txt", ".part") for path in tmp_path.rglob("*"))


def test_names_that_the_project_does_not_have_are_refused(archive, tmp_path):
    with pytest.raises(DataError, match=r"PhysioNet's p/1\.0 has no file c\.txt"):
        download.fetch_physionet("p/1.0", ["c.txt"], tmp_path)
    with pytest.raises(DataError, match=r"SHA256SUMS\.txt cannot be reached .*--data DIR"):
        download.list_physionet("q/1.0")


@pytest.mark.parametrize("line", ["<html>", "g" * 64 + " a", "0" * 64 + " ../../etc/passwd"])
def test_a_list_that_is_none_or_leads_elsewhere_is_refused(archive, monkeypatch, line):
    monkeypatch.setattr(archive, "sums", lambda: (line + " x").encode())
    with pytest.raises(DataError, match=r"no list of hashes|no name of a file"):
        download.list_physionet("p/1.0")


@pytest.fixture
def bids(archive):
    archive.files = {
        "ds1/participants.tsv": b"participant_id\n",
        "ds1/sub-1/eeg/sub-1_eeg.set": NIGHT,
        "ds1/sub-1/eeg/sub-1_events.tsv": b"onset\n",
        "ds1/sub-1/video.mp4": b"large",
        "ds1/sub-10/eeg/sub-10_events.tsv": b"onset\n",
    }
    return archive


def test_one_person_of_openneuro_is_fetched(bids, tmp_path):
    download.fetch_openneuro(
        "ds1", ["participants.tsv", "sub-1/"], tmp_path, re.compile(r".*\.(tsv|set)")
    )
    there = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert there == {"participants.tsv", "sub-1/eeg/sub-1_eeg.set", "sub-1/eeg/sub-1_events.tsv"}
    assert (tmp_path / "sub-1/eeg/sub-1_eeg.set").read_bytes() == NIGHT


def test_long_lists_come_in_pages(bids):
    bids.page_size = 1
    assert download.list_openneuro("ds1") == sorted(k.removeprefix("ds1/") for k in bids.files)
    assert len(bids.asked) == len(bids.files)


def test_a_prefix_that_names_nothing_is_refused(bids, tmp_path):
    with pytest.raises(DataError, match="ds1 has nothing that begins with sub-3/"):
        download.fetch_openneuro("ds1", ["sub-3/"], tmp_path)


def test_a_large_file_has_the_size_that_is_stated(bids, tmp_path, monkeypatch):
    listing = bids.listing
    monkeypatch.setattr(
        bids, "listing", lambda query: listing(query).replace(b"<Size>512000", b"<Size>512001")
    )
    with pytest.raises(DataError, match="512000 bytes instead of 512001"):
        download.fetch_openneuro("ds1", ["sub-1/eeg/sub-1_eeg"], tmp_path)


def test_a_listing_with_entities_is_not_parsed(bids, monkeypatch):
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>'
    monkeypatch.setattr(bids, "listing", lambda query: bomb)
    with pytest.raises(DataError, match="gave no list of files"):
        download.list_openneuro("ds1")
