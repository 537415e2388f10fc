"""Window stores: recordings packed once into memory-mapped arrays on disk.

A store is a folder named by a hash of what made it::

    signals.npy       float32, (n_windows, n_channels, n_times), C order
    labels.npy        int64 codes of the dataset's scheme, -1 where the dataset withholds them
    metadata.parquet  subject, session, age, sex, onset, digest, flat, nan
    manifest.json     sources with sizes and hashes, recipe, channels, counts, versions
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from sleepshift import __version__
from sleepshift.atomic import new_folder, read_json, write_json
from sleepshift.datasets.base import Dataset, LabelledWindows, Recording
from sleepshift.digest import FileHashes, digest
from sleepshift.errors import DataError, one_line
from sleepshift.stages import get_scheme
from sleepshift.windows.cut import CutRecording, Recipe, cut_recording
from sleepshift.windows.windows import Windows

__all__ = ["open_store", "prepare", "read_manifest"]

#: Part of every store's name: raise it when packing changes what a store holds.
FORMAT = 1

#: Without these in its manifest a folder is no store.
_NEEDED = {"ch_names", "sfreq", "scheme", "n_windows", "skipped"}

Advance = Callable[[str, int, int], None]


def prepare(
    dataset: Dataset,
    recipe: Recipe,
    root: Path,
    *,
    subjects: Sequence[str] | None = None,
    skip_bad: bool = False,
    advance: Advance | None = None,
) -> Path:
    """Pack a dataset's recordings, unless the same store is there already.

    Parameters
    ----------
    dataset : Dataset
    recipe : Recipe
    root : Path
        Folder of all stores.
    subjects : sequence of str or None
        People to pack; None takes all there are.
    skip_bad : bool
        Leave recordings out that cannot be used, and list them in the manifest, instead
        of stopping at the first.
    advance : callable or None
        Called as ``advance(recording, done, total)`` once they are listed and after each.

    Returns
    -------
    Path
        Folder of the store.

    Raises
    ------
    DataError
        If a recording cannot be used; nothing is left on disk then.
    """
    recordings = dataset.recordings(subjects)
    if advance is not None:
        advance("", 0, len(recordings))
    hashes = FileHashes(root / "file-hashes.json")
    sources = [_source(recording, hashes) for recording in recordings]
    path = root / digest(
        [
            FORMAT,
            [dataset.info.name, dataset.version, dataset.params(), dataset.scheme],
            recipe.plain(),
            sources,
        ]
    )
    if not path.exists():
        with new_folder(path) as folder:
            _pack(folder, dataset, recipe, recordings, sources, skip_bad, advance)
    hashes.save()
    skipped = read_manifest(path)["skipped"]
    if skipped and not skip_bad:
        first = skipped[0]["reason"]
        raise DataError(f"{first} ({len(skipped)} bad in all; --skip-bad leaves them out)")
    return path


def _source(recording: Recording, hashes: FileHashes) -> dict[str, Any]:
    files = [
        {"file": file.name, "size": file.stat().st_size, "sha256": hashes(file)}
        for file in recording.files
        if file.is_file()
    ]
    return {
        "subject": recording.subject,
        "session": recording.session,
        "age": recording.age,
        "sex": recording.sex,
        "files": files,
    }


def _cut_all(
    dataset: Dataset,
    recipe: Recipe,
    recordings: Sequence[Recording],
    skipped: list[dict[str, str]],
    skip_bad: bool,
    advance: Advance | None,
) -> Iterable[tuple[Recording, CutRecording]]:
    first = ""
    for done, recording in enumerate(recordings, start=1):
        try:
            cut = cut_recording(dataset, recording, recipe)
            layout = _in_words(cut.windows)
            first = first or layout
            if layout != first:
                raise DataError(f"{recording} has {layout}, the recordings before it {first}")
        except DataError as error:
            if not skip_bad:
                raise
            skipped.append({"recording": str(recording), "reason": str(error)})
        else:
            yield recording, cut
        if advance is not None:
            advance(str(recording), done, len(recordings))


def _in_words(windows: LabelledWindows) -> str:
    rate = "features" if windows.sfreq is None else f"samples at {windows.sfreq:g} Hz"
    return f"windows of {windows.x.shape[2]} {rate} of {', '.join(windows.ch_names)}"


def _pack(
    folder: Path,
    dataset: Dataset,
    recipe: Recipe,
    recordings: Sequence[Recording],
    sources: list[dict[str, Any]],
    skip_bad: bool,
    advance: Advance | None,
) -> None:
    frames: list[pd.DataFrame] = []
    labels: list[np.ndarray] = []
    skipped: list[dict[str, str]] = []
    agreed: dict[str, np.ndarray] = {}
    layout: dict[str, Any] = {}
    with (folder / "signals.npy").open("wb+") as stream:
        for recording, cut in _cut_all(dataset, recipe, recordings, skipped, skip_bad, advance):
            windows = cut.windows
            if not layout:
                layout = {
                    "ch_names": list(windows.ch_names),
                    "sfreq": windows.sfreq,
                    "n_times": windows.x.shape[2],
                }
                _write_header(stream, 0, layout)
            stream.write(windows.x.tobytes())
            labels.append(windows.y)
            if windows.second is not None:
                before = agreed.get(recording.subject, 0)
                agreed[recording.subject] = before + _agreement(windows, dataset.scheme)
            frames.append(_frame(recording, cut))
        if not frames:
            reason = skipped[0]["reason"] if skipped else "the dataset lists no recording"
            raise DataError(f"no recording could be used: {reason}")
        stream.seek(0)
        _write_header(stream, sum(map(len, labels)), layout)
    y = np.concatenate(labels)
    np.save(folder / "labels.npy", y)
    metadata = pd.concat(frames, ignore_index=True)
    metadata.to_parquet(folder / "metadata.parquet", index=False)
    used = metadata.groupby(["subject", "session"], sort=False).size()
    stages = get_scheme(dataset.scheme).stages
    counts = np.bincount(y[y >= 0], minlength=len(stages))
    write_json(
        folder / "manifest.json",
        {
            "dataset": dataset.info.name,
            "params": dataset.params(),
            "scheme": dataset.scheme,
            "recipe": recipe.plain(),
            **layout,
            "n_windows": len(y),
            "n_per_stage": dict(zip(stages, counts.tolist(), strict=True)),
            "n_withheld": int((y < 0).sum()),
            "n_per_recording": [
                {"subject": subject, "session": session, "windows": int(count)}
                for (subject, session), count in used.items()
            ],
            "second_scorer": {person: counts.tolist() for person, counts in agreed.items()},
            "skipped": skipped,
            "sources": sources,
            "versions": library_versions(),
        },
    )


def _agreement(windows: LabelledWindows, scheme: str) -> np.ndarray:
    """Windows by stage of the first scorer (rows) and of the second."""
    assert windows.second is not None
    n = len(get_scheme(scheme))
    both = (windows.y >= 0) & (windows.second >= 0)
    counts = np.zeros((n, n), dtype=int)
    np.add.at(counts, (windows.y[both], windows.second[both]), 1)
    return counts


def _frame(recording: Recording, cut: CutRecording) -> pd.DataFrame:
    onset = cut.windows.onset
    return pd.DataFrame(
        {
            "subject": recording.subject,
            "session": recording.session,
            "age": math.nan if recording.age is None else float(recording.age),
            "sex": recording.sex or "",
            "onset": np.full(len(cut.flat), math.nan) if onset is None else onset,
            "digest": cut.digests,
            "flat": cut.flat,
            "nan": cut.nan,
        }
    )


def _write_header(stream: BinaryIO, n_windows: int, layout: dict[str, Any]) -> None:
    """Write the .npy header; NumPy pads it so that the first axis can grow in place."""
    shape = (n_windows, len(layout["ch_names"]), layout["n_times"])
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def library_versions() -> dict[str, str]:
    """Versions that decide what a store or a result holds, this package's code included."""
    names = ("braindecode", "mne", "numpy", "pandas", "scikit-learn", "scipy", "skorch", "torch")
    found = {"python": platform.python_version(), "sleepshift": f"{__version__}+{_code()}"}
    return found | {name: version(name) for name in names}


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of the rooms that results come out of, so that rows of other code can be told."""
    package = Path(__file__).parents[1]
    rooms = ("datasets", "estimators", "methods", "models", "protocol", "runner", "windows")
    files = sorted(file for room in rooms for file in (package / room).glob("*.py"))
    files.append(package / "stages.py")
    return digest([[file.name, file.read_text(encoding="utf-8")] for file in files], 8)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a store's manifest.

    Raises
    ------
    DataError
        If the folder is not a whole store.
    """
    manifest = read_json(path / "manifest.json")
    if not isinstance(manifest, dict) or not manifest.keys() >= _NEEDED:
        raise DataError(f"{path} is not a window store; remove it and prepare the task again")
    return manifest


def open_store(path: Path) -> Windows:
    """Open a store; signals are memory-mapped, nothing is read until it is asked for.

    Raises
    ------
    DataError
        If a part of the store is missing or does not fit the others.
    """
    manifest = read_manifest(path)
    try:
        signals = np.load(path / "signals.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(path / "labels.npy", allow_pickle=False)
        metadata = pd.read_parquet(path / "metadata.parquet")
    except (OSError, ValueError, EOFError) as error:
        reason = one_line(error)
        raise DataError(f"{path} is damaged ({reason}); remove it and prepare again") from None
    if signals.ndim != 3 or signals.shape[1] != len(manifest["ch_names"]):
        raise DataError(f"{path} is damaged (channels differ); remove it and prepare again")
    if not len(signals) == len(labels) == len(metadata) == manifest["n_windows"]:
        raise DataError(f"{path} is damaged (lengths differ); remove it and prepare again")
    return Windows(
        signals,
        metadata,
        labels,
        ch_names=manifest["ch_names"],
        sfreq=manifest["sfreq"],
        scheme=manifest["scheme"],
        name=path.name,
    )
