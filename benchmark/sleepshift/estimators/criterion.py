"""An objective as the loss of a training loop."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from sleepshift.estimators.objectives import Objective

__all__ = ["Criterion"]

#: Outputs that a projector can map.
_FEATURES = ("features", "window")


class Criterion(nn.Module):
    """Loss of tapped outputs and a target, with what the objective needs beside them.

    Parameters
    ----------
    objective : Objective
    class_weight : Tensor or None
        Weights of the cross-entropy, shape (n_classes,).
    widths : mapping of str to (int, int)
        Number of the student's and of the teacher's features, by kind.
    teacher : mapping of str to ndarray
        The teacher's outputs on the training windows, for standardisation; empty where
        they are not known beforehand.
    """

    def __init__(
        self,
        objective: Objective,
        class_weight: torch.Tensor | None = None,
        widths: Mapping[str, tuple[int, int]] | None = None,
        teacher: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.register_buffer("class_weight", class_weight)
        widths, teacher = widths or {}, teacher or {}
        self.side = objective.projector
        wide = {k: v if self.side == "student" else v[::-1] for k, v in widths.items()}
        self.projectors = nn.ModuleDict(
            {k: nn.Linear(*wide[k]) for k in wide if self.side != "none"}
        )
        if objective.standardize:
            for kind in widths:
                rows = np.asarray(teacher[kind]).reshape(len(teacher[kind]), -1)
                # In float64 a feature that does not vary has a deviation of exactly 0.
                mean, deviation = (f(rows, axis=0, dtype=np.float64) for f in (np.mean, np.std))
                scale = np.where(deviation > 0, deviation, 1)
                self.register_buffer(f"{kind}_mean", torch.from_numpy(mean).float())
                self.register_buffer(f"{kind}_scale", torch.from_numpy(scale).float())

    def forward(self, outputs: Mapping[str, torch.Tensor], target: Any) -> torch.Tensor:
        """Loss of a batch; a target without a teacher's outputs is scored by its labels."""
        if not isinstance(target, Mapping):
            return self.hard(outputs["logits"], target.flatten())
        present = target["present"]
        if not present.all():
            outputs = {name: rows[present] for name, rows in outputs.items()}
            target = {name: rows[present] for name, rows in target.items()}
        hard = partial(self.hard, outputs["logits"], target["codes"])
        student = {k: self._project(k, v, "student") for k, v in outputs.items()}
        teacher = {
            k: self._project(k, self._standardised(k, v), "teacher")
            for k, v in target.items()
            if k not in ("codes", "present")
        }
        return self.objective(student, teacher, hard)

    def hard(
        self, logits: torch.Tensor, codes: torch.Tensor, label_smoothing: float = 0.0
    ) -> torch.Tensor:
        """Cross-entropy with the labels there are; 0 where a batch has none."""
        if not (codes >= 0).any():
            return 0 * logits.sum()
        weight: torch.Tensor | None = self.class_weight  # type: ignore[assignment]
        return cross_entropy(
            logits, codes, weight=weight, ignore_index=-1, label_smoothing=label_smoothing
        )

    def _project(self, kind: str, rows: torch.Tensor, side: str) -> torch.Tensor:
        if kind not in _FEATURES:
            return rows
        rows = rows.flatten(1)
        mapped = side == self.side and kind in self.projectors
        return self.projectors[kind](rows) if mapped else rows

    def _standardised(self, kind: str, rows: torch.Tensor) -> torch.Tensor:
        mean = getattr(self, f"{kind}_mean", None)
        if mean is None:
            return rows
        return (rows.flatten(1) - mean) / getattr(self, f"{kind}_scale")
