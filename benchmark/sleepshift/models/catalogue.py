"""The networks a method can name, and what each needs of the windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sleepshift.errors import one_line

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
    params : dict
        Further arguments that make it this network.
    attention : tuple of tuples of str
        Groups of submodules whose outputs (batch, channels, ..., times) attention transfer
        compares.
    sequence : bool
        Whether it takes (batch, n_windows, n_chans, n_times) and gives logits (batch,
        n_outputs, n_windows).
    batch_norm : bool
        Whether it has batch normalisations.
    """

    name: str
    path: str
    kind: str
    summary: str
    max_channels: int | None = None
    adapt: Callable[[int, float], dict[str, Any]] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    attention: tuple[tuple[str, ...], ...] = ()
    sequence: bool = False
    batch_norm: bool = True


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
# Later maps join the times of both branches on one axis.
_ATTNSLEEP_MAPS = tuple(
    (f"feature_extractor.0.features{branch}.3", f"feature_extractor.0.features{branch}.11")
    for branch in (1, 2)
)
_SEQUENCE_SIZES = {"teacher": "seven", "assistant": "five", "student": "three"}


def _sequence_stager(size: str, number: str) -> ModelSpec:
    return ModelSpec(
        f"sequence-{size}",
        "sleepshift.models.sequence:SequenceStager",
        "signal",
        f"{number} convolutions in each window and LSTM over sequences of windows",
        params={"size": size},
        sequence=True,
    )


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            "chambon2018",
            _BRAINDECODE + "SleepStagerChambon2018",
            "signal",
            "two convolutions after a spatial filter; small and fast (Chambon 2018)",
            attention=(("feature_extractor.3",), ("feature_extractor.7",)),
            batch_norm=False,
        ),
        ModelSpec(
            "chambon2018-bn",
            _BRAINDECODE + "SleepStagerChambon2018",
            "signal",
            "chambon2018 with batch normalisations (Banville 2021)",
            params={"apply_batch_norm": True},
            attention=(("feature_extractor.3",), ("feature_extractor.7",)),
        ),
        ModelSpec(
            "blanco2020",
            _BRAINDECODE + "SleepStagerBlanco2020",
            "signal",
            "seven grouped convolutions (Blanco 2020); without model_params={'apply_batch_norm': "
            "True} it takes hundreds of passes",
            adapt=_blanco_groups,
            attention=tuple((f"feature_extractor.{k}",) for k in range(3, 28, 4)),
            batch_norm=False,
        ),
        ModelSpec(
            "attnsleep",
            _BRAINDECODE + "AttnSleep",
            "signal",
            "two-scale convolutions and causal attention (Eldele 2021)",
            max_channels=1,
            adapt=_attnsleep_width,
            attention=_ATTNSLEEP_MAPS,
        ),
        ModelSpec(
            "attnsleep-original",
            "sleepshift.models.attnsleep:OriginalAttnSleep",
            "signal",
            "attnsleep with the arithmetic and first weights of its authors' code",
            max_channels=1,
            adapt=_attnsleep_width,
            attention=_ATTNSLEEP_MAPS,
        ),
        ModelSpec(
            "usleep",
            _BRAINDECODE + "USleep",
            "signal",
            "U-shaped fully convolutional network (Perslev 2021)",
            adapt=_odd_kernels,
            # Without the deepest maps, which are a few samples long.
            attention=(
                tuple(f"encoder_blocks.{k}.maxpool" for k in range(8)),
                tuple(f"decoder_blocks.{k}" for k in range(4, 12)),
                ("clf.1",),
            ),
        ),
        ModelSpec(
            "deepsleepnet",
            _BRAINDECODE + "DeepSleepNet",
            "signal",
            "two-scale convolutions and LSTM (Supratak 2017); 25 million parameters",
            attention=(("cnn1.pool1", "cnn1.pool2"), ("cnn2.pool1", "cnn2.pool2")),
        ),
        ModelSpec(
            "utime",
            "sleepshift.models.utime:UTime",
            "signal",
            "U-shaped network of single windows (Perslev 2019, Joshi 2021); 4.8 million parameters",
            attention=(
                tuple(f"pools.{k}" for k in range(5)),
                ("bottleneck",),
                tuple(f"decoder.{k}" for k in range(5)),
                ("dense",),
            ),
        ),
        ModelSpec(
            "cross-modal-transformer",
            "sleepshift.models.cross_modal:CrossModalTransformer",
            "signal",
            "attention within each channel, then across channels (Anandakumar 2023); 3.0 million "
            "parameters with three channels",
        ),
        ModelSpec(
            "two-scale",
            "sleepshift.models.two_scale:TwoScale",
            "signal",
            "two branches of convolutions, linear layers with normalised weights (BEETL 2021)",
            batch_norm=False,
        ),
        *(_sequence_stager(size, number) for size, number in _SEQUENCE_SIZES.items()),
        ModelSpec(
            "mlp",
            "sleepshift.models.mlp:MLP",
            "features",
            "two hidden layers on features, standardised by the training people",
        ),
    )
}


def model_spec(name: str) -> ModelSpec:
    """Look a network up by name: a key of `MODELS`, or a class of ``braindecode.models``.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> model_spec("EEGNet").path
    'braindecode.models:EEGNet'
    """
    if name in MODELS:
        return MODELS[name]
    if name[:1].isupper() and _in_braindecode(name):
        return ModelSpec(name, _BRAINDECODE + name, "signal", "Braindecode's, as it comes")
    raise ValueError(
        f"unknown model {name!r}; use one of {', '.join(MODELS)}, or a class of braindecode.models"
    )


@lru_cache
def _in_braindecode(name: str) -> bool:
    import braindecode.models
    from braindecode.models.base import EEGModuleMixin

    found = getattr(braindecode.models, name, None)
    there = isinstance(found, type) and issubclass(found, EEGModuleMixin)
    return there and found is not EEGModuleMixin


def check_sequence(spec: ModelSpec, sequence: object) -> None:
    """Refuse a network of single windows for sequences (any true value), and the reverse.

    Raises
    ------
    ValueError
        Saying what to set.
    """
    if spec.sequence != bool(sequence):
        what, how = ("sequences", "set") if spec.sequence else ("single windows", "leave out")
        raise ValueError(f"model {spec.name!r} stages {what}; {how} sequence_length")


def build_model(
    name: str,
    *,
    n_chans: int,
    n_times: int,
    sfreq: float | None,
    n_outputs: int,
    sequence: bool = False,
    **params: Any,
) -> nn.Module:
    """Build a network with fresh weights from torch's current random state.

    Parameters
    ----------
    name : str
        As `model_spec` takes it.
    n_chans, n_times : int
        Shape of one window; `n_times` counts features where `sfreq` is None.
    sfreq : float or None
    n_outputs : int
        Number of logits.
    sequence : bool
        Whether it is to stage sequences of windows.
    **params
        Passed to the network's constructor.

    Returns
    -------
    torch.nn.Module
        Maps float32 (batch, n_chans, n_times) to logits (batch, n_outputs), or (batch,
        n_windows, n_chans, n_times) to (batch, n_outputs, n_windows); its last layer is
        called ``final_layer``.

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
    check_sequence(spec, sequence)
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
    network = getattr(import_module(module), attribute)
    try:
        return network(**arguments | spec.params | params)
    except Exception as error:
        if name in MODELS:
            raise
        raise ValueError(
            f"model {name!r} is not made for such windows ({one_line(error, 200)}); set what it "
            "needs by model_params, or use another"
        ) from error
