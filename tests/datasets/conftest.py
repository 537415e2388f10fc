"""Files damaged at random, and what a loader may make of them."""

from __future__ import annotations

import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sleepshift.datasets import Dataset
from sleepshift.errors import DataError
from sleepshift.windows import Recipe, cut_recording

#: Seconds that one look at a damaged folder of tiny files may take.
LIMIT = 20


def truncate(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def flip_bits(path: Path, rng: np.random.Generator) -> None:
    """One to four bits; half of the time near the start, where headers are."""
    content = bytearray(path.read_bytes())
    reach = len(content) if rng.random() < 0.5 else min(len(content), 2048)
    for place in rng.integers(reach, size=rng.integers(1, 5)):
        content[place] ^= 1 << rng.integers(8)
    path.write_bytes(content)


def put_text(path: Path, rng: np.random.Generator) -> None:
    """Overwrite some bytes by what a program may print in place of a value."""
    content = bytearray(path.read_bytes())
    word = [b"nan", b"-1", b"1e99", b"999", b"\x00\x00\x00", b"\n\n", b"\t", b"NaN,", b"<", b"250"]
    new = word[rng.integers(len(word))]
    place = rng.integers(max(1, len(content) - len(new)))
    content[place : place + len(new)] = new
    path.write_bytes(content)


def repeat_piece(path: Path, rng: np.random.Generator) -> None:
    """Double a line of text, or a piece of anything else."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    if len(lines) > 3 and rng.random() < 0.7:
        k = rng.integers(len(lines))
        lines.insert(k, lines[k])
        path.write_bytes(b"".join(lines))
    else:
        a, b = sorted(rng.integers(len(content) + 1, size=2))
        path.write_bytes(content[:b] + content[a:])


def drop_piece(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    if len(lines) > 3 and rng.random() < 0.7:
        del lines[rng.integers(len(lines))]
        path.write_bytes(b"".join(lines))
    else:
        a, b = sorted(rng.integers(len(content) + 1, size=2))
        path.write_bytes(content[:a] + content[b:])


def replace(path: Path, rng: np.random.Generator) -> None:
    """Another kind of file altogether, or nothing."""
    kinds = (b"", b"\x00" * 5000, b"<html>404</html>", b"PK\x03\x04" + bytes(200), b"\xff\xfe" * 99)
    path.write_bytes(kinds[rng.integers(len(kinds))])


DAMAGES = (truncate, flip_bits, flip_bits, put_text, repeat_piece, drop_piece, replace)


class Hangs(BaseException):
    """No `OSError`, as `TimeoutError` is one: a loader would take that for a bad file."""


@contextmanager
def in_time() -> Iterator[None]:
    """Fail where nothing comes back: a loader must never hang."""

    def ring(*_: object) -> None:
        raise Hangs(f"not done after {LIMIT} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def count_windows(dataset: Dataset, recipe: Recipe) -> dict[tuple[str, str], int]:
    """Windows of every recording."""
    return {
        (recording.subject, recording.session): len(
            cut_recording(dataset, recording, recipe).windows.y
        )
        for recording in dataset.recordings()
    }


def survive(
    make: Callable[[Path], Dataset],
    folder: Path,
    recipe: Recipe,
    scratch: Path,
    *,
    variants: int = 500,
    seed: int = 0,
    beyond: Callable[[Path], bool] | None = None,
) -> dict[str, int]:
    """Damage one file of a folder at a time, and read all recordings each time.

    A variant must end in a `DataError` of one line, or in as many recordings and windows as the
    undamaged folder has; anything else is an assertion that names the variant. Where a format
    has no means to tell damage from another night, `beyond` looks for that and nothing else:
    whether a damaged folder says something else, and says it whole.

    Returns
    -------
    dict
        How many variants were refused, how many read, and how many beyond what can be told.
    """
    expected = count_windows(make(folder), recipe)
    assert expected
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    outcomes = {"refused": 0, "read": 0, "beyond": 0}
    for variant in range(variants):
        rng = np.random.default_rng([seed, variant])
        copy = scratch / "damaged"
        shutil.copytree(folder, copy)
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        victim = files[rng.integers(len(files))]
        damage(copy / victim, rng)
        what = f"variant {variant}: {damage.__name__} {victim}"
        found, refusal = None, ""
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = count_windows(make(copy), recipe)
            except DataError as error:
                refusal = str(error)
            except BaseException as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        assert "\n" not in refusal, what
        outcome = "refused" if refusal else "read"
        if not refusal and found != expected:
            assert beyond is not None, f"{what}: {found}"
            assert beyond(copy), f"{what}: {found}"
            outcome = "beyond"
        outcomes[outcome] += 1
        shutil.rmtree(copy)
    return outcomes


@pytest.fixture
def survives(tmp_path_factory, record_property):
    """`survive`, with a scratch folder of its own; outcomes are kept for ``--junitxml``."""

    def run(make, folder, recipe, **settings):
        scratch = tmp_path_factory.mktemp("scratch")
        outcomes = survive(make, folder, recipe, scratch, **settings)
        record_property("outcomes", outcomes)
        return outcomes

    return run
