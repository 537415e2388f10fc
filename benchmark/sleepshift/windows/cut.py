"""One recording -> labelled, scaled 30-s windows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sleepshift.datasets.base import Dataset, LabelledWindows, Recording
from sleepshift.derivations import (
    Derivation,
    check_derivations,
    derive,
    lost_derivations,
)
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import WINDOW_SECONDS, get_scheme
from sleepshift.windows.scaling import CLIP, minmax_scale, robust_scale

if TYPE_CHECKING:
    import mne

__all__ = ["CutRecording", "Recipe", "cut_recording"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How recordings become windows.

    Parameters
    ----------
    channels : tuple of str or None
        Channels and derivations by name, in the order they are stored; None takes the
        dataset's default.
    sfreq : float or None
        Rate to resample to; None keeps the recording's own.
    trim_wake_minutes : float or None
        Wake kept before the first and after the last scored sleep; None keeps the night.
    scaling : {"robust", "window-minmax", "none"}
        ``"robust"``: per recording and channel (and feature), median 0, interquartile
        range 1, clipped at `CLIP`. ``"window-minmax"``: per window and channel from 0 to 1,
        as some published systems do. Both use signals only, never labels.
    derivations : tuple of Derivation
        What `channels` may name besides the recording's own channels. Electrodes that a
        recording lists as bad take no part.
    empty_derivation : {"raise", "zeros"}
        What becomes of a derivation that lost all electrodes of a side in one recording.

    Raises
    ------
    TaskError
        If derivations cannot be told apart, or no channels are named that could be derived.
    """

    channels: tuple[str, ...] | None
    sfreq: float | None
    trim_wake_minutes: float | None
    scaling: str
    derivations: tuple[Derivation, ...] = ()
    empty_derivation: str = "raise"

    def __post_init__(self) -> None:
        check_derivations(self.derivations)
        if self.derivations and self.channels is None:
            raise TaskError("a recipe with derivations must name its channels")

    @property
    def derived(self) -> tuple[Derivation, ...]:
        """Derivations that are among the channels."""
        return tuple(d for d in self.derivations if d.name in (self.channels or ()))

    @property
    def electrodes(self) -> tuple[str, ...] | None:
        """Channels to read, each once, in the order they are first needed; None is the default."""
        if self.channels is None or not self.derived:
            return self.channels
        needed = {derivation.name: derivation.electrodes for derivation in self.derivations}
        names = (name for channel in self.channels for name in needed.get(channel, (channel,)))
        return tuple(dict.fromkeys(names))

    def plain(self) -> dict[str, Any]:
        """Settings as plain values, for hashes and manifests."""
        settings = asdict(self)
        if not self.derivations:  # so that stores packed without any keep their names
            del settings["derivations"], settings["empty_derivation"]
        return settings | {"window_seconds": float(WINDOW_SECONDS), "clip": CLIP}


@dataclass(frozen=True)
class CutRecording:
    """Windows of one recording and what was measured on them before scaling."""

    windows: LabelledWindows
    digests: np.ndarray
    flat: np.ndarray
    nan: np.ndarray


def cut_recording(dataset: Dataset, recording: Recording, recipe: Recipe) -> CutRecording:
    """Read, trim, derive, cut and scale one recording.

    Returns
    -------
    CutRecording
        ``windows.x`` is float32, finite, shape (n_windows, n_channels, n_times).

    Raises
    ------
    DataError
        If the recording cannot be used: unreadable, an unknown stage text, no scored
        sleep, another rate than the task's, a derivation without electrodes, or a channel
        without any finite value.
    """
    wanted = recipe.electrodes
    source = dataset.read(recording, wanted)
    if wanted is not None and tuple(source.ch_names) != tuple(wanted):
        raise DataError(
            f"{recording}: asked for {', '.join(wanted)}, the dataset read "
            f"{', '.join(source.ch_names)}; channels come by name, in the order asked for"
        )
    if isinstance(source, LabelledWindows):
        lost: tuple[str, ...] = ()
        windows = _derive_windows(_check_rate(source, recipe, recording), recipe, recording)
    else:
        lost = lost_derivations(recipe.derived, source.info["bads"])
        windows = _cut_raw(source, dataset, recipe, recording)
    if not len(windows.y):
        raise DataError(f"{recording}: no scored window is left after trimming")
    return _measure_and_scale(windows, recipe, recording, lost)


