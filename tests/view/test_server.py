"""Who gets what: frames for those who look, the newest one, and never at the cost of others."""

import asyncio
import dataclasses
import socket as sockets
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from savos_ros.cli.main import app
from savos_ros.messages.settings import OverlayConfig
from savos_ros.view import hub
from savos_ros.view.picture import packet
from savos_ros.view.server import FILES, ViewError, greeting, serve
from savos_ros.view.settings import ServeOptions
from tests.view.fake_source import FakeSource, next_frame, next_status, run, serving, shown, until


def test_the_page_comes_whole_from_this_server_and_is_fenced_in():
    async def test():
        async with serving(FakeSource()) as client:
            for path, (_, kind) in FILES.items():
                answer = await client.get(path)
                text = await answer.text()
                assert answer.status == 200 and answer.content_type == kind
                assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                outside = text.replace("http://www.w3.org/2000/svg", "")
                assert "http://" not in outside and "https://" not in outside
            assert (await client.get("/../server.py")).status == 404

    run(test)


def test_a_page_gets_the_picture_the_table_and_the_status():
    async def test():
        source = FakeSource()
        async with serving(source) as client, client.ws_connect("/ws") as page:
            status = await next_status(page)
            assert status["values"]["rate_hz"] == "9.50" and status["control"] is False
            source.push()
            facts, amodal, visible = await next_frame(page)
            assert visible == b""
            assert facts["tracks"][0] | {"color": ""} == {
                "id": "1007", "class": "car", "hidden": 0.5, "confidence": 0.75,
                "source": "forward", "color": "",
            }  # fmt: skip
            assert (facts["tracks"][1]["hidden"], facts["tracks"][1]["source"]) == (None, "coasted")
            picture = cv2.imdecode(np.frombuffer(amodal, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (48, 80, 3)

            await page.send_json({"do": "compare", "on": True})
            await until(source.sink.comparing, "comparing")
            await page.send_json({"do": "drawn"})
            source.push()
            while not visible:
                _, amodal, visible = await next_frame(page)
                await page.send_json({"do": "drawn"})
            with_masks = cv2.imdecode(np.frombuffer(visible, np.uint8), cv2.IMREAD_COLOR)
            assert np.abs(picture.astype(int) - with_masks).max() > 50  # nothing is hatched there

    run(test)


def test_nothing_is_wanted_while_no_one_looks():
    async def test():
        source = FakeSource()
        async with serving(source) as client:
            assert not source.sink.wait_hungry(0) and source.watched == []
            async with client.ws_connect("/ws") as page:
                await until(lambda: source.sink.wait_hungry(0), "a page in view")
                await page.send_json({"do": "watch", "on": False})
                await until(lambda: not source.sink.wait_hungry(0), "a page behind others")
                await page.send_json({"do": "watch", "on": True})
                await until(lambda: source.sink.wait_hungry(0), "a page in view again")
            await until(lambda: not source.sink.wait_hungry(0), "a closed page")
        assert source.watched == [True, False, True, False]
        assert source.closed

    run(test)


def test_a_new_page_gets_no_frame_of_another_time_unless_the_source_keeps_it():
    async def test(keeps):
        source = FakeSource(keeps)
        async with serving(source) as client:
            async with client.ws_connect("/ws") as page:
                source.push()
                await next_frame(page)
            await until(lambda: source.watched == [True, False])
            async with client.ws_connect("/ws") as page:
                if not keeps:
                    source.push()
                return (await next_frame(page))[0]["stamp"], source.drawn

    assert run(test, True)[1] == 1
    assert run(test, False)[1] == 2


def test_a_page_that_does_not_answer_gets_two_frames_and_then_the_newest_one():
    async def test():
        source = FakeSource()
        async with serving(source) as client, client.ws_connect("/ws") as page:
            await until(lambda: source.sink.wait_hungry(0))
            for _ in range(hub.AHEAD):
                source.push()
                await next_frame(page)
            await until(lambda: not source.sink.wait_hungry(0), "a page with enough to do")
            for _ in range(20):
                source.push()
            with pytest.raises(asyncio.TimeoutError):
                while (await page.receive(0.3)).type.name == "TEXT":
                    pass
            await page.send_json({"do": "drawn"})
            facts, _, _ = await next_frame(page)
            assert source.drawn == hub.AHEAD + 20
            assert facts["stamp"] == f"{(1_000_000_000 + source.drawn) / 1e9:.3f}"

    run(test)


def test_twenty_pages_of_which_one_never_reads_do_not_slow_each_other(monkeypatch):
    monkeypatch.setattr(hub, "AHEAD", 10**6)  # not even the answers of a page hold frames back
    frames, noise = 60, np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    moment = dataclasses.replace(shown(), image=noise)  # 100 kB, more than sockets hold in all

    async def read(page):
        count = 1
        while (await next_frame(page))[0]["number"] < frames:
            count += 1
        return count

    async def test():
        source = FakeSource()
        async with serving(source) as client:
            pages = [await client.ws_connect("/ws") for _ in range(20)]
            deaf = pages[0]._response.connection.transport
            deaf.pause_reading()
            readers = [asyncio.create_task(read(page)) for page in pages[1:]]
            drawn = [packet(moment, OverlayConfig(), False, number=n + 1) for n in range(frames)]
            for item in drawn:
                begun = time.thread_time()
                source.sink.offer(item)  # never waits, whatever the pages do
                assert time.thread_time() - begun < 0.1
                await asyncio.sleep(0.01)
            counts = await asyncio.gather(*readers)
            assert len(counts) == 19 and min(counts) >= 1
            sent = sorted(item.frame for item in client.view.hub.clients)
            assert sent[0] < frames and sent[1:] == [frames] * 19
            deaf.resume_reading()

    run(test)


def test_one_page_too_many_is_reported(monkeypatch):
    monkeypatch.setattr(hub, "MOST_CLIENTS", 2)

    async def test():
        async with serving(FakeSource()) as client:
            pages = [await client.ws_connect("/ws") for _ in range(2)]
            answer = await client.get("/ws")
            assert answer.status == 503 and "close one" in await answer.text()
            await pages[0].close()
            await asyncio.sleep(0.1)
            await (await client.ws_connect("/ws")).close()

    run(test)


@pytest.mark.parametrize(
    "said", ["no json", "[]", '{"do": "fly"}', '{"do": 1}', "[" * 900, '"' + 2000 * "x" + '"']
)
def test_a_page_that_talks_nonsense_is_let_go_and_the_others_stay(said):
    async def test():
        source = FakeSource()
        async with (
            serving(source) as client,
            client.ws_connect("/ws") as good,
            client.ws_connect("/ws") as bad,
        ):
            await bad.send_str(said)
            while (await bad.receive(10)).type.name == "TEXT":
                pass
            assert bad.close_code in (1008, 1009)
            await good.send_json({"do": "pause"})
            await until(lambda: source.said == [{"do": "pause"}])

    run(test)


def test_a_taken_port_is_named_with_what_to_do():
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, source = taken.getsockname()[1], FakeSource()
        words = f"port {port} of 127.0.0.1 .*--port {port % 65535 + 1}"
        with pytest.raises(ViewError, match=words):
            asyncio.run(serve(source, ServeOptions(port=port), threading.Event(), print))
    assert source.closed


def test_an_address_of_another_machine_is_named():
    with pytest.raises(ViewError, match=r"^192\.0\.2\.1 .*--host"):
        away = ServeOptions(host="192.0.2.1")
        asyncio.run(serve(FakeSource(), away, threading.Event(), print))


def test_the_server_says_where_it_is_and_ends_when_asked():
    stop, said, source = threading.Event(), [], FakeSource()
    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop.set()
    asyncio.run(serve(source, ServeOptions(port=port), stop, said.append))
    assert said == [f"open http://127.0.0.1:{port}/  (Ctrl-C ends)"]
    assert source.closed


def test_a_page_open_to_the_network_comes_with_a_warning():
    lines = greeting(ServeOptions(host="0.0.0.0", control=True), "secret")
    assert lines[0].startswith("open http://0.0.0.0:8080/#token=secret")
    assert "sees the camera, and whoever has the token controls the node" in lines[1]
    assert "ssh -L 8080:127.0.0.1:8080" in lines[1]
    assert len(greeting(ServeOptions(host="::1"), "")) == 1
    assert "http://[::1]:8080/ " in greeting(ServeOptions(host="::1"), "")[0]


@pytest.mark.parametrize(
    "arguments", [["--track"], ["--weights", "x"], ["--masks", "/savos/masks"]]
)
def test_an_option_of_bags_without_a_bag_is_refused(arguments):
    result = CliRunner().invoke(app, ["view", *arguments])
    assert result.exit_code == 2 and f"{arguments[0]} is for bags: name a bag" in result.output


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "savos_ros.view.server")
    monkeypatch.delitem(sys.modules, "savos_ros.view.guard")
    result = CliRunner().invoke(app, ["view"])
    assert (
        result.exit_code == 2 and "aiohttp is not installed: pip install aiohttp" in result.output
    )


def test_a_bag_that_is_not_there_ends_the_command(tmp_path):
    result = CliRunner().invoke(app, ["view", str(tmp_path / "none"), "--port", "18099"])
    assert result.exit_code == 1 and "does not exist: give the folder of a bag" in result.output
