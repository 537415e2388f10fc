"""Task files: what is committed loads, what is wrong is named, and folds do not leak."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sleepshift.datasets.electrodes import ELECTRODES
from sleepshift.datasets.physiology import CHANNELS
from sleepshift.digest import digest
from sleepshift.errors import DataError, LeakageError, TaskError
from sleepshift.models import model_spec
from sleepshift.protocol import load_task, task_files
from sleepshift.protocol import task as task_module
from sleepshift.windows import Windows, open_store

REPOSITORY = Path(__file__).resolve().parents[2]
COMMITTED = sorted((REPOSITORY / "tasks").glob("*.toml"))
UNUSED = {"13", "36", "52", "48", "59", "73", "76"}


def spread(text):
    """People of a compact list, by hand: "1-3 7" is 1, 2, 3, 7."""
    found = set()
    for word in text.split():
        low, _, high = word.partition("-")
        found |= {str(k) for k in range(int(low), int(high or low) + 1)}
    return found


def edited(path, old, new):
    """The task file with one place changed."""
    text = path.read_text()
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new))
    return path


# ---------------------------------------------------------------------- committed tasks


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_task_loads_by_path(path):
    task = load_task(path)
    assert task.name == path.stem
    assert task.description.strip()
    assert task.dataset.licence
    parts = task.dataset.params.get("parts", [{"name": task.dataset.name}])
    assert task.simulated == ("simulated" in {part["name"] for part in parts})
    assert set(task.windows.views["student"]) <= set(task.windows.channels)


def test_there_are_committed_tasks():
    assert len(COMMITTED) >= 4


@pytest.mark.parametrize("name", ["cross-age-beetl", "cross-age-bandpower"])
def test_beetl_has_exactly_its_people_in_exactly_their_roles(name):
    protocol = load_task(REPOSITORY / "tasks" / f"{name}.toml").protocol
    table = pd.DataFrame({"subject": [str(k) for k in range(83)], "age": 50.0})
    young, old, *home = protocol.roles(table, seed=0, allow_missing=False)
    source = spread("0-12 14-32 34 35 37 38 80-82")
    assert len(source) == 39
    assert (young.name, old.name) == ("60-80", "80+")
    assert set(young.source) == set(old.source) == source
    assert set(young.labeled) == spread("33 40 42 44 47 54")
    assert set(old.labeled) == spread("60 65 71 74 75")
    assert set(young.test) == spread("41 43 45 46 49 50 51 53 55-58")
    assert len(young.test) == 12
    assert set(old.test) == spread("61-64 66 67 70 72 77")
    assert len(old.test) == 9
    for roles in (young, old):
        assert roles.unlabeled == roles.test
        everyone = [*roles.source, *roles.labeled, *roles.test]
        assert len(set(everyone)) == len(everyone)
    # Not part of the competition: its source people, each tested once by models of the others.
    assert {roles.group for roles in home} == {"in-domain"}
    assert sorted(s for roles in home for s in roles.test) == sorted(source)
    named = protocol.subjects()
    assert not UNUSED & set(named)
    assert len(named) == len(set(named)) == 39 + 6 + 12 + 5 + 9


# ---------------------------------------------------------------------- finding a task


def test_tasks_here_come_before_those_in_the_package(tmp_path, monkeypatch, toy_task):
    package = tmp_path / "package" / "sleepshift"
    for folder, title in ((package / "tasks", "packaged"), (tmp_path / "tasks", "local")):
        folder.mkdir(parents=True)
        text = toy_task.read_text().replace('title = "toy"', f'title = "{title}"')
        (folder / "both.toml").write_text(text)
        (folder / f"only-{title}.toml").write_text(text)
    monkeypatch.setattr(task_module, "__file__", str(package / "protocol" / "task.py"))
    monkeypatch.chdir(tmp_path)
    assert list(task_files()) == ["both", "only-local", "only-packaged"]
    assert load_task("both").title == "local"
    assert load_task("only-packaged").title == "packaged"
    monkeypatch.chdir(package)
    (package / "tasks").rename(package / "gone")
    with pytest.raises(TaskError, match="no task 'both'"):
        load_task("both")


def test_a_path_needs_no_tasks_folder(tmp_path, monkeypatch, toy_task):
    monkeypatch.chdir(tmp_path)
    assert load_task("toy.toml").name == "toy"
    assert load_task(toy_task).title == "toy"


def test_an_unknown_task_lists_the_known_ones(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(TaskError, match=r"no task 'nope'; there are .*cross-age-beetl"):
        load_task("nope")


# ---------------------------------------------------------------------- bad task files

# What is changed in a good file -> the field and the reason that must be named.
BAD = {
    "unknown top field": ('title = "toy"', 'title = "toy"\ncolour = "red"', "colour: Extra"),
    "missing field": ("revision = 1\n", "", "revision: Field required"),
    "revision no number": ("revision = 1", 'revision = "new"', "revision: .*valid integer"),
    "bad name": ('title = "toy"', 'title = "toy"\nname = "Toy Task"', "name: .*pattern"),
    "unknown dataset": (
        'name = "simulated"', 'name = "similated"', "dataset: unknown dataset 'similated'; use",
    ),
    "unknown dataset setting": (
        "nights = 1", "knights = 1", "dataset: params: 'simulated' has no setting 'knights'",
    ),
    "unknown scheme": (
        '[windows]\nscheme = "aasm5"', '[windows]\nscheme = "aasm6"',
        "windows.scheme: unknown stage scheme 'aasm6'",
    ),
    "unknown scoring scheme": (
        '[scoring]\nscheme = "aasm5"', '[scoring]\nscheme = "aasm6"',
        "scoring.scheme: unknown stage scheme 'aasm6'",
    ),
    "scoring finer than windows": (
        '[scoring]\nscheme = "aasm5"', '[scoring]\nscheme = "rk6"',
        "scoring.scheme: labels in 'aasm5' cannot be expressed in 'rk6'",
    ),
    "scoring drops stages": (
        '[scoring]\nscheme = "aasm5"', '[scoring]\nscheme = "wake-deep"',
        "scoring.scheme: it has no place for a stage",
    ),
    "no student": ("views = { student", "views = { teacher", "windows.views: name the student"),
    "student without channels": (
        'student = ["EEG Fpz-Cz"]', "student = []", "windows.views: name the student",
    ),
    "other view without channels": (
        'student = ["EEG Fpz-Cz"]', 'student = ["EEG Fpz-Cz"], teacher = []',
        "windows.views: view 'teacher' must name its channels",
    ),
    "a channel twice": (
        'student = ["EEG Fpz-Cz"]', 'student = ["EEG Fpz-Cz", "EEG Fpz-Cz"]',
        "windows.views: view 'student' must name its channels, each once",
    ),
    "rate of zero": ("sfreq = 100.0", "sfreq = 0", "windows.sfreq: .*greater than or equal to 1"),
    "rate not finite": ("sfreq = 100.0", "sfreq = inf", "windows.sfreq: .*finite"),
    "unknown scaling": ('scaling = "robust"', 'scaling = "z"', "windows.scaling: .*'robust'"),
    "unknown metric": ('"macro_f1"', '"f1"', "scoring.primary: .*'macro_f1'"),
    "no training": ("max_epochs = 2", "max_epochs = 0", "training.max_epochs: .*equal to 1"),
    "unknown protocol": ('"cross-age"', '"cross-wage"', "protocol: .*cross-wage"),
    "range backwards": (
        '["0-2"]', '["2-0"]', "protocol.*source.subjects: range '2-0' runs backwards",
    ),
    "a person twice in a list": (
        '["0-2"]', '["0-2", 1]', "protocol.*source.subjects: person 1 is listed twice",
    ),
    "unknown role": ('unlabeled = { subjects = ["5"] }', 'guess = "5"', "protocol.*guess: Extra"),
    "two folds of a name": ('name = "two"', 'name = "one"', "protocol.*: two folds have the same"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "reason"), BAD.values(), ids=BAD)
def test_a_bad_task_file_is_one_line_with_file_field_and_reason(toy_task, old, new, reason):
    edited(toy_task, old, new)
    with pytest.raises(TaskError) as caught:
        load_task(toy_task)
    message = str(caught.value)
    assert message.startswith(f"{toy_task}: ")
    assert "\n" not in message
    assert re.match(reason, message.removeprefix(f"{toy_task}: ")), message


@pytest.mark.parametrize("content", [b"title = ", b"= 3", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_not_toml_is_one_line(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        load_task(path)
    assert str(caught.value).startswith(f"{path} is not TOML: ")
    assert "\n" not in str(caught.value)


def test_a_dataset_setting_that_makes_no_sense_is_a_task_error(toy_task):
    task = load_task(edited(toy_task, "nights = 1", "nights = 0"))
    with pytest.raises(TaskError, match="nights must be a whole number"):
        task.make_dataset()


def test_a_task_cannot_be_changed_by_accident(toy_task):
    task = load_task(toy_task)
    with pytest.raises(ValueError, match="frozen"):
        task.revision = 2


# ---------------------------------------------------------------------- derivations

EARS = """views = { student = ["L-R", "L"], teacher = ["C3-O1", "EEG Fpz-Cz"] }
empty_derivation = "zeros"