def _check_rate(source: LabelledWindows, recipe: Recipe, recording: Recording) -> LabelledWindows:
    if recipe.sfreq is not None and source.sfreq != recipe.sfreq:
        raise DataError(
            f"{recording}: windows at {source.sfreq} Hz, but the task wants {recipe.sfreq} Hz; "
            "windows that come cut are not resampled"
        )
    return source


def _derive(
    signals: np.ndarray,
    ch_names: Sequence[str],
    recipe: Recipe,
    recording: Recording,
    bads: Collection[str] = (),
) -> np.ndarray:
    try:
        return derive(signals, ch_names, recipe.derived, bads=bads, empty=recipe.empty_derivation)
    except DataError as error:
        raise DataError(f"{recording}: {error}") from None


def _derive_windows(
    source: LabelledWindows, recipe: Recipe, recording: Recording
) -> LabelledWindows:
    if not recipe.derived:
        return source
    if source.sfreq is None:
        raise DataError(f"{recording} holds features; only signals can be derived from electrodes")
    assert recipe.channels is not None
    derived = _derive(source.x, source.ch_names, recipe, recording)
    names = [*source.ch_names, *(derivation.name for derivation in recipe.derived)]
    picks = [names.index(name) for name in recipe.channels]
    x = np.concatenate([source.x, derived], axis=1)[:, picks]
    return LabelledWindows(**{**source.__dict__, "x": x, "ch_names": recipe.channels})


def _derive_raw(raw: mne.io.BaseRaw, recipe: Recipe, recording: Recording) -> mne.io.BaseRaw:
    """Put the derivations in the place of their electrodes; times and scoring stay."""
    import mne

    if not recipe.derived:
        return raw
    assert recipe.channels is not None
    names = [derivation.name for derivation in recipe.derived]
    signals = raw.get_data(verbose="error")
    derived = _derive(signals, raw.ch_names, recipe, recording, raw.info["bads"])
    info = mne.create_info(names, raw.info["sfreq"], "eeg", verbose="error")
    # MNE needs one channel to add others to; it goes where it was not asked for itself.
    kept = [name for name in recipe.channels if name not in names] or raw.ch_names[:1]
    raw = raw.pick(kept, verbose="error").load_data(verbose="error")
    added = mne.io.RawArray(derived, info, first_samp=raw.first_samp, verbose="error")
    raw.add_channels([added], force_update_info=True)
    return raw.pick(list(recipe.channels), verbose="error")


def _cut_raw(
    raw: mne.io.BaseRaw, dataset: Dataset, recipe: Recipe, recording: Recording
) -> LabelledWindows:
    codes = _annotation_codes(raw.annotations, dataset, recording)
    begin = raw.first_time
    raw = _trim_wake(raw, codes, recipe.trim_wake_minutes, recording)
    # Before resampling: there is less to resample, and the gaps of bad electrodes are gone.
    raw = _derive_raw(raw, recipe, recording)
    if recipe.sfreq is not None and raw.info["sfreq"] != recipe.sfreq:
        raw = raw.load_data(verbose="error")
        _check_resampling(raw, recipe.sfreq, recording)
        raw = raw.resample(recipe.sfreq, verbose="error")
    seconds = dataset.epoch_seconds(recording)
    if seconds < WINDOW_SECONDS:
        starts, y = _centred_starts(raw, codes, seconds, recording)
    else:
        starts, y = _window_starts(raw, codes, recording)
    n_times = round(WINDOW_SECONDS * raw.info["sfreq"])
    signals = raw.get_data(verbose="error")
    segments = np.lib.stride_tricks.sliding_window_view(signals, n_times, axis=1)
    x = np.ascontiguousarray(segments[:, starts].transpose(1, 0, 2), dtype=np.float32)
    onset = starts / raw.info["sfreq"] + (raw.first_time - begin)
    other = dataset.second_scoring(recording)
    return LabelledWindows(
        x=x,
        y=y,
        onset=onset,
        ch_names=tuple(raw.ch_names),
        sfreq=float(raw.info["sfreq"]),
        second=None if other is None else _stages_at(onset, other, dataset, recording),
    )


