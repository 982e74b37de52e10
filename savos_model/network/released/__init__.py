"""The authors' released code, its faults kept, for reading checkpoints. May import the network."""
