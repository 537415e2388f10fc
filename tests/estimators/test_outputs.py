"""A teacher's outputs: computed once, never from labels, looked up by the right window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sleepshift.errors import DataError
from sleepshift.estimators import BandPower, SleepStager
from sleepshift.estimators.outputs import Joined, WithOutputs, teacher_outputs
from sleepshift.models import MODELS
from sleepshift.windows.sequences import Sequences
from sleepshift.windows.windows import Windows

Nights = Callable[..., Windows]
BANDS = {"slow": (0.5, 1.5), "middle": (1.5, 2.5), "fast": (2.5, 5.0)}
ATTENTION = MODELS["chambon2018"].attention


class Sealed(Windows):
    """Windows whose labels cannot be read without being noticed."""

    @property
    def y(self) -> np.ndarray:
        raise AssertionError("labels were looked at")


def sealed(windows: Windows) -> Windows:
    view = windows.take(np.arange(len(windows)))
    view.__class__ = Sealed
    assert view.has_labels
    return view


@pytest.fixture
def teacher(windows: Windows, tiny: dict[str, Any]) -> SleepStager:
    """Fitted, with batch normalisation and dropout."""
    params = {"n_conv_chs": 2, "apply_batch_norm": True}
    return SleepStager(**tiny | {"model_params": params}, random_state=7).fit(windows)


# ---------------------------------------------------------------------- what a teacher says


def test_outputs_are_those_of_the_teacher_itself(teacher: SleepStager, windows: Windows) -> None:
    found = teacher_outputs(teacher, windows, ["features", "logits", "logits"])
    assert set(found) == {"logits", "features"}
    np.testing.assert_array_equal(found["logits"], teacher.decision_function(windows))
    np.testing.assert_array_equal(found["features"], teacher.transform(windows))
    frozen = teacher_outputs(FrozenEstimator(teacher), windows, ["logits"])
    np.testing.assert_array_equal(frozen["logits"], found["logits"])


def test_nothing_is_computed_where_nothing_is_needed(windows: Windows, tmp_path: Path) -> None:
    assert teacher_outputs(None, windows, []) == {}
    assert teacher_outputs(None, windows, (), cache=tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_labels_are_never_looked_at(
    teacher: SleepStager, windows: Windows, tmp_path: Path, read_outs: list
) -> None:
    kinds = ["logits", "features"]
    plain = teacher_outputs(teacher, windows, kinds, cache=tmp_path)
    for view in (sealed(windows), windows.with_labels(np.zeros(48)), windows.without_labels()):
        again = teacher_outputs(teacher, view, kinds, cache=tmp_path)
        for kind in kinds:
            np.testing.assert_array_equal(again[kind], plain[kind])
    assert len(read_outs) == 1  # other labels are the same windows
    teacher_outputs(teacher, sealed(windows), kinds)


def test_outputs_are_of_evaluation_and_do_not_depend_on_the_batch(
    teacher: SleepStager, windows: Windows
) -> None:
    kinds = ("logits", "features", "attention")
    whole = teacher_outputs(teacher, windows, kinds, attention=ATTENTION)
    teacher.module_.train()
    in_training = teacher_outputs(teacher, windows, kinds, attention=ATTENTION)
    assert set(whole) == {"logits", "features", "attention.0.0", "attention.1.0"}
    assert not teacher.module_.training
    for name, rows in whole.items():
        np.testing.assert_array_equal(in_training[name], rows)
        for start, stop in ((0, 1), (5, 22), (22, 48)):
            part = teacher_outputs(teacher, windows[start:stop], kinds, attention=ATTENTION)
            np.testing.assert_allclose(part[name], rows[start:stop], rtol=1e-4, atol=1e-5)


def test_any_classifier_can_teach_by_its_probabilities(windows: Windows) -> None:
    steps = BandPower(bands=BANDS), StandardScaler(), LogisticRegression()
    teacher = make_pipeline(*steps).fit(windows, windows.y)
    found = teacher_outputs(teacher, windows, ["logits"])["logits"]
    assert found.dtype == np.float32
    proba = torch.from_numpy(found).double().softmax(dim=1)
    np.testing.assert_allclose(proba, teacher.predict_proba(windows), atol=1e-6)


def test_a_teacher_that_is_certain_stays_finite(windows: Windows) -> None:
    teacher = DummyClassifier(strategy="most_frequent").fit(windows, windows.y)
    found = teacher_outputs(teacher, windows, ["logits"])["logits"]
    assert np.isfinite(found).all()
    assert set(np.exp(found[0].astype(float)).round(9)) == {0.0, 1.0}


# ---------------------------------------------------------------------- the cache


def test_outputs_are_computed_once_for_a_teacher_windows_and_kind(
    teacher: SleepStager, windows: Windows, tmp_path: Path, read_outs: list
) -> None:
    def ask(teacher: Any, windows: Windows, *kinds: str, **rest: Any) -> dict[str, np.ndarray]:
        return teacher_outputs(teacher, windows, kinds, cache=tmp_path, **rest)

    plain = teacher_outputs(teacher, windows, ["logits", "features"])
    read_outs.clear()
    first = ask(teacher, windows, "logits")
    assert [kinds for _, kinds in read_outs] == [("logits",)]
    both = ask(FrozenEstimator(teacher), windows, "features", "logits")
    # Only what was missing.
    assert [kinds for _, kinds in read_outs] == [("logits",), ("features",)]
    ask(teacher, windows, "logits", "features")
    ask(clone(teacher).fit(windows), windows, "logits")  # the same weights
    assert len(read_outs) == 2
    for name, rows in plain.items():
        np.testing.assert_array_equal(both[name], rows)
    np.testing.assert_array_equal(first["logits"], plain["logits"])
    assert isinstance(both["features"], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        both["features"][0] = 0


def test_what_changes_outputs_is_computed_anew(
    teacher: SleepStager,
    windows: Windows,
    target: Windows,
    tiny: dict[str, Any],
    tmp_path: Path,
    read_outs: list,
) -> None:
    order = np.random.default_rng(0).permutation(48)
    other = clone(teacher).set_params(random_state=8).fit(windows)
    groups = (ATTENTION, ATTENTION[:1])
    asked = [
        (teacher, windows, "logits", ()),
        (teacher, windows[order], "logits", ()),
        (teacher, target, "logits", ()),
        (other, windows, "logits", ()),
        *((teacher, windows, "attention", group) for group in groups),
    ]
    for times_computed in (1, 0):
        for who, what, kind, attention in asked:
            read_outs.clear()
            found = teacher_outputs(who, what, [kind], attention=attention, cache=tmp_path)
            assert len(read_outs) == times_computed
            expected = teacher_outputs(who, what, [kind], attention=attention)
            assert set(found) == set(expected)
            for name, rows in expected.items():
                np.testing.assert_array_equal(found[name], rows)
    assert len(list(tmp_path.iterdir())) == len(asked)


def test_the_length_of_a_teachers_sequences_matters(
    windows: Windows, sequential: dict[str, Any], tmp_path: Path
) -> None:
    teacher = SleepStager(**sequential).fit(windows)
    five = teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)["logits"]
    teacher.set_params(sequence_length=2)
    two = teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)["logits"]
    assert not np.array_equal(five, two)
    np.testing.assert_array_equal(two, teacher.decision_function(windows))


@pytest.mark.parametrize("damage", ["bytes", "missing", "manifest", "extra"])
def test_a_damaged_folder_is_set_aside_and_made_anew(
    teacher: SleepStager, windows: Windows, tmp_path: Path, read_outs: list, damage: str
) -> None:
    expected = teacher_outputs(teacher, windows, ["logits"])["logits"]
    teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    file = folder / "logits.npy"
    if damage == "bytes":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    elif damage == "manifest":
        (folder / "manifest.json").write_text("{")
    else:
        np.save(folder / "features.npy", np.zeros(48))
    read_outs.clear()
    for _ in range(2):
        found = teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)
        assert set(found) == {"logits"}
        np.testing.assert_array_equal(found["logits"], expected)
    assert len(read_outs) == 1
    assert {p.name for p in tmp_path.iterdir()} == {folder.name, f".damaged-{folder.name}-0"}


def test_networks_of_the_same_weights_that_compute_something_else_are_told_apart(
    windows: Windows, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """Untrained networks of one seed and two activations."""
    found = []
    for activation in (nn.ReLU, nn.Tanh):
        params = {"n_conv_chs": 2, "activation": activation}
        teacher = SleepStager(**tiny | {"max_epochs": 0, "model_params": params}).fit(windows)
        found.append(teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)["logits"])
        np.testing.assert_array_equal(found[-1], teacher.decision_function(windows))
    assert not np.allclose(*found)


def test_a_teacher_that_is_no_network_is_asked_each_time(windows: Windows, tmp_path: Path) -> None:
    teacher = DummyClassifier().fit(windows, windows.y)
    cached = teacher_outputs(teacher, windows, ["logits"], cache=tmp_path)
    plain = teacher_outputs(teacher, windows, ["logits"])
    np.testing.assert_array_equal(cached["logits"], plain["logits"])
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- errors


def test_windows_without_the_teachers_channels_are_unpaired(
    teacher: SleepStager, windows: Windows
) -> None:
    reason = (
        "unpaired windows: the teacher sees channel 'Fpz', these windows have only Pz; "
        "join both views with Windows.paired"
    )
    with pytest.raises(DataError, match=reason):
        teacher_outputs(teacher, windows.pick(["Pz"]), ["logits"])


def test_a_teacher_that_is_no_network_has_probabilities_only(windows: Windows) -> None:
    teacher = DummyClassifier().fit(windows, windows.y)
    with pytest.raises(ValueError, match="the teacher is no network, so it has no features"):
        teacher_outputs(teacher, windows, ["logits", "features"])


# ---------------------------------------------------------------------- looking up


def identity_rows(windows: Windows) -> np.ndarray:
    """What tells a window from all others: the beginning of its signal."""
    return np.asarray(windows)[:, 0, :2]


@pytest.mark.parametrize("length", [None, 1, 5, 20])
def test_a_batch_has_the_outputs_of_its_own_windows(windows: Windows, length: int | None) -> None:
    """Of a view in another order, of which some windows are left out."""
    order = np.random.default_rng(1).permutation(48)[:41]
    view = windows[order]
    outputs = {"logits": identity_rows(windows), "window": np.arange(48.0)}
    codes = windows.y
    data = view if length is None else Sequences(view, length)
    batches = WithOutputs(data, order, outputs, codes)
    assert len(batches) == len(data)
    wanted = np.random.default_rng(2).permutation(len(data))
    x, target, positions = batches.__getitems__(wanted[: min(16, len(data))].tolist())
    assert set(target) == {"codes", "present", "logits", "window"}
    flat = x.flatten(0, -3) if length else x
    present = target["present"].numpy()
    np.testing.assert_array_equal(present, positions.flatten() >= 0)
    assert len({len(rows) for rows in (flat, *target.values())}) == 1
    np.testing.assert_array_equal(target["logits"].numpy()[present], flat[present, 0, :2])
    rows = target["window"].numpy()[present].astype(int)
    np.testing.assert_array_equal(target["codes"].numpy()[present], codes[rows])
    assert (target["codes"].numpy()[~present] == -1).all()
    assert target["codes"].dtype == torch.int64


def test_one_item_is_a_batch_of_one(windows: Windows) -> None:
    batches = WithOutputs(windows, np.arange(48), {}, windows.y)
    x, target, _ = batches[3]
    assert x.shape == (1, 2, 300)
    assert target["codes"].tolist() == [windows.y[3]]


@pytest.mark.parametrize("length", [None, 3])
def test_joined_sets_count_on_and_stay_apart(make_nights: Nights, length: int | None) -> None:
    """People and nights of both have the same names."""
    parts = [make_nights(2, 4, seed=k) for k in range(3)]
    sets = parts if length is None else [Sequences(part, length) for part in parts]
    joined = Joined(sets)
    assert len(joined) == sum(map(len, sets))
    everything = np.concatenate([np.asarray(part) for part in parts])
    wanted = np.random.default_rng(0).permutation(len(joined))
    x, _, positions = joined.__getitems__(wanted[:7].tolist())
    assert len(x) == len(positions) == 7
    there = positions >= 0
    np.testing.assert_array_equal(x[there], everything[positions[there]])
    x, _, positions = joined.__getitems__(range(len(joined)))
    assert set(positions.flatten().tolist()) - {-1} == set(range(24))
    for row in positions.reshape(len(joined), -1):
        assert len(set((row[row >= 0] // 8).tolist())) == 1
    for place, k in enumerate(wanted):  # batches keep their order
        assert torch.equal(joined.__getitems__(wanted)[2][place], positions[k])


@pytest.mark.parametrize("length", [None, 5])
def test_a_single_set_joined_is_itself(windows: Windows, length: int | None) -> None:
    one = windows if length is None else Sequences(windows, length)
    batch, joined = (data.__getitems__([5, 0, 7]) for data in (one, Joined([one])))
    assert torch.equal(batch[0], joined[0])
    assert torch.equal(batch[2], joined[2])
