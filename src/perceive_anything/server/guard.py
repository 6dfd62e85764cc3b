"""The door: who may ask, how large and how slow a body may be; counts every request.

A plain ASGI middleware, so that it sees each piece of a body; knows no routes and no models.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perceive_anything.errors import RequestError
from perceive_anything.server.failures import CLIENT_GONE, BodyError, error_response
from perceive_anything.server.memory import Budget
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.settings import ServerSettings

OPEN_PATHS = frozenset({"/healthz"})
UPLOADS = frozenset({"/v1/sessions"})  # where videos come in
METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class Guard:
    """Wraps an app.

    Args:
        app: What answers those who may enter.
        settings: Limits, key and origins.
        metrics: Counts.
        budget: Holds the bodies of requests that are not answered yet.
    """

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, budget: Budget
    ) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        visit = _Visit(self, scope, receive, send)
        try:
            error = self._refusal(scope)
            if error is not None:
                answer = error_response(error, path=scope["path"])
                await answer(scope, receive, visit.send)
            elif scope["type"] == "websocket":
                await self._app(scope, receive, visit.send)
            else:
                await self._app(scope, visit.receive, visit.send)
        except SlowReaderError:
            pass  # it has the status already; what is left is cut off with the connection
        finally:
            visit.share.leave()
            visit.count(self._metrics)

    @property
    def settings(self) -> ServerSettings:
        """As given."""
        return self._settings

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers, settings = Headers(scope=scope), self._settings
        origin, host = headers.get("origin"), headers.get("host", "")
        foreign = origin is not None and urlsplit(origin).netloc != host
        if origin is not None and foreign and origin not in settings.allow_origins:
            return RequestError(
                f"web pages of {origin[:80]!r} may not ask this server.\n"
                "  Start it with --allow-origin, or ask from the page's own server.",
                code="origin_refused",
            )
        if settings.api_key is not None and scope["path"] not in OPEN_PATHS:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            given = key if scheme.lower() == "bearer" else headers.get("x-api-key", "")
            wanted = settings.api_key.get_secret_value()
            if not hmac.compare_digest(given.strip().encode(), wanted.encode()):
                return RequestError(
                    "the API key is missing or wrong.\n  Send it as: Authorization: Bearer KEY",
                    code="not_authorized",
                )
        return None


class SlowReaderError(ConnectionError):
    """The client asked, but does not read the answer."""


class _Visit:
    """One request: its body, its status, its time."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard, self._scope, self._receive, self._send = guard, scope, receive, send
        self._began_s = time.monotonic()
        headers = Headers(scope=scope)
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._complete, self._status = False, 0
        self.share, self._num_bytes = guard.budget.share(), 0

    async def receive(self) -> Message:
        """A piece of the body.

        Raises:
            BodyError: It is too large or too slow, or too much is held already.
        """
        if self._complete:
            return await self._receive()
        settings = self._guard.settings
        left_s = self._began_s + settings.body_timeout_s - time.monotonic()
        try:
            async with asyncio.timeout(min(settings.body_idle_s, max(0.0, left_s))):
                message = await self._receive()
        except TimeoutError:
            raise self._broken(_too_slow(settings)) from None
        self._unread = self._unread and message.get("more_body", False)
        self._complete = not message.get("more_body", False)
        length = len(message.get("body", b""))
        self._num_bytes += length
        self._check()
        try:
            self.share.take(length)
        except RequestError as error:
            raise self._broken(error) from None
        return message

    def _check(self) -> None:
        settings = self._guard.settings
        upload = self._scope["path"] in UPLOADS
        most = settings.max_video_bytes if upload else settings.max_body_bytes
        stated = Headers(scope=self._scope).get("content-length", "")
        size = max(self._num_bytes, int(stated[:20]) if stated.isdecimal() else 0)
        if size > most:
            raise self._broken(
                RequestError(
                    f"the body has {'more than ' if size == self._num_bytes else ''}{size} bytes.\n"
                    f"  At most {most} are read here; send a smaller picture or a shorter video.",
                    code="body_too_large",
                )
            )

    def _broken(self, error: RequestError) -> BodyError:
        self._complete = True
        return BodyError(error)

    async def send(self, message: Message) -> None:
        """A piece of the answer.

        Raises:
            SlowReaderError: The client does not take it.
        """
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self._status = message["status"]
            if self._unread and self._scope["type"] == "http":
                # Unread bytes of the body would be taken for the next request.
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        elif message["type"] == "websocket.accept":
            self._status = 101
        try:
            async with asyncio.timeout(self._guard.settings.send_timeout_s):
                await self._send(message)
        except TimeoutError:
            raise SlowReaderError("the answer is not read") from None

    def count(self, metrics: Metrics) -> None:
        """Add this request to the numbers."""
        method = self._scope.get("method", "WEBSOCKET")
        method = method if method in (*METHODS, "WEBSOCKET") else "other"
        route = str(getattr(self._scope.get("route"), "path", "other"))
        status, spent_s = str(self._status or CLIENT_GONE), time.monotonic() - self._began_s
        metrics.count("requests_total", status=status, method=method, route=route)
        metrics.count("request_seconds_total", spent_s, method=method, route=route)


def _too_slow(settings: ServerSettings) -> RequestError:
    return RequestError(
        "the body did not arrive in time.\n"
        f"  Send it within {settings.body_timeout_s:g} s, with pauses below "
        f"{settings.body_idle_s:g} s.",
        code="body_too_slow",
    )
