"""Commands of training, mounted by `savos`, and what all commands share.

May import everything of training.
"""
