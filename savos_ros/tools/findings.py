"""What a look at this machine finds: a thing with its state and what its absence costs."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: what was looked for.
        state: "ok", "absent" (optional and not there) or "missing" (the node cannot run).
        detail: version, place or reason.
        cost: what does not work without it, with the remedy; "" when all is well.
    """

    name: str
    state: str
    detail: str
    cost: str = ""


def present(name: str, detail: str) -> Finding:
    """A finding without cost."""
    return Finding(name, "ok", detail)


def absence(name: str, detail: str, cost: str, needed: bool = False) -> Finding:
    """A finding with its cost; `needed` when the node cannot run without it."""
    return Finding(name, "missing" if needed else "absent", detail, cost)


def reason(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """Names of the installed distributions by module; it reads every one's files."""
    return importlib.metadata.packages_distributions()


def module(name: str, cost: str, *, label: str = "", needed: bool = False) -> Finding:
    """Import a module; its version is taken from the module or its distribution."""
    try:
        found = importlib.import_module(name)
    except Exception as error:  # a broken binary raises anything at import
        return absence(label or name, reason(error), cost, needed)
    version = getattr(found, "__version__", "")
    if not version:
        names = distributions().get(name.split(".")[0], [])
        version = importlib.metadata.version(names[0]) if names else "found"
    return present(label or name, str(version))
