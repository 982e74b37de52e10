"""Names of the results files of the report, and the commands of those still to be measured.

A file that is there stores its command itself.
"""

from __future__ import annotations

STREET_LAGS = (2, 5, 10, 20)
ABLATIONS = {
    "full": "everything",
    "no_consistency": "without consistency loss",
    "forward_only": "trained forward only",
    "no_memory": "without temporal embedding",
    "no_flow": "without flow",
    "no_image": "without image",
    "no_paste": "without pasted occluders",
    "detach": "consistency loss trains no motion",
    "photometric": "with photometric loss",
    "uniform_motion": "base motion everywhere, no flow per pixel",
    "deocclusion_loss": "Self-Deocclusion's loss",
    "prior_mask": "with prior mask (our default)",
}
MODES = ("forward", "bidirectional")
KINS = "kins_video_car"
KINS_DATA = (
    "--raw ../shared/data/kitti_raw --masks ../shared/data/pointtrack "
    "--kins ../shared/data/kins/instances_train.json --mapping ../shared/data/kitti_object_mapping"
)
# Ablations that the paper trained on KINS-Video-Car as well, with the mode each is scored in.
KINS_ABLATIONS = dict.fromkeys(
    ("full", "no_consistency", "no_memory", "no_flow", "no_image"), MODES[1]
) | dict.fromkeys(("forward_only", "deocclusion_loss"), MODES[0])  # they train no merge
KITTI_ADAPTED = {  # what is adapted, by the end of the file's name
    "adapted": "shipped weights, by the stopping rule",
    "100": "shipped weights, all 100 iterations",
    "half": "shipped weights, adapted to the first half, scored on the second",
    "fishbowl_adapted": "trained on FISHBOWL alone, by the stopping rule",
    "fishbowl_100": "trained on FISHBOWL alone, all 100 iterations",
    "fishbowl_half": "trained on FISHBOWL alone, adapted to the first half, scored on the second",
}


def ablation_file(name: str, mode: str) -> str:
    """Return the results file of one ablation, scored in one mode."""
    return f"ablations/{name}_{mode}.json"


def kins_file(name: str) -> str:
    """Return the results file of KINS-Video-Car."""
    return f"{KINS}_{name}.json"


def unseen_file(fish: str, method: str = "adapted") -> str:
    """Return the results file of weights that never saw this type of fish, scored on it.

    `adapted` holds SaVos before and after adaptation, `deocclusion` the baseline.
    """
    return f"unseen_{fish}_{method}.json"


def seen_file(fish: str) -> str:
    """Return the results file of weights that saw all types, scored on this one."""
    return f"seen_{fish}.json"


def lag_file(lag: int) -> str:
    """Return the results file of the generated street, each frame answered so many frames later."""
    return f"street_lag_{lag}.json"


def commands() -> dict[str, str]:
    """Return the command of each file of KINS-Video-Car, by its name."""
    scored = f"savos evaluate kins-video-car {KINS_DATA} --methods"
    found = {
        kins_file("baselines"): f"{scored} visible,convex,flow3,flow5",
        kins_file("fishbowl"): f"savos adapt kins-video-car {KINS_DATA} --mode bidirectional "
        "--weights runs/ablations/prior_mask/best.safetensors",
        kins_file("fishbowl_deocclusion"): f"{scored} deocclusion:runs/pcnet/best.safetensors,"
        "deocclusion+tta:runs/pcnet/best.safetensors",
        kins_file("ours"): f"{scored} ours --mode bidirectional "
        "--weights runs/kins/best.safetensors",
    }
    for name, folder in (("deocclusion", "kins_pcnet"), ("oracle", "kins_oracle")):
        found[kins_file(name)] = f"{scored} {name}:runs/{folder}/best.safetensors"
    for name, mode in KINS_ABLATIONS.items():
        flow = " --flow topic" if name == "no_flow" else ""  # none, as with FISHBOWL's
        weights = f"--weights runs/kins_ablations/{name}/best.safetensors"
        found[kins_file(name)] = f"{scored} ours --mode {mode} {weights}{flow}"
    return {name: f"{run} --json docs/results/{name}" for name, run in found.items()}
