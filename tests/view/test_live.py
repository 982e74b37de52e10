"""The page of a running node, over real DDS."""

import asyncio

import numpy as np
import pytest
from failing import refused

from savos_ros.view.guard import TOKEN_HEADER
from savos_ros.view.live import LiveSource
from tests.node.rig import joinable_rig
from tests.view.fake_source import next_frame, next_status, run, serving, until

rig = pytest.fixture(joinable_rig)


async def send_until(rig, task, begin=0):
    """Let the camera run until something is there."""
    index = begin
    while not task.done():
        await asyncio.to_thread(rig.send, index)
        index += 1
        await asyncio.sleep(0.05)
    return task.result(), index


def test_it_listens_only_while_a_page_is_watched_and_shows_what_the_node_answers(rig):
    name = rig.node.get_fully_qualified_name()
    camera = rig.publisher(type(rig.image(0)), "image")

    async def test():
        async with serving(LiveSource(name)) as client:
            async with client.ws_connect("/ws") as page:
                await until(lambda: camera.get_subscription_count() == 2, "the page listens")
                task = asyncio.create_task(next_frame(page))
                (facts, amodal, visible), index = await send_until(rig, task)
                assert facts["tracks"][0]["id"] == "1007" and facts["model"] == "echo"
                assert facts["age_ms"] is None  # these stamps are of another clock
                assert amodal[:2] == b"\xff\xd8" and visible == b""
                while (status := await next_status(page))["state"] != "active":
                    pass
                assert status["values"]["topic.image"] == "/image" and status["level"] == 0
                assert "latency_ms.network.p95" in status["values"]
            await until(lambda: camera.get_subscription_count() == 1, "the page has left")
            answers = len(rig.masks)
            await asyncio.to_thread(rig.send, index)
            await until(lambda: len(rig.masks) > answers, "the node works on")

    run(test)


def test_twenty_pages_of_which_one_never_reads_cost_the_node_no_frame(rig):
    name, frames = rig.node.get_fully_qualified_name(), 30

    async def test():
        source = LiveSource(name)
        async with serving(source) as client:
            pages = [await client.ws_connect("/ws") for _ in range(20)]
            pages[0]._response.connection.transport.pause_reading()
            readers = [asyncio.create_task(next_frame(page)) for page in pages[1:]]
            await until(lambda: len(source._subscriptions) == 2, "the pages are watched")
            for index in range(frames):
                await asyncio.to_thread(rig.send, index)
                await asyncio.sleep(0.05)
            await asyncio.to_thread(rig.answered, *range(frames))
            assert len(await asyncio.gather(*readers)) == 19
            pages[0]._response.connection.transport.resume_reading()
        assert rig.node._health.drops == {}

    run(test)


def test_orders_reach_the_node(rig):
    name = rig.node.get_fully_qualified_name()

    async def test():
        source = LiveSource(name, control=True)
        async with serving(source, control=True) as client:
            headers = {
                "Origin": f"http://{client.host}:{client.port}", TOKEN_HEADER: client.token
            }  # fmt: skip
            for service in source._clients.values():
                await until(service.service_is_ready, "the node's services are found")
            for path, words in (("reset", "tracks"), ("rollback", "weights")):
                answer = await client.post(f"/api/{path}", headers=headers)
                assert answer.status == 200 and words in (await answer.json())["text"]
            answer = await client.post("/api/adapt", headers=headers, data=b'{"on": false}')
            assert answer.status == 200 and (await answer.json())["text"] == "adapt: done"
            await asyncio.to_thread(rig.do, rig.node.trigger_deactivate)
            answer = await client.post("/api/reset", headers=headers)
            assert answer.status == 409 and "not active" in (await answer.json())["text"]

    run(test)


def test_a_node_of_another_name_is_named(rig):
    name = rig.node.get_fully_qualified_name()

    async def test():
        async with (
            serving(LiveSource("/elsewhere/savos", control=True), control=True) as client,
            client.ws_connect("/ws") as page,
        ):
            while name not in (status := await next_status(page))["message"]:
                assert status["state"] == "away" and status["level"] == 2
            assert "nothing is heard of /elsewhere/savos" in status["message"]
            headers = {
                "Origin": f"http://{client.host}:{client.port}", TOKEN_HEADER: client.token
            }  # fmt: skip
            answer = await client.post("/api/reset", headers=headers)
            assert answer.status == 409 and "is not there" in await answer.text()

    run(test)


def test_masks_of_another_camera_are_refused_with_what_to_do(rig):
    name = rig.node.get_fully_qualified_name()
    small = rig.helper.create_publisher(type(rig.image(0)), "/other/image", 10)

    async def test():
        source = LiveSource(name, image="/other/image")
        async with serving(source) as client, client.ws_connect("/ws"):
            await until(lambda: small.get_subscription_count() == 1, "the page listens")
            await until(lambda: len(source._subscriptions) == 2, "and to the masks")
            index = 0
            while "is 40x30" not in source.status()["message"]:
                small.publish(rig.image(index, np.zeros((30, 40, 3), np.uint8)))
                await asyncio.to_thread(rig.send, index)
                index += 1
                assert index < 100
                await asyncio.sleep(0.05)
            assert "--image" in source.status()["message"] and source.status()["level"] == 1

    run(test)


@pytest.mark.parametrize("node", ["", "/", "1st", "/a//b", "a b"])
def test_a_name_that_ros_refuses_is_refused_first(node):
    with refused("--node"):
        LiveSource(node)
    with refused("--image"):
        LiveSource("/savos", image="no topic")
