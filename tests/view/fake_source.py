"""A source of generated frames, and a server with clients around it; no DDS, no bag."""

import asyncio
import contextlib
import json
import time

import numpy as np
from aiohttp.test_utils import TestClient, TestServer

from savos_model.types import AmodalObject, Box, Source
from savos_ros.messages.settings import OverlayConfig
from savos_ros.view.picture import LENGTHS, Shown, packet
from savos_ros.view.server import Server
from savos_ros.view.settings import ServeOptions
from savos_ros.view.source import Answer

LIMIT_S = 20.0


def objects(name="1007"):
    mask = np.full((20, 30), 255, np.uint8)
    visible = np.zeros((20, 30), np.uint8)
    visible[:, :15] = 1
    whole = AmodalObject(
        name, "car", 0.9, Source.FORWARD, Box(10, 8, 40, 28), mask, visible, 0.5, 0.75, (0.0, 0.0)
    )
    gone = AmodalObject(
        "2", "", 0.5, Source.COASTED, Box(50, 8, 60, 18), np.full((10, 10), 255, np.uint8),
        np.zeros((10, 10), np.uint8), 1.0, 0.5, (0.0, 0.0),
    )  # fmt: skip
    return [whole, gone]


def shown(index=0, name="1007", size=(48, 80)):
    image = np.full((*size, 3), 40 + index % 100, np.uint8)
    return Shown(1_000_000_000 + index, image, objects(name), "tiny")


class FakeSource:
    """Counts what is asked of it; `push` offers a frame."""

    def __init__(self, keeps=False, name="1007"):
        self.keeps, self._name = keeps, name
        self.watched, self.orders, self.said, self.closed = [], [], [], False
        self.drawn = 0

    def start(self, sink):
        self.sink = sink

    def watch(self, on):
        self.watched.append(on)

    def status(self):
        values = {"rate_hz": "9.50", "frames_out": "12", "drops": "1", "drops.queue_full": "1"}
        values |= {f"latency_ms.step.p{p}": "4.000" for p in (50, 95, 99)}
        return {
            "kind": "node", "name": "/savos", "level": 0, "message": "9.5 Hz", "state": "active",
            "values": values,
        }  # fmt: skip

    def ask(self, said):
        if said.get("do") != "pause":
            raise ValueError("not understood")
        self.said.append(said)

    async def order(self, name, on):
        self.orders.append((name, on))
        return Answer(True, f"{name} done")

    def close(self):
        self.closed = True

    def push(self, size=(48, 80)):
        self.drawn += 1
        frame = shown(self.drawn, self._name, size)
        self.sink.offer(packet(frame, OverlayConfig(), self.sink.comparing()))


@contextlib.asynccontextmanager
async def serving(source, **options):
    """Yield a client of a server at a free port of loopback."""
    server = Server(source, ServeOptions(**options))
    async with TestClient(TestServer(server.app)) as client:
        client.token, client.view = server.guard.token, server
        yield client


def run(function, *arguments):
    """Run an asynchronous test."""
    return asyncio.run(asyncio.wait_for(function(*arguments), 60))


async def until(condition, what="condition"):
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what} did not come true"
        await asyncio.sleep(0.01)


async def next_frame(socket):
    """Return facts, amodal and visible picture of the next frame."""
    while True:
        message = await socket.receive(LIMIT_S)
        assert message.type.name in ("TEXT", "BINARY"), message
        if message.type.name == "BINARY":
            return unpacked(message.data)


async def next_status(socket):
    while True:
        message = await socket.receive(LIMIT_S)
        assert message.type.name in ("TEXT", "BINARY"), message
        if message.type.name == "TEXT":
            return json.loads(message.data)


def unpacked(data):
    lengths = LENGTHS.unpack_from(data)
    at, parts = LENGTHS.size, []
    for length in lengths:
        parts.append(data[at : at + length])
        at += length
    assert at == len(data)
    return json.loads(parts[0]), parts[1], parts[2]
