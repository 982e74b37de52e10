"""The method: typed, without ROS and without training.

Settings, types and masks are shared by all rooms.
"""
