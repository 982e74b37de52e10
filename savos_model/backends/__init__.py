"""Engines that run one batched step of the network: `interface` defines one, `choose` picks one."""
