"""The page in a real browser, at the width of a phone and of a desk."""

import contextlib
import struct

import numpy as np
import pytest

from tests.view import browser
from tests.view.fake_source import FakeSource, run, serving, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not browser.found(), reason="Chromium is not installed"),
]
HOSTILE = '<img src=x onerror="document.title=1">'
SIZES = [(390, 844), (1280, 800)]
LEGIBLE = "document.querySelector('#tracks td')?.textContent"


@contextlib.asynccontextmanager
async def looked_at(client, source, folder, path="/"):
    """Open the page in a tab with one picture drawn."""
    async with browser.tab(str(client.make_url(path)), folder) as tab:
        await until(lambda: source.sink.wait_hungry(0), "the page asks for frames")
        source.push((300, 900))
        await tab.until("document.getElementById('empty')?.hidden === true")
        await tab.until(f"Boolean({LEGIBLE})")
        yield tab


@pytest.mark.parametrize("dark", [False, True])
def test_everything_fits_and_is_drawn(tmp_path, dark):
    async def test():
        source = FakeSource(name=HOSTILE)
        async with (
            serving(source) as client,
            looked_at(client, source, tmp_path / "profile") as tab,
        ):
            for width, height in SIZES:
                await tab.size(width, height, dark)
                await tab.until(f"innerWidth === {width}")
                assert await tab.eval("document.documentElement.scrollWidth") == width
                cut = await tab.eval(
                    "[...document.querySelectorAll('button, input, label, th')].filter(e => "
                    "e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1).length"
                )
                assert cut == 0
                shot = await tab.shoot()
                assert struct.unpack(">II", shot[16:24]) == (width, height)
            assert await tab.eval(LEGIBLE) == HOSTILE  # as text
            assert await tab.eval("document.title") == "/savos · savos view"
            assert await tab.eval("document.getElementById('rate').textContent") == "9.5 Hz"
            assert await tab.eval("document.getElementById('stages').rows[0].innerText") == (
                "step\t4.0\t4.0\t4.0"
            )
            assert "queue full" in await tab.eval("document.getElementById('losses').innerText")
            picture = "document.getElementById('amodal').getContext('2d')"
            pixel = await tab.eval(f"[...{picture}.getImageData(450, 200, 1, 1).data]")
            assert np.ptp(pixel[:3]) < 5 and 30 < pixel[0] < 60  # grey, as pushed
            assert tab.logs == []  # nothing that the policy of the page had to refuse

    run(test)


def test_hidden_pages_and_comparing(tmp_path):
    async def test():
        source = FakeSource()
        async with serving(source) as client:
            async with looked_at(client, source, tmp_path / "profile") as tab:
                assert await tab.eval("document.getElementById('split').hidden")
                await tab.call("Input.dispatchKeyEvent", type="keyDown", key="c", text="c")
                await until(source.sink.comparing, "the page compares")
                await until(lambda: source.sink.wait_hungry(0))
                source.push()
                await tab.until("!document.getElementById('split').hidden")
                for _ in range(5):
                    await until(lambda: source.sink.wait_hungry(0))
                    source.push()
            await until(lambda: source.watched[-1] is False, "the closed browser is noticed")

    run(test)


def test_buttons_give_orders_with_the_token_of_the_address_alone(tmp_path):
    click = "document.querySelector('[data-order=adapt]').click()"
    answer = "document.getElementById('answer').textContent"

    async def test():
        source = FakeSource()
        async with serving(source, control=True) as client:
            path = f"/#token={client.token}"
            async with looked_at(client, source, tmp_path / "one", path) as tab:
                assert await tab.eval("location.hash + location.search") == ""
                await tab.until("document.querySelector('[data-order=adapt]').disabled === false")
                await tab.eval(click)
                await tab.until(f"{answer} === 'adapt done'")
                assert source.orders == [("adapt", True)]

            async with looked_at(client, source, tmp_path / "two") as tab:
                await tab.until("document.getElementById('control').hidden === false")
                assert await tab.eval("document.querySelector('[data-order=adapt]').disabled")
                assert "token" in await tab.eval("document.querySelector('[data-order]').title")

    run(test)


def test_a_web_page_elsewhere_cannot_reset_the_robot(tmp_path):
    """The browser itself sends Host and Origin, as it would for any page on the web."""

    async def test():
        source = FakeSource()
        async with serving(source, control=True) as client, serving(FakeSource()) as elsewhere:
            there = str(client.make_url("/api/reset"))
            async with looked_at(elsewhere, elsewhere.view._source, tmp_path / "profile") as tab:
                sent = await tab.eval(
                    f"fetch('{there}', {{method: 'POST', mode: 'no-cors'}}).then(r => r.type, "
                    "e => 'refused')"
                )
                assert sent in ("opaque", "refused")
                with_token = await tab.eval(
                    f"fetch('{there}', {{method: 'POST', headers: {{'X-Savos-Token': "
                    f"'{client.token}'}}}}).then(r => 'answered', e => 'refused')"
                )
                assert with_token == "refused"
                stream = await tab.eval(
                    f"new Promise(done => {{const s = new WebSocket('ws://{client.host}:"
                    f"{client.port}/ws'); s.onopen = () => done('open'); "
                    "s.onerror = () => done('refused')})"
                )
                assert stream == "refused"
                assert source.orders == [] and source.watched == []

    run(test)
