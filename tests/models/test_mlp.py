"""The network of features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sleepshift.models.mlp import MLP


def test_features_are_standardised_by_the_training_batches() -> None:
    torch.manual_seed(0)
    net = MLP(n_chans=2, n_times=3, n_outputs=5)
    x = 1e3 * torch.randn(256, 2, 3) + 1e4
    net.train()
    z = net.standardise(x)
    np.testing.assert_allclose(z.mean(0).detach(), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0, unbiased=False).detach(), 1, atol=1e-3)


def test_evaluation_does_not_depend_on_the_other_windows_of_a_batch() -> None:
    net = MLP(n_chans=2, n_times=3, n_outputs=5).eval()
    x = torch.randn(8, 2, 3)
    torch.testing.assert_close(net(x)[:3], net(x[:3]))


def test_standardising_has_no_weights_to_learn() -> None:
    names = [name for name, _ in MLP(n_chans=2, n_times=3, n_outputs=5).named_parameters()]
    assert not [name for name in names if name.startswith("standardise")]
    assert sum(1 for _ in names) == 6


@pytest.mark.parametrize(("n_chans", "n_times", "n_outputs"), [(1, 1, 2), (3, 10, 5)])
def test_output_has_one_logit_a_class(n_chans: int, n_times: int, n_outputs: int) -> None:
    net = MLP(n_chans=n_chans, n_times=n_times, n_outputs=n_outputs, n_hidden=7, drop_prob=0)
    assert net(torch.randn(4, n_chans, n_times)).shape == (4, n_outputs)
