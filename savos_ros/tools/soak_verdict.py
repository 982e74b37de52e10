"""Compares the end of a soak with its beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_SAMPLES = 20
# Largest growth from the tenth after the warm-up to the last; None: told, not judged, as other
# work on the machine changes it.
LIMITS = {
    "rss_mb": 0.02,
    "threads": 0.0,
    "handles": 0.0,
    "adapter_rss_mb": 0.02,
    "cpu_ms": None,
    "latency_p50_ms": None,
    "latency_p99_ms": None,
}
BELOW_BASE = 0.005  # what the recall of visible pixels may lie under that of the base weights


def verdict(samples: Sequence[dict], warm_up_h: float = 0.0) -> dict:
    """Compare the last tenth of the samples with the one that follows the warm-up.

    Args:
        samples: of soak_run, in order.
        warm_up_h: hours by the stamps; a tenth of the samples at least.

    Returns:
        compared: by quantity, mean early and late (threads and handles: median), growth (a share),
        limit, flat; against_base: recall of given visible pixels in the last tenth, that of the
        base weights on the same frames, limit, kept; flat: all of it, None with too few samples.
    """
    tenth = len(samples) // 10
    first = max(tenth, sum(row["hours"] <= warm_up_h for row in samples))
    if len(samples) < max(MIN_SAMPLES, first + 2 * tenth):
        return {"compared": {}, "against_base": None, "flat": None}
    early, late = samples[first : first + tenth], samples[-tenth:]
    compared = {}
    for name, limit in LIMITS.items():
        pair = [[row[name] for row in part if row.get(name) is not None] for part in (early, late)]
        if not all(pair):
            continue
        middle = np.median if limit == 0.0 else np.mean
        began, ended = (float(middle(values)) for values in pair)
        growth = ended / began - 1
        flat = None if limit is None else abs(growth) <= limit if limit == 0.0 else growth <= limit
        compared[name] = {
            "early": began, "late": ended, "growth": growth, "limit": limit, "flat": flat,
        }  # fmt: skip
    against = against_base(late)
    flat = (against is None or against["kept"]) and all(
        row["flat"] is not False for row in compared.values()
    )
    return {"compared": compared, "against_base": against, "flat": flat}


def against_base(samples: Sequence[dict]) -> dict | None:
    """Recall of given visible pixels beside the base weights'; None where no frame was scored."""
    pairs = [[row[name]["visible_recall"] for name in ("scores", "base")] for row in samples]
    known = [pair for pair in pairs if None not in pair]
    if not known:
        return None
    recall, base = np.mean(known, axis=0).tolist()
    kept = recall >= base - BELOW_BASE
    return {"recall": recall, "base": base, "limit": -BELOW_BASE, "kept": kept}
