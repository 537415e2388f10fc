"""`FineTuner`: go on from a fitted base with few labelled target people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from sleepshift.estimators.inputs import as_fitted, as_labelled, encode, labels_of, split_people
from sleepshift.estimators.network import NetworkClassifier
from sleepshift.estimators.readout import head_logits, items, read_out
from sleepshift.estimators.routing import fitted_base, unfitted
from sleepshift.estimators.training import budget, class_weights, cross_entropy, seeded, train
from sleepshift.models.parts import HeadOnFeatures, tensors
from sleepshift.windows.windows import Windows

__all__ = ["FineTuner"]

_NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.modules.instancenorm._InstanceNorm,
)


class FineTuner(NetworkClassifier):
    """Fit a base on source people, then train some of it on labelled target people.

    Frozen means frozen: parameters outside the trainable part get no gradient and are not
    given to the optimiser, their layers stay in evaluation mode, and after fitting the
    estimator compares them, statistics included, with what they were.

    Parameters
    ----------
    base : estimator
        With ``pretrained_module(n_outputs)``: a `SleepStager`, a `RelativePositioning`,
        another `FineTuner`. It is cloned and fitted on (X, y), unless it comes fitted
        inside a `sklearn.frozen.FrozenEstimator`.
    trainable : {"all", "head", "norm", "none"}
        The whole network; the last layer (on features computed once); the normalisation
        layers; nothing.
    max_epochs, batch_size, lr, weight_decay, valid_size, patience, device, random_state, data_seed
        As in `SleepStager`, for the fine-tuning. A share of the target people is set aside
        to keep the best pass; with one person all passes are made.
    class_weight : {"balanced", "attnsleep"} or None
        As in `SleepStager`; stages are counted in the source people, as for the base.
    verbose : int
    cache : str, Path or None
        Folder where the features of a base whose last layer alone is trained, or nothing of
        it, are kept; see `sleepshift.estimators.cache`.

    Attributes
    ----------
    base_ : fitted base
    module_, classes_, history_, ch_names_, sfreq_, n_parameters_

    Examples
    --------
    >>> from sleepshift.estimators import FineTuner, SleepStager
    >>> tuner = FineTuner(SleepStager(model="mlp"), trainable="head")
    >>> sorted(tuner.prerequisites())
    ['base']
    """

    # MOABB's evaluations hand over the labelled calibration windows by these names.
    __metadata_request__fit = {
        "X_target_labeled": True,
        "y_target_labeled": True,
        "X_target_unlabeled": True,
    }

    def __init__(
        self,
        base: Any,
        trainable: str = "all",
        max_epochs: int = 10,
        batch_size: int = 64,
        lr: float = 3e-4,
        weight_decay: float = 0.0,
        valid_size: float = 0.2,
        patience: int | None = 5,
        device: str = "auto",
        random_state: int | None = 0,
        data_seed: int = 0,
        class_weight: str | None = None,
        verbose: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        self.base = base
        self.trainable = trainable
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.valid_size = valid_size
        self.patience = patience
        self.device = device
        self.random_state = random_state
        self.data_seed = data_seed
        self.class_weight = class_weight
        self.verbose = verbose
        self.cache = cache

    def prerequisites(self) -> dict[str, Any]:
        """Estimators to fit first, by parameter name."""
        return unfitted(base=self.base)

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        X_target_labeled: Any = None,
        y_target_labeled: Any = None,
        X_target_unlabeled: Any = None,
    ) -> FineTuner:
        """Fit the base on (X, y), then fine-tune on the labelled target windows.

        Parameters
        ----------
        X, y
            Source windows and labels, as in `SleepStager.fit`.
        X_target_labeled, y_target_labeled
            Windows and labels of target people; where they are not given, (X, y) takes
            their place.
        X_target_unlabeled
            Further signals, for a base that learns from signals alone.

        Raises
        ------
        ValueError
            If `trainable` is unknown, or the base and the windows do not fit.
        RuntimeError
            If a frozen part changed all the same.
        """
        if self.trainable not in ("all", "head", "norm", "none"):
            raise ValueError(f"trainable is all, head, norm or none, not {self.trainable!r}")
        if X_target_labeled is None and y_target_labeled is not None:
            raise ValueError("y_target_labeled came without X_target_labeled")
        self.base_ = fitted_base(self.base, X, y, X_target_unlabeled=X_target_unlabeled)
        source = None
        if X_target_labeled is None:
            X_target_labeled, y_target_labeled = X, y
        elif self.class_weight is not None:
            source = labels_of(X, y)
        sfreq = self.base_.sfreq_
        windows, y, classes = as_labelled(X_target_labeled, y_target_labeled, sfreq=sfreq)
        self.classes_ = getattr(self.base_, "classes_", classes)
        self.ch_names_ = tuple(self.base_.ch_names_)
        self.sfreq_ = sfreq
        self.n_times_ = self.base_.n_times_
        windows = encode(as_fitted(windows, self.base_), y, self.classes_)
        with seeded(self.random_state):
            module = self.base_.pretrained_module(len(self.classes_))
            before = {name: tensor.clone() for name, tensor in tensors(module).items()}
            active = self._freeze(module)
            self.history_ = self._train(module, windows, active, source)
        self._check_frozen(module, active, before)
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        self.module_ = module.eval()
        return self

    @property
    def sequence_length(self) -> int | None:  # type: ignore[override]
        """Windows a sequence, where the base stages sequences."""
        return getattr(getattr(self, "base_", self.base), "sequence_length", None)

    def _logits(self, X: Any) -> np.ndarray:
        if self.cache is None or self.trainable not in ("head", "none"):
            return super()._logits(X)
        features = self.read_out(X, ("features",), cache=self.cache)["features"]
        return head_logits(self.module_, features, device=self.device)

    def _freeze(self, module: nn.Module) -> list[nn.Module]:
        """Switch gradients off outside the trainable part; return that part's modules."""
        parts: dict[str, list[nn.Module]] = {
            "all": [module],
            "head": [module.get_submodule("final_layer")],
            "norm": [m for m in module.modules() if isinstance(m, _NORMS)],
            "none": [],
        }
        active = parts[self.trainable]
        module.requires_grad_(False)
        for part in active:
            part.requires_grad_(True)
        if self.trainable == "norm" and not any(p.requires_grad for p in module.parameters()):
            raise ValueError("trainable='norm': this network has no normalisation weights")
        return active

    def _train(
        self,
        module: nn.Module,
        windows: Windows,
        active: list[nn.Module],
        source: np.ndarray | None,
    ) -> list[dict[str, Any]]:
        """Train the active parts; `source` has the stages of the source people."""
        if self.trainable == "none":
            return []
        split = split_people(windows, self.valid_size, self.data_seed)
        # Where the people of one domain are all there are, none who validate are counted.
        codes = split[0].y if source is None else np.searchsorted(self.classes_, source)
        weight = class_weights(self.class_weight, codes, len(self.classes_))
        network: nn.Module
        parts: list[Any]
        length = self.sequence_length
        if self.trainable == "head":
            network = HeadOnFeatures(module.get_submodule("final_layer"))
            parts = [part and self._features(module, part) for part in split]
            length = None
        else:
            network = module
            parts = [part and items(part, length) for part in split]
        return train(
            network,
            *parts,
            active=active,
            criterion=cross_entropy(weight),
            **budget(self, length),
        )

    def _features(self, module: nn.Module, windows: Windows) -> _Features:
        taken = read_out(
            module,
            windows,
            ("features",),
            sequence_length=self.sequence_length,
            device=self.device,
            cache=self.cache,
        )
        return _Features(taken["features"], windows.y)

    def _check_frozen(
        self, module: nn.Module, active: list[nn.Module], before: dict[str, torch.Tensor]
    ) -> None:
        live = {id(t) for part in active for t in [*part.parameters(), *part.buffers()]}
        for name, tensor in tensors(module).items():
            if id(tensor) not in live and not torch.equal(tensor, before[name]):
                raise RuntimeError(f"frozen part {name} changed while fine-tuning")


class _Features(Dataset):
    """Features before the last layer, with the windows' labels."""

    def __init__(self, features: np.ndarray, codes: np.ndarray) -> None:
        self.features = features
        self.codes = codes.astype(np.int64)

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, ...]:
        x, y = self.__getitems__([i])
        return x[0], y[0]

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, ...]:
        x, y = self.features[indices], self.codes[indices]
        return torch.from_numpy(np.asarray(x)), torch.from_numpy(y)
