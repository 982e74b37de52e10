import multiprocessing
import os
import re
import time
from pathlib import Path

import pytest

from savos_model.backends.engine_cache import (
    HEAD,
    MAGIC,
    EngineCacheError,
    cached_engine,
    engine_folder,
    engine_path,
)
from tests.full_disk import full_disk

KEY = {"weights": "small/odd name", "onnx": "12ab", "gpu": "G", "precision": "fp16"}
ENGINE = bytes(range(256)) * 40


def not_needed():
    raise AssertionError("built again")


def test_built_once_then_read(tmp_path):
    folder = tmp_path / "new" / "engines"
    assert cached_engine(folder, KEY, lambda: ENGINE) == ENGINE
    assert cached_engine(folder, dict(reversed(KEY.items())), not_needed) == ENGINE
    assert not list(folder.glob("*.part"))


@pytest.mark.parametrize("part", sorted(KEY))
def test_another_key_is_another_engine(tmp_path, part):
    cached_engine(tmp_path, KEY, lambda: ENGINE)
    assert cached_engine(tmp_path, KEY | {part: "other"}, lambda: b"other") == b"other"
    assert cached_engine(tmp_path, KEY, not_needed) == ENGINE


def cut(data):
    return data[:-1]


def changed(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def grown(data):
    return data + b"x"


def empty(data):
    return b""


def foreign(data):
    return b"\x7fELF" + data[4:]


def endless_header(data):
    return HEAD.pack(MAGIC, 2**32 - 1) + data[HEAD.size :]


def no_header(data):
    return HEAD.pack(MAGIC, 0) + ENGINE


def list_for_header(data):
    return HEAD.pack(MAGIC, 4) + b"[12]" + ENGINE


def deep_header(data):
    return HEAD.pack(MAGIC, 50_000) + b"[" * 50_000 + ENGINE


@pytest.mark.parametrize(
    "damage",
    [cut, changed, grown, empty, foreign, endless_header, no_header, list_for_header, deep_header],
)
def test_damaged_file_is_rebuilt_with_a_warning(tmp_path, caplog, damage):
    cached_engine(tmp_path, KEY, lambda: ENGINE)
    path = engine_path(tmp_path, KEY)
    path.write_bytes(damage(path.read_bytes()))
    assert cached_engine(tmp_path, KEY, lambda: b"new") == b"new"
    assert "is not used" in caplog.text
    assert cached_engine(tmp_path, KEY, not_needed) == b"new"


def test_engine_of_another_gpu_under_this_name_is_not_used(tmp_path, caplog):
    other = KEY | {"gpu": "H"}
    cached_engine(tmp_path, other, lambda: ENGINE)
    engine_path(tmp_path, other).rename(engine_path(tmp_path, KEY))
    assert cached_engine(tmp_path, KEY, lambda: b"mine") == b"mine"
    assert "built for something else" in caplog.text


def test_failed_build_leaves_nothing_and_the_next_one_goes(tmp_path):
    with pytest.raises(ZeroDivisionError):
        cached_engine(tmp_path, KEY, lambda: 1 // 0)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert cached_engine(tmp_path, KEY, lambda: ENGINE) == ENGINE


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        EngineCacheError, match=rf"^model\.engine_dir: .*{re.escape(str(tmp_path))}/file/engines"
    ):
        cached_engine(tmp_path / "file" / "engines", KEY, lambda: ENGINE)


def test_an_engine_for_which_there_is_no_room_is_used_but_not_kept(tmp_path, caplog):
    with full_disk(len(ENGINE) // 2):
        assert cached_engine(tmp_path, KEY, lambda: ENGINE) == ENGINE
    assert "cannot be stored" in caplog.text and "File too large" in caplog.text
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert cached_engine(tmp_path, KEY, lambda: ENGINE) == ENGINE
    assert cached_engine(tmp_path, KEY, not_needed) == ENGINE


def race(folder: str, start: float) -> None:
    """Ask for an engine at an agreed time; leave a file for a build that took place."""

    def build() -> bytes:
        Path(folder, f"built-{os.getpid()}").touch()
        time.sleep(0.5)
        return ENGINE

    time.sleep(max(0.0, start - time.time()))
    assert cached_engine(Path(folder), KEY, build) == ENGINE


@pytest.mark.slow
def test_two_processes_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    start = time.time() + 2.0
    both = [context.Process(target=race, args=(str(tmp_path), start)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("built-*"))) == 1


def test_folder_is_the_setting_or_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_folder("") == tmp_path / "savos_ros" / "engines"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert engine_folder("") == Path.home() / ".cache" / "savos_ros" / "engines"
    assert engine_folder("~/e") == Path.home() / "e"
