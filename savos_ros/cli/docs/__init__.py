"""Generators of the reference pages, run by `savos params --write`.

May import everything but commands.
"""
