import re
import threading
import time
import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
from savos_ros.paths import share_dir
from tests.node.rig import LIMIT_S, Rig, joinable_rig, own_name, wait_for

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


def profiles():
    """Profiles of the policy by node; each enclave has the name of its only node."""
    root = ElementTree.parse(share_dir() / "config" / "sros2" / "policy.xml").getroot()
    found = {}
    for enclave in root.iter("enclave"):
        (profile,) = enclave.iter("profile")
        assert (profile.get("ns"), enclave.get("path")) == ("/", f"/{profile.get('node')}")
        found[profile.get("node")] = profile
    return found


def allowed(name, node):
    """Full names that the policy allows a program, under the name of `node`, by kind of use."""
    found = {}
    for rules in profiles()[name]:
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
    real, policy = created(node), allowed("savos", node)
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


def renamed(policy, node):
    """Replace /savos in the names of a policy by the full name of the node under test."""
    name = node.get_fully_qualified_name()
    return {
        use: {re.sub("^/savos(?=/)", name, text) for text in names} for use, names in policy.items()
    }


rig = pytest.fixture(joinable_rig)


@pytest.mark.parametrize("control", [False, True])
def test_policy_allows_what_the_page_uses(rig, control):
    pytest.importorskip("aiohttp", reason="aiohttp is not installed")
    from savos_ros.view.live import LiveSource
    from savos_ros.view.source import Sink

    never = threading.Event()
    source = LiveSource(rig.node.get_fully_qualified_name(), control=control)
    source.start(Sink(lambda packet: None, never.wait, never.is_set))
    try:
        source.watch(True)
        wait_for(lambda: len(source._subscriptions) == 2, what="the page listens")
        policy = renamed(allowed("savos_view", source._node), rig.node)
        expected = dict(policy)
        expected["subscribe"] = policy["subscribe"] - {"/image/compressed"}  # instead of /image
        expected["reply"] = policy["reply"] - {"/savos_view/get_type_description"}
        expected["request"] = policy["request"] if control else set()

        def real():
            return {u: names - {"/savos_view/get_type_description"}
                    for u, names in created(source._node).items()}  # fmt: skip

        wait_for(lambda: real() == expected, what=f"{expected} in the graph")
    finally:
        source.close()


def test_policy_allows_the_bridge_what_the_node_offers_and_the_layout_shows(rig):
    pytest.importorskip("foxglove", reason="the extra foxglove is not installed: foxglove-sdk")
    import rclpy

    from savos_ros.bridge.bridge import Bridge
    from savos_ros.bridge.settings import BridgeOptions

    node = rclpy.create_node("savos_bridge", context=rig.context)
    bridge = Bridge(node, BridgeOptions(port=0))
    policy = allowed("savos_bridge", node)
    try:
        wanted = {use: policy.get(use, set()) for use in ("publish", "reply", "request")}
        optional = {"/savos_bridge/get_type_description"}

        def real():
            found = created(node)
            return {use: found[use] | (optional if use == "reply" else set()) for use in wanted}

        wait_for(lambda: real() == wanted, what=f"{wanted} in the graph")
    finally:
        bridge.close()
        node.destroy_node()
    of_node = {re.sub("^~", "/savos", e.text) for e in profiles()["savos"][1]}
    assert of_node <= policy["subscribe"]
    layout = (share_dir() / "config" / "foxglove_layout.json").read_text()
    shown = set(re.findall(r'"(/savos/[\w/]+|/diagnostics)"', layout))
    assert shown and shown <= policy["subscribe"]
