"""The figures that the paper and its supplement publish, copied digit by digit.

Yao et al., "Self-supervised Amodal Video Object Segmentation", NeurIPS 2022. Mean IoU, 0..1; rows
in the paper's order, None where the paper has no figure. S1 to S8 are tables of the supplement.
"""

from __future__ import annotations

from typing import NamedTuple


class PaperTable(NamedTuple):
    """A published table: what it shows, heads of its columns, figures of each row."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]


FISH, KINS, GUM = "FISHBOWL", "KINS-Video-Car", "Chewing Gum"
TYPES = ("SmallFishA", "MediumFishA", "MediumFishB", "BigFishA", "BigFishB")
BOTH_SETS = tuple(f"{name} {part}" for name in (FISH, KINS) for part in ("full", "occluded"))
SAVOS_BOTH = (0.8863, 0.7155, 0.8258, 0.3132)

PAPER = {
    "1": PaperTable(
        "Mean IoU on the three data sets",
        (*BOTH_SETS, f"{GUM} full", f"{GUM} occluded"),
        {
            "Convex": (0.7761, 0.4638, 0.7862, 0.0829, 0.9264, 0.3182),
            "Self-Deocclusion": (0.8704, 0.6502, 0.8158, 0.1790, 0.9624, 0.3307),
            "SaVos": (*SAVOS_BOTH, 0.9746, 0.8046),
            "Supervised oracle": (0.9162, 0.7500, 0.8551, 0.4883, 0.9613, 0.3321),
        },
    ),
    "2": PaperTable(
        "Unseen fish, with and without test-time adaptation (TTA)",
        (*(f"{name} occluded" for name in TYPES), "overall full", "overall occluded"),
        {
            "Self-Deocclusion": (0.4757, 0.6207, 0.5825, 0.5965, 0.5709, 0.8459, 0.5859),
            "Self-Deocclusion with TTA": (0.4629, 0.6349, 0.6268, 0.5742, 0.5944, 0.8497, 0.5971),
            "SaVos without TTA": (0.5362, 0.6678, 0.6044, 0.5931, 0.4978, 0.8428, 0.5905),
            "SaVos with TTA": (0.5464, 0.7147, 0.7080, 0.7151, 0.6230, 0.8663, 0.6886),
            "SaVos trained on all types": (0.6299, 0.7324, 0.7256, 0.7115, 0.6894, 0.8863, 0.7155),
        },
    ),
    "3": PaperTable(
        "From FISHBOWL to KINS-Video-Car",
        (f"{KINS} full", f"{KINS} occluded"),
        {
            "Self-Deocclusion, trained on FISHBOWL": (0.7813, 0.0658),
            "Self-Deocclusion, FISHBOWL, adapted": (0.7999, 0.0969),
            "Self-Deocclusion, trained on KINS-Video-Car": (0.8158, 0.1790),
            "SaVos, trained on FISHBOWL": (0.8004, 0.0994),
            "SaVos, FISHBOWL, adapted": (0.8235, 0.2976),
            "SaVos, trained on KINS-Video-Car": (0.8258, 0.3132),
        },
    ),
    "S1": PaperTable(
        "Ablation of the components",
        BOTH_SETS,
        {
            "without temporal embedding": (0.8785, 0.6894, 0.8214, 0.2792),
            "without consistency loss": (0.8606, 0.6447, 0.8244, 0.2982),
            "without bi-directional prediction": (0.8749, 0.6849, 0.8231, 0.2962),
            "all components": SAVOS_BOTH,
        },
    ),
    "S2": PaperTable(
        "Architecture and loss",
        BOTH_SETS,
        {
            "Self-Deocclusion architecture, Self-Deocclusion loss": (
                0.8704,
                0.6502,
                0.8158,
                0.1790,
            ),
            "SaVos architecture, Self-Deocclusion loss": (0.8742, 0.6826, 0.8021, 0.2040),
            "SaVos architecture, SaVos loss": SAVOS_BOTH,
        },
    ),
    "S3": PaperTable(
        "Inputs of the network",
        BOTH_SETS,
        {
            "without flow": (0.8508, 0.6188, 0.7922, 0.1525),
            "without image": (0.8673, 0.6634, 0.8025, 0.2172),
            "all inputs": SAVOS_BOTH,
        },
    ),
    "S4": PaperTable(
        "Learned against rule-based aggregation over time",
        (f"{FISH} occluded", f"{KINS} occluded"),
        {
            "aggregation by rule, k = 5": (0.3860, 0.1487),
            "aggregation by rule, k = 3": (0.3937, 0.1522),
            "SaVos": (0.7155, 0.3132),
        },
    ),
    "S5": PaperTable(
        "Parts of KINS-Video-Car by whether each pixel is seen in some frame",
        ("full set", "subset 1 (breaks the assumption)", "subset 2"),
        {"SaVos, occluded": (0.3132, 0.3104, 0.3250)},
    ),
    "S7": PaperTable(
        "Mean over frames",
        BOTH_SETS,
        {"Self-Deocclusion": (0.8704, 0.6502, 0.8158, 0.1790), "SaVos": SAVOS_BOTH},
    ),
    "S8": PaperTable(
        "Mean over objects",
        BOTH_SETS,
        {
            "Self-Deocclusion": (0.8678, 0.6418, 0.7931, 0.1952),
            "SaVos": (0.8843, 0.7111, 0.8063, 0.3312),
        },
    ),
}
