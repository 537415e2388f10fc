"""Train one network with skorch, and read one network out: the only loops there are."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch
from braindecode import EEGClassifier
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split
from torch import nn
from torch.utils.data import Dataset

from sleepshift.errors import TaskError
from sleepshift.models.parts import forget_passes, tap_features
from sleepshift.windows.windows import Windows, identity_collate

__all__ = [
    "balanced_weights",
    "budget",
    "on_epoch",
    "predict_logits",
    "resolve_device",
    "seeded",
    "train",
]

#: Called after each training pass as ``f(epoch, max_epochs, row of history)``; a runner sets
#: it to show training, so that estimators carry no display parameters.
on_epoch: ContextVar[Callable[[int, int, dict[str, Any]], None] | None] = ContextVar(
    "on_epoch", default=None
)

INFERENCE_BATCH = 64


def resolve_device(device: str) -> str:
    """``"auto"`` is CUDA where there is one, then MPS, then the CPU."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_device(device: str) -> None:
    """Refuse a device that is not there before anything is computed.

    Raises
    ------
    TaskError
        Naming it.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    kind, _, number = device.partition(":")
    known = device == "auto" or (kind in there and (not number or number.isdecimal()))
    if not known:
        raise TaskError(f"--device {device}: use auto, cpu, cuda, cuda:N or mps")
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if not there.get(kind, True) or (number and int(number) >= count):
        raise TaskError(f"--device {device}: there is none on this machine; use auto or cpu")


@contextlib.contextmanager
def seeded(random_state: int | np.random.RandomState | None) -> Iterator[None]:
    """Seed torch inside the block and give its generators back as they were."""
    if random_state is None:
        yield
        return
    if isinstance(random_state, np.random.RandomState):
        random_state = int(random_state.randint(2**31))
    with torch.random.fork_rng():
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


class _Enough(KeyboardInterrupt):
    """Early stopping's own interruption."""


class _Interrupted(BaseException):
    """The user's interruption, on its way past skorch."""


class _Stopping(EarlyStopping):
    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt:
            raise _Enough from None


class _Classifier(EEGClassifier):
    """An `EEGClassifier` whose frozen parts stay frozen.

    skorch switches the whole module to training mode on every batch, which would move the
    statistics of frozen batch normalisations and drop activations of frozen layers; and it
    hands frozen parameters to the optimiser. And it takes Ctrl-C for the end of training: a
    half-trained network would pass for a trained one.
    """

    def __init__(
        self, module: Any, *args: Any, active: Sequence[nn.Module] | None = None, **kwargs: Any
    ) -> None:
        self.active = active
        super().__init__(module, *args, **kwargs)

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training and self.active is None)
        for part in self.active or ():
            part.train(training)

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().fit_loop(*args, **kwargs)
        except _Enough:
            raise
        except KeyboardInterrupt:
            raise _Interrupted from None

    def get_all_learnable_params(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in super().get_all_learnable_params():
            if parameter.requires_grad:
                yield name, parameter


def budget(estimator: Any) -> dict[str, Any]:
    """The arguments of `train` that estimators hold as parameters of the same names."""
    names = ("max_epochs", "batch_size", "lr", "weight_decay", "patience", "device", "verbose")
    return {name: getattr(estimator, name) for name in names}


def train(
    module: nn.Module,
    data: Dataset,
    valid: Dataset | None,
    *,
    max_epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float = 0.0,
    patience: int | None = None,
    class_weight: torch.Tensor | None = None,
    active: Sequence[nn.Module] | None = None,
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
    patience : int or None
        Passes without a lower validation loss before stopping; None never stops early.
    class_weight : tensor or None
        Weights of the cross-entropy, shape (n_classes,).
    active : sequence of nn.Module or None
        Parts that are put in training mode; all others stay in evaluation mode, so that
        their statistics do not move. None is the whole network.

    Returns
    -------
    list of dict
        One row a training pass: losses and seconds.

    Raises
    ------
    ValueError
        If there is no pass to make.
    FloatingPointError
        If training diverged.
    """
    if max_epochs < 1:
        raise ValueError(f"max_epochs is at least 1, not {max_epochs}")
    n_items = len(data)  # type: ignore[arg-type]
    stopping = []
    if valid is not None:
        waiting = max_epochs + 1 if patience is None else patience
        # skorch's own threshold would pass over small improvements, and keep a worse pass.
        stopping = [
            _Stopping("valid_loss", patience=waiting, threshold=0, load_best=True, sink=_silent)
        ]
    weight = {} if class_weight is None else {"criterion__weight": class_weight}
    net = _Classifier(
        module.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        active=active,
        criterion=nn.CrossEntropyLoss,
        **weight,
        optimizer=torch.optim.Adam,
        lr=lr,
        optimizer__weight_decay=weight_decay,
        max_epochs=max_epochs,
        batch_size=batch_size,
        train_split=None if valid is None else predefined_split(valid),
        iterator_train__collate_fn=identity_collate,
        iterator_valid__collate_fn=identity_collate,
        # Batch normalisation cannot train on a last batch of one window.
        iterator_train__drop_last=n_items > batch_size and n_items % batch_size == 1,
        callbacks=[("report", _Report()), *[("stop", cb) for cb in stopping], *callbacks],
        callbacks__valid_acc=None,
        classes=[0],
        device=resolve_device(device),
        verbose=verbose,
    )
    try:
        with forget_passes(module):
            net.fit(data, None)
    except _Interrupted:
        raise KeyboardInterrupt from None
    module.to("cpu").eval()
    history = [_plain(row) for row in net.history]
    if not math.isfinite(history[-1]["train_loss"]):
        raise FloatingPointError("training diverged: the loss is not finite; lower lr")
    return history


def _silent(message: str) -> None:
    """Early stopping is seen in the history; it prints nothing."""


def predict_logits(
    module: nn.Module, windows: Windows, *, features: bool = False, device: str = "auto"
) -> np.ndarray:
    """Run a network over windows in no-grad batches.

    Parameters
    ----------
    module : nn.Module
        Put in evaluation mode.
    windows : Windows
    features : bool
        Return what enters ``final_layer`` instead of the logits.

    Returns
    -------
    ndarray of float32, shape (n_windows, n_outputs) or (n_windows, ...) for features
    """
    target = resolve_device(device)
    module = module.to(target, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    batches = []
    with torch.no_grad(), forget_passes(module), tap_features(module, features) as taken:
        for start in range(0, len(windows), INFERENCE_BATCH):
            x = windows.__getitems__(range(start, min(start + INFERENCE_BATCH, len(windows))))[0]
            logits = module(x.to(target))
            batches.append((taken.pop() if features else logits).cpu().numpy())
    module.to("cpu")
    return np.concatenate(batches).astype(np.float32, copy=False)
