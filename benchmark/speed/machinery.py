"""What training, distilling, reading and packing cost beside the bare work."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speed.measure import Figure, Measured, in_turns

__all__ = ["distilling", "packing", "reading", "training"]

BATCH = 64
#: Least share of the bare work's speed.
GOAL = 0.9


def _rounds(quick: bool) -> int:
    return 1 if quick else 5


@contextlib.contextmanager
def _shown() -> Iterator[None]:
    """Draw training on a terminal, as ``sleepshift run`` does."""
    from rich.console import Console

    from sleepshift import display

    console = display.console
    display.console = Console(file=io.StringIO(), force_terminal=True)
    try:
        with display.running(1):
            yield
    finally:
        display.console = console


def training(quick: bool) -> Measured:
    """`SleepStager.fit` against a bare torch loop on the same tensors and network."""
    import torch

    from sleepshift.estimators import SleepStager
    from sleepshift.estimators.inputs import split_positions
    from sleepshift.models import build_model
    from speed.noise import SFREQ, noise_windows

    windows, passes = noise_windows(10, 16 if quick else 400), 2
    budget: dict[str, Any] = {"batch_size": BATCH, "patience": passes, "device": "cpu"}
    stager = SleepStager(max_epochs=passes, **budget)
    data, labels = torch.from_numpy(np.asarray(windows)), torch.from_numpy(windows.y)
    rows, held = split_positions(windows, stager.valid_size, stager.data_seed)
    assert held is not None
    train, valid = torch.from_numpy(rows), torch.from_numpy(held)

    def ours() -> None:
        with _shown():
            stager.fit(windows)

    def bare() -> None:
        net = build_model("chambon2018", n_chans=2, n_times=3000, sfreq=SFREQ, n_outputs=5)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.Adam(net.parameters())
        loss = torch.nn.functional.cross_entropy
        for _ in range(passes):
            net.train()
            for batch in train[torch.randperm(len(train))].split(BATCH):
                optimiser.zero_grad()
                loss(net(data[batch]), labels[batch]).backward()
                optimiser.step()
            net.eval()
            with torch.no_grad():
                for batch in valid.split(BATCH):
                    loss(net(data[batch]), labels[batch])

    seconds = in_turns({"ours": ours, "bare": bare}, _rounds(quick))
    figure = Figure.of_times(
        "training chambon2018: `SleepStager.fit` against a bare torch loop",
        seconds["ours"],
        seconds["bare"],
        goal=GOAL,
        unit="windows/s",
        shown=lambda s: passes * len(rows) / s,
    )
    words = f"""
`SleepStager.fit` with people set aside, early stopping that keeps the best pass, and the command
line's progress bars drawn on a terminal, against a loop of torch alone: the same network in the
same memory layout, Adam, batches of {BATCH} from one tensor in memory, and after each of the
{passes} passes the same validation windows without gradients. {len(rows)} windows to train on,
{len(held)} to validate on, noise of 2 channels."""
    return Measured([figure], words)


def distilling(quick: bool) -> Measured:
    """A distilled fit with cached teacher outputs against the student's own fit."""
    from sklearn.frozen import FrozenEstimator

    from sleepshift.estimators import Distiller, SleepStager, objectives
    from speed.noise import CHANNELS, noise_windows

    windows = noise_windows(10, 16 if quick else 400)
    budget: dict[str, Any] = {"batch_size": BATCH, "patience": 4, "device": "cpu"}
    student, half = (
        SleepStager(max_epochs=passes, channels=CHANNELS[1:], **budget) for passes in (4, 2)
    )
    teacher = FrozenEstimator(SleepStager(max_epochs=0, device="cpu").fit(windows))
    attention: dict[str, Any] = {
        "pretraining": objectives.AttentionTransfer(),
        "pretraining_epochs": 2,
    }
    distillers = {
        "softened probabilities": Distiller(teacher, student, objectives.SoftLabels()),
        "features": Distiller(teacher, student, objectives.FeatureMatching()),
        "attention, then labels": Distiller(teacher, half, objectives.HardLabels(), **attention),
    }
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for name, distiller in distillers.items():
            distiller.set_params(cache=Path(folder))
            distiller.fit(windows)  # so that the teacher's outputs are cached
            ours, alone = partial(distiller.fit, windows), partial(student.fit, windows)
            seconds = in_turns({"ours": ours, "alone": alone}, _rounds(quick))
            what = f"distilling chambon2018 by {name}: against the student's own fit"
            figures.append(Figure.of_times(what, seconds["ours"], seconds["alone"]))
    words = f"""
`Distiller.fit` with a teacher of two channels whose outputs are in the cache, against
`SleepStager.fit` of the student alone on one channel: {len(windows)} windows of noise, a fifth of
the people set aside, four passes each (attention: two of attention and two of labels). A distilled
student computes a further loss, so there is no goal."""
    return Measured(figures, words)


