"""Build command-line options from settings dataclasses, and report errors in one line."""

import dataclasses
import inspect
import re
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, GenericAlias
from typing import Annotated, Any, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

import typer

from savos_model.hints import PIP, extra_of
from savos_model.settings import SettingError, UserError


def option(
    text: str,
    default: Any = dataclasses.MISSING,
    *,
    argument: bool = False,
    repeated: bool = False,
) -> Any:
    """Declare a field that is an option of a command but has no rule to check, such as a path.

    Without a default it is required. `argument`: a positional one; `repeated`: a tuple whose option
    is given once for each item, not as one text.
    """
    meta = {"help": text, "argument": argument, "repeated": repeated}
    return dataclasses.field(default=default, metadata=meta)


def part(kind: type, **names: str) -> Any:
    """Declare a field that holds another dataclass, some of whose fields become options.

    `kind` can be made without arguments; `names` are its fields, each with the name of its option,
    "" for the same name.
    """
    meta = {"part": Options(kind, tuple(names), {key: name or key for key, name in names.items()})}
    return dataclasses.field(default_factory=kind, metadata=meta)


class Options(NamedTuple):
    """Fields of a dataclass as options of a command: `only` these, or all, under other `names`.

    Fields with a `text` or `help` in their metadata become options, and so do the chosen fields of
    a `part`. Tuples of strings are given as one text with commas.
    """

    kind: type
    only: Collection[str] = ()
    names: Mapping[str, str] = {}

    def fields(self) -> list[dataclasses.Field]:
        """Return the fields that are options, or hold some."""
        return [
            field
            for field in dataclasses.fields(self.kind)
            if (help_of(field) or "part" in field.metadata)
            and (not self.only or field.name in self.only)
        ]

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as keyword parameters that Typer reads."""
        hints, found = get_type_hints(self.kind), []
        for field in self.fields():
            if inner := field.metadata.get("part"):
                found += inner.parameters()
            else:
                found.append(_parameter(field, hints[field.name], self._name(field)))
        return found

    def make(self, values: Mapping[str, Any]) -> Any:
        """Build the dataclass out of the options of a command, by their names."""
        given, hints = {}, get_type_hints(self.kind)
        for field in self.fields():
            if inner := field.metadata.get("part"):
                given[field.name] = inner.make(values)
                continue
            value = values[self._name(field)]
            if _is_list(hints[field.name]):
                value = names_of(value) if isinstance(value, str) else value or ()
                value = tuple(value)
            given[field.name] = value
        return self.kind(**given)

    def _name(self, field: dataclasses.Field) -> str:
        return self.names.get(field.name, field.name)


@dataclasses.dataclass
class Value:
    """A single option or argument of a command, which is handed over as it is."""

    name: str
    kind: Any
    field: dataclasses.Field

    def parameters(self) -> list[inspect.Parameter]:
        """Return the option, as Options.parameters does."""
        return [_parameter(self.field, self.kind, self.name)]

    def make(self, values: Mapping[str, Any]) -> Any:
        """Return its value."""
        return values[self.name]


def command(
    app: typer.Typer,
    name: str,
    *groups: Options | Value | type,
    status: int = 2,
    extra: str = "train",
) -> Callable[[Callable], Callable]:
    """Register a function as a command.

    Its docstring is the help text. It is called with an object of each group, and its result is the
    exit status. Groups may share an option: both get its value. Errors as in user_errors.
    """
    chosen = [Options(group) if isinstance(group, type) else group for group in groups]

    def register(function: Callable) -> Callable:
        options = {item.name: item for group in chosen for item in group.parameters()}

        def run(**values: Any) -> None:
            with user_errors(status, extra):
                result = function(*(group.make(values) for group in chosen))
            if result:
                raise typer.Exit(int(result))

        run.__doc__ = function.__doc__
        vars(run)["__signature__"] = inspect.Signature(list(options.values()))
        run.__annotations__ = {key: item.annotation for key, item in options.items()}
        app.command(name)(run)
        return function

    return register


@contextmanager
def user_errors(status: int = 2, extra: str = "train") -> Iterator[None]:
    """Turn expected errors into one line.

    The exit status is 2 for a wrong setting and for a missing package that an extra of this one
    installs, `extra` if that one does; `status` for a UserError, other wrong values and files.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = extra_of((error.name or "").partition(".")[0], extra)
        if not extra:
            raise
        _end(error, f"{error.name} is not installed: {PIP[extra]}", 2)
    except (UserError, ValueError, OSError) as error:
        _end(error, str(error), 2 if isinstance(error, SettingError) else status)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn SIGINT and SIGTERM into an event; outside the main thread no signal is caught.

    After one of them came, the process ignores further ones: it is about to end.
    """
    stop = threading.Event()

    def handler(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, old in before.items():
            # The launch system sends a second one; it must not cut the end of the process short.
            signal.signal(number, signal.SIG_IGN if stop.is_set() else old)


def _end(error: Exception, text: str, status: int) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(status) from error


def names_of(text: str) -> list[str]:
    """Return the names in a text with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def flag_of(name: str) -> str:
    """Return the flag of a field or option; one named `as_`, as `as` is a keyword, is --as."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def help_of(field: dataclasses.Field) -> str:
    """Return the text that explains a field; "" for one that is not an option."""
    return field.metadata.get("text") or field.metadata.get("help") or ""


def _parameter(field: dataclasses.Field, hint: Any, name: str) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    if _is_list(hint) and not (field.metadata.get("repeated") or field.metadata.get("argument")):
        hint = str
        default = ",".join(default) if isinstance(default, tuple) else default
    elif _is_list(hint):
        hint = GenericAlias(list, get_args(hint)[:1])
    text = re.sub(r"\[(\w+)\]", r"(\1)", help_of(field))  # Rich takes [px] as markup
    choices = [str(choice) for choice in field.metadata.get("choices") or () if choice != ""]
    if any(choice not in text for choice in choices):
        text += f"; one of {', '.join(choices)}"
    limits: dict[str, Any] = {end: field.metadata.get(f"{end}imum") for end in ("min", "max")}
    limits = limits if hint in (int, float) else {}
    if field.metadata.get("argument"):
        option: Any = typer.Argument(help=text, **limits)
    else:
        flag = flag_of(name)  # a flag that is off by default gets no --no- form
        both = f"{flag}/--no-{flag[2:]}" if default is True else flag
        option = typer.Option(both, help=text, **limits)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[hint, option])


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple
