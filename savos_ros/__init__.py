"""ROS 2 package of SaVos: node, messages, bag tools and commands."""

from pkgutil import extend_path

# The generated messages live in the install, the code may run from the source tree: one package.
__path__ = extend_path(__path__, __name__)
