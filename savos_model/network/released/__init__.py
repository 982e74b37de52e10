"""The authors' released code with its faults, to read checkpoints; may import the network."""
