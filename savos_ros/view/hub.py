"""Hands the newest frame and status to all clients; who is slow gets fewer frames, never a queue.

Everything here runs in the thread of the event loop, except for `hungry` and `comparing`.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from savos_ros.view.picture import plain

MOST_CLIENTS = 32
AHEAD = 2  # frames sent to a client before it says that it has drawn one
SEND_LIMIT_S = 20.0  # a client that takes nothing for so long is let go
STALL_S = 10.0  # after so long without an answer a page does not count as looking
PING_S = 15.0
MOST_BYTES = 1024  # of a message of a client
FULL = f"{MOST_CLIENTS} pages are open already: close one, then load this page again"

# What a client asks for besides frames; returns nothing, and raises ValueError on nonsense.
Ask = Callable[[dict[str, Any]], None]


class Client:
    """One open page.

    Attributes:
        watching: whether it is in view; a page behind others wants no frames.
        compare: whether it wants the picture of the visible masks too.
        credit: frames that may be sent before it says that it has drawn one.
        sent_s: monotonic time at which the last frame went out [s].
    """

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self.socket = socket
        self.watching, self.compare, self.credit = True, False, AHEAD
        self.frame = self.status = 0  # numbers of those sent last
        self.sent_s = 0.0
        self.wake = asyncio.Event()

    @property
    def looks(self) -> bool:
        """Whether the page is in view and answers."""
        return self.watching and (bool(self.credit) or time.monotonic() - self.sent_s < STALL_S)


class Hub:
    """The open pages of one server.

    `on_watch` is called with whether any page is watched, each time that changes; `on_ask` with a
    message of a client that is not for the hub. `hungry` is set while a page in view can take a
    frame; drawing waits for it, in any thread. `comparing` is set while such a page wants the
    visible masks too.
    """

    def __init__(self, on_watch: Callable[[bool], None], on_ask: Ask) -> None:
        self._on_watch, self._on_ask = on_watch, on_ask
        self.clients: set[Client] = set()
        self._packet: bytes | None = None
        self._status = ""
        self._frame_number = self._status_number = 0
        self._watched = False
        self.hungry, self.comparing = threading.Event(), threading.Event()

    def __len__(self) -> int:
        return len(self.clients)

    def offer(self, packet: bytes) -> None:
        """Make this the newest frame."""
        self._packet, self._frame_number = packet, self._frame_number + 1
        self._wake_all()

    def report(self, status: dict[str, Any]) -> None:
        """Make this the newest status."""
        self._status, self._status_number = json.dumps(status), self._status_number + 1
        self._wake_all()
        self._changed()  # pages may have stalled since

    def forget(self) -> None:
        """Drop the newest frame: it is outdated."""
        self._packet = None

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Talk to one client until it goes; raises HTTPServiceUnavailable beyond MOST_CLIENTS."""
        if len(self.clients) >= MOST_CLIENTS:
            raise web.HTTPServiceUnavailable(text=FULL)
        socket = web.WebSocketResponse(heartbeat=PING_S, max_msg_size=MOST_BYTES, compress=False)
        client = Client(socket)
        self.clients.add(client)  # before the first await: the limit must hold
        sender: asyncio.Task | None = None
        try:
            await socket.prepare(request)
            client.wake.set()
            self._changed()
            sender = asyncio.create_task(self._send_to(client, request))
            await self._hear(client)
        finally:
            self.clients.discard(client)
            self._changed()
            if sender is not None:
                sender.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sender
        return socket

    async def close(self) -> None:
        """End all connections."""
        code = WSCloseCode.GOING_AWAY
        await asyncio.gather(
            *(
                asyncio.wait_for(client.socket.close(code=code, message=b"savos view ended"), 2)
                for client in list(self.clients)
            ),
            return_exceptions=True,
        )

    async def _hear(self, client: Client) -> None:
        """Follow what a client says; one that talks nonsense is let go."""
        async for message in client.socket:
            try:
                if message.type != WSMsgType.TEXT:
                    raise ValueError("only text is understood")
                said = json.loads(message.data)
                if not isinstance(said, dict):
                    raise ValueError(f"an object is expected, got {type(said).__name__}")
                self._obey(client, said)
            except (ValueError, RecursionError) as error:
                code = WSCloseCode.POLICY_VIOLATION
                await client.socket.close(code=code, message=str(error)[:100].encode())
                return

    def _obey(self, client: Client, said: dict[str, Any]) -> None:
        if said.get("do") == "drawn":
            client.credit = min(client.credit + 1, AHEAD)
        elif said.get("do") == "watch":
            client.watching = bool(said.get("on"))
        elif said.get("do") == "compare":
            client.compare, client.frame = bool(said.get("on")), 0  # the newest one again
        else:
            self._on_ask(said)
        client.wake.set()
        self._changed()

    async def _send_to(self, client: Client, request: web.Request) -> None:
        """Send the newest status and frame whenever the client can take them."""
        try:
            while True:
                await client.wake.wait()
                client.wake.clear()
                if client.status != self._status_number:
                    client.status = self._status_number
                    await asyncio.wait_for(client.socket.send_str(self._status), SEND_LIMIT_S)
                packet, number = self._packet, self._frame_number
                if packet is None or client.frame == number:
                    continue
                if client.watching and client.credit:
                    client.frame, client.credit = number, client.credit - 1
                    client.sent_s = time.monotonic()
                    self._changed()
                    data = packet if client.compare else plain(packet)
                    await asyncio.wait_for(client.socket.send_bytes(data), SEND_LIMIT_S)
        except (TimeoutError, asyncio.TimeoutError, ConnectionError, RuntimeError):
            if request.transport is not None:
                request.transport.abort()  # a farewell would wait behind what it does not take

    def _wake_all(self) -> None:
        for client in self.clients:
            client.wake.set()

    def _changed(self) -> None:
        """Find out again who wants what."""
        wanting = [client for client in self.clients if client.looks]
        for event, wishes in (
            (self.hungry, [client.credit for client in wanting]),
            (self.comparing, [client.compare for client in wanting]),
        ):
            (event.set if any(wishes) else event.clear)()
        if bool(wanting) != self._watched:
            self._watched = bool(wanting)
            self._on_watch(self._watched)
