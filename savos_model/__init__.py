"""The method, without ROS and training.

Settings, types and masks are shared by all rooms.
"""
