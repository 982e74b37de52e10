"""Add pages from outside docs/ to mkdocs, and the links to them."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {  # file of the repository: its page
    "README.md": "overview.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security_policy.md",
    "savos_model/shipped/README.md": "weights.md",
}
PICTURE = r"!\[[^]\[]*\]\([^)\s]*\)"  # inside a link that a click on it follows
LINK = re.compile(rf"(?<!`)\[((?:{PICTURE}|[^]\[])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
SCHEME = re.compile(r"[a-z]+:")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are stored outside docs/."""
    for source, page in OUTSIDE.items():
        if (ROOT / source).is_file():
            files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    source = {target: name for name, target in OUTSIDE.items()}.get(here, f"docs/{here}")

    def turned(match: re.Match) -> str:
        text, path, anchor = LINK.sub(turned, match[1]), match[2], match[3] or ""
        if not path or SCHEME.match(path):
            return f"[{text}]({path}{anchor})"
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        uri = OUTSIDE.get(target) or target.removeprefix("docs/")
        if files.get_file_from_path(uri) is None:  # mkdocs names what is not there at all
            return text if (ROOT / target).exists() else f"[{text}]({path}{anchor})"
        return f"[{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor})"

    return LINK.sub(turned, markdown)
