"""The page of `savos view`: what a node, or a bag, shows right now, in a browser.

May import node, messages, bags and savos_model; never tools, cli or training.
"""
