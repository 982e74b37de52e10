"""The `savos` command: parses arguments and hands over.

May import everything; nothing imports it.
"""
