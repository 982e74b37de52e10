"""The generated page of commands, out of what `--help` is made of."""

import re
from typing import Any

from typer import Typer
from typer.main import get_command

from savos_model.commands import flag_of
from savos_model.tables import markdown_table
from savos_ros.messages import settings

HEAD = """# Commands

`--help` prints the same text. Exit status: 0 success, 1 failure, 2 invalid arguments or a missing
package. Generated: `savos params --write`.
"""
HEADS = ("argument", "default", "meaning")


def markdown_text(app: Typer) -> str:
    """Return the text of docs/commands.md: a section for each command of `savos`."""
    found = getattr(get_command(app), "commands", {})
    order = sorted(found, key=lambda name: hasattr(found[name], "commands"))  # groups last
    return "\n".join([HEAD, *(section(f"savos {name}", found[name]) for name in order)])


def section(name: str, command: Any, level: int = 2) -> str:
    """Return the lines of a command, or of a group with the sections of its commands."""
    lines = [f"{'#' * level} {name}", "", *paragraphs(command.help or "")]
    rows = [row(item) for item in command.params if item.opts != ["--help"]]
    if name == "savos train":  # its settings are read by its own parser
        rows = training_rows()
    if rows:
        lines += [*markdown_table(HEADS, rows), ""]
    inner = getattr(command, "commands", {}).items()
    return "\n".join([*lines, *(section(f"{name} {key}", sub, level + 1) for key, sub in inner)])


def paragraphs(text: str) -> list[str]:
    """Return the lines of a help text, its examples as code."""
    lines: list[str] = []
    for part in text.split("\n\n"):
        one = " ".join(part.split())
        code = one.startswith("Example: ")
        lines += ["```", one.removeprefix("Example: "), "```", ""] if code else [escaped(one), ""]
    return lines


def row(item: Any) -> tuple[str, str, str]:
    """Return the cells of one argument or option of a command."""
    option = item.opts[0].startswith("--")
    names = [*item.opts, *item.secondary_opts] if option else [item.name.upper()]
    if item.required:
        default = "required"
    elif item.secondary_opts:
        default = f"`{names[0 if item.default else 1]}`"
    else:
        none = item.default is None or item.default is False or item.default in ("", ())
        default = "" if none else f"`{item.default}`"
    return ", ".join(f"`{name}`" for name in names), default, escaped(item.help or "")


def training_rows() -> list[tuple[str, str, str]]:
    """Return the cells of the settings of `savos train`, with their groups in the YAML file."""
    from training.learn.config import setting_fields  # needs PyTorch

    rows = []
    for name, (group, field) in setting_fields().items():
        flag = flag_of("data" if name == "stores" else name)
        rule = settings.rule(field)
        text = f"{group}: {field.metadata['text']}" + (f" ({rule})" if rule else "")
        default = f"`{field.default}`" if field.default not in ("", ()) else ""
        rows.append((f"`{flag}`", default, escaped(text)))
    return rows


def escaped(text: str) -> str:
    """Return text that means the same inside a Markdown table."""
    return re.sub(r"([|<*])", r"\\\1", text)
