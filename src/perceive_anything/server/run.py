"""An app in uvicorn, with the limits that belong to connections."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from perceive_anything.errors import OptionError
from perceive_anything.server.protocol import with_header_timeout
from perceive_anything.server.settings import MIB, ServerSettings

WEBSOCKET_MESSAGE = 16 * MIB
KEEP_ALIVE_S = 75  # longer than any Retry-After, or who comes again meets a closing connection

LAST_WORDS_S = 2  # for the errors of answers that were not finished in time


class _Server(uvicorn.Server):
    """Tells those whose answers are not finished in time, where uvicorn would only hang up."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, patience_s: float) -> None:
        super().__init__(config)
        self._app, self._patience_s = app, patience_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        halt = self._app.state.service.worker.halt
        timer = asyncio.get_running_loop().call_later(self._patience_s, halt)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def server_of(app: FastAPI, settings: ServerSettings, host: str, port: int) -> uvicorn.Server:
    """A server that is ready to run.

    Args:
        app: From `create_app`.
        settings: Those of the app.
        host: Where to listen.
        port: 0 takes a free one.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=with_header_timeout(settings.header_timeout_s),
        ws_max_size=min(settings.max_body_bytes, WEBSOCKET_MESSAGE),
        ws_max_queue=2,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_s) + LAST_WORDS_S,
        server_header=False,
        log_level="warning",
    )
    return _Server(config, app, settings.shutdown_s)


def serve_forever(
    app: FastAPI,
    settings: ServerSettings,
    host: str,
    port: int,
    say: Callable[[str], object],
) -> None:
    """Serve until the process is told to stop; answers that are under way are finished.

    Args:
        app: From `create_app`.
        settings: Those of the app.
        host: Where to listen.
        port: 0 takes a free one.
        say: Told where it listens.

    Raises:
        OptionError: The address cannot be listened at.
    """
    listening = _listen(host, port)
    with listening:
        shown = f"[{host}]" if ":" in host else host
        say(f"listening at http://{shown}:{listening.getsockname()[1]} (Ctrl-C stops)")
        server_of(app, settings, host, port).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OptionError(
            f"cannot listen at {host} port {port}: {error.strerror or error}.\n"
            "  Choose another --host or --port; --port 0 takes a free one.",
            code="unknown_option",
        ) from error
