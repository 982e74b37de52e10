import os
import stat

import pytest

from savos_model.files import atomic, write_file


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_gets_the_umask_of_the_user(tmp_path, umask):
    write_file(tmp_path / "new" / "x.txt", "é")
    assert stat.S_IMODE((tmp_path / "new" / "x.txt").stat().st_mode) == 0o666 & ~umask
    assert (tmp_path / "new" / "x.txt").read_bytes() == "é".encode()


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["x"]
    assert path.read_bytes() == b"old"


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "x"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_no_utf_8_is_escaped(tmp_path):
    write_file(tmp_path / "x", "bag" + os.fsdecode(b"\xff"))
    assert (tmp_path / "x").read_text("utf-8") == "bag\\udcff"


def test_the_longest_name_will_do(tmp_path):
    write_file(tmp_path / ("x" * 255), b"1")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"1"
