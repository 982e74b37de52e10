"""The workflows, images and hooks that other machines run name what is there."""

import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import tomllib
import yaml

from tests.scripts import load

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCKERFILES = [*sorted((ROOT / "docker").glob("*.Dockerfile")), ROOT / ".devcontainer/Dockerfile"]


def workflow(path):
    """A workflow; YAML takes its key `on` for true."""
    return yaml.safe_load(path.read_text())


def steps(path):
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def commands(path):
    return "\n".join(step.get("run", "") for step in steps(path))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_may_only_read_and_end_what_is_outdated(path):
    found = workflow(path)
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]["cancel-in-progress"] is True
    for job in found["jobs"].values():
        assert job["timeout-minutes"] <= 90 and "permissions" not in job
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_each_python_of_the_set_up_is_tested():
    jobs = workflow(ROOT / ".github/workflows/ci.yml")["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    assert tested == ["{}.{}".format(*version) for version in load("bootstrap").PYTHONS]


def test_commands_of_workflows_name_what_is_there():
    text = "\n".join(map(commands, WORKFLOWS))
    targets = re.findall(r"\bmake ([\w-]+)", text)
    makefile = (ROOT / "Makefile").read_text()
    assert {"test", "docs"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)
    for name in re.findall(r"(?:src/savos_ros/|pytest )([\w./]+\.(?:txt|py))", text):
        assert (ROOT / name).is_file(), name
    images = workflow(ROOT / ".github/workflows/ros.yml")["jobs"]["image"]["strategy"]["matrix"]
    assert {f"{name}.Dockerfile" for name in images["file"]} == {
        path.name for path in (ROOT / "docker").glob("*.Dockerfile")
    }


def test_colcon_is_called_in_the_same_way_everywhere():
    """The workflow, the image, first steps and the text of the set-up on other machines."""
    ros = commands(ROOT / ".github/workflows/ros.yml")
    image = (ROOT / "docker/jazzy.Dockerfile").read_text()
    page = (ROOT / "docs/first_steps.md").read_text()
    for line in (
        "rosdep install --from-paths src --ignore-src -y",
        "pip install -r src/savos_ros/requirements/workspace.txt",
        "colcon build --packages-select savos_ros",
    ):
        assert all(line in text for text in (ros, image, page)), line


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_copy_what_is_there_and_run_as_a_user(path):
    text = path.read_text()
    copied = re.findall(r"^COPY (?!--from)(\S+) ", text, re.M)
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER 1000$", text, re.M)
    hidden = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "build"} <= set(hidden)
    assert not set(hidden) & {"docker", "requirements", "msg", *copied}


@pytest.mark.parametrize(
    ("linter", "arguments"),
    [
        ("hadolint", [str(path) for path in DOCKERFILES]),
        ("actionlint", [str(path) for path in WORKFLOWS]),
        ("shellcheck", [str(ROOT / "docker" / "entrypoint.sh")]),
    ],
)
def test_linters_find_nothing(linter, arguments):
    if not shutil.which(linter):
        pytest.skip(f"{linter} is not installed")
    done = subprocess.run([linter, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_package_xml_says_what_the_other_files_say():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert package.findtext("license") == project["license"] == citation["license"]
    assert package.find("license").get("file") == project["license-files"][0]
    assert package.findtext("maintainer") == citation["authors"][0]["name"]
    assert package.findtext("name") == project["name"]
    assert package.findtext("version") == project["version"] == citation["version"]
    urls = {node.text for node in package.iter("url")}
    assert urls == set(project.get("urls", {}).values()), "none is invented"
