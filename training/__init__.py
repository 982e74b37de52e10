"""Offline pipeline of SaVos: data sets, losses, training, evaluation; never imports ROS."""
