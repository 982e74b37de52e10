"""SaVos online: amodal masks from images and tracked visible masks, without ROS."""
