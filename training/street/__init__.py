"""The generated street with exact truth. May import savos_model."""
