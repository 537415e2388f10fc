from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from sleepshift.cli_options import local_weights
from sleepshift.digest import digest
from sleepshift.errors import TaskError


def _one_line_error(result: tuple[int, str, str]) -> str:
    code, _, err = result
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("command", ["--help", "tasks", "methods", "datasets", "models"])
def test_listings_answer_without_the_heavy_libraries(command: str) -> None:
    code = (
        "import sys\n"
        "from sleepshift.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = {'torch', 'braindecode', 'mne', 'sklearn', 'pandas', 'matplotlib'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip().endswith("loaded: []")


def test_listings_name_what_there_is(sleepshift) -> None:
    code, out, _ = sleepshift("methods")
    assert code == 0
    assert all(name in out for name in ("majority", "finetune-head", "rp-linear", "kd-softmax"))
    assert "needs a teacher's view" in " ".join(out.split())
    assert "cross-age-beetl" in sleepshift("tasks")[1]
    assert "npz" in sleepshift("datasets")[1]
    assert "attnsleep" in sleepshift("models")[1]


def test_run_ends_with_the_table_and_report_writes_it(sleepshift, toy_task, tmp_path) -> None:
    out = tmp_path / "runs"
    methods = "majority,features-logreg,source-only"
    code, text, _ = sleepshift("run", toy_task, "--methods", methods, "--out", out, "--folds", "0")
    assert code == 0
    assert "macro_f1" in text
    assert f"sleepshift report {out}" in " ".join(text.split())
    folder = out / "leaderboard"
    assert not folder.exists()
    assert "3 cells are missing: toy/two/" in _one_line_error(sleepshift("report", out))
    assert not folder.exists()
    code, said, _ = sleepshift("report", out, "--partial")
    assert code == 0
    assert "PARTIAL: 3 cells are missing" in said
    assert "index.html" in said
    made = {path.name for path in folder.iterdir()}
    assert made >= {
        "results.csv",
        "nights.csv",
        "hypnograms.json",
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.tex",
        "leaderboard.png",
        "pairs.csv",
        "sleep.csv",
        "index.html",
        "figures",
        "manifest.json",
    }
    assert "simulated" in (folder / "leaderboard.md").read_text()
    assert (folder / "leaderboard.png").read_bytes().startswith(b"\x89PNG")
    rows = pd.read_csv(folder / "results.csv")
    assert set(rows["method"]) == set(methods.split(","))
    assert sleepshift("report", folder, "--check")[0] == 0
    text = (folder / "leaderboard.md").read_text()
    (folder / "leaderboard.md").write_text(text.replace("majority", "best"))
    assert "leaderboard.md does not" in _one_line_error(sleepshift("report", folder, "--check"))
    rows.loc[0, "accuracy"] = 0.999
    rows.to_csv(folder / "results.csv", index=False)
    assert "not the one" in _one_line_error(sleepshift("report", folder, "--check"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["rows"] = digest((folder / "results.csv").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "accuracy is 0.999" in _one_line_error(sleepshift("report", folder, "--check"))


def test_floors_alone_make_a_table(sleepshift, toy_task, tmp_path) -> None:
    arguments = ["--methods", "majority", "--out", tmp_path / "runs"]
    assert sleepshift("run", toy_task, *arguments)[0] == 0


def test_a_run_in_which_nothing_can_be_scored_says_why(sleepshift, toy_task, tmp_path) -> None:
    arguments = ["--methods", "source-only", "--out", tmp_path / "runs", "--folds", "0"]
    code, text, _ = sleepshift("run", toy_task, *arguments, "--set", "model=mlp")
    assert (code, "no cell has been scored" in text) == (0, True)
    code, text, _ = sleepshift("run", toy_task, *arguments, "--set", "class_weight=odd")
    assert (code, "class_weight is" in text) == (1, True)


def test_a_task_that_changed_is_not_mixed_with_its_old_rows(sleepshift, toy_task, tmp_path) -> None:
    out = tmp_path / "runs"
    sleepshift("run", toy_task, "--methods", "majority", "--out", out)
    toy_task.write_text(
        toy_task.read_text().replace(
            'test = { subjects = ["6", "7"] }', 'test = { subjects = ["6"] }'
        )
    )
    sleepshift("run", toy_task, "--methods", "features-logreg", "--out", out)
    assert "mixes rows of different definition" in _one_line_error(sleepshift("report", out))


def test_prepare_audit_and_report_work_by_themselves(sleepshift, toy_task, tmp_path) -> None:
    out = tmp_path / "runs"
    assert "windows" in sleepshift("prepare", toy_task, "--out", out)[1]
    code, text, _ = sleepshift("audit", toy_task, "--out", out)
    assert (code, "no leak found" in text) == (0, True)
    assert "holds no run" in _one_line_error(sleepshift("report", out))


def test_a_person_in_source_and_test_is_refused_by_audit_and_run(
    sleepshift, toy_task, tmp_path
) -> None:
    toy_task.write_text(
        toy_task.read_text().replace(
            'test = { subjects = ["6", "7"]', 'test = { subjects = ["1", "7"]'
        )
    )
    for command in ("audit", "run"):
        error = _one_line_error(sleepshift(command, toy_task, "--out", tmp_path / "runs"))
        assert "person 1 is in both source and test" in error
    assert not (tmp_path / "runs" / "cells").exists()


def test_distillation_runs_from_preparation_to_a_checked_report(
    sleepshift, toy_views_task, tmp_path
) -> None:
    out = tmp_path / "runs"
    methods = "majority,teacher,student-only,kd-softmax,sleepkd"
    arguments = ["run", toy_views_task, "--methods", methods, "--out", out]
    code, text, _ = sleepshift(*arguments)
    assert code == 0
    assert "^ an upper bound" in text
    assert any("teacher" in line and "^" in line for line in text.splitlines())
    assert "which have one level of features: sleepkd" in " ".join(text.split())
    assert "10 grid cells: 8 jobs scored, 0 kept, 6 shared models fitted, 0 failed" in text
    assert sleepshift("report", out)[0] == 0
    written = (out / "leaderboard" / "leaderboard.md").read_text()
    assert "| bound:" in written
    assert "Gain in macro_f1 over the controls" in written
    assert sleepshift("report", out / "leaderboard", "--check")[0] == 0
    assert "0 jobs scored, 8 kept, 0 shared models fitted" in sleepshift(*arguments)[1]
    code, text, _ = sleepshift("audit", toy_views_task, "--out", out)
    assert (code, "no leak found" in text) == (0, True)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("alpha=1.5", "alpha is the teacher's share of the loss, from 0 to 1, not 1.5"),
        ("temperature=0", "temperature is above 0, not 0"),
        ("temperature=warm", "temperature"),
        ("alpha=much", "alpha"),
        ("loss=x", "it stays"),
        ("teacher=student", "it stays"),
        ("teacher__channels=ECG", "it stays"),
        ("cache=/tmp", "it stays"),
        ("teacher__max_epochs=9", "one budget holds for all; set max_epochs"),
        ("sequence_length=4", "stages single windows; leave out sequence_length"),
        ("model=sequence-student", "stages sequences; set sequence_length"),
        ("monitor=kappa", "monitor"),
        ("teacher_model=nonsense", "unknown model 'nonsense'"),
    ],
)
def test_a_bad_setting_of_distillation_ends_in_one_line(
    sleepshift, toy_views_task, tmp_path, setting, reason
) -> None:
    out = tmp_path / "runs"
    arguments = ["--methods", "kd-softmax,kd-unlabeled", "--out", out, "--set", setting]
    assert reason in _one_line_error(sleepshift("run", toy_views_task, *arguments))
    assert not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('student = ["ECG"]', 'student = ["ECG II"]', "no channel ECG II; there are EEG Fpz-Cz"),
        ('assistant = ["EEG Pz-Oz"', 'assistant = ["Oz"', "no channel Oz; there are EEG Fpz-Cz"),
        ("labeled = 2", "labeled = 3", "protocol.labeled: 3 people with labels leave none"),
        ("labeled = 2", "labeled = 1", "protocol.cross-modality.labeled"),
        ('teacher = ["EEG Fpz-Cz", "EEG Pz-Oz"]', "", "name the teacher's channels"),
        ("n_folds = 2", "n_folds = 7", "7 folds need as many people; 6 are there"),
    ],
)
def test_a_bad_task_of_two_views_ends_in_one_line(
    sleepshift, toy_views_task, tmp_path, old, new, reason
) -> None:
    assert toy_views_task.read_text().count(old) == 1
    toy_views_task.write_text(toy_views_task.read_text().replace(old, new))
    in_folds = "protocol.labeled" in reason or "folds" in reason
    for command in ("audit", "run") if in_folds else ("prepare", "audit", "run"):
        result = sleepshift(command, toy_views_task, "--out", tmp_path / "runs")
        assert reason in _one_line_error(result)
    assert not (tmp_path / "runs" / "cells").exists()


