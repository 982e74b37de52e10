"""Messages to frames and back, for rclpy and rosbags alike. May import savos_model."""
