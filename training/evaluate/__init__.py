"""Scores of methods on data sets. May import baselines, learn, data and savos_model."""
