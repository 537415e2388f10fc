"""Networks of sequences of windows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sleepshift.models.sequence import SIZES, SequenceStager

COUNTS = {"teacher": 479_685, "assistant": 258_789, "student": 119_373}
LAYERS = {"teacher": (7, 3), "assistant": (5, 2), "student": (3, 1)}


def stager(size: str, n_chans: int = 1, sfreq: float = 100, seed: int = 0) -> SequenceStager:
    torch.manual_seed(seed)
    return SequenceStager(n_chans, int(30 * sfreq), 5, sfreq, size).eval()


@pytest.mark.parametrize("size", SIZES)
def test_weights_are_as_many_as_the_docstring_says(size: str) -> None:
    count = sum(p.numel() for p in stager(size).parameters())
    assert count == COUNTS[size]
    assert f"{count:,}" in (SequenceStager.__doc__ or "")


def test_a_student_has_a_quarter_of_its_teachers_weights() -> None:
    assert COUNTS["student"] / COUNTS["teacher"] == pytest.approx(0.25, abs=0.01)
    assert COUNTS["student"] < COUNTS["assistant"] < COUNTS["teacher"]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_as_many_layers_as_published(size: str) -> None:
    net = stager(size)
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv1d)]
    assert (len(convolutions), net.sequence_encoder.lstm.num_layers) == LAYERS[size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n_windows", [1, 2, 7, 40])
def test_a_sequence_has_any_number_of_windows(size: str, n_windows: int) -> None:
    with torch.no_grad():
        assert stager(size)(torch.randn(2, n_windows, 1, 3000)).shape == (2, 5, n_windows)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("sfreq", "n_times"), [(100, 3000), (128, 3840), (200, 6000), (100, 3007)])
def test_rates_and_lengths_give_the_same_features(size: str, sfreq: float, n_times: int) -> None:
    net = SequenceStager(2, n_times, 4, sfreq, size).eval()
    assert net.n_window_features == stager(size).n_window_features
    with torch.no_grad():
        assert net(torch.randn(2, 3, 2, n_times)).shape == (2, 4, 3)


@pytest.mark.parametrize("size", SIZES)
def test_parts_give_what_can_be_matched(size: str) -> None:
    net = stager(size)
    taken = {}
    for name, part in net.named_children():
        part.register_forward_hook(
            lambda _, given, out, name=name: taken.update({name: (given[0], out)})
        )
    x = torch.randn(2, 3, 1, 3000)
    with torch.no_grad():
        logits = net(x)
    n_window, n_sequence = net.n_window_features, net.n_sequence_features
    given, out = taken["window_encoder"]
    assert torch.equal(given, x.flatten(0, 1))
    assert out.shape == (6, n_window)
    given, out = taken["sequence_encoder"]
    assert torch.equal(given, taken["window_encoder"][1].reshape(2, 3, n_window))
    assert out.shape == (2, 3, n_sequence)
    given, out = taken["final_layer"]
    assert torch.equal(given, taken["sequence_encoder"][1])
    assert torch.equal(out.transpose(1, 2), logits)
    assert isinstance(net.final_layer, nn.Linear)


@pytest.mark.parametrize("size", SIZES)
def test_features_that_are_matched_end_in_no_dropout(size: str) -> None:
    net = stager(size).train()
    taken = []
    net.window_encoder.register_forward_hook(lambda _, __, out: taken.append(out))
    x = torch.randn(2, 3, 1, 3000)
    with torch.no_grad():
        assert not torch.equal(net(x), net(x))
    assert torch.equal(*taken)
    if size == "student":  # with one layer, there is no dropout inside either
        again = net.sequence_encoder
        assert torch.equal(again(taken[0][None]), again(taken[0][None]))


@pytest.mark.parametrize("size", SIZES)
def test_stages_depend_on_windows_before_and_after(size: str) -> None:
    net = stager(size)
    x = torch.randn(1, 5, 1, 3000)
    with torch.no_grad():
        before = net(x)
        for changed in (0, 4):
            other = x.clone()
            other[:, changed] = torch.randn(1, 3000)
            assert ((net(other) - before).abs().amax((0, 1)) > 1e-7).all()
        backwards = net(x.flip(1)).flip(2)
    assert not torch.allclose(backwards, before, atol=1e-4)


def test_windows_and_sequences_are_not_mixed_up() -> None:
    net = stager("student", n_chans=2)
    x = torch.randn(3, 4, 2, 3000)
    with torch.no_grad():
        whole = net(x)
        for k in range(3):
            torch.testing.assert_close(net(x[[k]])[0], whole[k])
            features = net.window_encoder(x[k])
            scores = net.final_layer(net.sequence_encoder(features[None]))[0]
            torch.testing.assert_close(scores.T, whole[k])


@pytest.mark.parametrize(
    ("sfreq", "kernel", "stride"), [(64, 33, 4), (100, 51, 6), (128, 65, 8), (200, 101, 12)]
)
def test_the_first_kernel_is_half_a_second(sfreq: float, kernel: int, stride: int) -> None:
    first = stager("student", sfreq=sfreq).window_encoder[0]
    assert (first.kernel_size, first.stride) == ((kernel,), (stride,))


def test_without_a_rate_windows_are_30_seconds() -> None:
    with_rate = stager("student", sfreq=200)
    torch.manual_seed(0)
    without = SequenceStager(1, 6000, 5, size="student").eval()
    x = torch.randn(1, 2, 1, 6000)
    with torch.no_grad():
        assert torch.equal(without(x), with_rate(x))


@pytest.mark.parametrize("size", SIZES)
def test_the_shortest_window_that_is_taken_works(size: str) -> None:
    with pytest.raises(ValueError, match=r"samples or more at 100 Hz, not 10$") as error:
        SequenceStager(1, 10, 5, 100.0, size)
    shortest = int(str(error.value).split(" samples")[0].split()[-1])
    net = SequenceStager(1, shortest, 5, 100.0, size)
    assert net(torch.randn(2, 2, 1, shortest)).shape == (2, 5, 2)
    with pytest.raises(ValueError, match=f"not {shortest - 1}"):
        SequenceStager(1, shortest - 1, 5, 100.0, size)


@pytest.mark.parametrize("size", SIZES)
def test_what_each_layer_sees_is_centred(size: str) -> None:
    net = stager(size, n_chans=2).train()
    seen: list[torch.Tensor] = []
    for layer in (m for m in net.modules() if isinstance(m, nn.Conv1d)):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        features = net.window_encoder(10 * torch.randn(16, 2, 3000) + 5)
    for x in [*seen[1:], features.unflatten(1, (-1, 4))]:
        torch.testing.assert_close(x.mean((0, 2)), torch.zeros(x.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(
            x.std((0, 2), unbiased=False), torch.ones(x.shape[1]), atol=1e-2, rtol=0
        )


@pytest.mark.parametrize("shape", [(2, 1, 3000), (2, 3000), (2, 3, 4, 1, 3000)])
def test_batches_that_are_not_of_sequences_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(batch, n_windows, n_chans, n_times\), not"):
        stager("student")(torch.randn(shape))


def test_an_unknown_size_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no size 'tiny'; there are teacher, assistant, student"):
        SequenceStager(1, 3000, 5, 100.0, "tiny")
