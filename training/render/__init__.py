"""Renders training clips of 3D models with exact visible and whole masks."""
