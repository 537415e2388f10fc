"""Files of open archives: listed with their hashes, fetched one by one, resumed, verified."""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote

from sleepshift.atomic import write_text
from sleepshift.errors import DataError, one_line

__all__ = ["fetch_openneuro", "fetch_physionet", "list_openneuro", "list_physionet"]

PHYSIONET = "https://physionet.org/files"
#: OpenNeuro's public bucket on S3.
OPENNEURO = "https://s3.amazonaws.com/openneuro.org"

_SECONDS = (10, 60)  # to connect, and between two pieces of a file
_ATTEMPTS = 3
_CHUNK = 2**16  # of a piece that breaks off nothing is kept
_MAX_SUMS_BYTES, _MAX_PAGE_BYTES, _MAX_PAGES = 64 * 2**20, 4 * 2**20, 1000
_SUMS = "SHA256SUMS.txt"


class _Remote(NamedTuple):
    """A file as its archive describes it; a hash is "" where the archive states none."""

    name: str
    url: str
    algorithm: str = "sha256"
    hash: str = ""
    size: int | None = None


def list_physionet(project: str, folder: Path | None = None) -> list[str]:
    """Names of all files of a PhysioNet project.

    Parameters
    ----------
    project : str
        Name and version, such as "ucddb/1.0.0".
    folder : Path, optional
        Where the list is kept: a version never changes, so it is asked for once.

    Raises
    ------
    DataError
        If the list cannot be had.
    """
    return [remote.name for remote in _physionet(project, folder)]


def fetch_physionet(project: str, names: Collection[str], folder: Path) -> None:
    """Have files of a PhysioNet project in a folder, below which they keep their names.

    What is there already is left alone; the SHA-256 of the rest is verified.

    Parameters
    ----------
    project : str
        Name and version, such as "ucddb/1.0.0".
    names : collection of str
        As in `list_physionet`.
    folder : Path

    Raises
    ------
    DataError
        If the project has no such file, or one cannot be had whole; what arrived of it is
        kept, and the next call goes on from there.
    """
    missing = {name for name in names if not (folder / name).is_file()}
    if not missing:
        return
    remotes = [remote for remote in _physionet(project, folder) if remote.name in missing]
    if unknown := sorted(missing - {remote.name for remote in remotes}):
        raise DataError(f"PhysioNet's {project} has no file {unknown[0]}")
    _fetch_all(remotes, folder, f"https://physionet.org/content/{project}/")


def list_openneuro(accession: str, prefix: str = "") -> list[str]:
    """Names of the files of an OpenNeuro dataset that begin with `prefix`.

    Parameters
    ----------
    accession : str
        Such as "ds004348"; the newest version.
    prefix : str
        Such as "sub-001/".

    Raises
    ------
    DataError
        If the list cannot be had.
    """
    return [remote.name for remote in _openneuro(accession, prefix)]


def fetch_openneuro(
    accession: str,
    prefixes: Sequence[str],
    folder: Path,
    wanted: re.Pattern[str] | None = None,
) -> None:
    """Have files of an OpenNeuro dataset in a folder, below which they keep their names.

    What is there already is left alone. The MD5 of the rest is verified; the store states none
    of large files, of which the size is.

    Parameters
    ----------
    accession : str
        Such as "ds004348"; the newest version.
    prefixes : sequence of str
        Files whose names begin with one of these.
    folder : Path
    wanted : pattern, optional
        Of those, files whose whole names fit it.

    Raises
    ------
    DataError
        If a prefix names nothing, or a file cannot be had whole; what arrived of it is kept,
        and the next call goes on from there.
    """
    remotes: dict[str, _Remote] = {}
    for prefix in prefixes:
        found = list(_openneuro(accession, prefix))
        if not found:
            raise DataError(f"OpenNeuro's {accession} has nothing that begins with {prefix}")
        remotes |= {remote.name: remote for remote in found}
    chosen = [r for r in remotes.values() if wanted is None or wanted.fullmatch(r.name)]
    if not chosen:
        shown = ", ".join(list(remotes)[:3])
        raise DataError(
            f"OpenNeuro's {accession} has no file of the kind that is read; it lists {shown}, ...; "
            "download it by hand and name its folder with --data DIR"
        )
    _fetch_all(chosen, folder, f"https://openneuro.org/datasets/{accession}")


def _physionet(project: str, folder: Path | None) -> list[_Remote]:
    url = f"{PHYSIONET}/{project}"
    kept = None if folder is None else folder / f".{project.replace('/', '-')}-{_SUMS}"
    here = kept is not None and kept.is_file()
    text = kept.read_text("utf-8") if here else _text(f"{url}/{_SUMS}", _MAX_SUMS_BYTES)  # type: ignore[union-attr]
    remotes = _parse_sums(text, url)
    if kept is not None and not here:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_text(kept, text)
    return remotes


def _parse_sums(text: str, url: str) -> list[_Remote]:
    remotes = []
    for line in text.splitlines():
        sha256, _, name = line.strip().partition(" ")
        if name and not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise DataError(f"{url}/{_SUMS} is no list of hashes; try again later")
        if name:
            name = _inside(name.strip().removeprefix("./"), url)
            remotes.append(_Remote(name, f"{url}/{quote(name)}", hash=sha256))
    return remotes


