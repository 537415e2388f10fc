"""A competition's recipe of mixing domains, with a network of its own."""

from __future__ import annotations

from typing import Any

from sleepshift.methods.base import Method, Settings


def _mixup_vat(settings: Settings) -> Any:
    """Rates and batches are the task's, theirs were 1e-3, a tenth of it, and 120.

    Passes are the published 5, 10 and 20, or fewer where the task makes fewer.
    """
    from sleepshift.estimators import MixupVAT

    published = MixupVAT()
    return MixupVAT(
        channels=settings.channels,
        source_epochs=min(published.source_epochs, settings.max_epochs),
        mixup_epochs=min(published.mixup_epochs, settings.finetune_epochs),
        joint_epochs=min(published.joint_epochs, settings.target_epochs),
        lr=settings.lr,
        mixup_lr=settings.lr / 10,
        batch_size=settings.batch_size,
        device=settings.device,
        random_state=settings.random_state,
    )


METHODS = (
    Method(
        name="mixup-vat",
        family="published",
        summary="an entry to BEETL: source windows mixed with target ones, and virtual "
        "adversarial training",
        learns_from="source and target labels, unlabelled target signals",
        labels=("source", "target"),
        make=_mixup_vat,
        needs=("one_view", "target_labeled"),
        unlabeled=True,
        deep=True,
        model="two-scale",
    ),
)
