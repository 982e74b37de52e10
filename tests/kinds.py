"""Find out from the imports of a test file which of its tests need PyTorch or DDS.

Files are parsed, not imported, so that `pytest -m fast` need not load what it leaves out.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
MARKS = {"rclpy": "dds", "launch_pytest": "dds", "torch": "torch"}  # mark by what is imported
SKIPS = (
    (r"no data sets at|devkit", "data sets"),
    (r"messages are not built|type description", "built messages"),
    (r"could not import '([\w.]+)'", r"without \1"),
    (r"No module named '([\w.]+)'", r"without \1"),
    (r"([\w.-]+) is not installed", r"without \1"),
    (r"onnxruntime-gpu is installed|GPU|CUDA", "GPU"),
    (r"Linux|root|permission", "operating system"),
)  # reasons of skipped tests, and their class
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def marks_of_file(test_file: Path) -> set[str]:
    """Return the marks that all tests of a file have: dds, torch, both or none.

    Imports are followed through our own modules. In the sources only those count that run with the
    module, as PyTorch is loaded on demand; in tests those in helper functions count too.
    """
    return reached(imports(body_of(test_file), functions=True))


@functools.cache
def marks_of_tests(test_file: Path) -> dict[str, set[str]]:
    """Return the marks of test functions by name, from what their own bodies import."""
    return {
        node.name: reached(imports([node], functions=True))
        for node in body_of(test_file, tests=True)
    }


def reached(names: Iterable[str]) -> set[str]:
    """Return the marks of modules and of all that they import."""
    found: set[str] = set()
    seen: set[Path] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        package = name.partition(".")[0]
        found |= {MARKS[package]} if package in MARKS else set()
        for path in set(files_of(name)) - seen:
            seen.add(path)
            waiting += imported(path)
    return found


@functools.cache
def body_of(path: Path, tests: bool = False) -> list[ast.stmt]:
    """Return the test functions of a file, or all the rest of it."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [
        node
        for node in body
        if (isinstance(node, FUNCTION) and node.name.startswith("test_")) == tests
    ]


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    """Return the names of the modules that are imported with a module of ours."""
    return tuple(imports(body_of(path), functions=path.is_relative_to(TESTS)))


def imports(body: Iterable[ast.AST], functions: bool) -> Iterator[str]:
    """Yield the names of modules that statements import, inside functions too if asked for."""
    for node in body:
        if isinstance(node, FUNCTION) and not functions:
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        yield from named(node)
        yield from imports(ast.iter_child_nodes(node), functions)


def named(node: ast.AST) -> list[str]:
    """Return what one node imports; importorskip counts as an import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "importorskip":
        return [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


@functools.cache
def files_of(name: str) -> tuple[Path, ...]:
    """Return the files of ours that run when a module, or a name in a module, is imported."""
    parts = name.split(".")
    base = TESTS if (TESTS / f"{parts[0]}.py").is_file() else ROOT
    found = [base.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts) + 1)]
    found += [base.joinpath(*parts[:i]).with_suffix(".py") for i in range(1, len(parts) + 1)]
    return tuple(path for path in found if path.is_file())


def kind_of_skip(reason: str) -> str:
    """Return what a machine lacks where a test is skipped, from the reason that it gives."""
    for pattern, kind in SKIPS:
        if match := re.search(pattern, reason):
            return match.expand(kind)
    return "other"
