import io

from rich.console import Console

from savos_model.tables import DASH, Table, interval, number, percent

TABLE = Table("Scores", ("method", "IoU"), [["ours", "0.8"], [], ["convex", "0.7"]], "IoU: 0..1")


def test_a_table_is_the_same_in_a_terminal_and_in_markdown():
    console = Console(file=io.StringIO(), width=80)
    TABLE.show(console)
    shown = console.file.getvalue()
    assert shown.index("Scores") < shown.index("ours") < shown.index("convex")
    assert shown.rstrip().endswith("IoU: 0..1")
    assert TABLE.markdown() == [
        "Scores", "", "| method | IoU |", "|---|---|", "| ours | 0.8 |", "| convex | 0.7 |", "",
        "IoU: 0..1", "",
    ]  # fmt: skip
    assert TABLE._replace(title="", note="").markdown()[0] == "| method | IoU |"


def test_figures_have_a_dash_where_nothing_was_measured():
    assert [number(0.81234), number(0.5, 1, "+"), number(None)] == ["0.8123", "+0.5", DASH]
    assert [percent(0.1234), percent(None)] == ["12.3", DASH]
    assert interval([0.1, 0.25]) == "0.10-0.25" and interval(None) == DASH
    assert interval([-0.1, 0.25], 3, "+") == "-0.100 to +0.250"
