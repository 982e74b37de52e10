"""Scores methods on data sets against their ground truth."""