def reading(quick: bool) -> Measured:
    """Shuffled batches through `Windows` against a contiguous tensor in memory."""
    import torch
    from torch.utils.data import DataLoader

    from sleepshift.windows import identity_collate, open_store
    from speed.noise import noise_store

    figures = []
    # A file above half a gigabyte is read past its memory map.
    for size, n_windows in (("small", 8 if quick else 400), ("large", 16 if quick else 2500)):
        with tempfile.TemporaryDirectory() as folder:
            windows = open_store(noise_store(Path(folder), 10, n_windows))
            tensor = torch.from_numpy(np.asarray(windows))
            loader = DataLoader(windows, BATCH, shuffle=True, collate_fn=identity_collate)

            def ours(loader: DataLoader = loader) -> None:
                for _ in loader:
                    continue

            def plain(tensor: torch.Tensor = tensor) -> None:
                for rows in torch.randperm(len(tensor)).split(BATCH):
                    tensor[rows]

            seconds = in_turns({"ours": ours, "plain": plain}, _rounds(quick))
        n, megabytes = len(tensor), tensor.nbytes / 1e6
        what = f"reading shuffled batches of a {size} store ({megabytes:.0f} MB): against a tensor"
        shown = partial(_micro, n=n)
        found = (seconds["ours"], seconds["plain"])
        goal = GOAL if size == "small" else None
        figures.append(Figure.of_times(what, *found, goal=goal, unit="us/window", shown=shown))
    words = f"""
A torch `DataLoader` of a store's `Windows` (memory-mapped file; past its map where it is large),
signals, labels and positions, against indexing one contiguous tensor in memory with the rows of
each batch; shuffled batches of {BATCH}, files in the page cache. Reading past the map is slower,
and keeps memory bounded whatever the size of a store; beside training it is next to nothing."""
    return Measured(figures, words)


def _micro(seconds: float, n: int) -> float:
    return 1e6 * seconds / n


def packing(quick: bool) -> Measured:
    """EDF files to a store on disk against Braindecode's own path to windows in memory."""
    from braindecode.datasets import BaseConcatDataset, RawDataset, SleepPhysionet
    from braindecode.preprocessing import Preprocessor, create_windows_from_events, preprocess
    from sklearn.preprocessing import robust_scale

    from sleepshift.datasets import make_dataset
    from sleepshift.datasets.export import write_sleep_edf
    from sleepshift.windows import Recipe, prepare
    from speed.naive import STAGES

    channels = ("EEG Fpz-Cz", "EEG Pz-Oz")
    recipe = Recipe(channels=channels, sfreq=100.0, trim_wake_minutes=30.0, scaling="robust")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        nights = write_sleep_edf(folder / "edf", *((2, 1, 0.2) if quick else (6, 1, 7.0)))
        dataset = make_dataset("sleep-edf", folder / "edf")

        def ours() -> None:
            prepare(dataset, recipe, Path(tempfile.mkdtemp(dir=folder)))

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
                mapping=STAGES,
            )
            np.stack([cut[i][0] for i in range(len(cut))])

        seconds = in_turns({"ours": ours, "braindecode": braindecode}, _rounds(quick))
    what = f"packing {len(nights)} EDF nights into a store: against Braindecode's own path"
    figure = Figure.of_times(what, seconds["ours"], seconds["braindecode"], goal=GOAL)
    words = """
`prepare`, from simulated EDF files to a store on disk (files hashed, every window hashed and
checked for flat and missing signals, scaled, written), against `SleepPhysionet` loading,
`preprocess` with a robust scaling, `create_windows_from_events` and one array in memory."""
    return Measured([figure], words)
