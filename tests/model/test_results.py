import datetime
import json
import subprocess

import pytest

from savos_model import results
from savos_model.results import ResultsError, read_results, write_results


def test_round_trip_holds_what_repeats_the_measurement(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/savos", "evaluate", "fishbowl", "--data", "a b"])
    path = tmp_path / "new" / "out.json"
    written = write_results(path, {"full": 0.5, "clips": ["ä"]}, seed=3)
    read = read_results(path)
    assert read == written
    assert read["command"] == "savos evaluate fishbowl --data 'a b'"
    assert read["seed"] == 3
    assert read["metrics"] == {"full": 0.5, "clips": ["ä"]}
    assert read["machine"]["cores"] >= 1
    assert read["machine"]["cpu"]
    assert datetime.datetime.fromisoformat(read["date"]).utcoffset() == datetime.timedelta(0)
    assert [item.name for item in path.parent.iterdir()] == ["out.json"]


def test_source_tree_command_is_named_savos(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/savos_ros/cli/__main__.py", "evaluate"])
    assert results.this_command() == "savos evaluate"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), {1, 2}])
def test_bad_values_leave_the_old_file(tmp_path, bad):
    path = tmp_path / "out.json"
    write_results(path, {"n": 1}, seed=0)
    before = path.read_text()
    with pytest.raises(ResultsError, match="^metrics "):
        write_results(path, {"n": bad}, seed=0)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_failed_rename_leaves_no_temporary_file(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_results(tmp_path / "out.json", {}, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", json.dumps({"command": "x", "metrics": {}})])
def test_unusable_files_are_named(tmp_path, text):
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match="out.json"):
        read_results(path)


def test_commit_names_changed_sources(tmp_path, monkeypatch):
    def git(*arguments):
        names = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(
            ["git", *names, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    source = tmp_path / "results.py"
    source.write_text("1")
    kept = tmp_path / "docs" / "results" / "run.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("1")
    monkeypatch.setattr(results, "__file__", str(source))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results.commit() == "unknown"
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert results.commit() == head
    kept.write_text("2")
    assert results.commit() == head, "results of other runs are no sources"
    source.write_text("2")
    assert results.commit() == head + "+changes"
