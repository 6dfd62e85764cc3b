"""uvicorn's HTTP protocol with a time limit for the head of a request, which it lacks.

Without one, connections that say nothing, or a header a minute, stay for ever.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def with_header_timeout(seconds: float) -> type[H11Protocol]:
    """A protocol class for uvicorn that closes connections whose request does not come.

    Args:
        seconds: From the connection, or from the first byte after an answer, to the whole head.
    """

    class Impatient(H11Protocol):
        _patience: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._forget()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._forget()  # until the next byte uvicorn's own keep-alive timer counts

        def _watch(self) -> None:
            upgraded = self.transport.get_protocol() is not self
            if self.conn.their_state is not h11.IDLE or upgraded:
                self._forget()
            elif self._patience is None:
                self._patience = self.loop.call_later(seconds, self.transport.close)

        def _forget(self) -> None:
            if self._patience is not None:
                self._patience.cancel()
                self._patience = None

    return Impatient
