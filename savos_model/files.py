"""Write files atomically."""

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
    """Yield a temporary path in the folder of `path`; the file written there becomes `path`.

    It is renamed if the block ends without an error, and removed otherwise; an existing file is
    kept until then. Missing folders are created. Permissions follow the user's umask. Raises
    OSError: no space, or no permission.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        temporary.touch(exist_ok=False)
        mode = stat.S_IMODE(temporary.stat().st_mode)
        temporary.unlink()
        yield temporary
        os.chmod(temporary, mode)  # safetensors creates files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file atomically; text as UTF-8, with characters outside of it escaped.

    Such characters are bytes of a file name in another encoding.
    """
    with atomic(path) as temporary:
        if isinstance(data, str):
            data = data.encode("utf-8", "backslashreplace")
        temporary.write_bytes(data)
