"""The two kinds of work: fit an artifact, score a cell."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sleepshift.estimators.routing import fit_routed
from sleepshift.estimators.stored import starts_of
from sleepshift.runner.artifacts import ArtifactStore
from sleepshift.runner.costs import Cost, measured
from sleepshift.runner.counts import person_counts
from sleepshift.runner.keys import describe, target_roles
from sleepshift.runner.plan import CellJob, FitJob, Plan
from sleepshift.windows.store import library_versions

__all__ = ["device_of", "run_cell", "run_fit"]


def run_fit(job: FitJob, plan: Plan, store: ArtifactStore) -> None:
    """Fit an artifact and store it.

    Parameters
    ----------
    job : FitJob
        Whose prerequisites are stored.
    plan : Plan
    store : ArtifactStore
    """
    with measured(device_of(job.estimator)) as cost:
        start = time.perf_counter()
        fitted = _fit(job, plan, store)
        seconds = time.perf_counter() - start
    facts = {
        **_facts(job, cost),
        "fit_seconds": seconds + _seconds_of(job.needs, store),
        "versions": _versions(job.needs.values(), store),
    }
    store.save_artifact(job.key, fitted, facts)


def run_cell(job: CellJob, plan: Plan, store: ArtifactStore) -> None:
    """Score a method on the test people of a fold and store predictions and counts.

    Parameters
    ----------
    job : CellJob
        Whose prerequisites are stored.
    plan : Plan
    store : ArtifactStore

    Raises
    ------
    FloatingPointError
        If the predicted probabilities are not finite.
    """
    with measured(device_of(job.estimator)) as cost:
        start = time.perf_counter()
        if job.artifact is not None:
            fitted = store.load_artifact(job.artifact, job.estimator)
            fit_seconds = store.artifact_facts(job.artifact)["fit_seconds"]
        else:
            fitted = _fit(job, plan, store)
            fit_seconds = time.perf_counter() - start + _seconds_of(job.needs, store)
        truth, chosen = job.data.windows.labels_of(job.test), None
        start = time.perf_counter()
        if job.choose_pass:
            probabilities, chosen = _best_pass(fitted, job, truth)
        else:
            probabilities = _probabilities(fitted, job, fitted.predict_proba(job.test))
        predict_seconds = time.perf_counter() - start
    facts = {
        **_facts(job, cost),
        "artifact": job.artifact,
        "fit_seconds": fit_seconds,
        "predict_seconds": predict_seconds,
        "n_parameters": _n_parameters(fitted),
        "chosen_pass": chosen,
        "starts": [asdict(start) for start in starts_of(job.estimator)],
        "scheme": job.data.task.windows.scheme,
        "windows": job.data.windows.name,
        "versions": _versions([*job.needs.values(), *filter(None, [job.artifact])], store),
    }
    where = job.test.metadata
    predictions = {
        "row": job.test.rows,
        "subject": where["subject"].to_numpy(dtype=str),
        "session": where["session"].to_numpy(dtype=str),
        "onset": where["onset"].to_numpy(dtype=float),
        "truth": truth,
        "predicted": probabilities.argmax(axis=1),
        "probability": probabilities.astype(np.float32),
    }
    people = person_counts(job.test, truth, probabilities)
    store.save_cell(job.key, predictions, people, facts)


def device_of(estimator: Any) -> str:
    """Where an estimator, or a part of it, computes; ``"cpu"`` where it does not say.

    Parameters
    ----------
    estimator : estimator

    Examples
    --------
    >>> from sleepshift.estimators import LinearProbe, RelativePositioning
    >>> device_of(LinearProbe(RelativePositioning(device="cuda")))
    'cuda'
    """
    parameters = estimator.get_params().items()
    return next((v for name, v in parameters if name.rpartition("__")[2] == "device"), "cpu")


def _facts(job: FitJob, cost: Cost) -> dict[str, Any]:
    """What every job's manifest says."""
    return {
        "key": job.key,
        "name": job.name,
        "estimator": describe(job.estimator),
        "needs": job.needs,
        "cost": cost.facts(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }


def _fit(job: FitJob, plan: Plan, store: ArtifactStore) -> Any:
    estimator = clone(job.estimator)
    for parameter, key in job.needs.items():
        base = store.load_artifact(key, plan.fits[key].estimator)
        estimator.set_params(**{parameter: FrozenEstimator(base)})
    caches = [path for path in estimator.get_params() if path.rpartition("__")[2] == "cache"]
    estimator.set_params(**dict.fromkeys(caches, store.root / "outputs"))
    return fit_routed(estimator, job.fold.source, job.fold.source.y, **target_roles(job.fold))


def _seconds_of(needs: dict[str, str], store: ArtifactStore) -> float:
    """What the prerequisites took, theirs included: a method is not cheaper for sharing them."""
    return sum(store.artifact_facts(key)["fit_seconds"] for key in needs.values())


def _versions(artifacts: Iterable[str], store: ArtifactStore) -> dict[str, str]:
    """Versions at work now, and those that made the artifacts where they differ."""
    now = library_versions()
    made = [store.artifact_facts(key)["versions"] for key in artifacts]
    return {name: ",".join(dict.fromkeys([now[name], *(m[name] for m in made)])) for name in now}


def _n_parameters(fitted: Any) -> int | None:
    try:
        return int(fitted.n_parameters_)
    except AttributeError:
        return None


def _best_pass(fitted: Any, job: CellJob, truth: np.ndarray) -> tuple[np.ndarray, int]:
    """Probabilities after the pass with most right test windows, and its number from 1.

    The test people themselves decide, so the score flatters: it is how some published figures
    came about. Of equals it is the first; windows without a label do not count. Stages are
    those the method works in, whatever the task scores.
    """
    best: tuple[int, int, np.ndarray] | None = None
    for number, proba in enumerate(fitted.predict_proba_by_pass(job.test), start=1):
        full = _probabilities(fitted, job, proba)
        right = int((full.argmax(axis=1) == truth).sum())
        if best is None or right > best[0]:
            best = right, number, full
    if best is None:
        raise ValueError("no training pass was made")
    return best[2], best[1]


def _probabilities(fitted: Any, job: CellJob, proba: np.ndarray) -> np.ndarray:
    """Probabilities with one column for every stage of the scheme, seen in training or not."""
    from sleepshift.stages import get_scheme

    if not np.isfinite(proba).all():
        raise FloatingPointError("predicted probabilities are not finite")
    if min(fitted.classes_) < 0:
        raise ValueError("it has learned withheld labels (-1) as a stage")
    full = np.zeros((len(proba), len(get_scheme(job.data.task.windows.scheme))))
    full[:, np.asarray(fitted.classes_, dtype=int)] = proba
    return full
