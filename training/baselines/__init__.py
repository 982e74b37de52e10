"""Methods that ours is compared with. May import learn, data and savos_model."""
