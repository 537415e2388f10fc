"""The competition's score: against hand-made cases, scikit-learn and its own formula."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from sleepshift.errors import AnswerError
from sleepshift.leaderboard.official import score_answer, score_codes

RNG = np.random.default_rng(0)
#: Windows of each stage in the published labels of the final phase.
FINAL = np.repeat(np.arange(6), [10268, 4065, 8180, 572, 41, 2630])


def write(path: Path, codes, end: str = "\n", pattern: str = "%d") -> Path:
    path.write_bytes("".join(pattern % code + end for code in codes).encode())
    return path


def weights_of_the_competition(truth: np.ndarray, predicted: np.ndarray) -> float:
    """A window of stage k weighs 100 / (K n_k); K and n_k are those of the truth."""
    stages, counts = np.unique(truth, return_counts=True)
    weight = dict(zip(stages, 100 / (len(stages) * counts), strict=True))
    return sum(weight[t] for t, p in zip(truth, predicted, strict=True) if t == p)


# ---------------------------------------------------------------------- the figures


def test_the_truth_scores_100_and_all_wake_a_sixth():
    assert score_codes(FINAL, FINAL).official == 100.0
    assert score_codes(FINAL, np.zeros_like(FINAL)).official == 16.67
    assert score_codes(FINAL, np.full_like(FINAL, 4)).official == 16.67
    found = score_codes(FINAL, np.where(FINAL == 4, 3, FINAL))  # all of S4 lost
    assert found.official == 83.33
    assert found.merged["macro_f1"] == 1.0
    assert found.recalls["S4"] == (0.0, 41)
    assert (found.scheme, found.n_windows, found.n_withheld) == ("aasm5", 25756, 0)


@pytest.mark.parametrize(
    ("truth", "predicted", "official", "kappa"),
    [
        # No S4: recalls 1/2, 1, 0, 1, 1 of five stages that occur; 4 of 6 right, and chance
        # (2*2 + 1*2 + 1*0 + 1*1 + 1*1) / 36 after merging.
        ([0, 0, 1, 2, 3, 5], [0, 1, 1, 0, 3, 5], 70.0, (4 / 6 - 8 / 36) / (1 - 8 / 36)),
        # Wake and REM alone; a prediction of a stage that is not there is only wrong.
        ([0, 0, 0, 0, 5], [0, 0, 4, 3, 5], 75.0, (3 / 5 - 9 / 25) / (1 - 9 / 25)),
        # S3 alone, called S4 once: half right of six stages, all right of five.
        ([3, 3], [3, 4], 50.0, math.nan),
    ],
)
def test_stages_that_the_truth_lacks_do_not_count(truth, predicted, official, kappa):
    found = score_codes(np.array(truth), np.array(predicted))
    assert found.official == official
    assert found.merged["kappa"] == pytest.approx(kappa, nan_ok=True)
    absent = [stage for stage, (recall, n) in found.recalls.items() if n == 0]
    assert all(math.isnan(found.recalls[stage][0]) for stage in absent)
    assert len(absent) == 6 - len(set(truth))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=60))
def test_it_is_the_formula_of_the_competition(pairs):
    truth, predicted = np.array(pairs).T
    expected = weights_of_the_competition(truth, predicted)
    assert score_codes(truth, predicted).official == pytest.approx(expected, abs=0.005001)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_figures_agree_with_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 3, 5] if seed % 2 else 6, 400)
    predicted = np.where(rng.random(400) < 0.5, truth, rng.integers(0, 6, 400))
    found = score_codes(truth, predicted)
    assert found.official == round(100 * balanced_accuracy_score(truth, predicted), 2)
    merged = np.array([0, 1, 2, 3, 3, 4])
    pair = merged[truth], merged[predicted]
    assert found.merged["kappa"] == pytest.approx(cohen_kappa_score(*pair))
    assert found.merged["macro_f1"] == pytest.approx(f1_score(*pair, average="macro"))
    assert found.merged["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(*pair))
    for stage, name in enumerate(found.recalls):
        recall, n = found.recalls[name]
        assert n == (truth == stage).sum()
        assert not n or recall == pytest.approx((predicted[truth == stage] == stage).mean())


def test_windows_without_a_label_are_left_out():
    found = score_codes(np.array([0, -1, 5, -1]), np.array([0, 3, 5, 5]))
    assert (found.official, found.n_windows, found.n_withheld) == (100.0, 2, 2)
    with pytest.raises(AnswerError, match="no label at all"):
        score_codes(np.array([-1]), np.array([0]))


def test_other_schemes_are_scored_as_they_are():
    truth = np.array([0, 1, 2, 3, 4])
    found = score_codes(truth, truth[::-1], "aasm5")
    assert found.official == 20.0
    assert found.scheme == "aasm5"
    assert score_codes(np.array([0, 1]), np.array([0, 0]), "wake-deep").scheme == "wake-deep"


# ---------------------------------------------------------------------- the files


def test_files_of_any_system_and_zips_score_the_same(tmp_path):
    truth, answers = RNG.integers(0, 6, 50), RNG.integers(0, 6, 50)
    expected = score_codes(truth, answers)
    right = write(tmp_path / "truth.txt", truth)
    variants = [
        write(tmp_path / "plain.txt", answers),
        write(tmp_path / "windows.txt", answers, "\r\n"),
        write(tmp_path / "old.txt", answers, "\r"),
        write(tmp_path / "float.txt", answers, pattern="%.1f"),
        write(tmp_path / "savetxt.txt", answers, pattern="%.18e"),
    ]
    for k, end in enumerate(("\n\n", "\r\n\r\n", " \n\t\n")):
        variants.append(tmp_path / f"blank{k}.txt")
        variants[-1].write_bytes(variants[0].read_bytes() + end.encode())
    variants.append(tmp_path / "bom.txt")
    variants[-1].write_bytes(b"\xef\xbb\xbf" + variants[0].read_bytes())
    for path in variants:
        assert score_answer(path, right) == expected, path
        assert score_answer(right, path).n_windows == 50, path
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(variants[1], "answer.txt")
    assert score_answer(tmp_path / "a.zip", right) == expected
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(right, "whatever")
    assert score_answer(tmp_path / "a.zip", tmp_path / "t.zip") == expected


def test_another_length_is_named_with_both(tmp_path):
    one, two = write(tmp_path / "1.txt", [0, 1]), write(tmp_path / "2.txt", [0, 1, 2])
    with pytest.raises(AnswerError, match=r"1\.txt answers 2 windows, .*2\.txt has 3"):
        score_answer(one, two)


@pytest.mark.parametrize("bad", ["6", "-2", "W", "nan", "1.5", ""])
def test_what_is_no_stage_is_named_with_file_and_line(tmp_path, bad):
    good = write(tmp_path / "good.txt", [0, 1, 2])
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(f"0\n{bad}\n2\n")
    for pair in ((good, wrong), (wrong, good)):
        with pytest.raises(AnswerError, match=r"wrong\.txt: line 2") as caught:
            score_answer(*pair)
        assert "\n" not in str(caught.value)


def test_only_the_truth_may_lack_labels(tmp_path):
    truth, answers = write(tmp_path / "t.txt", [0, -1]), write(tmp_path / "a.txt", [0, 1])
    assert score_answer(answers, truth).n_withheld == 1
    with pytest.raises(AnswerError, match="line 2"):
        score_answer(truth, answers)


def test_tables_are_held_against_each_other_by_person(tmp_path):
    header = "subject,session,onset,stage\n"
    (tmp_path / "a.csv").write_text(header + "p1,1,30,W\np2,1,,R\n")
    (tmp_path / "t.csv").write_text(header + "p1,1,30,W\r\np2,1,,S1\r\n")
    write(tmp_path / "t.txt", [0, 1])
    assert score_answer(tmp_path / "a.csv", tmp_path / "t.csv").official == 50.0
    assert score_answer(tmp_path / "a.csv", tmp_path / "t.txt").official == 50.0
    (tmp_path / "t.csv").write_text(header + "p1,1,30,W\np3,1,,S1\n")
    with pytest.raises(AnswerError, match=r"line 3 is about 'p2 1 '.*'p3 1 '"):
        score_answer(tmp_path / "a.csv", tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text(header + "p1,1,30,N1\np2,1,,S1\n")
    with pytest.raises(AnswerError, match="line 2: 'N1' is not a stage; they are W, S1"):
        score_answer(tmp_path / "a.csv", tmp_path / "t.csv")
