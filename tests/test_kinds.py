import os
from pathlib import Path

import pytest
from kinds import TESTS, kind_of_skip, marks_of_file, marks_of_tests


def test_a_file_that_imports_neither_has_no_mark():
    assert marks_of_file(Path(__file__)) == set()


def test_an_import_inside_a_test_marks_that_test_alone():
    if os.environ.get("NEVER"):
        pytest.importorskip("torch.nn")
    mine = marks_of_tests(Path(__file__))
    assert mine["test_an_import_inside_a_test_marks_that_test_alone"] == {"torch"}
    assert [name for name, marks in mine.items() if marks] == [
        "test_an_import_inside_a_test_marks_that_test_alone"
    ]


def test_imports_are_followed_through_helpers_and_sources(tmp_path):
    def marks(text):
        path = tmp_path / f"test_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        return marks_of_file(path)

    assert marks("from training.train import train\n") == {"torch"}
    assert marks("from savos_ros.node import node\n") == {"dds"}
    assert marks("def helper():\n    import torch\n") == {"torch"}
    assert marks("import savos_model.stream.stream\nimport numpy as np\n") == set()
    assert marks("if TYPE_CHECKING:\n    import torch\n") == set()
    planted = (TESTS / "planted.py").read_text()
    assert "    import torch" in planted, "inside a function of a helper"
    assert marks("from tests.planted import MODEL\n") == {"torch"}


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Skipped: could not import 'sklearn': No module named 'sklearn'", "without sklearn"),
        ("Skipped: tensorrt_rtx is not installed", "without tensorrt_rtx"),
        ("Skipped: no data sets at data: set SAVOS_DATA to their folder", "data sets"),
        ("Skipped: the messages are not built", "built messages"),
        ("Skipped: it rains", "other"),
    ],
)
def test_reasons_have_classes(reason, kind):
    assert kind_of_skip(reason) == kind
