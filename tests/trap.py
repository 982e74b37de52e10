"""Objects whose pickles call something when they are unpickled."""

import os


class Calls:
    """A pickle that calls a function with arguments when it is read by pickle.load."""

    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


def trap(path):
    """Return an object that makes a folder when it is unpickled."""
    return Calls(os.mkdir, str(path))
