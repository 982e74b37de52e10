import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from savos_model.commands import Options, command, option, part
from savos_model.settings import UserError, check_settings, setting


@dataclass(frozen=True)
class Data:
    data: Path = dataclasses.field(metadata={"help": "folder"})
    kinds: tuple[str, ...] = dataclasses.field(default=("a", "b"), metadata={"help": "with commas"})
    inner: str = "not an option"


@dataclass(frozen=True)
class Work:
    most_steps: int = setting(5, "steps [px]", minimum=1, maximum=9)
    quick: bool = setting(False, "skip checks")
    seed: int = setting(0, "seed")
    even: int = setting(2, "even number", choices=(2, 4))

    def __post_init__(self):
        check_settings(self)


@dataclass(frozen=True)
class Draw:
    seed: int = setting(0, "seed of all draws")


@pytest.fixture
def called():
    """The arguments of the command `work`, and a call of it."""
    app, found = typer.Typer(), []
    app.callback()(lambda: None)
    groups = (Options(Data), Options(Work, names={"most_steps": "steps"}), Options(Draw))

    @command(app, "work", *groups)
    def work(data, how, draw):
        """Work on data."""
        found.append((data, how, draw))

    @command(app, "part", Options(Work, only=("quick",)))
    def part(how):
        """Work with one option."""
        found.append(how)

    def call(*arguments):
        found.clear()
        result = CliRunner().invoke(app, arguments, terminal_width=100)
        return result, (found[0] if found else None)

    return call


def test_defaults_are_those_of_the_fields(called):
    result, (data, how, draw) = called("work", "--data", "here")
    assert result.exit_code == 0
    assert (data, how, draw) == (Data(Path("here")), Work(), Draw())


def test_options_reach_their_fields_and_shared_ones_both(called):
    given = ["--data", "x", "--kinds", "c, d", "--steps", "7", "--quick", "--seed", "3"]
    _, (data, how, draw) = called("work", *given)
    assert data == Data(Path("x"), ("c", "d"))
    assert how == Work(most_steps=7, quick=True, seed=3) and draw == Draw(3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["work"], "Missing option '--data'"),
        (["work", "--data", "x", "--steps", "10"], "'--steps'"),
        (["work", "--data", "x", "--even", "3"], "error: even must be one of 2, 4, got 3"),
        (["part", "--steps", "2"], "No such option"),
    ],
)
def test_wrong_options_are_refused(called, arguments, message):
    result, found = called(*arguments)
    assert result.exit_code == 2 and found is None
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_help_names_options_as_given(called):
    text = called("work", "--help")[0].output
    assert "Work on data." in text and "--steps" in text and "steps (px)" in text
    assert "even number; one of 2, 4" in text
    assert "--most-steps" not in text and "--inner" not in text and "--no-quick" not in text


def test_a_failure_on_the_way_is_one_line_and_status_1():
    app = typer.Typer()

    @command(app, "run", Options(Draw), status=1)
    def run(draw):
        """Fail."""
        raise UserError("the node died: see node.log")

    result = CliRunner().invoke(app, [])
    assert (result.exit_code, result.output) == (1, "error: the node died: see node.log\n")


@dataclass(frozen=True)
class Bags:
    bags: tuple[Path, ...] = option("folders", argument=True)
    remap: tuple[str, ...] = option("OLD:=NEW", (), repeated=True)
    video: bool = setting(True, "write a video")
    work: Work = part(Work, most_steps="steps", seed="")


def test_arguments_repeated_options_and_parts_reach_their_fields():
    app, found = typer.Typer(), []
    command(app, "run", Bags)(found.append)
    call = CliRunner().invoke
    assert call(app, ["a", "b"]).exit_code == 0
    given = [
        "a",
        "--remap",
        "x:=y,z",
        "--remap",
        "v:=w",
        "--no-video",
        "--steps",
        "7",
        "--seed",
        "3",
    ]
    assert call(app, given).exit_code == 0
    assert found == [
        Bags((Path("a"), Path("b"))),
        Bags((Path("a"),), ("x:=y,z", "v:=w"), False, Work(most_steps=7, seed=3)),
    ]
    assert "--quick" not in call(app, ["--help"]).output and call(app, []).exit_code == 2


def test_the_result_of_a_command_is_its_status():
    app = typer.Typer()
    command(app, "run", Draw)(lambda draw: draw.seed)
    assert CliRunner().invoke(app, ["--seed", "3"]).exit_code == 3
