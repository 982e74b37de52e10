"""Tables and figures out of results files. May import everything of training but commands."""