def _openneuro(accession: str, prefix: str) -> Iterator[_Remote]:
    query = f"{OPENNEURO}?list-type=2&prefix={quote(f'{accession}/{prefix}', safe='')}"
    token, seen = "", set[str]()
    while True:
        seen.add(token)
        more = f"&continuation-token={quote(token, safe='')}" if token else ""
        text = _text(query + more, _MAX_PAGE_BYTES)
        try:
            if "<!" in text:  # a listing declares no types and no entities
                raise ElementTree.ParseError("it has declarations")
            root = ElementTree.fromstring(text)
            space = root.tag.partition("ListBucketResult")[0]
            entries = [
                tuple(entry.findtext(f"{space}{field}") or "" for field in ("Key", "ETag", "Size"))
                for entry in root.iter(f"{space}Contents")
            ]
            sizes = [int(size) for _, _, size in entries]
        except (ElementTree.ParseError, ValueError) as error:
            raise DataError(f"{query} gave no list of files ({one_line(error, 100)})") from None
        for (key, tag, _), size in zip(entries, sizes, strict=True):
            if not key.startswith(f"{accession}/{prefix}"):
                raise DataError(f"{query} lists {key!r:.100}, which was not asked for")
            name = _inside(key.removeprefix(f"{accession}/"), query)
            md5 = tag.strip('"')
            known = md5 if re.fullmatch(r"[0-9a-f]{32}", md5) else ""  # of parts, it is no MD5
            if not key.endswith("/"):
                yield _Remote(name, f"{OPENNEURO}/{quote(key)}", "md5", known, size)
        token = root.findtext(f"{space}NextContinuationToken") or ""
        if not token:
            return
        if token in seen or len(seen) >= _MAX_PAGES:
            raise DataError(f"{query} lists without an end; try again later")


def _inside(name: str, where: str) -> str:
    """A name that stays below the folder it is put into."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise DataError(f"{where} lists {name!r}, which is no name of a file below it")
    return name


def _text(url: str, limit: int) -> str:
    """A short file."""
    import requests

    content = b""
    try:
        with requests.get(url, timeout=_SECONDS, stream=True) as response:
            response.raise_for_status()
            for piece in response.iter_content(_CHUNK):
                content += piece
                if len(content) > limit:
                    raise DataError(f"{url} is too long for a list of files")
    except OSError as error:  # requests' errors are OSErrors
        raise DataError(
            f"{url} cannot be reached ({_reason(error)}); try again, or download the "
            "recordings by hand and name their folder with --data DIR"
        ) from error
    return content.decode("utf-8", errors="replace")


def _reason(error: Exception) -> str:
    """Why, without the nest of errors that a lost connection comes in."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return one_line(error, 150)


def _fetch_all(remotes: Sequence[_Remote], folder: Path, page: str) -> None:
    for remote in remotes:
        try:
            _fetch(remote, folder / remote.name)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors
            raise DataError(
                f"{remote.name} could not be downloaded ({_reason(error)}); run it again to "
                f"go on, or download it from {page} and name its folder with --data DIR"
            ) from error


def _fetch(remote: _Remote, path: Path) -> None:
    """Download one file beside its place, go on where an earlier try stopped, then move it."""
    from filelock import FileLock

    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with FileLock(f"{part}.lock"):
            for attempt in range(_ATTEMPTS):
                if path.is_file():  # another process was first
                    break
                try:
                    _append(remote, part)
                except OSError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                else:
                    _tag(part).unlink(missing_ok=True)
                    _verify(remote, part)
                    part.replace(path)
    finally:
        Path(f"{part}.lock").unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    """Where the entity tag of what a part is of is kept."""
    return part.with_name(f"{part.name}.etag")


def _append(remote: _Remote, part: Path) -> None:
    import requests
    from tqdm import tqdm

    tag = _tag(part)
    known = tag.read_text("utf-8", "replace") if tag.is_file() else ""
    # Without a tag or a hash, a part may be of an older version of the file.
    held = part.stat().st_size if (known or remote.hash) and part.is_file() else 0
    headers = {"Range": f"bytes={held}-"} if held else {}
    if held and known:
        headers["If-Range"] = known
    headers["Accept-Encoding"] = "identity"  # or pieces of a file would not fit each other
    with requests.get(remote.url, headers=headers, timeout=_SECONDS, stream=True) as response:
        if held and response.status_code == 416:  # nothing is left to send, or all has changed
            tag.unlink(missing_ok=True)
            if held == remote.size or remote.hash:
                return
            part.unlink()
            raise ConnectionError("it has changed since it was begun")
        response.raise_for_status()
        begins = response.headers.get("Content-Range", "").startswith(f"bytes {held}-")
        held = held if response.status_code == 206 and begins else 0
        if response.status_code == 206 and not begins:
            tag.unlink(missing_ok=True)
            part.unlink(missing_ok=True)
            raise ConnectionError("it was sent from another place than asked for")
        if not held:
            tag.write_text(response.headers.get("ETag", ""), "utf-8")
        total = held + int(response.headers.get("Content-Length", 0)) or None
        with (
            part.open("ab" if held else "wb") as file,
            tqdm(total=total, initial=held, unit="B", unit_scale=True, desc=remote.name) as bar,
        ):
            for piece in response.iter_content(_CHUNK):
                file.write(piece)
                bar.update(len(piece))
                if remote.size is not None and file.tell() > remote.size:
                    raise ValueError(f"it is longer than the {remote.size} bytes that are stated")
            if total is not None and file.tell() != total:
                raise ConnectionError(f"it ended after {file.tell()} of {total} bytes")


def _verify(remote: _Remote, part: Path) -> None:
    """Refuse, and remove, what is not the file the archive describes."""
    if remote.size is not None and part.stat().st_size != remote.size:
        found = f"{part.stat().st_size} bytes instead of {remote.size}"
    elif remote.hash:
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, remote.algorithm).hexdigest()
        if digest == remote.hash:
            return
        found = f"another {remote.algorithm.upper()} than the archive states"
    else:
        return
    part.unlink()
    raise ValueError(f"it arrived with {found}")
