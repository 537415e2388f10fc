"""What the machinery costs, as ratios of two things measured in turns in one process.

Run it with ``make speed``. Absolute figures depend on the machine; ratios travel.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

N_WINDOWS = 3200
BATCH = 64
ROUNDS = 5


Work = Callable[[], object]


def compare(ours: Work, other: Work) -> tuple[float, float, list[float]]:
    """Median seconds of each, and the ratio other / ours of every round, after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for k in range(ROUNDS + 1):
        pair = []
        # The order alternates, so that a slow spell of the machine hits both.
        for which in (0, 1) if k % 2 else (1, 0):
            start = time.perf_counter()
            (ours, other)[which]()
            pair.append((which, time.perf_counter() - start))
        if k:
            for which, seconds in pair:
                times[which].append(seconds)
    ratios = [b / a for a, b in zip(*times, strict=True)]
    return statistics.median(times[0]), statistics.median(times[1]), ratios


def say(what: str, unit: str, ours: float, other: float, ratios: list[float]) -> None:
    """One line: both figures, median ratio and its range."""
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    sys.stdout.write(
        f"{what}\n    {ours:.3g} against {other:.3g} {unit}; "
        f"ratio {median:.2f} (of {len(ratios)} rounds: {low:.2f}-{high:.2f})\n"
    )
    sys.stdout.flush()


def training() -> None:
    """`SleepStager.fit` against a bare torch loop on the same tensors and network."""
    import torch

    from sleepshift.estimators import SleepStager
    from sleepshift.models import build_model
    from sleepshift.windows import Windows

    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_WINDOWS, 2, 3000)).astype(np.float32)
    y = rng.integers(0, 5, N_WINDOWS)
    windows = Windows.from_arrays(X, y, sfreq=100.0)
    data, labels = torch.from_numpy(X), torch.from_numpy(y)

    def ours() -> None:
        SleepStager(max_epochs=2, batch_size=BATCH, valid_size=0).fit(windows, y)

    def bare() -> None:
        net = build_model("chambon2018", n_chans=2, n_times=3000, sfreq=100.0, n_outputs=5)
        net = net.to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(net.parameters())
        for _ in range(2):
            for rows in torch.randperm(N_WINDOWS).split(BATCH):
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(net(data[rows]), labels[rows]).backward()
                optimiser.step()

    a, b, ratios = compare(ours, bare)
    per_second = 2 * N_WINDOWS
    say(
        "training chambon2018: SleepStager.fit against a bare torch loop",
        "windows/s",
        per_second / a,
        per_second / b,
        ratios,
    )


def distilling(folder: Path) -> None:
    """A distilled fit with cached teacher outputs against the student's own fit."""
    from sklearn.frozen import FrozenEstimator

    from sleepshift.estimators import Distiller, SleepStager
    from sleepshift.estimators.objectives import (
        AttentionTransfer,
        FeatureMatching,
        HardLabels,
        SoftLabels,
    )
    from sleepshift.windows import Windows

    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_WINDOWS, 2, 3000)).astype(np.float32)
    y = rng.integers(0, 5, N_WINDOWS)
    # Named as windows of a store are, whose content is not hashed again.
    windows = Windows(X, None, y, ch_names=["0", "1"], sfreq=100.0, name="speed")
    budget = {"channels": ["1"], "batch_size": BATCH, "valid_size": 0}
    student = SleepStager(max_epochs=4, **budget)
    teacher = FrozenEstimator(SleepStager(max_epochs=0).fit(windows, y))
    half = SleepStager(max_epochs=2, **budget)
    attention = {"pretraining": AttentionTransfer(), "pretraining_epochs": 2}
    distillers = {
        "softened probabilities": Distiller(teacher, student, SoftLabels()),
        "features": Distiller(teacher, student, FeatureMatching()),
        "attention, then labels": Distiller(teacher, half, HardLabels(), **attention),
    }

    def alone() -> None:
        student.fit(windows, y)

    for name, distiller in distillers.items():
        distiller.set_params(cache=folder / "outputs")
        distiller.fit(windows, y)  # so that the teacher's outputs are cached
        a, b, ratios = compare(partial(distiller.fit, windows, y), alone)
        say(
            f"distilling chambon2018 by {name}, outputs cached: against the student's own fit",
            "s",
            a,
            b,
            ratios,
        )


