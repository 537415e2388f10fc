"""Several datasets as one, so that a model can learn on one and be tested on another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sleepshift.datasets.base import Dataset, DatasetInfo, LabelledWindows, Recording
from sleepshift.datasets.folder import FolderDataset
from sleepshift.errors import DataError, TaskError
from sleepshift.stages import convert, get_scheme, merge_map

if TYPE_CHECKING:
    import mne

__all__ = ["SEPARATOR", "Joined"]

#: Between the label of a dataset and a person's name in it.
SEPARATOR = ":"

_UNSCORED = "unscored"


@dataclass(frozen=True)
class _Part:
    """One of the datasets, what people call it, and what it calls the common channels."""

    label: str
    dataset: Dataset
    channels: Mapping[str, str]

    @property
    def by_itself(self) -> bool:
        """Whether it is downloaded where it is missing."""
        fetch = getattr(type(self.dataset), "fetch", None)
        return fetch is not FolderDataset.fetch


class Joined(Dataset):
    """Recordings of several datasets, with channels and stages of one name.

    People are called by the label of their dataset and their name in it ("isruc:3"), so that
    two datasets that both have a person "3" have two; a protocol names all people of one with
    ``{ dataset = "isruc" }``.

    Parameters
    ----------
    data : path, optional
        Folder with a folder for each part that reads files, called as its label. By default
        every part is looked for in its own place.
    parts : sequence of mapping
        ``name`` of the dataset; ``channels``, the common name of each channel -> its name in
        that dataset, the same common names for all; and optionally ``label`` (the name) and
        ``params`` of the dataset.
    scheme : str
        Stage scheme of all, in which the stages of every part can be expressed.

    Raises
    ------
    TaskError
        If a part is not such a mapping, parts differ in channels or share a label, a scheme
        cannot be expressed, or two parts are known to be of the same people under other names
        (BEETL's are Sleep-EDF's).

    Notes
    -----
    A person whom two parts of one dataset have (two visits, say) would be on both sides of a
    split under two names, and is refused, as is a file that two parts read. Whether two folders
    of your own hold the same people, only you can know.

    Examples
    --------
    >>> channels = {"EEG": "EEG Fpz-Cz"}
    >>> people = {"people": [[1, 20, 90]]}
    >>> part = {"name": "simulated", "channels": channels}
    >>> parts = [{**part, "label": label, "params": {**people, "seed": k}}
    ...          for k, label in enumerate("ab")]
    >>> [recording.subject for recording in Joined(parts=parts).recordings()]
    ['a:0', 'b:0']
    """

    info = DatasetInfo(
        name="joined",
        title="Several datasets as one",
        licence="those of its parts",
        login=False,
        download="that of its parts",
        url="",
        citation="",
        people_of=None,
    )
    needs_folder = False

    def __init__(
        self,
        data: Path | str | None = None,
        parts: Sequence[Mapping[str, Any]] = (),
        scheme: str = "aasm5",
    ) -> None:
        super().__init__(data)
        self.scheme = get_scheme(scheme).name
        self.stage_codes = {stage: stage for stage in get_scheme(scheme).stages}  # type: ignore[misc]
        self.stage_codes[_UNSCORED] = None
        made = [self._make(part) for part in parts]
        self.parts = {part.label: part for part in made}
        if len(made) < 2 or len(self.parts) < len(made):
            raise TaskError("parts: name two datasets or more, each with a label of its own")
        self.channels = tuple(made[0].channels)
        self.reads_files = any(part.dataset.reads_files for part in made)
        from sleepshift.datasets.relatives import same_people

        names = sorted({part.dataset.info.name for part in made})
        for one, other in combinations(names, 2):
            if same_people(one, other):
                raise TaskError(f"parts: {one} and {other} are of the same people")
        for part in made:
            if set(part.channels) != set(self.channels):
                raise TaskError(
                    f"parts: {part.label} has channels {', '.join(part.channels)}, "
                    f"{made[0].label} has {', '.join(self.channels)}; name the same ones"
                )

    def _make(self, part: Mapping[str, Any]) -> _Part:
        from sleepshift.datasets import dataset_class, make_dataset

        allowed = {"name", "label", "channels", "params"}
        if not isinstance(part, Mapping) or not {"name", "channels"} <= set(part) <= allowed:
            raise TaskError("parts: each has name and channels, and may have label and params")
        if part["name"] == "joined":
            raise TaskError("parts: joined datasets are no part; list their parts")
        label, channels = str(part.get("label", part["name"])), part["channels"]
        if not label or SEPARATOR in label or "/" in label or label.startswith("."):
            raise TaskError(f"parts: {label!r} is no label; it names people and a folder")
        if not isinstance(channels, Mapping) or not channels:
            raise TaskError(f"parts: {label}: channels maps common names to its own")
        if len(set(channels.values())) < len(channels):
            raise TaskError(f"parts: {label}: two common names are of one channel")
        reads = dataset_class(str(part["name"])).reads_files
        folder = self.data / label if self.data is not None and reads else None
        dataset = make_dataset(str(part["name"]), folder, **dict(part.get("params", {})))
        merge_map(dataset.scheme, self.scheme)
        return _Part(label, dataset, {str(k): str(v) for k, v in channels.items()})

    def params(self) -> dict[str, Any]:
        """Settings of all parts, their versions included."""
        return {
            "scheme": self.scheme,
            "parts": [
                {
                    "label": part.label,
                    "name": part.dataset.info.name,
                    "version": part.dataset.version,
                    "params": part.dataset.params(),
                    "channels": dict(part.channels),
                }
                for part in self.parts.values()
            ],
        }

    def recordings(self, subjects: Sequence[str] | None = None) -> list[Recording]:
        """List the recordings of `subjects` (all, by default), dataset by dataset.

        Raises
        ------
        DataError
            If a part lacks its folder or a person.
        """
        wanted: dict[str, list[str]] = {label: [] for label in self.parts}
        for subject in subjects or ():
            label, separator, own = str(subject).partition(SEPARATOR)
            if not separator or label not in wanted:
                raise DataError(
                    f"no recording of subject {subject}; people are named as in "
                    f"{', '.join(f'{label}{SEPARATOR}3' for label in wanted)}"
                )
            wanted[label].append(own)
        found: dict[str, list[Recording]] = {}
        # What has to be fetched by hand is looked for before others are downloaded.
        for label, part in sorted(self.parts.items(), key=lambda item: item[1].by_itself):
            if subjects is None or wanted[label]:
                chosen = None if subjects is None else wanted[label]
                found[label] = part.dataset.recordings(chosen)
        self._refuse_doubles(found)
        return [
            replace(recording, subject=f"{label}{SEPARATOR}{recording.subject}")
            for label in self.parts
            for recording in found.get(label, ())
        ]

    def _refuse_doubles(self, found: Mapping[str, Sequence[Recording]]) -> None:
        """Refuse a person, or a file, that two parts have."""
        owners: dict[tuple[str, str], str] = {}
        for label, recordings in found.items():
            population = self.parts[label].dataset.population
            for recording in recordings:
                keys = [(population, recording.subject)]
                keys += [("file", str(file.resolve())) for file in recording.files]
                for key in keys:
                    other = owners.setdefault(key, label)
                    if other != label:
                        raise DataError(
                            f"{recording} of {label} is in {other} too: the same person would be "
                            "on both sides of a split; choose parts without common people"
                        )

    def read(
        self, recording: Recording, channels: Sequence[str] | None = None
    ) -> mne.io.BaseRaw | LabelledWindows:
        """Open one recording with channels and stages renamed to the common ones.

        Raises
        ------
        DataError
            If its dataset cannot read it, or there is no such channel.
        """
        part, own = self._own(recording)
        names = list(self.channels if channels is None else channels)
        if unknown := [name for name in names if name not in part.channels]:
            raise DataError(f"no channel {unknown[0]!r}; there are {', '.join(self.channels)}")
        source = part.dataset.read(own, [part.channels[name] for name in names])
        if isinstance(source, LabelledWindows):
            y, second = (
                None if codes is None else convert(codes, part.dataset.scheme, self.scheme)
                for codes in (source.y, source.second)
            )
            kept = np.ones(len(source.y), bool) if y is None else (y >= 0) | (source.y < 0)
            fields = {**source.__dict__, "x": source.x[kept], "ch_names": tuple(names)}
            for name, value in (("y", y), ("second", second), ("onset", source.onset)):
                fields[name] = None if value is None else value[kept]
            return LabelledWindows(**fields)
        source.rename_channels(
            {part.channels[name]: name for name in names if part.channels[name] != name},
            verbose="error",
        )
        return source.set_annotations(
            self._common(source.annotations, part), emit_warning=False, verbose="error"
        )

    def second_scoring(self, recording: Recording) -> mne.Annotations | None:
        """Stages of a second scorer, in the common texts."""
        part, own = self._own(recording)
        other = part.dataset.second_scoring(own)
        return None if other is None else self._common(other, part)

    def epoch_seconds(self, recording: Recording) -> float:
        """What the scorers of its dataset looked at."""
        part, own = self._own(recording)
        return part.dataset.epoch_seconds(own)

    def count_present(self) -> int:
        """Number of recordings at hand in all parts that read files."""
        return sum(part.dataset.count_present() for part in self.parts.values())

    def _own(self, recording: Recording) -> tuple[_Part, Recording]:
        """The part a recording is of, and what that part calls it."""
        label, _, subject = recording.subject.partition(SEPARATOR)
        return self.parts[label], replace(recording, subject=subject)

    def _common(self, annotations: mne.Annotations, part: _Part) -> mne.Annotations:
        """The same annotations with stages of the common scheme for texts."""
        scheme, codes = get_scheme(part.dataset.scheme), part.dataset.stage_codes
        merged = merge_map(scheme.name, self.scheme)
        common = get_scheme(self.scheme).stages

        def text_of(text: str) -> str:
            if text not in codes:
                raise DataError(f"unknown stage {text!r} in a recording of {part.label}")
            stage = codes[text]
            code = -1 if stage is None else merged[scheme.stages.index(stage)]
            return _UNSCORED if code < 0 else common[code]

        renamed = annotations.copy()
        renamed.description = np.array([text_of(str(text)) for text in annotations.description])
        return renamed
