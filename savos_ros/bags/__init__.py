"""Bags: converters, reader, player and the offline runner."""
