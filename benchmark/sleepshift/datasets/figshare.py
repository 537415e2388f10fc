"""Files of figshare articles: listed by its API, fetched with their MD5, unpacked with care."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

from sleepshift.atomic import new_folder
from sleepshift.errors import DataError, one_line

__all__ = ["API", "fetch_archive", "fetch_file"]

API = "https://api.figshare.com/v2"

#: Most that an archive may unpack to.
MAX_TOTAL_BYTES = 16 * 2**30

_CHUNK = 2**20


def fetch_file(article: int, name: str, folder: Path) -> Path:
    """Have one file of an article in `folder`, with the MD5 that the article states.

    Parameters
    ----------
    article : int
        Number of the article.
    name : str
        The file's name in the article, and in `folder`.
    folder : Path

    Returns
    -------
    Path

    Raises
    ------
    OSError, ValueError
        If the article cannot be reached or read, lists no such file, or the file arrives with
        another MD5; what arrived is removed then.
    """
    import pooch

    path = folder / name
    if path.is_file():  # it was moved here once it had the right hash
        return path
    entry = next((file for file in _files(article) if file.get("name") == name), None)
    if entry is None:
        raise ValueError(f"article {article} lists no file {name}")
    md5 = entry.get("computed_md5") or entry.get("supplied_md5")
    if not re.fullmatch(r"[0-9a-f]{32}", str(md5)):
        raise ValueError(f"article {article} states no MD5 of {name}")
    folder.mkdir(parents=True, exist_ok=True)
    _quiet(pooch)
    pooch.retrieve(
        str(entry.get("download_url")),
        known_hash=f"md5:{md5}",
        fname=name,
        path=folder,
        downloader=pooch.HTTPDownloader(progressbar=True),
    )
    return path


def _files(article: int) -> list[dict[str, Any]]:
    """What the API lists of an article."""
    import pooch

    _quiet(pooch)
    with tempfile.TemporaryDirectory() as folder:
        listing = pooch.retrieve(
            f"{API}/articles/{article}/files?page_size=1000",
            known_hash=None,
            fname="files.json",
            path=folder,
            downloader=pooch.HTTPDownloader(),
        )
        files = json.loads(Path(listing).read_text(encoding="utf-8"))
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise ValueError(f"the list of files of article {article} is not one")
    return files


def _quiet(pooch: Any) -> None:
    """Its progress bar is enough; it also logs the hash of every list of files."""
    pooch.get_logger().setLevel("WARNING")


def fetch_archive(
    article: int, name: str, folder: Path, wanted: re.Pattern[str], max_bytes: int
) -> Path:
    """Have the wanted files of an article's zip archive in a folder named after it.

    The archive is removed once it is unpacked; the folder appears whole or not at all.

    Parameters
    ----------
    article : int
    name : str
        The archive's name in the article.
    folder : Path
        Where the folder goes.
    wanted : pattern
        Names of the files to unpack, without their folders; all others stay packed.
    max_bytes : int
        Largest file to unpack.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    DataError
        If the archive cannot be unpacked.
    OSError, ValueError
        As `fetch_file`.
    """
    unpacked = folder / Path(name).stem
    if not unpacked.is_dir():
        archive = fetch_file(article, name, folder)
        with new_folder(unpacked) as target:
            unpack(archive, target, wanted, max_bytes)
        archive.unlink()
    return unpacked


def unpack(archive: Path, folder: Path, wanted: re.Pattern[str], max_bytes: int) -> list[Path]:
    """Write the wanted files of a zip archive into a folder, flat.

    Only the last part of a stored name is used, and only where it fits the pattern, so that
    nothing can be written elsewhere.

    Raises
    ------
    DataError
        If the archive is damaged or encrypted, holds a name twice, none that is wanted, or
        files that are too large.
    """
    written: dict[str, Path] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if wanted.fullmatch(m.filename.split("/")[-1])]
            if not members:
                raise DataError(f"{archive.name} holds none of the files it should; remove it")
            total = sum(member.file_size for member in members)
            if total > MAX_TOTAL_BYTES or any(m.file_size > max_bytes for m in members):
                raise DataError(f"{archive.name} unpacks to more than it may; remove it")
            for member in members:
                name = member.filename.split("/")[-1]
                if name in written:
                    raise DataError(f"{archive.name} holds {name} twice; remove it")
                written[name] = folder / name
                with opened.open(member) as source, written[name].open("wb") as target:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({one_line(error, 200)}); remove it and try again"
        ) from error
    return list(written.values())
