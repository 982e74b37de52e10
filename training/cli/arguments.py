"""What the `savos` commands make of their arguments, right or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from savos_model.config import BackendConfig, FlowConfig, StreamConfig
from savos_model.hints import PIP
from savos_model.stream.video import Setup

RENDER_MODULES = ("av", "fast_simplification", "glcontext", "moderngl", "mujoco", "trimesh")
TRAIN_MODULES = ("PIL", "matplotlib", "pycocotools", "sklearn", "tensorboard", "torch")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given; the others are None."""
    return {name: value for name, value in options.items() if value is not None}


def names_of(text: str) -> list[str]:
    """Names out of a text with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def ours_of(weights: str | None, mode: str, flow: str = FlowConfig().method) -> Setup:
    """How our method runs, by the options of a command."""
    return Setup(BackendConfig(**given(weights=weights)), StreamConfig(flow=FlowConfig(flow)), mode)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn wrong arguments or files, or a package that is missing, into one line and status 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in (*RENDER_MODULES, *TRAIN_MODULES):
            raise
        hint = PIP["render" if name in RENDER_MODULES else "train"]
        typer.echo(f"error: {error.name} is not installed: {hint}", err=True)
        raise typer.Exit(2) from error
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
