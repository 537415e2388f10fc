"""Small simulated tasks that every room's tests can run in seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data beside the repository; tests that need it skip without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder.parent.name}/{folder.name} beside the project")
    return folder
