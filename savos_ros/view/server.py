"""The web server of `savos view`: page, stream and orders, on one event loop."""

import asyncio
import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from savos_model.settings import is_loopback
from savos_ros.view.guard import Guard
from savos_ros.view.hub import Hub
from savos_ros.view.settings import ServeOptions
from savos_ros.view.source import ORDERS, Sink, Source

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/app.js": ("app.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
STATUS_PERIOD_S = 0.5
STOP_POLL_S = 0.1
MOST_BODY = 1024  # of an order [bytes]


class ViewError(OSError):
    """The page cannot be served; the text says what to do."""


class Server:
    """One page with its clients; make it inside the event loop."""

    def __init__(self, source: Source, options: ServeOptions) -> None:
        self.guard = Guard(options.host, options.control)
        self._source, self._control = source, options.control
        self.hub = Hub(self._on_watch, source.ask)
        self._loop = asyncio.get_running_loop()
        self.app = web.Application(middlewares=[self.guard.middleware], client_max_size=MOST_BODY)
        for path, (name, kind) in FILES.items():
            self.app.router.add_get(path, _file(name, kind))
        self.app.router.add_get("/ws", self.hub.serve)
        for name in ORDERS:
            self.app.router.add_post(f"/api/{name}", self._order)
        self.app.cleanup_ctx.append(self._running)

    async def _running(self, _: web.Application) -> Any:
        """Run the source while the application runs."""
        hub = self.hub
        self._source.start(Sink(self._offer, hub.hungry.wait, hub.comparing.is_set))
        teller = asyncio.create_task(self._tell())
        self.app.on_shutdown.append(lambda _: hub.close())
        yield
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)
        await asyncio.to_thread(self._source.close)

    async def _tell(self) -> None:
        while True:
            status = self._source.status()
            self.hub.report(status | {"control": self._control, "clients": len(self.hub)})
            await asyncio.sleep(STATUS_PERIOD_S)

    def _offer(self, packet: bytes) -> None:
        self._loop.call_soon_threadsafe(self.hub.offer, packet)

    def _on_watch(self, on: bool) -> None:
        if not on and not self._source.keeps:
            self.hub.forget()
        self._source.watch(on)

    async def _order(self, request: web.Request) -> web.Response:
        self.guard.check_order(request)
        name = request.path.rpartition("/")[2]
        try:
            body = json.loads(await request.text() or "{}")
            on = body.get("on", True)
            if not isinstance(on, bool):
                raise ValueError
        except (ValueError, AttributeError, RecursionError):
            raise web.HTTPBadRequest(text='the body must be JSON such as {"on": true}') from None
        answer = await self._source.order(name, on)
        status = 200 if answer.done else 409
        return web.json_response({"done": answer.done, "text": answer.text}, status=status)


def _file(name: str, kind: str) -> Callable[[web.Request], Any]:
    """Return a handler for one file of the page, read once."""
    body = (PAGE / name).read_bytes()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return handler


async def serve(
    source: Source, options: ServeOptions, stop: threading.Event, say: Callable[[str], None]
) -> None:
    """Serve the page until `stop` is set; raises ViewError: the address cannot be used."""
    server = Server(source, options)
    runner = web.AppRunner(server.app, access_log=None, shutdown_timeout=2.0)
    try:
        await runner.setup()
        try:
            await web.TCPSite(runner, options.host, options.port).start()
        except OSError as error:
            raise ViewError(_why(error, options)) from None
        for line in greeting(options, server.guard.token):
            say(line)
        while not stop.is_set():
            await asyncio.sleep(STOP_POLL_S)
    finally:
        await runner.cleanup()


def greeting(options: ServeOptions, token: str) -> list[str]:
    """Say where the page is, and warn where others can reach it."""
    lines = [f"open {options.address}{f'#token={token}' if token else ''}  (Ctrl-C ends)"]
    if not is_loopback(options.host):
        control = ", and whoever has the token controls the node" if token else ""
        lines.append(
            f"warning: anyone who reaches {options.host} sees the camera{control}; nothing is "
            "encrypted. Safer: leave --host, and on your machine "
            f"ssh -L {options.port}:127.0.0.1:{options.port} ROBOT"
        )
    return lines


def _why(error: OSError, options: ServeOptions) -> str:
    """Say why the address cannot be served at, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {options.port} of {options.host} is taken, maybe by another `savos view`: end "
            f"it, or give --port {options.port % 65535 + 1}"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {options.port} is not for users: give --port 8080, or another above 1023"
    return (
        f"{options.host} is no address of this machine ({error.strerror or error}): give --host "
        "127.0.0.1, 0.0.0.0 for all, or one that `ip address` lists"
    )
