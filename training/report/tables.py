"""The paper's tables as data: where our figure of each cell comes from."""

from training.report.cells import (
    KINS,
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


def paths(file: str, *found: str) -> tuple[Cell, ...]:
    """Return the figures at some paths of one file."""
    return tuple(Source(file, path) for path in found)


def boxes(method: str) -> tuple[Cell, ...]:
    """Return the mean box IoU at each level of occlusion, and growth where nothing is hidden."""
    figures = ("1.methods.{}.iou_mean", "2.methods.{}.iou_mean", "0.methods.{}.growth_mean")
    return paths("kitti_boxes.json", *(f"levels.{figure.format(method)}" for figure in figures))


def street(file: str, method: str = "ours") -> tuple[Cell, ...]:
    """Return mean IoU of all scored objects, then of those that a tracked object hides in part."""
    return (*pair(file, method), *pair(file, f"{method}.behind_objects"))


def published(file: str, group: str, method: str) -> tuple[Cell, ...]:
    """Return the figures of the open protocol for a method, of a group of the clips in a file."""
    figures = ("open_full", "open_hidden", "false_area")
    return paths(file, *(f"{group}methods.{method}.{figure}" for figure in figures))


def adapted(file: str) -> tuple[Cell, ...]:
    """Return mean box IoU of largely occluded objects before and after, and the changes."""
    means = (f"levels.2.methods.{name}.iou_mean" for name in ("ours", "adapted"))
    return paths(file, *means, "gain.2.mean", "gain.1+2.mean")
