import time
import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from savos_ros.paths import share_dir
from tests.node.rig import LIMIT_S, Rig, own_name

# Allowed but created only with other settings, with simulated time, or where a package is there.
OPTIONAL = {
    "subscribe": {"image", "image/compressed", "flow", "/clock", "/parameter_events"},
    "publish": {"~/masks_refined", "~/detections", "~/annotations"},
    "reply": {"~/get_type_description"},
}


def full(names, node):
    """Names as ROS expands them for a node."""
    space = node.get_namespace().rstrip("/")
    starts = {"~": f"{space}/{node.get_name()}", "/": "/"}
    return {starts.get(n[0], f"{space}/{n[0]}") + n[1:] for n in names}


def allowed(node):
    """Full names that the policy allows the node, under its own name, by kind of use."""
    root = ElementTree.parse(share_dir() / "config" / "sros2" / "policy.xml").getroot()
    (profile,) = root.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "savos")
    found = {}
    for rules in profile:
        ((use, verdict),) = rules.attrib.items()
        assert verdict == "ALLOW" and use not in found
        names = [entry.text for entry in rules]
        assert len(set(names)) == len(names)
        found[use] = full(names, node)
    return found


def created(node):
    """Full names that the node has in the graph, by kind of use."""
    where = (node.get_name(), node.get_namespace())
    asked = {
        "publish": node.get_publisher_names_and_types_by_node,
        "subscribe": node.get_subscriber_names_and_types_by_node,
        "reply": node.get_service_names_and_types_by_node,
        "request": node.get_client_names_and_types_by_node,
    }
    return {use: {name for name, _ in ask(*where)} for use, ask in asked.items()}


def differences(node):
    """Return what the node uses without permission, or is permitted but does not use, by kind."""
    real, policy = created(node), allowed(node)
    found = {"forbidden " + use: names - policy.get(use, set()) for use, names in real.items()}
    for use, names in policy.items():
        found["unused " + use] = names - real[use] - full(OPTIONAL[use], node)
    return {what: names for what, names in found.items() if names}


@pytest.mark.parametrize("space", ["", "/front"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"input__image_transport": "compressed", "flow__method": "topic", "use_sim_time": True}],
)
def test_policy_allows_what_the_node_creates_and_nothing_else(settings, space):
    rig = Rig(namespace=space, name=own_name(), **settings)
    try:
        rig.do(rig.node.autostart)
        end = time.monotonic() + LIMIT_S  # it hears of the node's own topics a moment later
        while (wrong := differences(rig.node)) and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        rig.close()
    assert wrong == {}
