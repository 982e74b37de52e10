"""Rebuilds the tables and figures of the paper out of results files."""
