"""Recordings -> 30-s windows on disk, and the `Windows` view of them."""

from sleepshift.derivations import Derivation, derive
from sleepshift.windows.audit import audit_quality, audit_split
from sleepshift.windows.cut import Recipe, cut_recording
from sleepshift.windows.rejection import bad_electrodes
from sleepshift.windows.store import open_store, prepare, read_manifest
from sleepshift.windows.windows import Windows, identity_collate

__all__ = [
    "Derivation",
    "Recipe",
    "Windows",
    "audit_quality",
    "audit_split",
    "bad_electrodes",
    "cut_recording",
    "derive",
    "identity_collate",
    "open_store",
    "prepare",
    "read_manifest",
]
