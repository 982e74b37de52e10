"""Write files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FileError(ValueError):
    """A file of others cannot be used; the text names it, the rule, the value and what to do.

    Attributes:
        kind: short word for the cause, the same in every release.
    """

    def __init__(self, text: str, kind: str = "unusable") -> None:
        super().__init__(text)
        self.kind = kind


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; what is written there becomes `path`.

    It is renamed when the block ends without an error, and removed otherwise; a file that was there
    before stays until then. The folder is made when missing. Permissions follow the user's umask.

    Raises:
        OSError: no space, or no permission.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()
        yield temporary
        os.chmod(temporary, mode)  # safetensors, for one, makes files that only their owner reads
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes | str) -> None:
    """Write a whole file, as `atomic` does.

    Args:
        path: the file.
        data: bytes, or text that is written as UTF-8; what UTF-8 cannot hold, such as a byte of a
            file name in another encoding, is written as an escape.
    """
    with atomic(path) as temporary:
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        temporary.write_bytes(data)
