"""The paper's tables as data: where our figure of each cell comes from."""

from __future__ import annotations

from training.report.cells import Absent, Cell, Pooled, Source
from training.report.paper import PAPER, TYPES
from training.report.producers import KITTI_ADAPTED, ablation_file, seen_file, unseen_file

KINS_PARTS = ("kitti_raw", "kins", "tracked_masks")
NO_KINS = Absent("KINS-Video-Car is not there: see [what it takes](#missing-data)")
BASELINES, BOTH = "fishbowl_baselines.json", "fishbowl_bidirectional.json"
DEOCCLUSION, ORACLE = "fishbowl_deocclusion.json", "fishbowl_oracle.json"
GUM, GUM_BASELINES = "chewing_gum.json", "chewing_gum_baselines.json"

Rows = dict[str, tuple[Cell, ...]]


def pair(file: str, method: str = "ours", suffix: str = "") -> tuple[Cell, Cell]:
    """Full and occluded mean IoU of one method."""
    return tuple(Source(file, f"methods.{method}.{part}{suffix}") for part in ("full", "occluded"))  # type: ignore[return-value]


def gum(file: str, method: str = "ours") -> tuple[Cell, Cell]:
    """The same of the lower object of Chewing Gum videos."""
    return pair(file, f"{method}.lower_object")


KINS_PAIR = (NO_KINS, NO_KINS)


def fish(*parts: tuple[Cell, Cell]) -> tuple[Cell, ...]:
    """FISHBOWL cells followed by the KINS-Video-Car ones that nobody can fill yet."""
    return (*parts[0], *KINS_PAIR, *(cell for part in parts[1:] for cell in part))


def unseen(method: str, file: str = "adapted") -> tuple[Cell, ...]:
    """A row of table 2: each type by the weights that never saw it, then all of them together."""
    files = tuple(unseen_file(name, file) for name in TYPES)
    return (
        *(Source(name, f"methods.{method}.occluded") for name in files),
        Pooled(files, f"methods.{method}.full"),
        Pooled(files, f"methods.{method}.occluded"),
    )


def all_types() -> tuple[Cell, ...]:
    """The row of table 2 whose weights saw all types, trained as small as those that did not."""
    types = (Source(seen_file(name), "methods.ours.occluded") for name in TYPES)
    return (*types, *pair(ablation_file("full", "bidirectional")))


def ablation(name: str, mode: str = "bidirectional") -> tuple[Cell, ...]:
    """FISHBOWL cells of an ablation."""
    return fish(pair(ablation_file(name, mode)))


OURS: dict[str, Rows] = {
    "1": {
        "Convex": fish(pair(BASELINES, "convex"), gum(GUM, "convex")),
        "Self-Deocclusion": fish(
            pair(DEOCCLUSION, "deocclusion"), gum(GUM_BASELINES, "deocclusion")
        ),
        "SaVos": fish(pair(BOTH), gum(GUM)),
        "Supervised oracle": fish(pair(ORACLE, "oracle"), gum(GUM_BASELINES, "oracle")),
    },
    "2": {
        "Self-Deocclusion": unseen("deocclusion", "deocclusion"),
        "Self-Deocclusion with TTA": unseen("deocclusion+tta", "deocclusion"),
        "SaVos without TTA": unseen("base"),
        "SaVos with TTA": unseen("adapted"),
        "SaVos trained on all types": all_types(),
    },
    "S1": {
        "without temporal embedding": ablation("no_memory"),
        "without consistency loss": ablation("no_consistency"),
        "without bi-directional prediction": ablation("forward_only", "forward"),
        "all components": ablation("full"),
    },
    "S2": {
        "Self-Deocclusion architecture, Self-Deocclusion loss": fish(
            pair(DEOCCLUSION, "deocclusion")
        ),
        "SaVos architecture, Self-Deocclusion loss": ablation("deocclusion_loss"),
        "SaVos architecture, SaVos loss": ablation("full"),
    },
    "S3": {
        "without flow": ablation("no_flow"),
        "without image": ablation("no_image"),
        "all inputs": ablation("full"),
    },
    "S4": {
        "aggregation by rule, k = 5": (Source(BASELINES, "methods.flow5.occluded"), NO_KINS),
        "aggregation by rule, k = 3": (Source(BASELINES, "methods.flow3.occluded"), NO_KINS),
        "SaVos": (Source(BOTH, "methods.ours.occluded"), NO_KINS),
    },
    "S7": {
        "Self-Deocclusion": fish(pair(DEOCCLUSION, "deocclusion")),
        "SaVos": fish(pair(BOTH)),
    },
    "S8": {
        "Self-Deocclusion": fish(pair(DEOCCLUSION, "deocclusion", "_object")),
        "SaVos": fish(pair(BOTH, suffix="_object")),
    },
}


def cells_of(table: str, row: str) -> tuple[Cell, ...]:
    """Our cells of a row of a paper table; tables that are not listed are of KINS-Video-Car."""
    return OURS.get(table, {}).get(row, (NO_KINS,) * len(PAPER[table].columns))


KITTI = "kitti_boxes.json"
LEVELS = {"1": "partly occluded", "2": "largely occluded"}


def boxes(file: str, method: str) -> tuple[Cell, ...]:
    """Mean box IoU at each level of occlusion."""
    return tuple(Source(file, f"levels.{level}.methods.{method}.iou_mean") for level in LEVELS)


KITTI_ROWS: Rows = {
    "visible mask alone": boxes(KITTI, "visible"),
    "convex hull": boxes(KITTI, "convex"),
    "SaVos, shipped weights": boxes(KITTI, "ours"),
}
ADAPT_COLUMNS = ("largely occluded", "adapted", "change", "change, all occluded")


def adapted_boxes(file: str) -> tuple[Cell, ...]:
    """Box IoU before and after adaptation to each video, and the change with its interval."""
    before, after = (f"levels.2.methods.{name}.iou_mean" for name in ("ours", "adapted"))
    paths = (before, after, "gain.2.mean", "gain.1+2.mean")
    return tuple(Source(file, path) for path in paths)


KITTI_ADAPT_ROWS: Rows = {
    text: adapted_boxes(f"kitti_boxes_{name}.json") for name, (text, _) in KITTI_ADAPTED.items()
}
