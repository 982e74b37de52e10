import time
import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from savos_ros.paths import share_dir
from tests.ros.rig import Rig

# Allowed but created only with other settings, with simulated time, or where a package is there.
OPTIONAL = {
    "subscribe": {"/image/compressed", "/flow", "/clock", "/parameter_events"},
    "publish": {"/savos/detections", "/savos/annotations"},
    "reply": {"/savos/get_type_description"},
}


def allowed():
    """Full names that the policy allows, by kind of use."""
    root = ElementTree.parse(share_dir() / "config" / "sros2" / "policy.xml").getroot()
    (profile,) = root.iter("profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "savos")
    found = {}
    for rules in profile:
        ((use, verdict),) = rules.attrib.items()
        assert verdict == "ALLOW" and use not in found
        names = [entry.text for entry in rules]
        assert len(set(names)) == len(names)
        found[use] = {"/savos" + n[1:] if n.startswith("~") else f"/{n}" for n in names}
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


@pytest.mark.parametrize(
    "settings",
    [{}, {"input__image_transport": "compressed", "flow__method": "topic", "use_sim_time": True}],
)
def test_policy_allows_what_the_node_creates_and_nothing_else(settings):
    rig, policy = Rig(**settings).activate(), allowed()
    try:
        end = time.monotonic() + 10  # the graph hears of the node's own topics a moment later
        while "/savos/masks" not in (real := created(rig.node))["publish"]:
            assert time.monotonic() < end, "the node is not in the graph"
            time.sleep(0.1)
        time.sleep(0.5)
        real = created(rig.node)
    finally:
        rig.close()
    assert real.pop("request") == set()
    for use, names in real.items():
        assert names <= policy[use], use
        assert policy[use] - names <= OPTIONAL[use] | {"/image"}, use
