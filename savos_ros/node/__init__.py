"""The ROS 2 node that runs on the robot.

May import messages and savos_model; never bags, tools, cli or training.
"""