[windows.derivations]
"L-R" = { plus = ["ELA", "ELB", "ELE"], minus = ["ERA", "ERB", "ERE"] }
L = { plus = ["ELA", "ELB"], minus = ["ELE"] }
"C3-O1" = { plus = ["C3"], minus = ["O1"] }
"""


@pytest.fixture
def ear_task(toy_task):
    return edited(toy_task, 'views = { student = ["EEG Fpz-Cz"] }\n', EARS)


def test_a_task_may_name_derivations(ear_task):
    task = load_task(ear_task)
    windows = open_store(task.prepare(ear_task.parent))
    assert windows.ch_names == task.windows.channels == ("L-R", "L", "C3-O1", "EEG Fpz-Cz")
    fold = task.folds(windows)[0]
    assert fold.test.ch_names == ("L-R", "L")
    dataset = task.make_dataset()
    raw = dataset.read(dataset.recordings(["0"])[0], ["C3", "O1"])
    c3, o1 = raw.get_data()[:, :3000].astype(np.float64)
    first = windows[windows.subjects == "0"].pick(["C3-O1"])[0][0][0]
    assert np.corrcoef(first, c3 - o1)[0, 1] > 0.9999


def test_derivations_are_part_of_what_a_task_asks(ear_task):
    one = load_task(ear_task)
    assert one.windows.model_dump()["empty_derivation"] == "zeros"
    edited(ear_task, 'empty_derivation = "zeros"', 'empty_derivation = "raise"')
    two = load_task(ear_task)
    edited(ear_task, 'plus = ["ELA", "ELB"], minus = ["ELE"]', 'plus = ["ELA"], minus = ["ELE"]')
    three = load_task(ear_task)
    assert len({task.definition for task in (one, two, three)}) == 3


def test_a_task_without_derivations_is_written_as_ever(toy_task):
    task = load_task(toy_task)
    assert task.model_dump()["windows"] == {
        "scheme": "aasm5", "views": {"student": ("EEG Fpz-Cz",)}, "sfreq": 100.0,
        "trim_wake_minutes": None, "scaling": "robust",
    }  # fmt: skip
    edited(toy_task, 'scaling = "robust"', 'scaling = "robust"\nderivations = {}')
    assert load_task(toy_task).definition == task.definition


# What is changed in the task of the ears -> the reason that must be named.
BAD_DERIVATIONS = {
    "named like its electrode": ('"C3"], minus', '"C3-O1"], minus', "'C3-O1' is named like one of"),
    "named like another's electrode": ('plus = ["C3"]', 'plus = ["L"]', "'L' is named like an el"),
    "an electrode twice": ('"ELB"], minus = ["ELE"]', '"ELA"], minus = ["ELE"]', "'L': .*twice"),
    "an electrode on both sides": ('minus = ["ELE"]', 'minus = ["ELA"]', "'L': .* on both sides"),
    "no electrode": ('plus = ["C3"]', "plus = []", "'C3-O1': plus names no electrode"),
    "in no view": (', teacher = ["C3-O1", "EEG Fpz-Cz"]', "", "'C3-O1' is in no view"),
}


@pytest.mark.parametrize(("old", "new", "reason"), BAD_DERIVATIONS.values(), ids=BAD_DERIVATIONS)
def test_a_bad_derivation_is_one_line(ear_task, old, new, reason):
    with pytest.raises(TaskError, match=f"windows.derivations: derivation {reason}") as caught:
        load_task(edited(ear_task, old, new))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('plus = ["C3"], minus', "minus", r"windows.derivations.C3-O1.plus: Field required"),
        ('plus = ["C3"]', 'plus = "C3"', r"windows.derivations.C3-O1.plus: .*tuple"),
        ('minus = ["O1"]', 'less = ["O1"]', r"windows.derivations.C3-O1.less: Extra"),
        ('"zeros"', '"drop"', r"windows.empty_derivation: .*'raise' or 'zeros'"),
    ],
)
def test_a_derivation_has_two_sides_and_no_more(ear_task, old, new, reason):
    with pytest.raises(TaskError, match=reason) as caught:
        load_task(edited(ear_task, old, new))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- folds


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def toy(toy_task, stores):
    """The toy task, packed by the first test that asks: the task and the folder of its store."""
    task = load_task(toy_task)
    return task, task.prepare(stores)


def changed_store(path, change):
    """Windows of a store whose metadata were changed."""
    windows = open_store(path)
    frame = windows.metadata
    change(frame)
    return Windows(
        np.asarray(windows), frame, windows.y, ch_names=windows.ch_names,
        sfreq=windows.sfreq, scheme=windows.scheme,
    )  # fmt: skip


def test_folds_hold_the_people_of_their_roles_with_all_their_windows(toy):
    task, path = toy
    windows = open_store(path).to_scheme("aasm5")
    one, two = task.folds(open_store(path))
    people = {
        "source": {"0", "1", "2"}, "target_labeled": {"3", "4"},
        "target_unlabeled": {"5"}, "test": {"6", "7"},
    }  # fmt: skip
    for role, expected in people.items():
        part = getattr(one, role)
        assert set(part.subjects) == expected
        assert len(part) == np.isin(windows.subjects, list(expected)).sum()
    assert two.target_unlabeled is None
    assert set(two.test.subjects) == {"3", "4"}
    np.testing.assert_array_equal(one.source.y, windows[np.isin(windows.subjects, list("012"))].y)
    assert one.source.scheme == "aasm5"
    assert not one.transductive


def test_test_and_unlabelled_people_come_without_labels(toy):
    task, path = toy
    windows = open_store(path).to_scheme(task.windows.scheme)
    for fold in task.folds(windows):
        for part in filter(None, (fold.test, fold.target_unlabeled)):
            assert not part.has_labels
            with pytest.raises(DataError, match="withheld"):
                _ = part.y
            assert "target" not in part.metadata
            assert part[0][1] == -1
            assert len(windows.labels_of(part)) == len(part)  # the runner, who has all, knows


def test_what_a_method_is_given_does_not_know_the_test_labels(toy):
    task, path = toy
    for fold in task.folds(open_store(path)):
        for given in filter(None, (fold.source, fold.target_labeled, fold.target_unlabeled)):
            with pytest.raises(DataError, match="hold no labels for that view"):
                given.labels_of(fold.test)
            if given.has_labels:
                assert len(given._labels) == len(given)


def test_at_test_time_there_is_the_students_view_only(toy_task, toy):
    task, _ = toy
    both = task.windows.model_copy(
        update={"views": {"teacher": ("EEG Pz-Oz", "EEG Fpz-Cz"), "student": ("EEG Pz-Oz",)}}
    )
    task = task.model_copy(update={"windows": both})
    fold = task.folds(open_store(task.prepare(toy_task.parent)))[0]
    assert fold.source.ch_names == ("EEG Pz-Oz", "EEG Fpz-Cz")
    assert fold.test.ch_names == ("EEG Pz-Oz",)
    with pytest.raises(DataError, match="no channel 'EEG Fpz-Cz'"):
        fold.test.pick(["EEG Fpz-Cz"])


def test_unlabelled_test_people_are_allowed_where_the_task_says_so(toy_task, toy):
    task = load_task(edited(toy_task, 'unlabeled = { subjects = ["5"] }', 'unlabeled = "test"'))
    fold = task.folds(open_store(toy[1]))[0]
    assert fold.transductive
    assert set(fold.target_unlabeled.subjects) == set(fold.test.subjects) == {"6", "7"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('source = { subjects = ["0-2"] }', 'source = { subjects = ["0-2", 7] }', "7 is in both"),
        ('unlabeled = { subjects = ["5"] }', 'unlabeled = { subjects = ["5", "6"] }', "6 is in"),
        ('unlabeled = { subjects = ["5"] }', 'unlabeled = { subjects = ["4"] }', "4 is in both"),
        ('source = { subjects = ["0-2"] }', "source = { ages = [20, 90] }", "person 6, 7 is in"),
    ],
)
def test_a_person_in_two_roles_is_refused_by_name(toy_task, toy, old, new, message):
    task = load_task(edited(toy_task, old, new))
    with pytest.raises(LeakageError, match=message):
        task.folds(open_store(toy[1]))


def test_a_copied_window_in_a_store_is_refused_with_both_people(toy):
    task, path = toy

    def plant(frame):
        from_source = frame.index[frame["subject"] == "1"][2]
        to_test = frame.index[frame["subject"] == "6"][5]
        frame.loc[to_test, "digest"] = frame.loc[from_source, "digest"]

    with pytest.raises(LeakageError, match=r"person 1 session 1 .* and person 6 session 1"):
        task.folds(changed_store(path, plant))


def test_a_person_with_dead_signals_is_refused_by_name(toy):
    task, path = toy

    def kill(frame):
        frame.loc[frame["subject"] == "5", "flat"] = True

    with pytest.raises(DataError, match="person 5: 100% of the windows"):
        task.folds(changed_store(path, kill))


def test_unknown_ages_matter_to_brackets_only(toy_task, toy):
    def forget(frame):
        frame.loc[frame["subject"] == "2", "age"] = np.nan

    windows = changed_store(toy[1], forget)
    load_task(toy_task).folds(windows)
    edited(toy_task, 'source = { subjects = ["0-2"] }', "source = { ages = [20, 50] }")
    with pytest.raises(DataError, match="person 2: the age is not known"):
        load_task(toy_task).folds(windows)


def test_people_who_were_skipped_are_missing_unless_allowed(toy):
    task, path = toy
    windows = open_store(path)
    fewer = windows[windows.subjects != "7"]
    with pytest.raises(TaskError, match="people 7 are not in the data"):
        task.folds(fewer)
    assert set(task.folds(fewer, allow_missing=True)[0].test.subjects) == {"6"}


def test_folds_are_the_same_however_often_they_are_made(toy):
    task, path = toy
    once, again = task.folds(open_store(path)), task.folds(open_store(path))
    for a, b in zip(once, again, strict=True):
        assert a.source.fingerprint == b.source.fingerprint
        assert a.test.fingerprint == b.test.fingerprint


def test_a_fold_that_claims_to_be_transductive_must_be(toy):
    from dataclasses import replace

    task, path = toy
    fold = task.folds(open_store(path))[0]
    replace(fold, target_unlabeled=fold.test, transductive=True).audit()
    others = Windows.from_arrays(np.zeros((len(open_store(path)), 1, 3000)))
    strangers = (fold.source.without_labels(), others[fold.test.rows].without_labels(), None)
    for unlabeled in strangers:
        with pytest.raises(LeakageError, match="not the test people's own"):
            replace(fold, target_unlabeled=unlabeled, transductive=True).audit()


def test_a_fold_whose_test_labels_can_be_read_is_refused(toy):
    from dataclasses import replace

    task, path = toy
    fold = task.folds(open_store(path))[0]
    leaky = fold.test.with_labels(np.zeros(len(fold.test), int))
    with pytest.raises(LeakageError, match="fold one: test labels can be read"):
        replace(fold, test=leaky).audit()


# ---------------------------------------------------------------------- two views


@pytest.fixture
def views(toy_views_task, stores):
    """The toy task with two views, packed, and its windows."""
    task = load_task(toy_views_task)
    return task, open_store(task.prepare(stores)).to_scheme("aasm5")


def test_folds_with_two_views_hold_who_they_should(views):
    task, windows = views
    folds = task.folds(windows)
    assert [fold.name for fold in folds] == ["0", "1"]
    assert sorted(s for fold in folds for s in set(fold.test.subjects)) == list("012345")
    for fold in folds:
        parts = (fold.source, fold.target_unlabeled, fold.test)
        source, unlabeled, test = (set(part.subjects) for part in parts)
        assert (len(source), len(unlabeled), len(test)) == (2, 1, 3)
        assert source | unlabeled | test == set("012345")
        for part in parts:
            everything = np.isin(windows.subjects, list(set(part.subjects)))
            np.testing.assert_array_equal(part.rows, np.flatnonzero(everything))
        assert fold.target_labeled is None
        assert not fold.transductive


def test_learning_sees_all_views_and_testing_one(views):
    task, windows = views
    for fold in task.folds(windows):
        both = ("EEG Fpz-Cz", "EEG Pz-Oz", "ECG")
        assert fold.source.ch_names == fold.target_unlabeled.ch_names == both
        assert fold.test.ch_names == ("ECG",)
        assert fold.privileged.ch_names == ("EEG Fpz-Cz", "EEG Pz-Oz")
        np.testing.assert_array_equal(fold.test.rows, fold.privileged.rows)
        for part, hidden in ((fold.test, "EEG Pz-Oz"), (fold.privileged, "ECG")):
            with pytest.raises(DataError, match=f"no channel '{hidden}'"):
                part.pick([hidden])
            seen = np.asarray(windows.pick(part.ch_names).take(part.rows))
            np.testing.assert_array_equal(np.asarray(part), seen)


def test_labels_that_are_withheld_cannot_be_reached(views):
    task, windows = views
    for fold in task.folds(windows):
        for part in (fold.target_unlabeled, fold.test, fold.privileged):
            assert not part.has_labels
            assert part[0][1] == -1
            assert not any("target" in c or "stage" in c for c in part.metadata)
            with pytest.raises(DataError, match="withheld"):
                _ = part.y
            with pytest.raises(DataError, match="hold no labels for that view"):
                fold.source.labels_of(part)
            assert part.__dict__["_labels"] is None
        assert len(fold.source._labels) == len(fold.source)


def test_a_fold_whose_privileged_labels_can_be_read_is_refused(views):
    from dataclasses import replace

    task, windows = views
    fold = task.folds(windows)[0]
    leaky = fold.privileged.with_labels(np.zeros(len(fold.privileged), int))
    with pytest.raises(LeakageError, match="fold 0: test labels can be read"):
        replace(fold, privileged=leaky).audit()


def test_who_has_labels_follows_the_data_seed(views):
    task, windows = views

    def scored(seed):
        return [
            (set(f.test.subjects), set(f.source.subjects))
            for f in task.folds(windows, data_seed=seed)
        ]

    assert scored(1) == scored(1)
    assert any(scored(0) != scored(seed) for seed in (1, 2, 3))


def test_without_labeled_everyone_to_learn_from_has_labels(toy_views_task, views):
    whole = load_task(edited(toy_views_task, "labeled = 2", ""))
    for fold in whole.folds(views[1]):
        assert fold.target_unlabeled is None
        assert len(set(fold.source.subjects)) == 3
        assert fold.source.has_labels


def test_too_many_people_with_labels_are_refused(toy_views_task, views):
    task = load_task(edited(toy_views_task, "labeled = 2", "labeled = 3"))
    with pytest.raises(TaskError, match=r"protocol\.labeled: 3 people .* learns from 3 people"):
        task.folds(views[1])


def test_a_task_with_a_teachers_view_but_another_protocol_has_an_upper_bound_too(toy_task, toy):
    both = 'student = ["EEG Fpz-Cz"], teacher = ["EEG Pz-Oz"]'
    task = load_task(edited(toy_task, 'student = ["EEG Fpz-Cz"]', both))
    fold = task.folds(open_store(task.prepare(toy_task.parent)))[0]
    assert fold.privileged.ch_names == ("EEG Pz-Oz",)
    assert fold.target_unlabeled.ch_names == ("EEG Fpz-Cz", "EEG Pz-Oz")
    plain, path = toy
    assert all(fold.privileged is None for fold in plain.folds(open_store(path)))


def test_own_signals_of_test_people_are_the_students_view_alone(toy_task):
    edited(toy_task, 'unlabeled = { subjects = ["5"] }', 'unlabeled = "test"')
    both = 'student = ["EEG Fpz-Cz"], teacher = ["EEG Pz-Oz"]'
    task = load_task(edited(toy_task, 'student = ["EEG Fpz-Cz"]', both))
    fold = task.folds(open_store(task.prepare(toy_task.parent)))[0]
    assert fold.transductive
    assert fold.target_unlabeled.ch_names == fold.test.ch_names == ("EEG Fpz-Cz",)


BAD_VIEWS = {
    "no teacher": (
        'teacher = ["EEG Fpz-Cz", "EEG Pz-Oz"]\n', "", "windows.views: name the teacher's channels",
    ),
    "no student": ('student = ["ECG"]', "", "windows.views: name the student's channels"),
    "few": ("labeled = 2", "labeled = 1", "protocol.cross-modality.labeled: .*equal to 2"),
    "no length": (
        "n_pairs = 64", "sequence_length = 1", "training.sequence_length: .*equal to 2",
    ),
    "no assistant": ("n_pairs = 64", "assistant = 1", "training.assistant: Extra"),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "reason"), BAD_VIEWS.values(), ids=BAD_VIEWS)
def test_a_bad_task_of_two_views_is_one_line(toy_views_task, old, new, reason):
    with pytest.raises(TaskError) as caught:
        load_task(edited(toy_views_task, old, new))
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(reason, message.removeprefix(f"{toy_views_task}: ")), message


# ---------------------------------------------------------------------- later fields

LATER = {
    "teacher_model": ('"utime"', "utime"),
    "assistant_model": ('"usleep"', "usleep"),
    "sequence_length": ("20", 20),
    "monitor": ('"macro_f1"', "macro_f1"),
}


def test_a_task_that_does_not_use_later_fields_is_written_as_ever(toy_task, toy_views_task):
    task = load_task(toy_task)
    as_ever = {
        "model": "chambon2018", "max_epochs": 2, "batch_size": 64, "lr": 1e-3,
        "target_epochs": 2, "finetune_epochs": 1, "finetune_lr": 3e-4, "pretext_epochs": 1,
        "n_pairs": 64, "patience": 5,
    }  # fmt: skip
    assert task.training.model_dump() == as_ever
    assert task.model_dump()["training"] == as_ever
    assert task.model_dump(mode="json")["training"] == as_ever
    assert load_task(toy_views_task).model_dump()["protocol"]["labeled"] == 2


def test_definitions_are_what_they_were_before_there_were_later_fields(toy_task):
    """Rows that were scored then still belong to their tasks."""
    dumped = load_task(toy_task).model_dump(mode="json")
    protocol = {"kind": "cross-age", "source": dumped["protocol"]["source"]}
    protocol["folds"] = dumped["protocol"]["folds"]
    asked = {
        "name": "toy", "revision": 1,
        "dataset": {
            "name": "simulated", "licence": "BSD-3-Clause", "login": False,
            "download": "nothing",
            "params": {
                "people": [[3, 25, 40], [5, 70, 85]], "nights": 1, "hours": 0.75, "seed": 3,
            },
        },
        "windows": {
            "scheme": "aasm5", "views": {"student": ["EEG Fpz-Cz"]}, "sfreq": 100.0,
            "trim_wake_minutes": None, "scaling": "robust",
        },
        "scoring": {"scheme": "aasm5", "primary": "macro_f1"},
        "training": dumped["training"],
        "protocol": protocol,
    }  # fmt: skip
    assert load_task(toy_task).definition == digest(asked, 8)


#: What the tasks of the tests were called when the first rows of such tasks were scored.
FIRST_DEFINITIONS = {"toy": "bb674f90", "toy-views": "3b6359c5"}


def test_the_hash_of_an_old_task_is_what_it_was(toy_task, toy_views_task):
    found = {task.name: task.definition for task in map(load_task, (toy_task, toy_views_task))}
    assert found == FIRST_DEFINITIONS


LATER_PLACES = {
    "in-domain folds": ('kind = "cross-age"', 'kind = "cross-age"\nin_domain_folds = 2'),
    "derivations": (
        'views = { student = ["EEG Fpz-Cz"] }',
        'views = { student = ["F"] }\nderivations = { F = { plus = ["Fpz"], minus = ["Cz"] } }',
    ),
    "empty derivation": ('scaling = "robust"', 'scaling = "robust"\nempty_derivation = "zeros"'),
    "monitor": ("max_epochs = 2", 'max_epochs = 2\nmonitor = "macro_f1"'),
}


@pytest.mark.parametrize(("old", "new"), LATER_PLACES.values(), ids=LATER_PLACES)
def test_what_came_later_changes_the_hash_of_the_tasks_that_use_it(toy_task, old, new):
    assert load_task(edited(toy_task, old, new)).definition != FIRST_DEFINITIONS["toy"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "cross-age"', 'kind = "cross-age"\n#in_domain_folds = 2'),
        ("max_epochs = 2", 'max_epochs = 2\nmonitor = "loss"'),
        ('scaling = "robust"', 'scaling = "robust"\nempty_derivation = "raise"'),
        ('description = "three', 'description = "Three'),
        ('title = "toy"', 'title = "another title"'),
    ],
)
def test_defaults_that_are_written_out_and_words_do_not(toy_task, old, new):
    assert load_task(edited(toy_task, old, new)).definition == FIRST_DEFINITIONS["toy"]


@pytest.mark.parametrize(("field", "value"), LATER.items(), ids=LATER)
def test_a_later_field_that_is_used_changes_the_definition(toy_views_task, field, value):
    before = load_task(toy_views_task)
    assert field not in before.training.model_dump()
    written, meant = value
    after = load_task(
        edited(toy_views_task, "max_epochs = 2", f"max_epochs = 2\n{field} = {written}")
    )
    assert after.definition != before.definition
    assert after.training.model_dump()[field] == after.model_dump()["training"][field] == meant


def test_every_later_field_is_a_field_with_a_default(toy_task):
    task = load_task(toy_task)
    for section in (
        task, task.dataset, task.windows, task.scoring, task.training, task.protocol,
        task.submission,
    ):  # fmt: skip
        fields = type(section).model_fields
        assert section.later <= set(fields)
        assert not any(fields[name].is_required() for name in section.later)
    assert task.training.later == set(LATER)


def test_the_number_of_people_with_labels_is_part_of_what_a_task_asks(toy_views_task):
    before = load_task(toy_views_task)
    after = load_task(edited(toy_views_task, "labeled = 2", ""))
    assert after.definition != before.definition


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_every_committed_task_names_networks_and_channels_that_are_there(path):
    task = load_task(path)
    dataset = task.dataset
    training = task.training
    specs = [
        model_spec(name or training.model)
        for name in (training.model, training.teacher_model, training.assistant_model)
    ]
    assert len({spec.kind for spec in specs}) == 1
    assert {spec.sequence for spec in specs} == {training.sequence_length is not None}
    if dataset.name == "simulated":
        derived = {part.name: part.electrodes for part in task.windows.derived}
        for name in task.windows.channels:
            assert {name} <= {*CHANNELS, *derived}
            assert set(derived.get(name, ())) <= set(ELECTRODES)
        n_people = sum(group[0] for group in dataset.params["people"])
        table = pd.DataFrame({"subject": [str(k) for k in range(n_people)], "age": 50.0})
        for seed in range(3):
            assert task.protocol.roles(table, seed=seed, allow_missing=False)


def test_simulated_people_are_labelled_as_such(toy_task):
    path = edited(toy_task, "simulated = true\n", "")
    with pytest.raises(TaskError, match=r"these people are simulated; say so: simulated = true"):
        load_task(path)


# ---------------------------------------------------------------------- groups and labels


def test_in_domain_folds_test_the_source_people_without_their_labels(toy_task):
    task = load_task(
        edited(toy_task, 'kind = "cross-age"', 'kind = "cross-age"\nin_domain_folds = 3')
    )
    one, two, *home = task.folds(open_store(task.prepare(toy_task.parent)))
    assert [(f.name, f.group, f.n_labeled) for f in (one, two)] == [
        ("one", "one", 2), ("two", "two", 2),
    ]  # fmt: skip
    assert [(f.name, f.group) for f in home] == [(f"in-domain-{k}", "in-domain") for k in range(3)]
    assert sorted(person for fold in home for person in set(fold.test.subjects)) == list("012")
    for fold in home:
        assert set(fold.source.subjects) == set("012") - set(fold.test.subjects)
        assert fold.n_labeled == 0
        assert fold.target_labeled is fold.target_unlabeled is None
        assert not fold.test.has_labels


BUDGET = """
kind = "label-budget"
source = { subjects = ["0-2"] }
target = { subjects = ["3-5"] }
test = { subjects = ["6", "7"] }
budgets = [3, 1]
n_draws = 2
"""


@pytest.fixture
def budget(toy_task):
    """The toy task with one or three labelled people."""
    text = toy_task.read_text()
    toy_task.write_text(text[: text.index("[protocol]")] + "[protocol]" + BUDGET)
    return toy_task


def test_folds_of_a_budget_have_so_many_labelled_people(budget):
    task = load_task(budget)
    folds = task.folds(open_store(task.prepare(budget.parent)))
    assert [(fold.name, fold.group, fold.n_labeled) for fold in folds] == [
        ("1-draw-0", "1 labelled", 1), ("1-draw-1", "1 labelled", 1),
        ("3-draw-0", "3 labelled", 3), ("3-draw-1", "3 labelled", 3),
    ]  # fmt: skip
    for fold in folds:
        assert set(fold.source.subjects) == set("012")
        assert set(fold.test.subjects) == set("67")
        assert set(fold.target_labeled.subjects) <= set("345")
        assert fold.target_labeled.has_labels
        assert not fold.test.has_labels
        assert fold.target_unlabeled is None


def test_a_budget_may_come_with_the_test_peoples_own_signals(budget):
    task = load_task(edited(budget, "n_draws = 2", 'n_draws = 2\nunlabeled = "test"'))
    for fold in task.folds(open_store(task.prepare(budget.parent))):
        assert fold.transductive
        np.testing.assert_array_equal(fold.target_unlabeled.rows, fold.test.rows)
        assert not fold.target_unlabeled.has_labels


@pytest.mark.parametrize(
    ("old", "new", "error", "reason"),
    [
        ('source = { subjects = ["0-2"] }', 'source = { subjects = ["0-3"] }', LeakageError, "3"),
        ('test = { subjects = ["6", "7"] }', 'test = { subjects = ["5-7"] }', LeakageError, "5"),
        ('test = { subjects = ["6", "7"] }', 'test = { subjects = ["2", "7"] }', LeakageError, "2"),
        ("budgets = [3, 1]", "budgets = [4, 1]", TaskError, "a budget of 4 .* 3 are there"),
    ],
)
def test_a_budget_that_gives_someone_two_roles_is_refused(budget, old, new, error, reason):
    task = load_task(edited(budget, old, new))
    with pytest.raises(error, match=reason) as caught:
        task.folds(open_store(task.prepare(budget.parent)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("budgets = [3, 1]", "budgets = [1, 1]", "protocol.label-budget: two budgets"),
        ("budgets = [3, 1]", "budgets = []", "protocol.label-budget.budgets: .*at least 1"),
        ("n_draws = 2", "n_draws = 0", "protocol.label-budget.n_draws: .*equal to 1"),
        ("n_draws = 2", "", "protocol.label-budget.n_draws: Field required"),
        ("n_draws = 2", "n_draws = 2\nfolds = 3", "protocol.label-budget.folds: Extra"),
    ],
)
def test_a_bad_budget_is_one_line(budget, old, new, reason):
    with pytest.raises(TaskError) as caught:
        load_task(edited(budget, old, new))
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(reason, message.removeprefix(f"{budget}: ")), message


def test_real_band_powers_are_split_as_beetl_split_them(shared_data, tmp_path):
    folder = shared_data / "sleep_edf_bandpower"
    if not folder.is_dir():
        pytest.skip("there is no sleep_edf_bandpower among the real data")
    task = load_task(REPOSITORY / "tasks" / "cross-age-bandpower.toml")
    folds = task.folds(open_store(task.prepare(tmp_path, data=folder)))
    assert [len(set(fold.source.subjects)) for fold in folds] == [39, 39, 26, 26, 26]
    assert [len(set(fold.test.subjects)) for fold in folds] == [12, 9, 13, 13, 13]
    assert not UNUSED & {s for fold in folds for s in fold.source.subjects}
