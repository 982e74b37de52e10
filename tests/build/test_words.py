from pathlib import Path

import pytest
import yaml

from tests.scripts import load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def words():
    return load("words")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("It was mended.\nBuild it anew.", [1, 2]),
        ('def f():\n    """What came out."""', [2]),
        ('def f():\n    """Return what came out."""', []),
        ("the engine goes on,\nin a process of its own", [1, 2]),
        ("recommended, amended, besides, a tell_apart", []),
        ("Handed out at once", [1, 1]),
    ],
)
def test_words_are_found_with_their_lines(words, text, lines):
    assert [line for line, _, instead in words.findings(text) if instead] == lines


def test_every_entry_finds_itself_and_none_is_its_own_remedy(words):
    for pattern, instead in words.WORDS.items():
        assert not list(words.findings(instead)), (pattern, instead)


def test_the_repository_is_clean(words, capsys):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the files of the repository are unknown")
    status = words.main([])
    assert status == 0, capsys.readouterr().out


def test_named_files_are_checked_alone(words, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(words, "ROOT", tmp_path)
    for name in ("page.md", "other.md"):
        (tmp_path / name).write_text("The node goes " + "on.\n", encoding="utf-8")
    assert words.main([str(tmp_path / "page.md")]) == 1
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == {"page.md"}


def test_the_hook_runs_the_list():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = config["repos"][0]
    entries = {hook["id"]: hook["entry"] for hook in hooks["hooks"]}
    assert entries["words"] == "python3 scripts/words.py"