def test_a_window_copied_across_is_refused_by_audit_and_run(sleepshift, tmp_path) -> None:
    data = tmp_path / "arrays"
    data.mkdir()
    rng = np.random.default_rng(0)
    names, arrays = [], {}
    for subject in range(4):
        arrays[subject] = rng.normal(size=(12, 1, 300)).astype(np.float32)
    arrays[3][5] = arrays[0][7]
    for subject, x in arrays.items():
        names.append(f"s{subject}.npz\t{subject}")
        np.savez(data / f"s{subject}.npz", x=x, y=np.arange(12) % 5, fs=10.0)
    (data / "participants.tsv").write_text("file\tsubject\n" + "\n".join(names) + "\n")
    task = tmp_path / "copied.toml"
    task.write_text(
        'title = "t"\nrevision = 1\ndescription = "d"\n'
        '[dataset]\nname = "npz"\nlicence = "own"\nlogin = false\ndownload = "none"\n'
        "params = { sfreq = 10.0, ordered = true }\n"
        '[windows]\nscheme = "aasm5"\nscaling = "robust"\nviews = { student = ["EEG"] }\n'
        '[scoring]\nscheme = "aasm5"\nprimary = "kappa"\n'
        '[training]\nmodel = "chambon2018"\nmax_epochs = 1\n'
        '[protocol]\nkind = "leave-subjects-out"\nn_folds = 4\n'
    )
    for command in ("audit", "run"):
        result = sleepshift(command, task, "--data", data, "--out", tmp_path / "runs")
        error = _one_line_error(result)
        assert "1 window(s) are the same" in error
        assert "person 0" in error
        assert "person 3" in error


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["run", "no-such-task"], "no task 'no-such-task'"),
        (["run", "cross-age-simulated", "--methods", "nonsense"], "unknown method 'nonsense'"),
        (["run", "cross-age-simulated", "--set", "lr"], "write it as param=value"),
        (["run", "cross-age-bandpower", "--data", "nowhere"], "nowhere"),
        (["run", "cross-age-bandpower"], "--data"),
        (["run", "cross-age-simulated", "--set", "random_state=3"], "it stays"),
        (["run", "cross-age-simulated", "--set", "nonsense=3"], "no chosen method has it"),
        (["run", "cross-age-simulated", "--set", "lr=inf"], "lr"),
        (["run", "cross-age-simulated", "--set", "model_params={1,2}"], "no stable form"),
        (["run", "cross-age-simulated", "--device", "gpu"], "use auto, cpu"),
        (["run", "cross-age-simulated", "--out", "/proc/x"], "/proc/x"),
        (["run", "nowhere.toml"], "no file 'nowhere.toml'"),
        (["report", "nowhere"], "nowhere"),
        (["report", "nowhere", "--check"], "not a leaderboard"),
    ],
)
def test_mistakes_end_in_one_line(sleepshift, tmp_path, monkeypatch, arguments, reason) -> None:
    monkeypatch.chdir(tmp_path)
    assert reason in _one_line_error(sleepshift(*arguments))
    assert not list(tmp_path.rglob("*.json"))


