"""Train one network with skorch: the only training loop there is."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Dataset, RandomSampler

from sleepshift.estimators.devices import on_device, resolve_device
from sleepshift.estimators.interruptions import Enough, Interrupted
from sleepshift.models.parts import forget_passes
from sleepshift.models.taps import by_window
from sleepshift.windows.windows import identity_collate

__all__ = [
    "attnsleep_weights",
    "balanced_weights",
    "budget",
    "class_weights",
    "cross_entropy",
    "on_epoch",
    "seeded",
    "settle",
    "train",
    "watchers",
]

#: Called after each training pass as ``f(epoch, max_epochs, row of history)``; a runner sets
#: it to show training, so that estimators carry no display parameters.
on_epoch: ContextVar[Callable[[int, int, dict[str, Any]], None] | None] = ContextVar(
    "on_epoch", default=None
)

#: Further skorch callbacks of every training; a runner sets them to follow what is trained.
watchers: ContextVar[tuple[Callback, ...]] = ContextVar("watchers", default=())


@contextlib.contextmanager
def seeded(random_state: int | np.random.RandomState | None) -> Iterator[None]:
    """Seed torch inside the block and give its generators back as they were."""
    if random_state is None:
        yield
        return
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31))
    # A process that has not touched its cards has no generators there to give back.
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(random_state)
        yield


def balanced_weights(codes: np.ndarray, n_classes: int) -> torch.Tensor:
    """Class weights n / (k * n_class), as scikit-learn's ``"balanced"``; next to 0 where absent.

    A weight of 0 would make the loss of validation windows that are all of such a class
    0 / 0.

    Parameters
    ----------
    codes : ndarray of int
        Labels of the training windows only.
    """
    counts = np.bincount(codes, minlength=n_classes)
    present = np.count_nonzero(counts)
    absent = np.full(n_classes, 1e-12)
    weights = np.divide(len(codes), present * counts, where=counts > 0, out=absent)
    return torch.tensor(weights, dtype=torch.float32)


def attnsleep_weights(codes: np.ndarray, n_classes: int) -> torch.Tensor:
    """Class weights as AttnSleep has them: by the logarithm of a stage's rarity, at least 1.

    ``round(mu_k max(1, ln(mu_k n / n_k)), 2)`` with ``mu = (1.5, 2, 1.5, 1, 1.5) / 5`` for W,
    N1, N2, N3, R (Eldele et al. 2021, and the code published with it). For the six stages W,
    S1, S2, S3, S4, R it is what an entry of the BEETL competition made of that: ``mu = (1.5,
    2, 1.5, 1, 1.5, 1.5) / 6``, and 1 / 6 where the first ``mu_k`` stands. The logarithm of a
    stage that is absent counts as 1.

    Parameters
    ----------
    codes : ndarray of int
        Labels of the training windows only.
    n_classes : int

    Returns
    -------
    Tensor of float32, shape (n_classes,)

    Raises
    ------
    ValueError
        If there are neither five stages nor six.

    Examples
    --------
    >>> codes = np.repeat(np.arange(5), [8285, 2804, 17799, 5703, 7717])  # Sleep-EDF-20
    >>> [round(weight, 2) for weight in attnsleep_weights(codes, 5).tolist()]
    [0.3, 0.72, 0.3, 0.2, 0.3]
    """
    if n_classes not in (5, 6):
        raise ValueError(
            "class_weight='attnsleep' is for the five stages W N1 N2 N3 R or the six W S1 S2 S3 S4 "
            f"R, not for {n_classes}"
        )
    mu = np.array([1.5, 2.0, 1.5, 1.0, 1.5, 1.5])[:n_classes] / n_classes
    counts = np.bincount(codes, minlength=n_classes)
    ratio = np.divide(mu * len(codes), counts, where=counts > 0, out=np.ones(n_classes))
    weights = np.round((mu if n_classes == 5 else 1 / 6) * np.maximum(1, np.log(ratio)), 2)
    return torch.tensor(weights, dtype=torch.float32)


_WEIGHTS = {"balanced": balanced_weights, "attnsleep": attnsleep_weights}


def class_weights(how: str | None, codes: np.ndarray, n_classes: int) -> torch.Tensor | None:
    """Class weights by name; None is none.

    Parameters
    ----------
    how : {"balanced", "attnsleep"} or None
    codes : ndarray of int
        Labels of the training windows only.
    n_classes : int

    Returns
    -------
    Tensor of float32, shape (n_classes,), or None

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if how is None:
        return None
    if how not in _WEIGHTS:
        raise ValueError(f"class_weight is 'balanced', 'attnsleep' or None, not {how!r}")
    return _WEIGHTS[how](codes, n_classes)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row of skorch's history in plain Python numbers, without its batches."""
    return {
        k: v.item() if isinstance(v, np.generic) else v for k, v in row.items() if k != "batches"
    }


