"""The paper's tables as data: where our figure of each cell comes from."""

from training.report.cells import (
    KINS,
    KITTI_ADAPTED,
    STREET_LAGS,
    Cell,
    Figure,
    Pooled,
    Source,
    ablation_file,
    unseen_file,
)
from training.report.paper import PAPER, TYPES

KINS_PARTS = ("kitti_raw", "kins", "tracked_masks")
NO_SUBSETS = Figure(None, None, "KINS-Video-Car is scored as a whole, not by these parts")
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
    return pair(f"{KINS}_{name}.json", f"{method}.released", suffix)


def by_type(files: tuple[str, ...], method: str) -> tuple[Cell, ...]:
    """Return a row of table 2: occluded IoU of each type, then full and occluded of all pooled."""
    pooled = (Pooled(files, f"methods.{method}.{part}") for part in ("full", "occluded"))
    return (*(Source(name, f"methods.{method}.occluded") for name in files), *pooled)


def unseen(method: str, file: str = "adapted") -> tuple[Cell, ...]:
    """Return a row of table 2 whose weights never saw the type that they are scored on."""
    return by_type(tuple(unseen_file(name, file) for name in TYPES), method)


def both(file: str, cars: str, method: str = "ours", suffix: str = "") -> tuple[Cell, ...]:
    """Return the cells of one method on FISHBOWL and on KINS-Video-Car."""
    return (*pair(file, method, suffix), *kins(cars, method, suffix))


def ablation(name: str, mode: str = "bidirectional") -> tuple[Cell, ...]:
    """Return the cells of an ablation on FISHBOWL and on KINS-Video-Car."""
    return both(ablation_file(name, mode), name)


SAVOS, PEER = both(BOTH, "ours"), both(DEOCCLUSION, "deocclusion", "deocclusion")
OURS: dict[str, Rows] = {
    "1": {
        "Convex": (*both(BASELINES, "baselines", "convex"), *gum(GUM, "convex")),
        "Self-Deocclusion": (*PEER, *gum(GUM_BASELINES, "deocclusion")),
        "SaVos": (*SAVOS, *gum(GUM)),
        "Supervised oracle": (*both(ORACLE, "oracle", "oracle"), *gum(GUM_BASELINES, "oracle")),
    },
    "2": {
        "Self-Deocclusion": unseen("deocclusion", "deocclusion"),
        "Self-Deocclusion with TTA": unseen("deocclusion+tta", "deocclusion"),
        "SaVos without TTA": unseen("base"),
        "SaVos with TTA": unseen("adapted"),
        "SaVos trained on all types": by_type(tuple(f"seen_{name}.json" for name in TYPES), "ours"),
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
        "Self-Deocclusion architecture, Self-Deocclusion loss": PEER,
        "SaVos architecture, Self-Deocclusion loss": ablation("deocclusion_loss", "forward"),
        "SaVos architecture, SaVos loss": ablation("full"),
    },
    "S3": {
        "without flow": ablation("no_flow"),
        "without image": ablation("no_image"),
        "all inputs": ablation("full"),
    },
    "S4": {
        "aggregation by rule, k = 5": both(BASELINES, "baselines", "flow5")[1::2],
        "aggregation by rule, k = 3": both(BASELINES, "baselines", "flow3")[1::2],
        "SaVos": SAVOS[1::2],
    },
    "S7": {"Self-Deocclusion": PEER, "SaVos": SAVOS},
    "S8": {
        "Self-Deocclusion": both(DEOCCLUSION, "deocclusion", "deocclusion", "_object"),
        "SaVos": both(BOTH, "ours", suffix="_object"),
    },
}


def cells_of(table: str, row: str) -> tuple[Cell, ...]:
    """Return our cells of a row of a paper table."""
    return OURS.get(table, {}).get(row, (NO_SUBSETS,) * len(PAPER[table].columns))


LEVELS = {"1": "partly occluded", "2": "largely occluded"}


def paths(file: str, *found: str) -> tuple[Cell, ...]:
    """Return the figures at some paths of one file."""
    return tuple(Source(file, path) for path in found)


def boxes(method: str) -> tuple[Cell, ...]:
    """Return the mean box IoU at each level of occlusion, and growth where nothing is hidden."""
    figures = (f"levels.{level}.methods.{method}.iou_mean" for level in LEVELS)
    return paths("kitti_boxes.json", *figures, f"levels.0.methods.{method}.growth_mean")


def street(file: str, method: str = "ours") -> tuple[Cell, ...]:
    """Return mean IoU of all scored objects, then of those that a tracked object hides in part."""
    return (*pair(file, method), *pair(file, f"{method}.behind_objects"))


KITTI_COLUMNS = (*LEVELS.values(), "growth of unhidden objects")
KITTI_ROWS: Rows = {
    "visible mask alone": boxes("visible"),
    "convex hull": boxes("convex"),
    "SaVos, shipped weights": boxes("ours"),
}
STREET = "street_val.json"
STREET_COLUMNS = ("full", "occluded", "full, behind tracked", "occluded, behind tracked")
STREET_ROWS: Rows = {
    "visible mask alone": street(STREET, "visible"),
    "convex hull": street(STREET, "convex"),
    "SaVos, forward only": street(STREET),
    **{f"SaVos, {lag} frames later": street(f"street_lag_{lag}.json") for lag in STREET_LAGS},
    "SaVos, bi-directional": street("street_bidirectional.json"),
}
OPEN_COLUMNS = ("whole", "hidden part", "false area of unhidden objects")
OPEN_SETS = {
    "rendered streets": ("rendered.json", "kinds.street."),
    "rendered table-tops": ("rendered.json", "kinds.table."),
    "FISHBOWL": ("fishbowl_val.json", ""),
}
OPEN_ROWS: Rows = {
    f"{text}: {name}": paths(
        file,
        *(f"{group}methods.{method}.{key}" for key in ("open_full", "open_hidden", "false_area")),
    )
    for text, (file, group) in OPEN_SETS.items()
    for method, name in {"convex": "convex hull", "ours": "SaVos, forward only"}.items()
}
ADAPT_COLUMNS = ("largely occluded", "adapted", "change", "change, all occluded")
MEANS = (f"levels.2.methods.{name}.iou_mean" for name in ("ours", "adapted"))
ADAPT_PATHS = (*MEANS, "gain.2.mean", "gain.1+2.mean")  # before and after, and the change
KITTI_ADAPT_ROWS: Rows = {
    text: paths(f"kitti_boxes_{name}.json", *ADAPT_PATHS) for name, text in KITTI_ADAPTED.items()
}
