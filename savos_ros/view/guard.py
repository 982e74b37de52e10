"""Decides which requests are answered: a page elsewhere on the web must not reach the robot.

A browser sends the requests of any page to any address, this one included. A page cannot forge the
Origin header, which names it; and a foreign name that was made to point to this machine (DNS
rebinding) shows up in the Host header. Both are checked, and orders need the token of this start
as well.
"""

import contextlib
import hmac
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import hdrs, web

TOKEN_HEADER = "X-Savos-Token"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Checks of requests; `token`, for orders, is new at each start, "" without `control`."""

    def __init__(self, host: str, control: bool) -> None:
        self._host, self._any = host.lower(), False
        with contextlib.suppress(ValueError):  # a name
            self._any = ipaddress.ip_address(host).is_unspecified
        own = socket.gethostname().lower()
        self._names = {self._host, *LOOPBACK_NAMES}
        if self._any:  # names of this machine; a foreign domain is none of these
            self._names |= {own, f"{own}.local"}
        self.token = secrets.token_urlsafe(24) if control else ""

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server; its port may be that of a tunnel."""
        try:
            name = "" if set("@/\\?#") & set(header) else urlsplit(f"//{header}").hostname or ""
            # An address cannot be made to point elsewhere.
            return name in self._names or (self._any and bool(ipaddress.ip_address(name)))
        except ValueError:
            return False

    def check_order(self, request: web.Request) -> None:
        """Let an order pass, or raise HTTPForbidden with what to do."""
        if not self.token:
            raise refusal("this page only shows: start `savos view --control` to control the node")
        if request.headers.get(hdrs.ORIGIN) is None:
            raise refusal("an order needs the Origin that browsers send: use the page, or ROS")
        given = request.headers.get(TOKEN_HEADER, "")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise refusal(
                "the token is missing or of another start: open the address that `savos view` "
                "has printed, with what stands behind #"
            )

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check Host and Origin of every request; add the headers that fence the page in."""
        try:
            self._check(request)
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _check(self, request: web.Request) -> None:
        host = request.headers.get(hdrs.HOST, "")
        if not self.knows_host(host):
            raise refusal(
                f"this server is not called {host[:80]!r}: open it under {self._host}, or start "
                "it with --host and the name that you use"
            )
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and origin.lower() != f"http://{host}".lower():
            raise refusal(
                f"a page of {origin[:80]!r} may not ask this server: use the page that it serves"
            )


def refusal(text: str) -> web.HTTPForbidden:
    """Build the answer 403 with the reason in words."""
    return web.HTTPForbidden(text=text)