def _stages_at(
    onset: np.ndarray, scoring: mne.Annotations, dataset: Dataset, recording: Recording
) -> np.ndarray:
    """Stage that another scoring gives to the middle of each window, -1 where it gives none."""
    codes = _annotation_codes(scoring, dataset, recording)
    middle = onset + WINDOW_SECONDS / 2
    stages = np.full(len(onset), -1)
    for bout in scoring:
        inside = (middle >= bout["onset"]) & (middle < bout["onset"] + bout["duration"])
        stages[inside] = codes.get(bout["description"], -1)
    return stages


def _check_resampling(raw: mne.io.BaseRaw, sfreq: float, recording: Recording) -> None:
    """Refuse gaps, and a rate no recorder has: a damaged header, which would warp the night."""
    rate = raw.info["sfreq"]
    if rate < 1 or abs(rate - round(rate)) > 1e-3:
        raise DataError(
            f"{recording}: its header gives {rate:.6g} Hz, not a whole number, and the task wants "
            f"{sfreq:g} Hz; the header is damaged: get the file again, or use --skip-bad"
        )
    for name in raw.ch_names:  # one gap would spread over the whole channel
        if not np.isfinite(raw.get_data(picks=[name], verbose="error")).all():
            raise DataError(
                f"{recording}: channel {name!r} has gaps (values that are not finite) and cannot "
                f"be resampled to {sfreq:g} Hz"
            )


def _annotation_codes(
    scoring: mne.Annotations, dataset: Dataset, recording: Recording
) -> dict[str, int]:
    """Annotation text -> code, for the stages; what the dataset drops is left out."""
    stages = get_scheme(dataset.scheme).stages
    texts = set(map(str, scoring.description))
    if unknown := sorted(texts - set(dataset.stage_codes)):
        raise DataError(
            f"{recording}: unknown stage {unknown[0]!r} in the scoring; "
            f"known are {', '.join(map(repr, dataset.stage_codes))}"
        )
    names = {text: dataset.stage_codes[text] for text in sorted(texts)}
    return {text: stages.index(name) for text, name in names.items() if name is not None}


def _trim_wake(
    raw: mne.io.BaseRaw, codes: dict[str, int], minutes: float | None, recording: Recording
) -> mne.io.BaseRaw:
    """Crop to the scored sleep and some wake around it; nothing outside is ever read."""
    annotations = raw.annotations
    asleep = np.array([codes.get(text, 0) > 0 for text in annotations.description], dtype=bool)
    if not asleep.any():
        raise DataError(f"{recording}: no scored sleep; is this the right hypnogram?")
    if minutes is None:
        return raw
    onset = annotations.onset - raw.first_time
    first = onset[asleep].min() - 60 * minutes
    last = (onset + annotations.duration)[asleep].max() + 60 * minutes
    # MNE may refuse the very end of the recording, by rounding; None asks for it safely.
    rest = last >= (raw.n_times - 0.5) / raw.info["sfreq"]
    return raw.crop(max(first, 0.0), None if rest else last, include_tmax=rest, verbose="error")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Braindecode and pandas warn of their own internals on every recording."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _window_starts(
    raw: mne.io.BaseRaw, codes: dict[str, int], recording: Recording
) -> tuple[np.ndarray, np.ndarray]:
    """First sample and label of every window, cut by Braindecode; short rests are dropped."""
    size = round(WINDOW_SECONDS * raw.info["sfreq"])
    scored = np.isin(raw.annotations.description, list(codes))
    lengths = raw.annotations.duration[scored] * raw.info["sfreq"]
    if not (lengths.astype(int) >= size).any():  # where Braindecode would stop with an IndexError
        raise DataError(f"{recording}: no scored bout is as long as a window")
    with _quiet():
        from braindecode.datasets import BaseConcatDataset, RawDataset
        from braindecode.preprocessing import create_windows_from_events

        try:
            cut = create_windows_from_events(
                BaseConcatDataset([RawDataset(raw, {})]),
                trial_start_offset_samples=0,
                trial_stop_offset_samples=0,
                window_size_samples=size,
                window_stride_samples=size,
                on_last_window="drop",
                accepted_bads_ratio=1.0,
                mapping=codes,
                verbose="error",
            )
        except ValueError as error:  # the scoring overlaps, or reaches past the end
            raise DataError(f"{recording}: the scoring cannot be cut ({error})") from None
        frame = cut.datasets[0].metadata
    starts = frame["i_start_in_trial"].to_numpy().astype(np.int64)
    return starts, frame["target"].to_numpy().astype(np.int64)


