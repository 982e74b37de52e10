"""The network, its weights and losses; torch where a module says so.

May import the modules of savos_model.
"""
