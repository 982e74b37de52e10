"""Makes commands whose options are the fields of dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints

import typer

from training.cli.arguments import names_of, one_line_errors


class Options(NamedTuple):
    """Fields of a dataclass as options of a command.

    Attributes:
        kind: dataclass; fields with a `text` or `help` in their metadata become options. Tuples of
            strings are given as one text with commas.
        only: fields taken; empty for all.
        names: names of options that differ from those of their fields.
    """

    kind: type
    only: Collection[str] = ()
    names: Mapping[str, str] = {}

    def fields(self) -> list[dataclasses.Field]:
        """Return the fields that are options."""
        return [
            field
            for field in dataclasses.fields(self.kind)
            if _text(field) and (not self.only or field.name in self.only)
        ]

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as keyword parameters that Typer reads."""
        hints = get_type_hints(self.kind)
        return [_parameter(field, hints[field.name], self._name(field)) for field in self.fields()]

    def make(self, values: Mapping[str, Any]) -> Any:
        """Build the dataclass out of the options of a command, by their names."""
        hints = get_type_hints(self.kind)
        given = {field.name: values[self._name(field)] for field in self.fields()}
        return self.kind(
            **{
                name: tuple(names_of(value)) if _is_list(hints[name]) else value
                for name, value in given.items()
            }
        )

    def _name(self, field: dataclasses.Field) -> str:
        return self.names.get(field.name, field.name)


def command(
    app: typer.Typer, name: str, *groups: Options, failures: tuple[type[Exception], ...] = ()
) -> Callable[[Callable], Callable]:
    """Register a function as a command.

    Its docstring is the help text; it is called with an object of each group. Groups may share an
    option: its value is given to both. Wrong values, files and missing packages become one line and
    status 2, errors of the types in `failures` one line and status 1.
    """

    def register(function: Callable) -> Callable:
        options = {item.name: item for group in groups for item in group.parameters()}

        def run(**values: Any) -> None:
            with one_line_errors():
                try:
                    function(*(group.make(values) for group in groups))
                except failures as error:
                    typer.echo(f"error: {error}", err=True)
                    raise typer.Exit(1) from error

        run.__doc__ = function.__doc__
        vars(run)["__signature__"] = inspect.Signature(list(options.values()))
        run.__annotations__ = {key: item.annotation for key, item in options.items()}
        app.command(name)(run)
        return function

    return register


def _parameter(field: dataclasses.Field, hint: Any, name: str) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    if _is_list(hint):
        hint = str
        default = ",".join(default) if isinstance(default, tuple) else default
    limits: dict[str, Any] = {end: field.metadata.get(f"{end}imum") for end in ("min", "max")}
    option = typer.Option(
        f"--{name.replace('_', '-')}",  # a flag gets no --no- form
        help=re.sub(r"\[(\w+)\]", r"(\1)", _text(field)),  # Rich takes [px] as markup
        **(limits if hint in (int, float) else {}),
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=Annotated[hint, option])


def _text(field: dataclasses.Field) -> str:
    return field.metadata.get("text") or field.metadata.get("help") or ""


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple
