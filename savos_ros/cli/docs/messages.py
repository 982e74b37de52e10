"""Generate the page of messages from the comments in the .msg files."""

from pathlib import Path

from savos_model.tables import markdown_table
from savos_ros.paths import message_files

HEAD = """# Messages

Types of this package, `savos_ros/msg/NAME`. The
[topics](../README.md#topics) use them. Generated: `savos params --write`.
"""


def markdown_text() -> str:
    """Return the text of docs/messages.md: a section with its fields for each message."""
    return "\n".join([HEAD, *map(section, message_files())])


def section(path: Path) -> str:
    """Return one message: its first comment, then tables of its constants and fields."""
    about, *lines = path.read_text(encoding="utf-8").splitlines()
    fields: list[tuple[str, str, str]] = []
    constants: list[tuple[str, str, str]] = []
    for line in filter(str.strip, lines):
        declared, _, meaning = (part.strip() for part in line.partition("#"))
        kind, rest = declared.split(maxsplit=1)
        name, _, value = rest.partition("=")
        row = (f"`{name}`", value or f"`{kind}`", meaning)
        (constants if value else fields).append(row)
    text = [f"## {path.stem}", "", about.removeprefix("#").strip(), ""]
    if constants:
        text += [*markdown_table(("constant", "value", "meaning"), constants), ""]
    text += [*markdown_table(("field", "type", "meaning"), fields), ""]
    return "\n".join(text)
