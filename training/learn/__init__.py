"""Parts of the training loop: windows, augmentation, settings, log.

May import data and savos_model.
"""
