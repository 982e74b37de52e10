"""The demo: a generated street played to the node over real DDS, shown as pictures and numbers."""

from __future__ import annotations

import os
from pathlib import Path

from savos_model.settings import SettingError
from savos_ros.bags.convert import street_to_bag
from savos_ros.bags.run import write_json
from savos_ros.bags.settings import BagError, RecordOptions
from savos_ros.tools.demo_report import record_results, report_table, review, summary
from savos_ros.tools.harness import environment, run_session
from savos_ros.tools.settings import DemoError, DemoOptions
from training.street.config import StreetConfig

STREET_BAG, RESULT_BAG = "street", "result"
OVERLAY, SHEET = "overlay.mp4", "contact_sheet.png"
TABLE, SUMMARY, LOG = "table.txt", "summary.json", "node.log"


def run_demo(out: Path, options: DemoOptions) -> dict:
    """Make a street bag, play it to the node, and leave everything in `out`.

    Leaves street/ (the bag), result/ (a bag of what came out), overlay.mp4, contact_sheet.png,
    table.txt, summary.json and node.log; what an earlier demo left there is replaced.

    Args:
        out: folder of the results.
        options: what to show.

    Returns:
        The summary: frames_in, frames_out, dropped, latency_ms {p50, p95, p99, stages}, miou
        {ours, visible, convex} each {full, occluded}.

    Raises:
        DemoError: something failed; the text says what.
        BagError: the folder holds something else.
    """
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    # An old summary must not outlive a run that fails.
    for name in (OVERLAY, SHEET, TABLE, SUMMARY, LOG):
        (out / name).unlink(missing_ok=True)
    os.environ.update(environment())

    config = StreetConfig(seed=options.seed, frames=options.frames)
    street_to_bag(config, out / STREET_BAG, RecordOptions(force=True))

    print("playing it to the node, at 10 Hz over DDS ...", flush=True)
    session = run_session(out / STREET_BAG, out / LOG, options.parameters)
    record_results(out / RESULT_BAG, session.results)

    findings = review(out / STREET_BAG, session.results, out / OVERLAY, out / SHEET)
    result = summary(session.sent, findings, session.values)
    text = report_table(result, findings, session.values)
    (out / TABLE).write_text(text, encoding="utf-8")
    write_json(out / SUMMARY, result)
    print(text, end="")
    return result


def demo_command(out: Path, options: DemoOptions) -> int:
    """Run the demo for a user; returns the exit status.

    0 when every part worked, 1 with one clear text when one failed, 130 after Ctrl-C.
    """
    try:
        result = run_demo(out, options)
    except (DemoError, BagError, SettingError, OSError) as error:
        print(f"the demo failed: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130
    if result["frames_out"] == 0:
        print(f"the demo failed: no result fits a frame of the bag; see {out / LOG}")
        return 1
    print(f"\nlook at {out / OVERLAY} and {out / SHEET}; the numbers are in {out / SUMMARY}")
    return 0
