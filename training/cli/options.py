"""Options that several `savos` commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[Path | None, typer.Option("--json", help="Results file to write.")]
WeightsOption = Annotated[str | None, typer.Option(help="Shipped name or .safetensors file.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Worker processes.")]
