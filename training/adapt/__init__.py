"""Adaptation to one video, site or bag. May import evaluate, learn, data and savos_model."""
