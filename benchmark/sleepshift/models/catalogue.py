"""The networks a method can name, and what each needs of the windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "ModelSpec", "build_model", "model_spec"]


@dataclass(frozen=True)
class ModelSpec:
    """A network that can be named.

    Parameters
    ----------
    name : str
    path : str
        ``"module:Class"``, imported when it is built.
    kind : {"signal", "features"}
        What the last axis of its windows holds.
    summary : str
    max_channels : int or None
        Most channels it takes; None for any number.
    adapt : callable or None
        ``adapt(n_chans, sfreq) -> dict`` of arguments that depend on the windows.
    """

    name: str
    path: str
    kind: str
    summary: str
    max_channels: int | None = None
    adapt: Callable[[int, float], dict[str, Any]] | None = None


def _blanco_groups(n_chans: int, sfreq: float) -> dict[str, Any]:
    return {"n_groups": 2 if n_chans % 2 == 0 else 1}


def _attnsleep_width(n_chans: int, sfreq: float) -> dict[str, Any]:
    """Time steps left by its two convolution branches, which is what attention embeds."""
    widths = {64: 52, 100: 80, 125: 100, 128: 101, 200: 157, 256: 201}
    if round(sfreq) not in widths:
        rates = ", ".join(map(str, widths))
        raise ValueError(f"attnsleep works at {rates} Hz, not at {sfreq:g} Hz")
    width = widths[round(sfreq)]
    heads = next(h for h in (5, 4, 3, 2, 1) if width % h == 0)
    return {"d_model": width, "n_attn_heads": heads}


def _odd_kernels(n_chans: int, sfreq: float) -> dict[str, Any]:
    return {"ensure_odd_conv_size": True}


_BRAINDECODE = "braindecode.models:"
MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "chambon2018",
            _BRAINDECODE + "SleepStagerChambon2018",
            "signal",
            "two convolutions after a spatial filter; small and fast (Chambon 2018)",
        ),
        ModelSpec(
            "blanco2020",
            _BRAINDECODE + "SleepStagerBlanco2020",
            "signal",
            "seven grouped convolutions (Blanco 2020); without model_params={'apply_batch_norm': "
            "True} it takes hundreds of passes",
            adapt=_blanco_groups,
        ),
        ModelSpec(
            "attnsleep",
            _BRAINDECODE + "AttnSleep",
            "signal",
            "two-scale convolutions and causal attention (Eldele 2021)",
            max_channels=1,
            adapt=_attnsleep_width,
        ),
        ModelSpec(
            "usleep",
            _BRAINDECODE + "USleep",
            "signal",
            "U-shaped fully convolutional network (Perslev 2021)",
            adapt=_odd_kernels,
        ),
        ModelSpec(
            "deepsleepnet",
            _BRAINDECODE + "DeepSleepNet",
            "signal",
            "two-scale convolutions and LSTM (Supratak 2017); 25 million parameters",
        ),
        ModelSpec(
            "mlp",
            "sleepshift.models.mlp:MLP",
            "features",
            "two hidden layers on features, standardised by the training people",
        ),
    )
}


def model_spec(name: str) -> ModelSpec:
    """Look a network up by name.

    Raises
    ------
    ValueError
        If there is no such network.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; use one of {', '.join(MODELS)}")
    return MODELS[name]


def build_model(
    name: str, *, n_chans: int, n_times: int, sfreq: float | None, n_outputs: int, **params: Any
) -> nn.Module:
    """Build a network with fresh weights from torch's current random state.

    Parameters
    ----------
    name : str
        Key of `MODELS`.
    n_chans, n_times : int
        Shape of one window; `n_times` counts features where `sfreq` is None.
    sfreq : float or None
    n_outputs : int
        Number of logits.
    **params
        Passed to the network's constructor.

    Returns
    -------
    torch.nn.Module
        Maps float32 (batch, n_chans, n_times) to logits (batch, n_outputs); its last layer
        is called ``final_layer``.

    Raises
    ------
    ValueError
        If the network does not take such windows.

    Examples
    --------
    >>> net = build_model("mlp", n_chans=3, n_times=10, sfreq=None, n_outputs=5)
    >>> type(net.final_layer).__name__
    'Linear'
    """
    spec = model_spec(name)
    kind = "features" if sfreq is None else "signal"
    if spec.kind != kind:
        fitting = ", ".join(m.name for m in MODELS.values() if m.kind == kind)
        raise ValueError(f"model {name!r} takes {spec.kind} windows, not {kind}; use {fitting}")
    if spec.max_channels is not None and n_chans > spec.max_channels:
        raise ValueError(
            f"model {name!r} takes {spec.max_channels} channel, not {n_chans}; set channels"
        )
    arguments: dict[str, Any] = {"n_chans": n_chans, "n_times": n_times, "n_outputs": n_outputs}
    if sfreq is not None:
        arguments["sfreq"] = sfreq
        if spec.adapt is not None:
            arguments |= spec.adapt(n_chans, sfreq)
    module, attribute = spec.path.split(":")
    return getattr(import_module(module), attribute)(**arguments | params)
