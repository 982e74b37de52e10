"""Rules that complete masks without learning, for comparison."""