class _Report(Callback):
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        report = on_epoch.get()
        if report is not None:
            report(len(net.history), net.max_epochs, _plain(net.history[-1]))


class _MacroF1(Callback):
    """Macro F1 of the validation windows, from the pass that gives their loss."""

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        self.seen_: list[tuple[np.ndarray, np.ndarray]] = []

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = True, **step: Any) -> None:
        if training:
            return
        output = step["y_pred"]
        logits = output["logits"] if isinstance(output, Mapping) else by_window(output)
        codes = batch[1].flatten().cpu().numpy()
        self.seen_.append((codes, logits.argmax(dim=1).cpu().numpy()))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        truth, predicted = (np.concatenate(part) for part in zip(*self.seen_, strict=True))
        scored = truth >= 0
        score = f1_score(
            truth[scored],
            predicted[scored],
            labels=np.unique(truth[scored]),
            average="macro",
            zero_division=0,
        )
        net.history.record("valid_macro_f1", float(score))


class _Stopping(EarlyStopping):
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt:
            raise Enough from None


def budget(estimator: Any, sequence_length: int | None = None) -> dict[str, Any]:
    """The arguments of `train` that estimators hold as parameters of the same names.

    An estimator's ``batch_size`` counts windows, also where it stages sequences of them.
    """
    names = ("max_epochs", "batch_size", "lr", "weight_decay", "patience", "device", "verbose")
    found = {name: getattr(estimator, name) for name in names}
    found |= {name: getattr(estimator, name, None) for name in ("optimizer_params", "lr_drop")}
    return found | {"batch_size": max(1, found["batch_size"] // (sequence_length or 1))}


class _CrossEntropy(nn.CrossEntropyLoss):
    """One row a window, as objectives have it: the same sums in the same order."""

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return super().forward(by_window(logits), target.flatten())


def cross_entropy(weight: torch.Tensor | None = None) -> nn.Module:
    """The loss of all plain training; targets of -1 are no labels."""
    return _CrossEntropy(weight=weight, ignore_index=-1)


def settle(module: nn.Module, data: Dataset, batch_size: int, device: str = "auto") -> None:
    """Give the batch normalisations of a network the statistics of the data; nothing else moves.

    An untrained network without them has outputs that hardly depend on its input.

    Parameters
    ----------
    module : nn.Module
        Changed in place; it ends on the CPU, in evaluation mode.
    data : Dataset
        Of items whose first part enters the network.
    batch_size : int
    device : str
        Where it computes.
    """
    device = resolve_device(device)
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    module.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the plain mean over batches
    with torch.no_grad(), forget_passes(module):
        n_items = len(data) if norms else 0  # type: ignore[arg-type]
        # Each batch goes through all of the data, and none is left with a single window.
        n_batches = max(1, n_items // batch_size)
        for k in range(min(n_batches, n_items)):
            x = data.__getitems__(range(k, n_items, n_batches))[0]  # type: ignore[attr-defined]
            module(x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    module.to("cpu").eval()


def train(
    module: nn.Module,
    data: Dataset,
    valid: Dataset | None,
    *,
    max_epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float = 0.0,
    optimizer_params: Mapping[str, Any] | None = None,
    lr_drop: tuple[int, float] | None = None,
    patience: int | None = None,
    criterion: nn.Module | None = None,
    active: Sequence[nn.Module] | None = None,
    monitor: str = "loss",
    n_drawn: int | None = None,
    device: str = "auto",
    verbose: int = 0,
    callbacks: Sequence[Callback] = (),
) -> list[dict[str, Any]]:
    """Train a network in place; with validation windows the best pass is kept.

    Parameters
    ----------
    module : nn.Module
        Parameters with ``requires_grad=False`` stay as they are.
    data, valid : torch Dataset
        With ``__getitems__`` giving whole batches, as `Windows` does. `valid` None trains
        for all of `max_epochs`.
    max_epochs, batch_size : int
    lr, weight_decay : float
        Of Adam.
    optimizer_params : mapping or None
        Further arguments of `torch.optim.Adam`.
    lr_drop : (int, float) or None
        A pass, and the learning rate after it.
    patience : int or None
        Passes that are no better on the validation windows before stopping; None never stops
        early.
    criterion : nn.Module or None
        Loss of (output, target) of a batch; its parameters, if any, are trained too. None is
        the cross-entropy. Targets of -1 are no labels.
    active : sequence of nn.Module or None
        Parts that are put in training mode; all others stay in evaluation mode, so that
        their statistics do not move. None is the whole network.
    monitor : {"loss", "macro_f1"}
        What is better on the validation windows: a lower loss, or a higher macro F1 over the
        stages they have, which does not depend on the scale of the logits.
    n_drawn : int or None
        Items drawn at random for each pass; None is all of them.

    Returns
    -------
    list of dict
        One row a training pass: losses and seconds.

    Raises
    ------
    ValueError
        If there is no pass to make, nothing like `monitor`, or the optimiser's arguments do
        not fit.
    FloatingPointError
        If training diverged.
    """
    from sleepshift.estimators.classifier import Classifier

    if max_epochs < 1:
        raise ValueError(f"max_epochs is at least 1, not {max_epochs}")
    if monitor not in ("loss", "macro_f1"):
        raise ValueError(f"monitor is 'loss' or 'macro_f1', not {monitor!r}")
    if twice := {"lr", "weight_decay"} & set(optimizer_params or {}):
        raise ValueError(f"optimizer_params: {twice.pop()} has a parameter of its own")
    adam = {f"optimizer__{name}": value for name, value in (optimizer_params or {}).items()}
    n_items = len(data) if n_drawn is None else n_drawn  # type: ignore[arg-type]
    drawing = {}
    if n_drawn is not None:
        sampler = RandomSampler(data, num_samples=n_drawn)  # type: ignore[arg-type]
        drawing = {"iterator_train__sampler": sampler, "iterator_train__shuffle": False}
    device = resolve_device(device)
    data, valid = on_device(data, device), on_device(valid, device)
    watching: list[tuple[str, Callback]] = [("report", _Report())]
    if valid is not None and monitor != "loss":
        watching.append(("score", _MacroF1()))
    if lr_drop is not None:
        watching.append(("lr_drop", _dropping(lr, *lr_drop)))
    watching += [(f"watcher_{k}", watcher) for k, watcher in enumerate(watchers.get())]
    if valid is not None:  # the last, since it ends the pass for those behind it
        watching.append(("stop", _stopping(monitor, max_epochs, patience)))
    net = Classifier(
        module.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        active=active,
        criterion=cross_entropy() if criterion is None else criterion,
        optimizer=torch.optim.Adam,
        lr=lr,
        optimizer__weight_decay=weight_decay,
        **adam,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=None if valid is None else predefined_split(valid),
        iterator_train__collate_fn=identity_collate,
        iterator_valid__collate_fn=identity_collate,
        **drawing,
        # Batch normalisation cannot train on a last batch of one window.
        iterator_train__drop_last=n_items > batch_size and n_items % batch_size == 1,
        callbacks=[*watching, *callbacks],
        callbacks__valid_acc=None,
        classes=[0],
        device=device,
        verbose=verbose,
    )
    try:
        with forget_passes(module):
            net.fit(data, None)
    except Interrupted:
        raise KeyboardInterrupt from None
    module.to("cpu").eval()
    history = [_plain(row) for row in net.history]
    if not math.isfinite(history[-1]["train_loss"]):
        raise FloatingPointError("training diverged: the loss is not finite; lower lr")
    return history


def _dropping(lr: float, after: int, then: float) -> LRScheduler:
    """Goes on with another learning rate after a pass."""
    if not (after >= 1 and then > 0):
        raise ValueError(f"lr_drop is a pass from 1 on and a rate above 0, not ({after}, {then})")
    return LRScheduler("MultiStepLR", milestones=[after], gamma=then / lr)


def _stopping(monitor: str, max_epochs: int, patience: int | None) -> _Stopping:
    """Stops early and keeps the best pass."""
    return _Stopping(
        f"valid_{monitor}",
        lower_is_better=monitor == "loss",
        patience=max_epochs + 1 if patience is None else patience,
        threshold=0,  # skorch's own would pass over small improvements, and keep a worse pass
        load_best=True,
        sink=_silent,
    )


def _silent(message: str) -> None:
    """Early stopping is seen in the history; it prints nothing."""
