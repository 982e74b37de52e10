"""Engines that run one batched step of the network."""
