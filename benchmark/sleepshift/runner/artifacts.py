"""The artifact store: fitted networks and scored cells, each whole or absent.

::

    artifacts/<key>/  weights.safetensors, facts.json, manifest.json
    cells/<key>/      predictions.npz, people.json, manifest.json
    failures/<key>.json

A folder appears by renaming, its manifest with the checksums of the others is written last.
Nothing that is loaded can run code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import clone

from sleepshift.atomic import new_folder, read_json, seal, whole, write_json
from sleepshift.errors import storage

__all__ = ["ArtifactStore"]


class ArtifactStore:
    """Fitted things and scored cells below one folder.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    # ------------------------------------------------------------------ artifacts

    def has_artifact(self, key: str) -> bool:
        """Whether a fitted estimator is there, whole and undamaged."""
        return whole(self.root / "artifacts" / key)

    def save_artifact(self, key: str, estimator: Any, facts: dict[str, Any]) -> None:
        """Store a fitted estimator.

        Parameters
        ----------
        key : str
        estimator : fitted estimator
            With ``fitted_state``.
        facts : dict
            Plain values for its manifest.

        Raises
        ------
        StorageError
            If nothing more can be written.
        """
        import torch
        from safetensors.torch import save

        module, state = estimator.fitted_state()
        # Copies, since networks share tensors under two names and channels-last memory strides
        # them; safetensors takes neither.
        state_dict = module.state_dict()
        weights = {k: v.clone(memory_format=torch.contiguous_format) for k, v in state_dict.items()}
        with storage(self.root), new_folder(self.root / "artifacts" / key) as folder:
            (folder / "weights.safetensors").write_bytes(save(weights))
            write_json(folder / "facts.json", state)
            seal(folder, facts)
        self._forget_failure(key)

    def load_artifact(self, key: str, estimator: Any) -> Any:
        """A fitted copy of an estimator from its stored weights.

        Parameters
        ----------
        key : str
        estimator : estimator
            As it was fitted, or another with the same parameters; it stays as it is.
        """
        from safetensors.torch import load_file

        folder = self.root / "artifacts" / key
        fitted = clone(estimator)
        module = fitted.restore(json.loads((folder / "facts.json").read_text(encoding="utf-8")))
        module.load_state_dict(load_file(folder / "weights.safetensors"))
        return fitted

    def artifact_facts(self, key: str) -> dict[str, Any]:
        """The manifest of a stored artifact."""
        return read_json(self.root / "artifacts" / key / "manifest.json")

    # ------------------------------------------------------------------ cells

    def has_cell(self, key: str) -> bool:
        """Whether a cell is there, whole and undamaged."""
        return whole(self.root / "cells" / key)

    def save_cell(
        self,
        key: str,
        predictions: dict[str, np.ndarray],
        people: list[dict[str, Any]],
        facts: dict[str, Any],
    ) -> None:
        """Store a cell.

        Parameters
        ----------
        key : str
        predictions : dict of str to ndarray
            One entry a test window; see `read_predictions`.
        people : list of dict
            Counts of each person, as `sleepshift.runner.counts.person_counts` gives them.
        facts : dict
            Plain values for its manifest.

        Raises
        ------
        StorageError
            If nothing more can be written.
        """
        with storage(self.root), new_folder(self.root / "cells" / key) as folder:
            np.savez_compressed(folder / "predictions.npz", **predictions)  # type: ignore[arg-type]
            write_json(folder / "people.json", people)
            seal(folder, facts)
        self._forget_failure(key)

    def read_cell(self, key: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Counts per person, and the manifest."""
        folder = self.root / "cells" / key
        return read_json(folder / "people.json"), read_json(folder / "manifest.json")

    def read_predictions(self, key: str, *names: str) -> dict[str, np.ndarray]:
        """Arrays of a cell, one entry a test window.

        Parameters
        ----------
        key : str
        names : str
            Among ``row`` (in the window store), ``subject``, ``session``, ``onset`` (seconds;
            NaN where not known), ``truth``, ``predicted`` and ``probability``.
        """
        with np.load(self.root / "cells" / key / "predictions.npz", allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}

    # ------------------------------------------------------------------ failures

    def save_failure(self, key: str, reason: str, traceback: str, *, run: str = "") -> None:
        """Record why a job failed; the next run tries it again.

        Parameters
        ----------
        key : str
        reason, traceback : str
            One line, and all of them.
        run : str
            Name of the run, in which it is not tried again.
        """
        record = {"reason": reason, "traceback": traceback, "run": run}
        with storage(self.root):
            write_json(self.root / "failures" / f"{key}.json", record)

    def _forget_failure(self, key: str) -> None:
        with storage(self.root):
            (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def failure(self, key: str, *, run: str | None = None) -> str | None:
        """Why a job failed when it was last tried; None where it did not.

        Parameters
        ----------
        key : str
        run : str or None
            None is any run.
        """
        record = read_json(self.root / "failures" / f"{key}.json")
        if not isinstance(record, dict) or (run is not None and record.get("run") != run):
            return None
        return str(record.get("reason", "it is not said why"))
