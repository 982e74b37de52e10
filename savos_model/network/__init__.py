"""The network, its weights and losses; torch only in modules that need it.

May import the modules of savos_model.
"""
