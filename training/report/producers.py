"""The command that writes each results file of the report."""

from __future__ import annotations

from training.report.paper import TYPES

STREET_LAGS = (2, 5, 10, 20)
VAL = "--data ../shared/data/fishbowl/val"
FISHBOWL = f"savos evaluate fishbowl {VAL}"
GUM = "savos evaluate chewing-gum --videos 1000 --video-seed 2026"
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
FISHBOWL_ALONE = " --weights runs/ablations/full/best.safetensors"
KITTI_ADAPTED = {  # what is adapted, and the arguments that say so
    "adapted": ("shipped weights, by the stopping rule", ""),
    "100": ("shipped weights, all 100 iterations", " --stop-gain -1"),
    "half": ("shipped weights, adapted to the first half, scored on the second", " --half"),
    "fishbowl_adapted": ("trained on FISHBOWL alone, by the stopping rule", FISHBOWL_ALONE),
    "fishbowl_100": (
        "trained on FISHBOWL alone, all 100 iterations",
        f"{FISHBOWL_ALONE} --stop-gain -1",
    ),
    "fishbowl_half": (
        "trained on FISHBOWL alone, adapted to the first half, scored on the second",
        f"{FISHBOWL_ALONE} --half",
    ),
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
    """Return the command of each results file, by its name below the folder of results."""
    kitti = "kitti-boxes --data ../shared/data/kitti_mots --sequences 0000,0001"
    runs = {
        "fishbowl_val.json": FISHBOWL,
        "fishbowl_bidirectional.json": f"{FISHBOWL} --methods ours --mode bidirectional",
        "fishbowl_lag.json": f"savos evaluate lag {VAL}",
        "fishbowl_options.json": f"savos evaluate options {VAL}",
        "rendered_options.json": "savos evaluate options --data ../shared/data/rendered/val",
        "street_val.json": "savos evaluate street",
        "rendered.json": "savos evaluate rendered --data ../shared/data/rendered/val",
        "street_bidirectional.json": "savos evaluate street --mode bidirectional",
        **{
            lag_file(lag): f"savos evaluate street --mode lag:{lag} --methods ours"
            for lag in STREET_LAGS
        },
        "fishbowl_baselines.json": f"{FISHBOWL} --methods visible,convex,flow3,flow5,"
        "flow3_any,flow5_any",
        "chewing_gum.json": f"{GUM} --methods ours,visible,convex --mode bidirectional "
        "--flow topic --weights runs/gum/best.safetensors",
        "chewing_gum_baselines.json": f"{GUM} --methods "
        "deocclusion:runs/gum_pcnet/best.safetensors,"
        "oracle:runs/gum_oracle/best.safetensors",
        "kitti_boxes.json": f"savos evaluate {kitti}",
        **{
            f"kitti_boxes_{name}.json": f"savos adapt {kitti}{arguments}"
            for name, (_, arguments) in KITTI_ADAPTED.items()
        },
        "train_bench.json": "savos bench train",
        "stream_bench.json": "savos bench stream",
        "soak.json": f"savos soak --hours 24 --tracks 2{FISHBOWL_ALONE}",
        "soak_latency.json": f"savos soak --hours 8 --tracks 2{FISHBOWL_ALONE}",
        "soak_adapt.json": "savos soak --hours 2.5 --warm-up 1.25 --tracks 2 --refine --adapt"
        f"{FISHBOWL_ALONE}",
        "reliability.json": "savos weights calibrate --weights runs/online_c/best.safetensors "
        "--data data/fishbowl,data/rendered_street,data/rendered_table --name savos_online "
        "--out savos_model/shipped/savos_online.safetensors",
        "adapt_curve.json": "savos adapt curve --clip ../shared/data/fishbowl/val/fishbowl_0022 "
        "--types BigFishB --weights runs/no_BigFishB/best.safetensors --iterations 100",
    }
    for name, folder in (("deocclusion", "pcnet"), ("oracle", "oracle")):
        method = f"--methods {name}:runs/{folder}/best.safetensors"
        runs[f"fishbowl_{name}.json"] = f"{FISHBOWL} {method}"
    runs |= ablation_runs() | fish_runs() | kins_runs()
    done = {name: f"{run} --json docs/results/{name}" for name, run in runs.items()}
    collected = f"savos report collect {VAL} --out docs/results"
    strips = f"savos report strips {VAL} --clips fishbowl_0022,fishbowl_0029 --gum 0 --street 5"
    return done | dict.fromkeys(("alpha.json", "tsne.json"), collected) | {"strips.json": strips}


def ablation_runs() -> dict[str, str]:
    """Return the commands of the files of ablations on FISHBOWL, without --json."""
    runs = {}
    for name in ABLATIONS:
        for mode in MODES:
            weights = f"--weights runs/ablations/{name}/best.safetensors"
            # What was trained without flow must not see any: these clips bring none.
            flow = " --flow topic" if name == "no_flow" else ""
            run = f"{FISHBOWL} --methods ours --mode {mode} {weights}{flow}"
            runs[ablation_file(name, mode)] = run
    return runs


def fish_runs() -> dict[str, str]:
    """Return the commands of the files of each type of fish, seen and unseen, without --json."""
    runs = {}
    for fish in TYPES:
        scored = f"fishbowl {VAL} --types {fish}"
        weights = "--mode bidirectional --weights runs/{}/best.safetensors"
        runs[seen_file(fish)] = (
            f"savos evaluate {scored} --methods ours {weights.format('ablations/prior_mask')}"
        )
        adapt = f"savos adapt {scored} {weights.format(f'no_{fish}')}"
        runs[unseen_file(fish)] = f"{adapt} --stop-gain -1"
        net = f"runs/pcnet_no_{fish}/best.safetensors"
        runs[unseen_file(fish, "deocclusion")] = (
            f"savos evaluate {scored} --methods deocclusion:{net},deocclusion+tta:{net}"
        )
    return runs


def kins_runs() -> dict[str, str]:
    """Return the commands of the files of KINS-Video-Car, without --json."""
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
    return found
