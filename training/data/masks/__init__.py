"""Readers of the masks of other programs. May import savos_model and the readers around it."""
