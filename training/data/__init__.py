"""Readers of data sets and the store of clips. May import street and savos_model."""
