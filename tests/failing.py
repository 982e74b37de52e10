"""Expect errors by their kind, not by their sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from savos_model.settings import SettingError
from training.data.provenance import PARTS, MissingPartError


@contextmanager
def fails(error: type[Exception], kind: str, *names: str) -> Iterator[pytest.ExceptionInfo]:
    """Expect an error of a kind, or reason, whose text has the names of a file, field or value."""
    with pytest.raises(error) as info:
        yield info
    found = getattr(info.value, "reason", None) or info.value.kind
    assert found == kind, info.value
    assert all(name in str(info.value) for name in names), info.value


@contextmanager
def refused(field: str, kind: str = "rule") -> Iterator[pytest.ExceptionInfo]:
    """Expect a SettingError of a field, by the kind of its rule."""
    with fails(SettingError, kind) as info:
        yield info
    assert info.value.field == field, info.value


@contextmanager
def lacks(part: str) -> Iterator[None]:
    """Expect that a part of a data set is named as missing, with its source and licence."""
    with pytest.raises(MissingPartError) as info:
        yield
    assert info.value.part == part, info.value
    assert PARTS[part].source in str(info.value) and PARTS[part].licence in str(info.value)
