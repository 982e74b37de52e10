from training.evaluate.tables import tables_of


def text_of(kind, **metrics):
    tables = tables_of({"data": {"set": kind, "videos": 4}, "model": {}, **metrics})
    return "\n".join(line for table in tables for line in table.markdown())


def row(value):
    return {
        "n": 3, "frames": 2, "full": value, "occluded": None, "false_completion": 0.25,
        "boundary_f": 0.5, "ci95": {"full": [0.7, 0.9], "occluded": None},
    }  # fmt: skip


def report(value):
    bins = dict.fromkeys(("10-25", "25-50", "50-70"), row(value) | {"occluded": value / 2})
    parts = {"clips": {"fishbowl_0001": row(value)}, "by_occlusion": bins}
    return {**row(value), **parts, "behind_objects": row(value)}


def test_means_by_clip_and_by_occlusion():
    text = text_of("fishbowl", methods={"ours": report(0.81234), "convex": report(0.75)})
    assert "| 0001 | 3 | 81.2/– | 75.0/– |" in text and "| full | 0.8123 | 0.7500 |" in text
    assert "| occ. 10-25 % | 0.406 | 0.375 |" in text


def test_means_of_chewing_gum():
    groups = {"lower_object": report(0.81234), "all_objects": report(0.75)}
    text = text_of("chewing_gum", methods={"ours": groups})
    assert "| ours | lower | 3 | 0.8123 | 0.70-0.90 | – | – |" in text and "4 videos" in text


def test_the_open_protocol():
    parts = {"full": 0.65, "hidden": 0.4, "false_area": 0.012}
    figures = {
        "full": {"mean": 0.7, "ci95": [0.6, 0.8]},
        **{f"open_{key}": {"n": 4, "mean": parts[key], "ci95": None} for key in ("full", "hidden")},
        "false_area": {"n": 4, "mean": 0.012, "ci95": [0.01, 0.02]},
        "open": {"by_age": {"0": {"n": 2, **parts}}, "by_occluder": {}, "by_size": {}},
    }
    text = text_of("rendered", methods={"ours": {**report(0.7), **figures}}, kinds={})
    assert "| full | 0.7000 |" in text and "|   95 % | 0.60-0.80 |" in text
    assert "| full, n 4 | 0.6500 |" in text and "| false area [%], n 4 | 1.2 |" in text
    assert "|   95 % | 1.0-2.0 |" in text and "| age 0, n 2 | 65.0/40.0/1.2 |" in text


def test_boxes_by_occlusion_level():
    box = {"iou_mean": 0.6, "iou_median": 0.7, "coverage_median": 0.65, "growth_mean": 0.01}
    gain = {"gain_over_visible": {"mean": 0.1, "ci95": [0.05, 0.15]}}
    levels = {"1": {"n": 4, "methods": {"visible": box, "ours": {**box, **gain}}}}
    line = "| 1 | ours | 4 | 0.600 | 0.700 | 0.650 | 0.010 | +0.100 | +0.05 to +0.15 |"
    assert line in text_of("kitti_mots", levels=levels)
