"""The generated files: parameters, reference pages and part of the README."""

import json
import re
from pathlib import Path

from typer import Typer

from savos_model.files import write_file
from savos_model.tables import markdown_table
from savos_ros.cli.docs import commands, messages
from savos_ros.cli.docs import results as result_docs
from savos_ros.messages import settings

CARD = Path("savos_model/shipped/README.md")

PARAMETERS = """# Parameters

Live ones change while the node is active, all others after deactivate and cleanup.
Generated: `savos params --write`.
"""


def yaml_text() -> str:
    """Return the text of config/amodal.yaml: every parameter with its default, text and rule."""
    lines = [
        "# Every parameter of the node with its default. Generated: `savos params --write`.",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for name, field in settings.fields():
        head, _, leaf = name.rpartition(".")
        if head != group:
            group = head
            lines.append(f"    {group}:")
        indent = "      " if head else "    "
        if name == "autostart":  # a copy of the file must not undo --autostart or -p autostart
            lines.append(f"{indent}# {field.metadata['text']}\n{indent}# autostart: true")
            continue
        notes = [settings.rule(field), "live" if field.metadata["live"] else ""]
        note = "; ".join(part for part in notes if part)
        lines.append(f"{indent}# {field.metadata['text']}" + (f" ({note})" if note else ""))
        # A JSON scalar is a YAML scalar with one unmistakable type.
        lines.append(f"{indent}{leaf}: {json.dumps(field.default)}")
    return "\n".join(lines) + "\n"


def markdown_text() -> str:
    """Return the text of docs/parameters.md: a table of all parameters."""
    rows = []
    for name, field in settings.fields():
        meta = field.metadata
        text, live = meta["text"].replace("|", "\\|"), "yes" if meta["live"] else ""
        rows.append((f"`{name}`", f"`{field.default}`", settings.rule(field), live, text))
    heads = ("parameter", "default", "range", "live", "meaning")
    return "\n".join([PARAMETERS, *markdown_table(heads, rows), ""])


def pages(app: Typer) -> dict[str, str]:
    """Return the generated pages of docs/ by name; `app` is the command line."""
    return {
        "parameters.md": markdown_text(),
        "messages.md": messages.markdown_text(),
        "commands.md": commands.markdown_text(app),
    }


def filled(document: str, text: str) -> str:
    """Return the document with `text` between the markers of results; unchanged without them."""
    begin, end = result_docs.BEGIN, result_docs.END
    inner = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    return inner.sub(lambda _: f"{begin}\n\n{text}\n{end}", document, count=1)


def update(root: Path, app: Typer) -> list[Path]:
    """Rewrite config/amodal.yaml, the reference pages and, between their markers, the figures.

    Returns the files that were changed.
    """
    wanted = {root / "config" / "amodal.yaml": yaml_text()}
    if (root / "docs").is_dir():  # of a source tree
        wanted |= {root / "docs" / name: text for name, text in pages(app).items()}
    results = root / "docs" / "results"
    figures = {
        root / "README.md": result_docs.markdown_text(results),
        root / CARD: result_docs.markdown_text(results, result_docs.OF_WEIGHTS),
    }
    for path, text in figures.items():
        if path.is_file():
            wanted[path] = filled(path.read_text(encoding="utf-8"), text)
    changed = []
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_file(path, text)
            changed.append(path)
    return changed
