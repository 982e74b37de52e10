"""Settings of the paper's small network, for tests of what the default one does not do."""

PAPER_SMALL = {"preset": "paper", "patch_height": 32, "patch_width": 64}
PAPER_PATCH = {"patch_height": 64, "patch_width": 128}
