"""Task files: what is committed loads, what is wrong is named, and folds do not leak."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sleepshift.errors import DataError, LeakageError, TaskError
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
    assert task.simulated == (task.dataset.name == "simulated")
    assert set(task.windows.views["student"]) <= set(task.windows.channels)


def test_there_are_committed_tasks():
    assert len(COMMITTED) >= 4


@pytest.mark.parametrize("name", ["cross-age-beetl", "cross-age-bandpower"])
def test_beetl_has_exactly_its_people_in_exactly_their_roles(name):
    protocol = load_task(REPOSITORY / "tasks" / f"{name}.toml").protocol
    table = pd.DataFrame({"subject": [str(k) for k in range(83)], "age": 50.0})
    young, old = protocol.roles(table, seed=0, allow_missing=False)
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


def test_real_band_powers_are_split_as_beetl_split_them(shared_data, tmp_path):
    folder = shared_data / "sleep_edf_bandpower"
    if not folder.is_dir():
        pytest.skip("there is no sleep_edf_bandpower among the real data")
    task = load_task(REPOSITORY / "tasks" / "cross-age-bandpower.toml")
    folds = task.folds(open_store(task.prepare(tmp_path, data=folder)))
    assert [len(set(fold.source.subjects)) for fold in folds] == [39, 39]
    assert [len(set(fold.test.subjects)) for fold in folds] == [12, 9]
    assert not UNUSED & {s for fold in folds for s in fold.source.subjects}
