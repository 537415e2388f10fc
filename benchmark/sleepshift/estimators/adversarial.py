"""`DomainAdversarial`: features that stage the source, and do not tell it from the target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sleepshift.estimators.distiller import widths_of
from sleepshift.estimators.inputs import as_labelled, as_view, encode
from sleepshift.estimators.mixing import BothDomains
from sleepshift.estimators.network import StagerNetwork
from sleepshift.estimators.stager import SleepStager
from sleepshift.estimators.training import budget, cross_entropy, seeded, train
from sleepshift.models.taps import Tapped
from sleepshift.windows.windows import Windows

__all__ = ["DomainAdversarial", "reversal", "reverse_gradient"]


def reversal(progress: float) -> float:
    """``2 / (1 + exp(-10 p)) - 1``: weight of the reversal after a share p of training.

    Parameters
    ----------
    progress : float
        p, from 0 to 1.

    Returns
    -------
    float

    Examples
    --------
    >>> [round(reversal(p), 3) for p in (0.0, 0.1, 0.5, 1.0)]
    [0.0, 0.462, 0.987, 1.0]
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.weight * gradients[0], None


def reverse_gradient(x: torch.Tensor, weight: float) -> torch.Tensor:
    """The same values, whose gradient is multiplied by ``-weight`` on its way back.

    Parameters
    ----------
    x : Tensor
    weight : float

    Returns
    -------
    Tensor, of the shape of x

    Examples
    --------
    >>> x = torch.ones(2, requires_grad=True)
    >>> (3 * reverse_gradient(x, 0.5)).sum().backward()
    >>> x.grad.tolist()
    [-1.5, -1.5]
    """
    return _Reversal.apply(x, weight)


