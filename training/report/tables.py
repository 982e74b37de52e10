"""The paper's tables as data: where our figure of each cell comes from."""

from __future__ import annotations

from training.report.cells import Absent, Cell, Pooled, Source
from training.report.paper import PAPER, TYPES
from training.report.producers import (
    KITTI_ADAPTED,
    STREET_LAGS,
    ablation_file,
    kins_file,
    lag_file,
    seen_file,
    unseen_file,
)

KINS_PARTS = ("kitti_raw", "kins", "tracked_masks")
NO_SUBSETS = Absent("KINS-Video-Car is scored as a whole, not by these parts")
BASELINES, BOTH = "fishbowl_baselines.json", "fishbowl_bidirectional.json"
DEOCCLUSION, ORACLE = "fishbowl_deocclusion.json", "fishbowl_oracle.json"
GUM, GUM_BASELINES = "chewing_gum.json", "chewing_gum_baselines.json"

Rows = dict[str, tuple[Cell, ...]]


def pair(file: str, method: str = "ours", suffix: str = "") -> tuple[Cell, Cell]:
    """Return the full and occluded mean IoU of one method."""
    return tuple(Source(file, f"methods.{method}.{part}{suffix}") for part in ("full", "occluded"))  # type: ignore[return-value]


def gum(file: str, method: str = "ours") -> tuple[Cell, Cell]:
    """Return the same of the lower object of Chewing Gum videos."""
    return pair(file, f"{method}.lower_object")


def kins(name: str, method: str = "ours", suffix: str = "") -> tuple[Cell, Cell]:
    """Return the same of KINS-Video-Car, by the released rule, which the paper's figures follow."""
    return pair(kins_file(name), f"{method}.released", suffix)


def by_type(files: tuple[str, ...], method: str) -> tuple[Cell, ...]:
    """Return a row of table 2: occluded IoU of each type, then full and occluded of all pooled."""
    pooled = (Pooled(files, f"methods.{method}.{part}") for part in ("full", "occluded"))
    return (*(Source(name, f"methods.{method}.occluded") for name in files), *pooled)


def unseen(method: str, file: str = "adapted") -> tuple[Cell, ...]:
    """Return a row of table 2 whose weights never saw the type that they are scored on."""
    return by_type(tuple(unseen_file(name, file) for name in TYPES), method)


def ablation(name: str, mode: str = "bidirectional") -> tuple[Cell, ...]:
    """Return the cells of an ablation on FISHBOWL and on KINS-Video-Car."""
    return (*pair(ablation_file(name, mode)), *kins(name))


def occluded_of(method: str, fishbowl: str, cars: str) -> tuple[Cell, Cell]:
    """Return the occluded mean IoU of one method on FISHBOWL and on KINS-Video-Car."""
    return pair(fishbowl, method)[1], kins(cars, method)[1]


