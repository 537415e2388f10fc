"""Networks: the catalogue of all that can be named, and those Braindecode lacks."""

from sleepshift.models.catalogue import MODELS, ModelSpec, build_model, model_spec

__all__ = ["MODELS", "ModelSpec", "build_model", "model_spec"]
