"""Downloads, from a server on this machine that breaks off, lies and forgets."""

from __future__ import annotations

import hashlib
import re
import socket
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
        self.tags = True
        self.place = 0  # how far from what was asked for it answers
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
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            same = self.headers.get("If-Range") in (None, tag)
            goes_on = span and state.ranges and same
            start = int(span.removeprefix("bytes=").rstrip("-")) if goes_on else 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                begin = start + state.place
                self.send_header("Content-Range", f"bytes {begin}-{len(content)}/{len(content)}")
            if state.tags:
                self.send_header("ETag", tag)
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
    assert there == {"a 1.edf", "b.txt", ".p-1.0-SHA256SUMS.txt"}


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


def test_a_part_of_another_version_is_not_gone_on_with(archive, tmp_path):
    """Of a large file OpenNeuro states no hash: an older part would pass for the new file."""
    archive.files = {"ds1/a.set": NIGHT}
    archive.break_after = [65_536, 0, 0]
    with pytest.raises(DataError, match="could not be downloaded"):
        download.fetch_openneuro("ds1", ["a.set"], tmp_path)
    archive.files["ds1/a.set"] = NIGHT[::-1]
    download.fetch_openneuro("ds1", ["a.set"], tmp_path)
    assert (tmp_path / "a.set").read_bytes() == NIGHT[::-1]


def test_without_a_tag_or_a_hash_a_file_is_begun_anew(archive, tmp_path):
    archive.files, archive.tags = {"ds1/a.set": NIGHT}, False
    archive.break_after = [65_536]
    download.fetch_openneuro("ds1", ["a.set"], tmp_path)
    assert (tmp_path / "a.set").read_bytes() == NIGHT
    assert [span for name, span in fetched(archive)] == [None, None]


def test_a_server_that_answers_from_another_place_is_not_believed(archive, tmp_path):
    archive.files = {"ds1/a.set": NIGHT}
    archive.break_after, archive.place = [65_536, 400_000], -5
    download.fetch_openneuro("ds1", ["a.set"], tmp_path)
    assert (tmp_path / "a.set").read_bytes() == NIGHT
    assert [span for name, span in fetched(archive)] == [None, "bytes=65536-", None]


def test_more_than_was_stated_is_not_taken(archive, tmp_path, monkeypatch):
    archive.files = {"ds1/a.set": NIGHT}
    listing = archive.listing
    monkeypatch.setattr(
        archive, "listing", lambda query: listing(query).replace(b"<Size>512000", b"<Size>100000")
    )
    with pytest.raises(DataError, match="longer than the 100000 bytes that are stated"):
        download.fetch_openneuro("ds1", ["a.set"], tmp_path)
    assert not (tmp_path / "a.set").exists()


def test_the_list_of_a_version_is_asked_for_once(archive, tmp_path):
    for _ in range(2):
        assert download.list_physionet("p/1.0", tmp_path) == ["recordings/a 1.edf", "b.txt"]
    assert [name for name, _ in archive.asked] == ["p/1.0/SHA256SUMS.txt"]


def test_a_server_that_cannot_go_on_sends_all_again(archive, tmp_path):
    archive.break_after, archive.ranges = [100_000], False
    download.fetch_physionet("p/1.0", ["recordings/a 1.edf"], tmp_path)
    assert (tmp_path / "recordings" / "a 1.edf").read_bytes() == NIGHT


def test_a_file_with_another_hash_is_refused_and_removed(archive, tmp_path):
    archive.files["p/1.0/b.txt"] = b"0\n2\n"
    with pytest.raises(DataError, match=r"b\.txt .*another SHA256 than the archive states"):
        download.fetch_physionet("p/1.0", ["b.txt"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".p-1.0-SHA256SUMS.txt"]


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


def test_a_list_without_an_end_is_given_up(bids, monkeypatch):
    page = b"<ListBucketResult><NextContinuationToken>1</NextContinuationToken></ListBucketResult>"
    monkeypatch.setattr(bids, "listing", lambda query: page)
    with pytest.raises(DataError, match="lists without an end"):
        download.list_openneuro("ds1")
    assert len(bids.asked) == 2


def test_files_that_were_not_asked_for_are_refused(bids, monkeypatch):
    listing = bids.listing
    monkeypatch.setattr(bids, "listing", lambda query: listing(query).replace(b"ds1/", b"ds2/"))
    with pytest.raises(DataError, match="which was not asked for"):
        download.list_openneuro("ds1")


def test_a_list_that_is_too_long_is_not_read(bids, monkeypatch):
    monkeypatch.setattr(download, "_MAX_PAGE_BYTES", 100)
    with pytest.raises(DataError, match="too long for a list"):
        download.list_openneuro("ds1")


def test_names_that_nobody_reads_are_shown(bids, tmp_path):
    with pytest.raises(DataError, match=r"no file of the kind that is read; it lists sub-1/eeg"):
        download.fetch_openneuro("ds1", ["sub-1/"], tmp_path, re.compile("nothing"))


ANSWERS = {
    "ends early": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc",
    "breaks off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "is not packed as it says": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    b"Content-Length: 3\r\n\r\nabc",
    "is no answer": b"hello\r\n\r\n",
    "": b"",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_broken_answer_is_one_line(monkeypatch, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setattr(download, "PHYSIONET", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DataError, match="cannot be reached") as caught:
            download.list_physionet("p/1.0")
    assert "\n" not in str(caught.value)


def test_a_server_that_falls_silent_is_one_line(monkeypatch):
    monkeypatch.setattr(download, "_SECONDS", (1, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(download, "PHYSIONET", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(DataError, match=r"no answer in time|no connection"):
            download.list_physionet("p/1.0")