def _centred_starts(
    raw: mne.io.BaseRaw, codes: dict[str, int], seconds: float, recording: Recording
) -> tuple[np.ndarray, np.ndarray]:
    """First sample and label of windows around epochs that are shorter than they.

    Braindecode refuses trials that overlap. What reaches past an end of the signals is dropped.
    """
    sfreq, around = raw.info["sfreq"], (WINDOW_SECONDS - seconds) / 2
    onsets, y = [], []
    for bout in raw.annotations:
        if bout["description"] in codes:
            n_epochs = int(bout["duration"] / seconds + 1e-6)
            onsets += [bout["onset"] + k * seconds for k in range(n_epochs)]
            y += [codes[bout["description"]]] * n_epochs
    starts = np.rint((np.array(onsets) - raw.first_time - around) * sfreq).astype(np.int64)
    inside = (starts >= 0) & (starts + round(WINDOW_SECONDS * sfreq) <= raw.n_times)
    if not inside.any():
        raise DataError(f"{recording}: no scored epoch of {seconds:g} s has a window around it")
    return starts[inside], np.array(y, dtype=np.int64)[inside]


def _measure_and_scale(
    windows: LabelledWindows, recipe: Recipe, recording: Recording, lost: Sequence[str]
) -> CutRecording:
    x = np.ascontiguousarray(windows.x, dtype=np.float32)
    finite = np.isfinite(x)
    if dead := [name for k, name in enumerate(windows.ch_names) if not finite[:, k].any()]:
        raise DataError(f"{recording}: channel {dead[0]!r} holds no finite value")
    nan = np.asarray(~finite.all(axis=(1, 2)))
    live = [k for k, name in enumerate(windows.ch_names) if name not in lost]
    if not live:
        raise DataError(f"{recording}: no derivation has electrodes left")
    # A single feature a channel has no course that could be flat; zeros that stand for a
    # derivation say nothing of the channels beside it.
    flat = (x.max(axis=2) == x.min(axis=2))[:, live].any(axis=1) & (x.shape[2] > 1)
    digests = window_digests(x)
    x = np.where(finite, x, np.float32(np.nan)) if nan.any() else x
    if recipe.scaling == "robust":
        x = robust_scale(x, per_feature=windows.sfreq is None)
    elif recipe.scaling == "window-minmax":
        x = minmax_scale(x)
    x = np.nan_to_num(x, nan=0.0) if nan.any() else x
    fields = {**windows.__dict__, "x": x}
    return CutRecording(LabelledWindows(**fields), digests, flat, nan)


def window_digests(x: np.ndarray) -> np.ndarray:
    """64-bit content hash of each window before scaling, to find copies across people."""
    import hashlib

    words = [hashlib.blake2b(window.tobytes(), digest_size=8).digest() for window in x]
    return np.frombuffer(b"".join(words), dtype=np.uint64)
