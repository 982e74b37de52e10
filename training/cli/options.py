"""Options that several `savos` commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[Path | None, typer.Option("--json", help="Results file to write.")]
WeightsOption = Annotated[str | None, typer.Option(help="Shipped name or .safetensors file.")]
ProcessesOption = Annotated[int, typer.Option(min=1, help="Worker processes.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
FlowOption = Annotated[
    str, typer.Option(help="Flow of ours: dis_fast, dis_medium; topic: what the data brings.")
]
RawOption = Annotated[Path | None, typer.Option(help="Folder of KITTI raw, to build the set.")]
CarMasksOption = Annotated[
    Path | None, typer.Option(help="Folder of tracked masks, <drive>.txt, to build the set.")
]
ReleasedOption = Annotated[Path | None, typer.Option(help="Folder of the released set.")]
SplitOption = Annotated[str, typer.Option(help="train, val or test of the released set.")]
KinsOption = Annotated[Path | None, typer.Option(help="KINS' instances_train.json: the truth.")]
MappingOption = Annotated[
    Path | None, typer.Option(help="Folder with the devkit's train_mapping.txt, train_rand.txt.")
]
