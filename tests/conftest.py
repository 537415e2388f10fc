"""Small simulated tasks that every room's tests can run in seconds."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from sleepshift.windows.windows import Windows

# Before torch is imported by anyone: parallel tests must not fight over cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "disabled")

# A deadline a single example would fail whenever the machine is busy with something else.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

TOY_TASK = """
title = "toy"
revision = 1
simulated = true
description = "three people teach, two adapt, two are tested"

[dataset]
name = "simulated"
licence = "BSD-3-Clause"
login = false
download = "nothing"
params = { people = [[3, 25, 40], [5, 70, 85]], nights = 1, hours = 0.75, seed = 3 }

[windows]
scheme = "aasm5"
sfreq = 100.0
scaling = "robust"
views = { student = ["EEG Fpz-Cz"] }

[scoring]
scheme = "aasm5"
primary = "macro_f1"

[training]
model = "chambon2018"
max_epochs = 2
target_epochs = 2
finetune_epochs = 1
pretext_epochs = 1
n_pairs = 64

[protocol]
kind = "cross-age"
source = { subjects = ["0-2"] }

[[protocol.folds]]
name = "one"
labeled = { subjects = ["3", "4"] }
unlabeled = { subjects = ["5"] }
test = { subjects = ["6", "7"] }

[[protocol.folds]]
name = "two"
labeled = { subjects = ["6", "7"] }
test = { subjects = ["3", "4"] }
"""

TOY_VIEWS_TASK = """
title = "toy views"
revision = 1
simulated = true
description = "of three people to learn from, two are scored; three are tested"

[dataset]
name = "simulated"
licence = "BSD-3-Clause"
login = false
download = "nothing"
params = { people = [[6, 25, 40]], nights = 1, hours = 0.5, seed = 3 }

[windows]
scheme = "aasm5"
sfreq = 100.0
scaling = "robust"

[windows.views]
teacher = ["EEG Fpz-Cz", "EEG Pz-Oz"]
assistant = ["EEG Pz-Oz", "ECG"]
student = ["ECG"]

[scoring]
scheme = "aasm5"
primary = "macro_f1"

[training]
model = "chambon2018"
max_epochs = 2
pretext_epochs = 1
n_pairs = 64

[protocol]
kind = "cross-modality"
n_folds = 2
labeled = 2
"""

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def toy_task(tmp_path: Path) -> Path:
    """Path of a task file that runs in seconds."""
    path = tmp_path / "toy.toml"
    path.write_text(TOY_TASK)
    return path


@pytest.fixture
def toy_views_task(tmp_path: Path) -> Path:
    """Path of a task file with two views that runs in seconds."""
    path = tmp_path / "toy-views.toml"
    path.write_text(TOY_VIEWS_TASK)
    return path


@pytest.fixture
def sleepshift(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: (exit code, stdout, stderr)."""
    from sleepshift import display
    from sleepshift.cli import main

    for console in (display.console, display.console_error):
        monkeypatch.setattr(console, "_width", 100)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sleepshift", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return int(exit_.value.code or 0), out, err

    return call


#: Folder of the official archives: prefix of the files, people, whether labels are there.
BEETL_PARTS = {
    "SleepSource": ("training", range(39), True),
    "LeaderboardSleep/sleep_target": ("leaderboard", range(6), True),
    "LeaderboardSleep/testing": ("leaderboard", range(6, 18), False),
    "finalSleep/sleep_target": ("testing", range(5), True),
    "finalSleep/testing": ("testing", range(5, 14), False),
}


@pytest.fixture(scope="session")
def beetl(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, int], list]]:
    """BEETL's files as the competition laid them out, of a few windows each, and the stages.

    Nights are pickled arrays of 6 to 8 windows, whose stage is heard in the signal; the second
    item maps (file name without ending, night) to stages, those that are withheld included.
    """
    folder, rng = tmp_path_factory.mktemp("beetl"), np.random.default_rng(0)
    stages: dict[tuple[str, int], list] = {}
    seconds = np.arange(3000) / 100
    for part, (prefix, people, labelled) in BEETL_PARTS.items():
        (folder / part).mkdir(parents=True)
        for person in people:
            for night in (1, 2):
                y = np.concatenate([rng.permutation(6), [0, 0][: (person + night) % 3]]).astype(int)
                tone = np.sin(2 * np.pi * (1 + 3 * y)[:, None, None] * seconds)
                x = 2e-5 * (tone + rng.normal(size=(len(y), 2, 3000)))
                start = folder / part / f"{prefix}_s{person}r{night}"
                Path(f"{start}X.npy").write_bytes(pickle.dumps(x))
                stages[f"{prefix}_s{person}", night] = y.tolist()
                if labelled:
                    Path(f"{start}y.npy").write_bytes(pickle.dumps(y.astype(np.int32), 3))
    _, people, _ = BEETL_PARTS["finalSleep/testing"]
    truth = [stages[f"testing_s{person}", night] for person in people for night in (1, 2)]
    lines = "".join(f"{stage}\n" for night in truth for stage in night)
    (folder / "final_sleep_label.txt").write_text(lines)
    return folder, stages


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder.parent.name}/{folder.name} beside the project")
    return folder


class Sealed:
    """Labels that nobody may touch."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a target label was looked at")

    __array__ = __getitem__ = __len__ = __iter__ = __eq__ = __getattr__ = _refuse
    __hash__ = None  # type: ignore[assignment]


@pytest.fixture
def sealed() -> Callable[[Windows], Windows]:
    """The same windows, with labels that nobody may touch."""

    def seal(windows: Windows) -> Windows:
        shut = windows.without_labels()
        shut._labels = Sealed()  # type: ignore[assignment]
        return shut

    return seal
