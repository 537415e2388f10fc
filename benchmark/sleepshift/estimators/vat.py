"""Virtual adversarial training, and the focal loss of one stage against the rest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from sleepshift.estimators.losses import softened_kl

__all__ = ["Perturbed", "adversarial_shift", "focal_binary_cross_entropy"]

_SMALLEST_NORM = 1e-12


def focal_binary_cross_entropy(
    logits: torch.Tensor, codes: torch.Tensor, gamma: float = 2.0, smoothing: float = 0.05
) -> torch.Tensor:
    """``-[t (1 - p)^gamma log p + (1 - t) p^gamma log(1 - p)]``, mean over windows and stages.

    Each stage against the rest: p is the sigmoid of its logit, and t is 1 for the window's
    stage and 0 for others before smoothing, ``(1 - smoothing) t + smoothing / 2`` after it.
    Windows with a negative code are left out; of no others the loss is 0.

    Parameters
    ----------
    logits : Tensor, shape (n, k)
    codes : Tensor of int, shape (n,)
    gamma : float
        How much less windows count that are staged well; 0 is the binary cross-entropy.
    smoothing : float

    Returns
    -------
    Tensor, shape ()

    References
    ----------
    Lin et al. (2017), Focal Loss for Dense Object Detection, ICCV, arXiv 1708.02002.

    Examples
    --------
    >>> logits, codes = torch.zeros(2, 3), torch.tensor([0, -1])
    >>> round(focal_binary_cross_entropy(logits, codes).item(), 4)  # log(2) / 4
    0.1733
    """
    known = codes >= 0
    if not known.any():
        return 0 * logits.sum()
    logits = logits[known]
    hard = F.one_hot(codes[known], logits.shape[1]).to(logits.dtype)
    targets = (1 - smoothing) * hard + smoothing / 2
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    right = targets * (gamma * no).exp() * yes
    wrong = (1 - targets) * (gamma * yes).exp() * no
    return -(right + wrong).mean()


def adversarial_shift(
    network: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    logits: torch.Tensor,
    xi: float = 10.0,
    eps: float = 1.0,
) -> torch.Tensor:
    """Change of length `eps` of each window that moves the network's answer most, by estimate.

    One power iteration: with d of length 1 at random, the gradient with respect to d of
    ``KL(softmax(logits) || softmax(network(x + xi d)))``, brought to length `eps`. Lengths are
    Euclidean, over all values of a window.

    Parameters
    ----------
    network : callable
        Windows to logits, without chance.
    x : Tensor, shape (n, ...)
    logits : Tensor, shape (n, k)
        Its answer at x, a fixed target.
    xi, eps : float

    Returns
    -------
    Tensor, of the shape of x

    References
    ----------
    Miyato et al. (2018), Virtual Adversarial Training, IEEE TPAMI 41(8), arXiv 1704.03976.

    Examples
    --------
    >>> blind = torch.tensor([[1.0, -1.0], [0.0, 0.0]])  # to the second value
    >>> x = torch.zeros(1, 2)
    >>> adversarial_shift(lambda x: x @ blind, x, x @ blind, eps=2.0).abs().tolist()
    [[2.0, 0.0]]
    """
    d = _unit(torch.randn_like(x)).requires_grad_()
    with torch.enable_grad():
        divergence = softened_kl(network(x + xi * d).float(), logits.float())
        (gradient,) = torch.autograd.grad(divergence, d)
    return eps * _unit(gradient)


def _unit(x: torch.Tensor) -> torch.Tensor:
    flat = x.flatten(1)
    return (flat / flat.norm(dim=1, keepdim=True).clamp_min(_SMALLEST_NORM)).view_as(x)


class Perturbed(nn.Module):
    """A network that in training also gives how far its answers move under `adversarial_shift`.

    The passes for it are made in evaluation mode: the divergence is to measure the change of
    the windows, not what dropout draws, and no statistic of a normalisation is to move.

    Parameters
    ----------
    module : nn.Module
    weight : float
        Of the divergence; 0 leaves it out.
    xi, eps : float
        As in `adversarial_shift`.
    """

    def __init__(self, module: nn.Module, weight: float, xi: float, eps: float) -> None:
        super().__init__()
        self.module = module
        self.weight = weight
        self.xi = xi
        self.eps = eps

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """``logits``, and in training ``penalty``: the weighted mean over all windows."""
        outputs = {"logits": self.module(x)}
        if self.training and self.weight:
            self.module.eval()
            with torch.no_grad():
                fixed = self.module(x)
            shift = adversarial_shift(self.module, x, fixed, self.xi, self.eps)
            moved = softened_kl(self.module(x + shift).float(), fixed.float())
            outputs["penalty"] = self.weight * moved
            self.module.train()
        return outputs