class DomainAdversarial(StagerNetwork):
    """Train a network to stage source windows by features that do not tell the domain.

    What enters the last layer also enters a small classifier of domains, through a layer
    that reverses its gradient: the classifier learns to tell source from target, and the
    network to make it fail. The loss of a batch is the cross-entropy of the source windows'
    stages plus that of all windows' domains. A batch holds ``batch_size`` source windows and
    as many target windows, so that a pass has the updates that the stager alone has. The
    weight of the reversal grows from 0 to `adversarial_weight` over training.

    Parameters
    ----------
    stager : SleepStager
        Network, channels, budget and seeds; it is not fitted itself. It must stage single
        windows.
    adversarial_weight : float
        Weight of the reversed gradient at the end of training; 0 leaves the features alone.
    n_hidden : int
        Width of the domain classifier's hidden layer.

    Attributes
    ----------
    module_, classes_, history_, ch_names_, sfreq_, n_parameters_
        Without the domain classifier; rows of ``history_`` say their ``phase``.

    Notes
    -----
    Nobody of the target has labels here, so the best pass is chosen as in `SleepStager`: by the
    label loss, or the macro F1, of source people set aside. Neither has the weight of the
    reversal in it, but an early pass is hardly adapted, and source people would favour it.
    So only passes of the second half of training are validated and compared, and ``patience``
    counts in them alone: phase ``"risen"``, in which the weight is above 0.93 of its end where
    there are three passes or more. Those before, phase ``"rising"``, are all made. Adam starts
    anew in between. A single pass is validated as it is.

    Batch normalisations see both domains in one batch, and keep the statistics of both. The
    published training was by gradient descent with momentum at a falling rate; here it is the
    stager's, Adam.

    The shallow methods of the package skada are of the kind of `Coral`. Its deep ones, in
    version 0.6, have validation switched off, take whole arrays in memory, and want to know
    the domain of what they predict; hence this estimator.

    References
    ----------
    Ganin et al. (2016), Domain-Adversarial Training of Neural Networks, JMLR 17(59), 1-35.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.random.default_rng(0).normal(size=(20, 2, 300)), np.arange(20) % 2
    >>> stager = SleepStager(sfreq=10.0, max_epochs=2, model_params={"n_conv_chs": 2})
    >>> adapted = DomainAdversarial(stager).fit(X, y, X_target_unlabeled=2 * X)
    >>> [row["phase"] for row in adapted.history_], adapted.predict(2 * X).shape
    (['rising', 'risen'], (20,))
    """

    _given = "stager"

    __metadata_request__fit = {"X_target_unlabeled": True}

    def __init__(self, stager: Any, adversarial_weight: float = 1.0, n_hidden: int = 100) -> None:
        self.stager = stager
        self.adversarial_weight = adversarial_weight
        self.n_hidden = n_hidden

    def fit(self, X: Any, y: Any = None, *, X_target_unlabeled: Any = None) -> DomainAdversarial:
        """Train on labelled source windows and on target signals.

        Parameters
        ----------
        X, y
            Source windows and labels, as in `SleepStager.fit`.
        X_target_unlabeled
            Signals of target people; labels that they may carry are not looked at.

        Raises
        ------
        ValueError
            If a parameter makes no sense, or there are no target signals.
        """
        self._check()
        if X_target_unlabeled is None:
            raise ValueError("DomainAdversarial needs X_target_unlabeled")
        stager = self.stager
        windows, y, classes = as_labelled(X, y, sfreq=stager.sfreq)
        windows = encode(windows.pick(stager.channels), y, classes)
        target = as_view(X_target_unlabeled, windows, stager.channels).without_labels()
        with seeded(stager.random_state):
            module = self._build(windows.shape[1:], windows.sfreq, len(classes))
            rows, held = stager._split(windows)
            weight = stager._class_weight(windows.y[rows], len(classes))
            self.history_ = self._train(
                Tapped(module, ("features",)),
                BothDomains(windows[rows], target),
                None if held is None else windows[held],
                weight,
            )
        self.classes_ = classes
        self._remember(module.eval(), windows)
        return self

    def _check(self) -> None:
        stager = self.stager
        if not isinstance(stager, SleepStager):
            raise ValueError(f"stager is a SleepStager, not a {type(stager).__name__}")
        if stager.sequence_length is not None:
            raise ValueError("DomainAdversarial takes a network of single windows")
        if not 0 <= self.adversarial_weight < math.inf:
            raise ValueError(f"adversarial_weight is 0 or more, not {self.adversarial_weight}")

    def _train(
        self,
        tapped: Tapped,
        data: BothDomains,
        valid: Windows | None,
        class_weight: torch.Tensor | None,
    ) -> list[dict[str, Any]]:
        settings = budget(self.stager)
        passes = settings["max_epochs"]
        n_updates = passes * -(-len(data) // settings["batch_size"])
        width = widths_of(tapped, data.parts[0])["features"]
        with seeded(self.stager.random_state):  # the domain classifier has chances of its own
            criterion = _Adversary(
                width, self.n_hidden, self.adversarial_weight, n_updates, class_weight
            )
        rising = passes // 2
        phases: list[tuple[str, Windows | None, dict[str, Any]]] = [
            ("rising", None, settings | {"max_epochs": rising}),
            ("risen", valid, _later(settings, rising)),
        ]
        history = []
        for phase, held, arguments in phases if rising else phases[1:]:
            rows = train(
                tapped, data, held, criterion=criterion, monitor=self.stager.monitor, **arguments
            )
            history += [{"phase": phase, **row} for row in rows]
        return history


def _later(settings: dict[str, Any], done: int) -> dict[str, Any]:
    """The same training after some of its passes."""
    left = {"max_epochs": settings["max_epochs"] - done}
    if settings["lr_drop"] is not None:
        after, then = settings["lr_drop"]
        left |= {"lr_drop": (after - done, then)} if after > done else {"lr_drop": None, "lr": then}
    return settings | left


class _Adversary(nn.Module):
    """Cross-entropy of stages, and in training that of domains behind a reversed gradient."""

    def __init__(
        self,
        n_features: int,
        n_hidden: int,
        weight: float,
        n_updates: int,
        class_weight: torch.Tensor | None = None,
    ) -> None:
        super().__init__()
        self.stages = cross_entropy(class_weight)
        self.domain = nn.Sequential(
            nn.Linear(n_features, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 1)
        )
        self.weight = weight
        self.n_updates = n_updates
        self.n_done = 0

    def forward(self, outputs: Mapping[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        """Loss of a batch; windows without a label are the target's."""
        codes = target.flatten()
        loss = self.stages(outputs["logits"], codes)
        if not self.training:
            return loss
        weight = self.weight * reversal(min(1.0, self.n_done / self.n_updates))
        self.n_done += 1
        scores = self.domain(reverse_gradient(outputs["features"].flatten(1), weight))
        return loss + nn.functional.binary_cross_entropy_with_logits(
            scores.flatten(), (codes < 0).to(scores.dtype)
        )
