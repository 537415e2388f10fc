"""``sleepshift runs``: what a user sees of a folder, and of what was cleared away."""

from __future__ import annotations

import os
import shutil
import time


def test_a_folder_is_listed_and_pruned(sleepshift, toy_task, tmp_path) -> None:
    out = tmp_path / "runs"
    methods = ["--methods", "majority,features-logreg", "--folds", "0", "--out", out]
    assert sleepshift("run", toy_task, *methods)[0] == 0
    code, text, _ = sleepshift("runs", out)
    assert code == 0
    lines = [line.split() for line in text.splitlines()]
    assert ["toy", "2", "0", "0", "0"] in lines
    assert ["cells", "2"] in [line[:2] for line in lines]
    assert ["window", "stores", "1"] in [line[:3] for line in lines]
    sleepshift("runs", out, "--prune")  # what was cached while it ran
    assert "--prune" not in sleepshift("runs", out)[1].replace(str(out), "")
    assert "nothing to remove" in sleepshift("runs", out, "--prune")[1]

    orphan = out / "cells" / ("0" * 20)
    orphan.mkdir()
    (orphan / "predictions.npz").write_bytes(bytes(1500))
    old = out / "windows" / "old"
    shutil.copytree(next(p for p in (out / "windows").iterdir() if p.is_dir()), old)
    then = time.time() - 2 * 86400
    for path in [*old.iterdir(), old]:
        os.utime(path, (then, then))
    text = " ".join(sleepshift("runs", out)[1].split())
    assert "nothing needs cells (1), window stores (1); free" in text
    assert f"sleepshift runs {out} --prune" in text
    assert orphan.exists()
    code, text, _ = sleepshift("runs", out, "--prune")
    assert code == 0
    assert "removed cells (1), window stores (1)" in text
    assert not orphan.exists()
    assert not old.exists()
    assert "2 kept" in sleepshift("run", toy_task, *methods)[1]


def test_a_folder_without_a_run_ends_in_one_line(sleepshift, tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        code, _, err = sleepshift("runs", folder)
        assert code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert "holds no run; start one with: sleepshift run" in err