OURS: dict[str, Rows] = {
    "1": {
        "Convex": (*pair(BASELINES, "convex"), *kins("baselines", "convex"), *gum(GUM, "convex")),
        "Self-Deocclusion": (
            *pair(DEOCCLUSION, "deocclusion"),
            *kins("deocclusion", "deocclusion"),
            *gum(GUM_BASELINES, "deocclusion"),
        ),
        "SaVos": (*pair(BOTH), *kins("ours"), *gum(GUM)),
        "Supervised oracle": (
            *pair(ORACLE, "oracle"),
            *kins("oracle", "oracle"),
            *gum(GUM_BASELINES, "oracle"),
        ),
    },
    "2": {
        "Self-Deocclusion": unseen("deocclusion", "deocclusion"),
        "Self-Deocclusion with TTA": unseen("deocclusion+tta", "deocclusion"),
        "SaVos without TTA": unseen("base"),
        "SaVos with TTA": unseen("adapted"),
        "SaVos trained on all types": by_type(tuple(map(seen_file, TYPES)), "ours"),
    },
    "3": {
        "Self-Deocclusion, trained on FISHBOWL": kins("fishbowl_deocclusion", "deocclusion"),
        "Self-Deocclusion, FISHBOWL, adapted": kins("fishbowl_deocclusion", "deocclusion+tta"),
        "Self-Deocclusion, trained on KINS-Video-Car": kins("deocclusion", "deocclusion"),
        "SaVos, trained on FISHBOWL": kins("fishbowl", "base"),
        "SaVos, FISHBOWL, adapted": kins("fishbowl", "adapted"),
        "SaVos, trained on KINS-Video-Car": kins("ours"),
    },
    "S1": {
        "without temporal embedding": ablation("no_memory"),
        "without consistency loss": ablation("no_consistency"),
        "without bi-directional prediction": ablation("forward_only", "forward"),
        "all components": ablation("full"),
    },
    "S2": {
        "Self-Deocclusion architecture, Self-Deocclusion loss": (
            *pair(DEOCCLUSION, "deocclusion"),
            *kins("deocclusion", "deocclusion"),
        ),
        "SaVos architecture, Self-Deocclusion loss": ablation("deocclusion_loss", "forward"),
        "SaVos architecture, SaVos loss": ablation("full"),
    },
    "S3": {
        "without flow": ablation("no_flow"),
        "without image": ablation("no_image"),
        "all inputs": ablation("full"),
    },
    "S4": {
        "aggregation by rule, k = 5": occluded_of("flow5", BASELINES, "baselines"),
        "aggregation by rule, k = 3": occluded_of("flow3", BASELINES, "baselines"),
        "SaVos": occluded_of("ours", BOTH, "ours"),
    },
    "S7": {
        "Self-Deocclusion": (
            *pair(DEOCCLUSION, "deocclusion"),
            *kins("deocclusion", "deocclusion"),
        ),
        "SaVos": (*pair(BOTH), *kins("ours")),
    },
    "S8": {
        "Self-Deocclusion": (
            *pair(DEOCCLUSION, "deocclusion", "_object"),
            *kins("deocclusion", "deocclusion", "_object"),
        ),
        "SaVos": (*pair(BOTH, suffix="_object"), *kins("ours", suffix="_object")),
    },
}


def cells_of(table: str, row: str) -> tuple[Cell, ...]:
    """Return our cells of a row of a paper table."""
    return OURS.get(table, {}).get(row, (NO_SUBSETS,) * len(PAPER[table].columns))


KITTI = "kitti_boxes.json"
LEVELS = {"1": "partly occluded", "2": "largely occluded"}


KITTI_COLUMNS = (*LEVELS.values(), "growth of unhidden objects")


def boxes(file: str, method: str) -> tuple[Cell, ...]:
    """Return the mean box IoU at each level of occlusion, and growth where nothing is hidden."""
    figures = [f"levels.{level}.methods.{method}.iou_mean" for level in LEVELS]
    return tuple(
        Source(file, path) for path in (*figures, f"levels.0.methods.{method}.growth_mean")
    )


KITTI_ROWS: Rows = {
    "visible mask alone": boxes(KITTI, "visible"),
    "convex hull": boxes(KITTI, "convex"),
    "SaVos, shipped weights": boxes(KITTI, "ours"),
}
STREET, STREET_BOTH = "street_val.json", "street_bidirectional.json"
STREET_COLUMNS = ("full", "occluded", "full, behind tracked", "occluded, behind tracked")


def street(file: str, method: str = "ours") -> tuple[Cell, ...]:
    """Return mean IoU of all scored objects, then of those that a tracked object hides in part."""
    return (*pair(file, method), *pair(file, f"{method}.behind_objects"))


STREET_ROWS: Rows = {
    "visible mask alone": street(STREET, "visible"),
    "convex hull": street(STREET, "convex"),
    "SaVos, forward only": street(STREET),
    **{f"SaVos, {lag} frames later": street(lag_file(lag)) for lag in STREET_LAGS},
    "SaVos, bi-directional": street(STREET_BOTH),
}
RENDERED = "rendered.json"
OPEN_COLUMNS = ("whole", "hidden part", "false area of unhidden objects")
OPEN_SETS = {
    "rendered streets": (RENDERED, "kinds.street."),
    "rendered table-tops": (RENDERED, "kinds.table."),
    "FISHBOWL": ("fishbowl_val.json", ""),
}


def opened(file: str, path: str) -> tuple[Cell, ...]:
    """Return the figures of one method by the open protocol."""
    return tuple(
        Source(file, f"{path}.{name}") for name in ("open_full", "open_hidden", "false_area")
    )


OPEN_ROWS: Rows = {
    f"{text}: {name}": opened(file, f"{group}methods.{method}")
    for text, (file, group) in OPEN_SETS.items()
    for method, name in {"convex": "convex hull", "ours": "SaVos, forward only"}.items()
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
