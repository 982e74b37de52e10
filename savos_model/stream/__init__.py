"""The online stream from frames to amodal masks: tracks, flow, prediction, refinement.

May import backends and network.
"""
