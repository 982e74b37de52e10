"""The whole report: tables, plots, pictures; its text is that of report.md.j2."""

from pathlib import Path

from jinja2 import Environment

from savos_model.files import write_file
from training.data.provenance import PARTS
from training.evaluate.metrics import proven
from training.evaluate.tables import options_table
from training.report import figures, markdown, tables
from training.report.cells import Results, missing
from training.report.paper import PAPER
from training.report.runs import runs_table

TEMPLATE = Path(__file__).with_name("report.md.j2")
PLOTS = {  # what draws each figure, by the name of its results file
    "alpha": figures.alpha_plot,
    "tsne": figures.tsne_plot,
    "adapt_curve": figures.adapt_plot,
    "fishbowl_lag": figures.lag_plot,
    "reliability": figures.reliability_plot,
    **dict.fromkeys(("stream_bench", "stream_bench_one_core"), figures.stream_plot),
    **dict.fromkeys(("soak", "soak_adapt", "soak_latency"), figures.soak_plot),
}


def build_report(results: Path, out: Path) -> Path:
    """Write README.md with all tables, and its plots, to the folder `out`; return its path.

    Whatever is missing in the folder `results` is named in the report. Raises ResultsError: a
    results file is broken.
    """
    found = Results(results)
    runs = sorted(path.stem for path in results.glob("runs_*.json"))

    def draw(name: str, metrics: dict) -> str:
        picture = out / f"{name}.png"
        PLOTS.get(name, figures.runs_plot)(metrics, picture)
        return picture.name

    made = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    text = made.from_string(TEMPLATE.read_text("utf-8")).render(
        results=found,
        runs={name: found.metrics(f"{name}.json") for name in runs},
        draw=draw,
        exists=lambda name: (out / name).is_file(),
        PAPER=PAPER,
        PARTS=PARTS,
        tables=tables,
        missing=missing,
        proven=proven,
        options_table=options_table,
        runs_table=runs_table,
        soak_changes=figures.soak_changes,
        paper_table=markdown.paper_table,
        figures_table=markdown.figures_table,
        gains_table=markdown.gains_table,
        ablations_table=markdown.ablations_table,
    )
    page = out / "README.md"
    write_file(page, text)
    return page