def test_simulate_writes_a_folder_that_sleep_edf_reads(sleepshift, tmp_path) -> None:
    folder = tmp_path / "edf"
    assert sleepshift("simulate", "--out", folder, "--subjects", "2")[0] == 0
    assert len(list(folder.glob("*-PSG.edf"))) == 2
    assert "empty" in _one_line_error(sleepshift("simulate", "--out", folder))


def test_weights_of_a_file_are_where_networks_begin_and_tables_say_so(
    sleepshift, toy_task, tmp_path
) -> None:
    from sleepshift.models import build_model
    from sleepshift.models.pretrained import save_weights

    network = build_model("chambon2018", n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5)
    out, methods = tmp_path / "runs", "majority,source-only,finetune-head"
    run = ["run", toy_task, "--methods", methods, "--folds", "one", "--out", out]
    for trained_on in (["simulated"], ["shhs"], None):
        save_weights(network, tmp_path / "mine.safetensors", trained_on=trained_on)
        code, said, error = sleepshift(*run, "--set", f"weights={tmp_path / 'mine.safetensors'}")
        assert code == 0, error
        saw = trained_on == ["simulated"]
        assert ("began with weights that were trained on this dataset" in said) == saw
        assert sleepshift("report", out, "--partial")[0] == 0
        text = (out / "leaderboard" / "leaderboard.md").read_text()
        assert "did not start afresh: source-only, finetune-head from mine.safetensors" in text
        assert ("start saw this dataset" in text) == saw
        rows = pd.read_csv(out / "leaderboard" / "results.csv").set_index("method")
        told = f"trained on {trained_on[0]}" if trained_on else "does not say"
        assert told in rows.loc["finetune-head", "pretrained"].iloc[0]
        answer = "yes" if saw else "no" if trained_on else "unknown"
        assert set(rows.loc["finetune-head", "pretrained_saw"]) == {answer}
        pooled = pd.read_csv(out / "leaderboard" / "pooled.csv").set_index("method")
        assert (pooled.loc["source-only", "flag"] == "start saw this dataset") == saw
        assert ("start unknown" in text) == (trained_on is None)
        assert rows.loc["majority", "pretrained"].isna().all()
        page = (out / "leaderboard" / "index.html").read_text()
        assert ("may have seen the people tested</li>" in page) == saw
        assert sleepshift("report", "--check", out / "leaderboard")[0] == 0


