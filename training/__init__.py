"""The offline side: data, training, evaluation, adaptation, report.

Imports savos_model; never ROS.
"""
