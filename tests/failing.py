"""Expect errors by their kind, not by their sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def fails(error: type[Exception], kind: str) -> Iterator[pytest.ExceptionInfo]:
    """Expect an error of a kind."""
    with pytest.raises(error) as info:
        yield info
    assert info.value.kind == kind, info.value
