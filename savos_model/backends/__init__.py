"""Engines that run one batched step: `interface` defines one, `choose` picks one.

May import the network.
"""
