"""The `EEGClassifier` that trains every network; imported when the first one is trained.

Braindecode takes longer to import than a finished grid takes to be read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from braindecode import EEGClassifier
from torch import nn

from sleepshift.estimators.devices import mixed_precision, single_precision
from sleepshift.estimators.interruptions import Enough, Interrupted

__all__ = ["Classifier"]


class Classifier(EEGClassifier):
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
        except Enough:
            raise
        except KeyboardInterrupt:
            raise Interrupted from None

    def infer(self, x: Any, **fit_params: Any) -> Any:
        # Passes that learn: rounded answers would tie, and ties go to the first stage.
        fast = torch.is_grad_enabled()
        with mixed_precision(self.device) if fast else contextlib.nullcontext():
            output = super().infer(x, **fit_params)
        return single_precision(output)

    def get_all_learnable_params(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in super().get_all_learnable_params():
            if parameter.requires_grad:
                yield name, parameter
