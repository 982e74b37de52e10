"""Frames in, amodal masks out: tracks, flow, prediction, refinement.

May import backends and network.
"""
