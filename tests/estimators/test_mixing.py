"""Batches of two domains: who is mixed with whom, how much, and whose label stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sleepshift.estimators import mixing
from sleepshift.estimators.devices import on_device
from sleepshift.estimators.mixing import BothDomains, JointDomains, SameStageMixup
from sleepshift.windows.windows import Windows

N = 60


def marked(base: float, y: Any = None, n: int = N) -> Windows:
    """Windows that are constant: their number plus `base`."""
    x = np.broadcast_to(base + np.arange(n, dtype=np.float32)[:, None, None], (n, 2, 4))
    return Windows.from_arrays(x, y, sfreq=10.0)


def constant(value: float, y: Any = None, n: int = N) -> Windows:
    return Windows.from_arrays(np.full((n, 2, 4), value, np.float32), y, sfreq=10.0)


def test_as_many_target_windows_follow_the_source_windows(sealed) -> None:
    torch.manual_seed(0)
    data = BothDomains(marked(0, np.arange(N) % 3), sealed(marked(1000, np.zeros(N))))
    assert len(data) == N
    seen: set[float] = set()
    for _ in range(40):
        x, codes = data.__getitems__([5, 2, 9])
        assert x[:3, 0, 0].tolist() == [5, 2, 9]
        assert codes.tolist() == [2, 2, 0, -1, -1, -1]
        seen |= set(x[3:, 0, 0].tolist())
    assert seen <= set(range(1000, 1000 + N))
    assert len(seen) > 0.7 * N


def test_windows_are_mixed_with_one_of_their_own_stage(monkeypatch) -> None:
    torch.manual_seed(0)
    y, other = np.arange(N) % 3, (np.arange(N) * 7) % 3
    data = SameStageMixup(constant(0.0, y), marked(1000, other), rate=1.0)
    monkeypatch.setattr(mixing, "_mixed", lambda x, partner, rates: partner)
    seen = set()
    for _ in range(60):
        x, codes = data.__getitems__(range(N))
        numbers = x[:, 0, 0].numpy().astype(int) - 1000
        assert codes.tolist() == y.tolist()
        assert other[numbers].tolist() == y.tolist()
        seen |= set(numbers.tolist())
    assert seen == set(range(N))


@pytest.mark.parametrize("rate", [0.6, 0.2, 0.0])
def test_shares_of_the_target_are_uniform_up_to_the_rate(rate: float) -> None:
    torch.manual_seed(0)
    y = np.arange(N) % 3
    data = SameStageMixup(constant(0.0, y), constant(1.0, y), rate)
    x = torch.cat([data.__getitems__(range(N))[0] for _ in range(50)])
    shares = x[:, 0, 0].numpy()
    assert np.array_equal(x.numpy(), np.broadcast_to(shares[:, None, None], x.shape))
    assert shares.min() >= 0
    assert shares.max() <= rate
    np.testing.assert_allclose(
        np.quantile(shares, [0.25, 0.5, 0.75]), rate * np.array([0.25, 0.5, 0.75]), atol=0.02
    )


def test_a_stage_that_the_target_lacks_stays_as_it_is() -> None:
    torch.manual_seed(0)
    y = np.arange(N) % 4  # the target has neither 1 nor 3
    data = SameStageMixup(marked(0, y), constant(1000.0, 2 * (np.arange(10) % 2), n=10), 0.6)
    x, codes = data.__getitems__(range(N))
    alone = np.isin(y, [1, 3])
    assert x[alone, 0, 0].tolist() == np.arange(N)[alone].tolist()
    assert (x[~alone, 0, 0] > torch.arange(N)[~alone]).all()
    assert codes.tolist() == y.tolist()


def joint(rate: float = 0.4, share: float = 0.75, labeled: bool = True, **fields: Any) -> Any:
    source = fields.get("source", constant(0.0, np.zeros(N, int)))
    target = fields.get("target", constant(10.0, np.ones(20, int), n=20)) if labeled else None
    return JointDomains(source, target, fields.get("unlabeled", constant(1.0)), rate, share)


def test_a_pass_is_half_of_the_labelled_windows() -> None:
    assert len(joint()) == (N + 20) // 2
    assert len(joint(labeled=False)) == N // 2


def test_the_joint_batches_hold_what_they_should(sealed) -> None:
    torch.manual_seed(0)
    data = joint(unlabeled=sealed(constant(1.0, np.full(N, 2))))
    n_target, shares = [], []
    for _ in range(100):
        x, codes = data.__getitems__(range(40))
        values = x[:, 0, 0]
        target, source, none = codes == 1, codes == 0, codes == -1
        assert int(target.sum() + source.sum()) == 40
        assert int(source.sum()) == int(none.sum())
        assert (values[target] == 10).all()  # target windows are as they are
        assert (values[none] == 1).all()  # and so are the unlabelled ones, without a label
        n_target.append(int(target.sum()))
        shares += values[source].tolist()
    assert np.mean(n_target) / 40 == pytest.approx(0.75, abs=0.03)
    assert min(shares) >= 0
    assert max(shares) <= 0.4
    np.testing.assert_allclose(np.quantile(shares, [0.25, 0.5, 0.75]), [0.1, 0.2, 0.3], atol=0.03)


def test_the_unlabelled_windows_of_a_batch_are_those_mixed_into_its_source() -> None:
    torch.manual_seed(0)
    data = joint(rate=1.0, share=0.0, unlabeled=marked(0.0), source=constant(-1.0, np.zeros(N)))
    x, codes = data.__getitems__(range(30))
    mixed, alone = x[codes == 0, 0, 0], x[codes == -1, 0, 0]
    shares = (mixed + 1) / (alone + 1)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.std() > 0.1


@pytest.mark.parametrize(("share", "left"), [(1.0, 1), (0.0, 0)])
def test_one_domain_alone_can_be_drawn(share: float, left: int) -> None:
    _, codes = joint(share=share).__getitems__(range(12))
    assert set(codes[codes >= 0].tolist()) == {left}


def test_without_labelled_target_windows_the_source_alone_is_drawn() -> None:
    _, codes = joint(labeled=False).__getitems__(range(12))
    assert codes.tolist() == [0] * 12 + [-1] * 12


def test_equal_seeds_draw_the_same() -> None:
    y = np.arange(N) % 3
    for data in (
        BothDomains(marked(0, y), marked(100)),
        SameStageMixup(marked(0, y), marked(100, y), 0.6),
        joint(),
    ):
        drawn = []
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            drawn.append(data.__getitems__(range(20))[0])
        assert torch.equal(drawn[0], drawn[1])
        assert drawn[0].shape != drawn[2].shape or not torch.equal(drawn[0], drawn[2])


def test_parts_can_be_held_on_a_device() -> None:
    """Each by itself, as far as there is room."""
    y = np.arange(N) % 3
    data = SameStageMixup(marked(0, y), marked(100, y), 0.6)
    small = 4 * N * 2 * 4
    for room in (2 * small, 0):
        held = on_device(data, "cpu", room)
        assert [type(part) is Windows for part in held.parts] == [room == 0] * 2
        torch.manual_seed(0)
        expected = data.__getitems__(range(9))
        torch.manual_seed(0)
        got = held.__getitems__(range(9))
        assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))
    assert on_device(joint(labeled=False), "cpu", 6 * small).parts[1] is None
