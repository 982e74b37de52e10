"""Adapts trained weights to single videos and sites."""