def test_weights_that_are_not_there_are_one_line(
    sleepshift, toy_task, tmp_path, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    run = ["run", toy_task, "--methods", "source-only", "--out", tmp_path / "runs"]
    for weights, words in {
        tmp_path / "nothing": "cannot be read",
        toy_task: "no safetensors file",
        "hub:a/b": "pip install huggingface_hub, or name a safetensors file",
    }.items():
        assert words in _one_line_error(sleepshift(*run, "--set", f"weights={weights}"))
    assert not (tmp_path / "runs").exists()


def test_what_is_learned_of_datasets_later_holds_for_cells_that_are_stored(
    sleepshift, toy_task, tmp_path, monkeypatch
) -> None:
    from dataclasses import replace

    from sleepshift.datasets.simulated import Simulated
    from sleepshift.models import build_model
    from sleepshift.models.pretrained import save_weights

    network = build_model("chambon2018", n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5)
    save_weights(network, tmp_path / "mine.safetensors", trained_on=["shhs"])
    run = [
        "run",
        toy_task,
        "--methods",
        "source-only",
        "--folds",
        "one",
        "--out",
        tmp_path / "runs",
    ]
    run += ["--set", f"weights={tmp_path / 'mine.safetensors'}"]
    assert "~" not in sleepshift(*run)[1]
    info = replace(Simulated.info, people_of=("shhs",))
    monkeypatch.setattr(Simulated, "info", info)
    said = sleepshift(*run)[1]
    assert "0 jobs scored, 1 kept" in said
    assert "~ its network began with weights that were trained on this dataset" in said


def test_parameters_that_are_called_weights_and_are_no_file_stay_what_they_are(tmp_path) -> None:
    assert local_weights("weights", "distance", tmp_path) == "distance"
    assert local_weights("estimator__weights", [1, 2], tmp_path) == [1, 2]
    assert local_weights("weights", None, tmp_path) is None
    assert local_weights("lr", "mine.safetensors", tmp_path) == "mine.safetensors"
    for home in ("~nobody-here/x.safetensors", "~/no such file.safetensors"):
        with pytest.raises(TaskError, match="there is no such file"):
            local_weights("weights", home, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_at_the_same_path_do_not_mix_with_the_first(
    sleepshift, toy_task, tmp_path
) -> None:
    import torch

    from sleepshift.models import build_model
    from sleepshift.models.pretrained import save_weights

    path, out = tmp_path / "mine.safetensors", tmp_path / "runs"
    for seed, fold in enumerate(("one", "two")):
        torch.manual_seed(seed)
        network = build_model("chambon2018", n_chans=1, n_times=3000, sfreq=100.0, n_outputs=5)
        save_weights(network, path, trained_on=["shhs"])
        run = ["run", toy_task, "--methods", "source-only", "--folds", fold, "--out", out]
        assert sleepshift(*run, "--set", f"weights={path}")[0] == 0
    assert len(list((out / "weights").iterdir())) == 2
    assert "mixes rows of different settings" in _one_line_error(sleepshift("report", out))
