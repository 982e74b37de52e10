"""Reads pickled containers, numbers and arrays of released data sets and never runs their code."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from savos_model.files import FileError
from training.data.outside import read_bytes

MAX_BYTES = 1 << 30
MAX_DIMENSIONS = 32
# Booleans, integers, floats: type and bytes. NumPy parses other texts as Python literals.
NUMBER = re.compile(r"[<>|=]?[biuf][0-9]{1,2}")
# What makes plain values, containers and calls; persistent ids, the extension registry and
# outside buffers are not among them.
_NAMES = """
    MARK STOP POP POP_MARK DUP FRAME PROTO MEMOIZE
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET
    GLOBAL STACK_GLOBAL REDUCE BUILD
"""
OPCODES = frozenset(_NAMES.split())


class UnsafePickleError(FileError):
    """A pickle that holds anything else or is damaged; the text names the file and the reason."""


class _Refused(pickle.UnpicklingError):
    """Something inside a pickle that is not admitted."""


class _Call:
    """A function that a pickle may call; unlike a function it cannot be changed by BUILD."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise _Refused(f"sets the attribute {name} of a function")

    def __setstate__(self, state: Any) -> NoReturn:
        raise _Refused("changes a function")


class _Type:
    """Element type of an array, a stand-in for numpy.dtype: kind and size, then the byte order."""

    __slots__ = ("value",)

    def __init__(self, text: Any, *_: Any) -> None:
        try:
            kind = np.dtype(text) if isinstance(text, str) and NUMBER.fullmatch(text) else None
        except TypeError:
            kind = None
        if kind is None:
            raise _Refused(f"array of type {text!r:.40}: only numbers are admitted")
        self.value = kind

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 2 else None
        if order not in ("<", ">", "|", "="):
            raise _Refused(f"array with byte order {order!r:.40}")
        self.value = self.value.newbyteorder(order)


class _Array(np.ndarray):
    """An array under construction; its state is checked before NumPy sees it."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("array with a state of another form")
        _, shape, kind, fortran, raw = state
        values = _filled(raw, kind, shape, "F" if fortran is True else "C")
        super().__setstate__((1, values.shape, values.dtype, fortran is True, values.tobytes("A")))


def _filled(raw: Any, kind: Any, shape: Any, order: Any) -> np.ndarray:
    """Return an array of checked parts."""
    if not isinstance(kind, _Type) or not isinstance(raw, bytes | bytearray):
        raise _Refused("array of objects: only numbers are admitted")
    good = isinstance(shape, tuple) and len(shape) <= MAX_DIMENSIONS and order in ("C", "F")
    if not good or not all(type(size) is int and size >= 0 for size in shape):
        raise _Refused(f"array of shape {shape!r:.60}")
    if math.prod(shape) * kind.value.itemsize != len(raw):
        raise _Refused(f"array of shape {shape} and type {kind.value} with {len(raw)} bytes")
    return np.frombuffer(bytes(raw), kind.value).reshape(shape, order=order)


def _empty_array(*_: Any) -> _Array:
    return np.empty(0, np.uint8).view(_Array)


def _number(kind: Any, raw: Any) -> Any:
    return _filled(raw, kind, (), "C").item()


def _latin1(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise _Refused(f"text in the encoding {encoding!r:.40}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return empty bytes, as Python 3 writes them in its older protocols."""
    return b""


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Call(_empty_array),
    ("numpy", "dtype"): _Call(_Type),
    ("_codecs", "encode"): _Call(_latin1),
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
}
for _module in ("builtins", "__builtin__"):
    _ADMITTED[_module, "bytes"] = _Call(_no_bytes)
    _ADMITTED |= {(_module, kind.__name__): kind for kind in (list, dict, set, frozenset, int)}
for _module in ("numpy.core", "numpy._core"):  # before and since NumPy 2
    _ADMITTED[f"{_module}.multiarray", "_reconstruct"] = _Call(_empty_array)
    _ADMITTED[f"{_module}.multiarray", "scalar"] = _Call(_number)
    _ADMITTED[f"{_module}.numeric", "_frombuffer"] = _Call(_filled)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _Refused(f"asks for {module}.{name}") from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise _Refused("refers to something outside the file")


def _check_opcodes(data: bytes) -> None:
    """Refuse other opcodes, lengths beyond the file and memo places that would take memory."""
    for count, (opcode, value, _) in enumerate(pickletools.genops(data), 1):
        if opcode.name not in OPCODES:
            raise _Refused(f"uses the opcode {opcode.name}")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and value > count:
            raise _Refused(f"keeps a value at place {value} after {count} steps")


def loads(data: bytes, name: str = "pickle") -> Any:
    """Read pickled lists, tuples, dictionaries, sets, text, bytes, numbers and arrays of numbers.

    Raises UnsafePickleError, whose text begins with `name`: anything else is in it, or it is
    damaged; nothing of it was run.
    """
    try:
        _check_opcodes(data)
        # Latin 1 keeps the bytes of arrays that Python 2 wrote.
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except _Refused as error:
        raise UnsafePickleError(
            f"{name} {error}: only containers, numbers and arrays are read, code is not run",
            "content",
        ) from None
    except (ArithmeticError, LookupError, MemoryError, RecursionError) as error:
        raise UnsafePickleError(
            f"{name} is damaged ({type(error).__name__}: {error})", "damaged"
        ) from None
    except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise UnsafePickleError(f"{name} is damaged or no pickle ({error})", "damaged") from None


def load(path: str | Path, max_bytes: int = MAX_BYTES) -> Any:
    """Read a file of pickled plain data of at most `max_bytes`, as `loads`."""
    return loads(read_bytes(path, UnsafePickleError, max_bytes), str(path))
