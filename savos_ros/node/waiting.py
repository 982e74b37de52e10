"""Explain why the node publishes nothing: connected topics, received messages, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

# Setting by message type; other types have to be converted first.
REMEDIES = {
    "image": {
        "sensor_msgs/msg/Image": "set input.image_transport: raw",
        "sensor_msgs/msg/CompressedImage": "set input.image_transport: compressed",
    },
    "instances": {
        "sensor_msgs/msg/Image": "set input.mask_source: label_image",
        "sensor_msgs/msg/CompressedImage": "set input.mask_source: label_png",
        "savos_ros/msg/InstanceMaskArray": "set input.mask_source: instance_masks",
        "yolo_msgs/msg/DetectionArray": "set input.mask_source: yolo",
    },
    "flow": {},
}
NAMED = 3  # suggested topics


@dataclass(frozen=True)
class Peer:
    """One publisher of an input topic, as reported by discovery."""

    node: str
    message_type: str
    reliable: bool


@dataclass(frozen=True)
class InputState:
    """State of one input.

    Attributes:
        name: the input's own name ("image", "instances", "flow").
        topic: its name after remapping.
        message_type: the expected type ("sensor_msgs/msg/Image").
        peers: its publishers.
        received: messages since activation.
        last_stamp_ns: newest stamp [ns], None before the first message.
        silent_s: time since the last message [s], None before the first.
        others: published topics of `message_type`.
    """

    name: str
    topic: str
    message_type: str
    peers: tuple[Peer, ...]
    received: int
    last_stamp_ns: int | None
    silent_s: float | None
    others: tuple[str, ...]


def waiting_text(
    states: Sequence[InputState],
    seconds: float,
    gap_ns: int | None,
    slop_s: float,
    answered: int = 0,
) -> str:
    """Return what the node waits for, since `seconds`, and what to do about it.

    `gap_ns` is the smallest difference between waiting stamps, if known, `slop_s` the largest that
    is synchronized; `answered` frames were processed before.
    """
    what = f"no new frames for {seconds:.0f} s after {answered} processed"
    lines = [f"{what if answered else f'no synchronized frame for {seconds:.0f} s'}; inputs:"]
    lines += [f"  {_state_text(state)}" for state in states]
    advice = [text for state in states if (text := _advice(state, seconds))]
    if not advice:
        advice.append(_stamp_advice(states, gap_ns, slop_s))
    return "\n".join(lines + [f"  -> {text}" for text in advice])


def _state_text(state: InputState) -> str:
    peers = ", ".join(
        f"{peer.node} ({'reliable' if peer.reliable else 'best effort'})" for peer in state.peers
    )
    count = len(state.peers)
    publishers = f"{count} publisher{'' if count == 1 else 's'}" + (f": {peers}" if peers else "")
    last = "none yet" if state.last_stamp_ns is None else f"{state.last_stamp_ns / 1e9:.6f} s"
    return (
        f"{state.name} = {state.topic} [{state.message_type}]; {publishers}; "
        f"{state.received} received, last stamp {last}"
    )


def _advice(state: InputState, seconds: float) -> str:
    """Return what to do about one input; empty if its messages arrive."""
    if not state.peers and state.received:
        return f"the publisher of {state.topic} is gone: its camera, tracker or bag has ended"
    if not state.peers:
        return (
            f"{state.topic} has no publisher: start its source, or remap with -r {state.name}:="
            f"/your/topic (ros2 launch: {state.name}:=/your/topic); {_near(state)}"
        )
    kinds = {peer.message_type for peer in state.peers}
    if state.message_type not in kinds:
        taken = REMEDIES[state.name]
        known = [text for kind, text in taken.items() if kind in kinds]
        known.append(f"convert it to {' or '.join(taken) or state.message_type}")
        near = f"; {_near(state)}" if state.others else ""
        return (
            f"{state.topic} has type {', '.join(sorted(kinds))}, not {state.message_type}: "
            f"{known[0]}, or remap another topic{near}"
        )
    if state.silent_s is not None and state.silent_s < seconds:
        return ""
    what = f"{state.topic} has a publisher, but no message was received"
    if state.silent_s is not None:
        what = f"{state.topic} has a publisher, but no message for {state.silent_s:.0f} s"
    lost = "; large best-effort images get lost: use config/fastdds.xml or reliable QoS"
    remedy = "" if all(peer.reliable for peer in state.peers) else lost
    return f"{what}: check {state.peers[0].node} (ros2 topic hz {state.topic}){remedy}"


def _near(state: InputState) -> str:
    """Return the topics of the expected type, similar names first."""
    if not state.others:
        return (
            f"no other topic has type {state.message_type}: if one should, compare "
            "ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE and, in a secured graph, the enclaves"
        )

    def likeness(topic: str) -> float:
        return difflib.SequenceMatcher(None, topic, state.topic).ratio()

    named = sorted(state.others, key=likeness, reverse=True)[:NAMED]
    return f"topics of this type: {', '.join(named)}"


def _stamp_advice(states: Sequence[InputState], gap_ns: int | None, slop_s: float) -> str:
    names = " and ".join(state.name for state in states)
    gap = "" if gap_ns is None else f" (the nearest differ by {gap_ns / 1e6:.3f} ms)"
    within = "equal" if slop_s == 0 else f"within {slop_s} s of each other"
    return (
        f"{names} arrive but no new stamps are {within}{gap}: the mask source must copy "
        "header.stamp of the image; if it cannot, set input.sync_slop_s"
    )