def reading(store: Path) -> None:
    """Shuffled batches through `Windows` against a contiguous tensor in memory."""
    import torch
    from torch.utils.data import DataLoader

    from sleepshift.windows import identity_collate, open_store

    windows = open_store(store)
    tensor = torch.from_numpy(np.asarray(windows))
    loader = DataLoader(windows, BATCH, shuffle=True, collate_fn=identity_collate)

    def ours() -> None:
        for _ in loader:
            continue

    def plain() -> None:
        for rows in torch.randperm(len(tensor)).split(BATCH):
            tensor[rows]

    a, b, ratios = compare(ours, plain)
    micro = 1e6 / len(windows)
    say(
        "reading shuffled batches: Windows from its store against a contiguous tensor",
        "us/window",
        a * micro,
        b * micro,
        ratios,
    )


def packing(folder: Path) -> Path:
    """EDF files to a store on disk against Braindecode's own path to windows in memory."""
    from braindecode.datasets import BaseConcatDataset, RawDataset, SleepPhysionet
    from braindecode.preprocessing import Preprocessor, create_windows_from_events, preprocess
    from sklearn.preprocessing import robust_scale

    from sleepshift.datasets import make_dataset
    from sleepshift.datasets.export import write_sleep_edf
    from sleepshift.windows import Recipe, prepare

    nights = write_sleep_edf(folder / "edf", 6, hours=7.0)
    channels = ("EEG Fpz-Cz", "EEG Pz-Oz")
    recipe = Recipe(channels=channels, sfreq=100.0, trim_wake_minutes=30.0, scaling="robust")
    dataset = make_dataset("sleep-edf", folder / "edf")
    mapping = {
        "Sleep stage W": 0,
        "Sleep stage 1": 1,
        "Sleep stage 2": 2,
        "Sleep stage 3": 3,
        "Sleep stage 4": 3,
        "Sleep stage R": 4,
    }
    count = 0

    def ours() -> None:
        nonlocal count
        count += 1
        prepare(dataset, recipe, folder / f"stores-{count}")

    def braindecode() -> None:
        raws = []
        for psg in nights:
            hypnogram = next(psg.parent.glob(f"{psg.name[:7]}?-Hypnogram.edf"))
            raw, description = SleepPhysionet._load_raw(
                raw_fname=psg,
                ann_fname=hypnogram,
                preload=True,
                load_eeg_only=True,
                crop_wake_mins=30,
            )
            raws.append(RawDataset(raw, description))
        concat = BaseConcatDataset(raws)
        preprocess(concat, [Preprocessor(robust_scale, axis=1, channel_wise=False)])
        cut = create_windows_from_events(
            concat,
            trial_start_offset_samples=0,
            trial_stop_offset_samples=0,
            window_size_samples=3000,
            window_stride_samples=3000,
            on_last_window="drop",
            accepted_bads_ratio=1.0,
            mapping=mapping,
        )
        np.stack([cut[i][0] for i in range(len(cut))])

    a, b, ratios = compare(ours, braindecode)
    say(
        f"{len(nights)} simulated EDF nights: to a hashed store on disk against Braindecode's "
        "preprocess + create_windows_from_events to an array",
        "s",
        a,
        b,
        ratios,
    )
    return next(path for path in (folder / "stores-1").iterdir() if path.is_dir())


def main() -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import mne
    import torch

    from sleepshift.runner.execute import tune_allocator

    mne.set_log_level("ERROR")
    torch.set_num_threads(os.cpu_count() or 1)
    tuned = "tuned" if tune_allocator() else "default"
    sys.stdout.write(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, allocator {tuned}; ratio > 1: ours is faster\n"
    )
    training()
    with tempfile.TemporaryDirectory() as folder:
        distilling(Path(folder))
        reading(packing(Path(folder)))


if __name__ == "__main__":
    main()
