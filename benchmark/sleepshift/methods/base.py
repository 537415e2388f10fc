"""What a method is: a named recipe that makes an estimator for a task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sleepshift.methods.needs import NEEDS

if TYPE_CHECKING:
    from sleepshift.protocol.fold import Fold

__all__ = ["Method", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a task, the command line and the seeds say to every method.

    Parameters
    ----------
    model : str
        Network of the deep methods.
    channels : tuple of str
        The student's view.
    teacher_channels, assistant_channels : tuple of str or None
        The teacher's view, and an assistant's, where the task has one.
    teacher_model, assistant_model : str or None
        Their networks; None is `model`.
    sequence_length : int or None
        Windows a sequence, for networks that stage sequences.
    monitor : {"loss", "macro_f1"}
        What the best pass is best in, on the people set aside.
    max_epochs, target_epochs, finetune_epochs, pretext_epochs : int
        Most training passes from scratch, on the few target people alone (of whom a pass
        is short), of fine-tuning, and of the pretext tasks.
    n_pairs : int
        Tuples a pretext pass.
    batch_size, lr, finetune_lr, patience
    random_state, data_seed : int
        Model seed and data seed.
    device : str
    """

    model: str
    channels: tuple[str, ...]
    max_epochs: int
    target_epochs: int
    batch_size: int
    lr: float
    finetune_epochs: int
    finetune_lr: float
    pretext_epochs: int
    n_pairs: int
    patience: int
    teacher_channels: tuple[str, ...] | None = None
    assistant_channels: tuple[str, ...] | None = None
    teacher_model: str | None = None
    assistant_model: str | None = None
    sequence_length: int | None = None
    monitor: str = "loss"
    random_state: int = 0
    data_seed: int = 0
    device: str = "auto"

    @property
    def network_channels(self) -> tuple[str, ...]:
        """The first channels of the view, as many as the network takes."""
        from sleepshift.models import model_spec

        return self.channels[: model_spec(self.model).max_channels]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A named recipe.

    Parameters
    ----------
    name, family, summary : str
    learns_from : str
        In words: whose signals and whose labels.
    labels : tuple of {"source", "target"}
        Whose labels; a deep method is held against the feature floors with no more.
    unlabeled : bool
        Whether it learns from unlabelled target signals where there are any.
    make : callable
        ``make(settings) -> estimator``; heavy imports happen inside.
    needs : tuple of str
        What a task must offer: keys of `sleepshift.methods.needs.NEEDS`.
    privileged : bool
        Whether it is tested on the teacher's view: an upper bound, not a competitor.
    selected_on_test : bool
        Whether the pass of training that is best on the test people is kept, as published
        systems did: more than it would score on others, so no competitor. Its estimator
        offers ``predict_proba_by_pass``, and whoever scores it chooses.
    deep : bool
        Whether it trains the task's network, or its own.
    model : str or None
        Its own network, whatever the task's.
    floor : bool
        Whether it is a feature floor that deep methods are held against.
    """

    name: str
    family: str
    summary: str
    learns_from: str
    labels: tuple[str, ...]
    make: Callable[[Settings], Any]
    needs: tuple[str, ...] = ()
    unlabeled: bool = False
    deep: bool = False
    floor: bool = False
    privileged: bool = False
    selected_on_test: bool = False
    model: str | None = None

    def skip_reason(self, fold: Fold, settings: Settings) -> str | None:
        """Why the method cannot run on a fold; None if it can."""
        for need in self.needs:
            if not NEEDS[need].met(fold, settings):
                return NEEDS[need].unmet
        if self.deep:
            from sleepshift.models import model_spec

            spec = model_spec(self.model or settings.model)
            if spec.kind != fold.source.kind:
                return f"model {spec.name} takes {spec.kind} windows, not {fold.source.kind}"
        return None
