"""Two views of the same nights, window by window: see `Windows.paired`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sleepshift.errors import DataError
from sleepshift.windows.windows import Windows

_KEYS = ["subject", "session", "onset"]


def paired(first: Windows, second: Windows) -> Windows:
    """See `Windows.paired`."""
    for windows in (first, second):
        if missing := [key for key in _KEYS if key not in windows.metadata]:
            raise DataError(f"unpaired windows: they do not say their {missing[0]}")
    if first.sfreq != second.sfreq or first.shape[2] != second.shape[2]:
        raise DataError(
            f"unpaired windows: {first.shape[2]} values at {first.sfreq} Hz in the first view, "
            f"{second.shape[2]} at {second.sfreq} Hz in the second"
        )
    if twice := [name for name in first.ch_names if name in second.ch_names]:
        raise DataError(f"unpaired windows: channel {twice[0]!r} is in both views")
    left, right = (pd.MultiIndex.from_frame(w.metadata[_KEYS]) for w in (first, second))
    if left.has_duplicates or right.has_duplicates:
        raise DataError("unpaired windows: two windows have the same person, session and onset")
    for mine, other, which in ((left, right, "second"), (right, left, "first")):
        if alone := (~mine.isin(other)).sum():
            person, session, onset = mine[~mine.isin(other)][0]
            raise DataError(
                f"unpaired windows: {alone} have no partner in the {which} view; the first is of "
                f"person {person}, session {session}, at {onset:g} s"
            )
    second = second.take(right.get_indexer(left))
    return Windows.from_arrays(
        np.concatenate([np.asarray(first), np.asarray(second)], axis=1),
        first.y if first.has_labels else None,
        metadata=first.metadata,
        ch_names=[*first.ch_names, *second.ch_names],
        sfreq=first.sfreq,
        scheme=first.scheme,
    )
