"""Examples run as they are, each in a process of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_search_tries_what_it_says_and_reports_the_best(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "search.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    means = [float(mean) for mean in re.findall(r"^(\d\.\d{3}) ±", done.stdout, re.MULTILINE)]
    assert len(means) == 4
    (best,) = re.findall(r"scikit-learn: macro F1 (\d\.\d{3}) with .*temperature", done.stdout)
    assert float(best) == max(means)
    assert re.search(
        r"Optuna: macro F1 \d\.\d{3} with {'lr': .*'batch_size': (16|64)}", done.stdout
    )
    assert not list(tmp_path.iterdir())
