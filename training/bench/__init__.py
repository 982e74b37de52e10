"""Speed of training on this machine. May import the training loop."""
