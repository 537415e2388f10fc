"""To and from Braindecode's windowed datasets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sleepshift.windows.windows import Windows

__all__ = ["from_braindecode", "to_braindecode"]


def from_braindecode(concat: Any, scheme: str | None) -> Windows:
    """See `Windows.from_braindecode`."""
    frames, parts = [], []
    info = _mne_info(concat.datasets[0])
    for dataset in concat.datasets:
        other = _mne_info(dataset)
        if other["sfreq"] != info["sfreq"] or set(other["ch_names"]) != set(info["ch_names"]):
            raise ValueError("recordings of different channels or rates cannot be joined")
        order = [other["ch_names"].index(name) for name in info["ch_names"]]
        own = dataset.metadata.reset_index(drop=True)
        frame = pd.DataFrame({"target": own["target"].to_numpy()})
        frame["onset"] = own["i_start_in_trial"].to_numpy() / info["sfreq"]
        description = {} if dataset.description is None else dataset.description
        for column, value in description.items():
            if column not in frame:
                frame["session" if column == "recording" else column] = value
        frames.append(frame)
        parts.append(np.stack([dataset[i][0] for i in range(len(dataset))])[:, order])
    metadata = pd.concat(frames, ignore_index=True)
    for column in {"subject", "session"} & set(metadata.columns):
        metadata[column] = metadata[column].astype(str)
    return Windows.from_arrays(
        np.concatenate(parts),
        metadata.pop("target").to_numpy(),
        metadata=metadata,
        ch_names=info["ch_names"],
        sfreq=info["sfreq"],
        scheme=scheme,
    )


def to_braindecode(windows: Windows) -> Any:
    """See `Windows.to_braindecode`."""
    import mne
    from braindecode.datasets import BaseConcatDataset, WindowsDataset

    if windows.sfreq is None:
        raise ValueError("windows of features have no MNE form; only raw windows do")
    info = mne.create_info(list(windows.ch_names), windows.sfreq, "eeg")
    metadata = windows.metadata
    keys = [c for c in ("subject", "session") if c in metadata]
    groups = metadata.groupby(keys, sort=False).indices if keys else {(): range(len(windows))}
    datasets = []
    for key, rows in groups.items():
        part = windows[np.asarray(rows)]
        onset = part.metadata.get("onset", pd.Series(np.zeros(len(part)))).fillna(0)
        start = np.rint(onset.to_numpy() * windows.sfreq).astype(int)
        frame = pd.DataFrame({"i_window_in_trial": np.arange(len(part))})
        frame["i_start_in_trial"] = start
        frame["i_stop_in_trial"] = start + windows.shape[2]
        frame["target"] = part.y if part.has_labels else -1
        epochs = mne.EpochsArray(np.asarray(part), info, metadata=frame, verbose="error")
        names = key if isinstance(key, tuple) else (key,)
        datasets.append(WindowsDataset(epochs, dict(zip(keys, names, strict=True))))
    return BaseConcatDataset(datasets)


def _mne_info(dataset: Any) -> Any:
    """Channels and rate of a Braindecode windows dataset, lazy or not."""
    return (dataset.raw if hasattr(dataset, "raw") else dataset.windows).info
