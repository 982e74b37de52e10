"""Bags without ROS: read, write, convert, play, run, label.

May import messages, training and savos_model.
"""
