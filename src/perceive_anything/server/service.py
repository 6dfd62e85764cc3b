"""What all routes share: the model, its worker, the sessions, the numbers and the queue's limit.

Knows how an image becomes an encoded session; nothing of HTTP but how many requests may wait.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fastapi.requests import HTTPConnection

from perceive_anything.pipeline import Perceiver
from perceive_anything.server.failures import BusyError
from perceive_anything.server.fetching import fetch
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.pictures import Picture, from_data_uri, read_picture
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.store import SessionStore
from perceive_anything.server.worker import Worker
from perceive_anything.sessions.image import ImageSession

DECODED_AT_ONCE = 2  # images whose pixels are held; encoded ones need them no more
URLS = ("http://", "https://")


class Gate:
    """Counts requests that wait or compute, and turns away those that are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.inside = 0
        self._interval_s, self._left_s = 0.5, 0.0

    def enter(self) -> Ticket:
        """A place.

        Raises:
            BusyError: There is none; it says when there may be.
        """
        if self.inside >= self._most:
            raise BusyError(
                f"{self.inside} requests are waiting already.\n"
                "  Come again after the seconds of Retry-After.",
                min(60.0, math.ceil(self._interval_s * self.inside)),
            )
        self.inside += 1
        return Ticket(self)

    def left(self) -> None:
        """One request is answered; how fast they are says when to come again."""
        now_s = time.monotonic()
        if self._left_s:
            between = min(10.0, now_s - self._left_s)
            self._interval_s += 0.1 * (between - self._interval_s)
        self._left_s = now_s
        self.inside -= 1


class Ticket:
    """A place behind the gate; leaving twice is leaving once."""

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate

    def leave(self) -> None:
        """Give the place back."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.left()


@dataclass(eq=False)
class Service:
    """Everything that routes work with.

    Attributes:
        perceiver: The model.
        settings: Limits.
        folder: For uploaded videos; the server's own.
        streams: Open websockets.
    """

    perceiver: Perceiver
    settings: ServerSettings
    metrics: Metrics
    worker: Worker
    sessions: SessionStore
    gate: Gate
    folder: Path
    streams: int = 0
    decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DECODED_AT_ONCE))

    @property
    def model_name(self) -> str:
        """What the model is called outside; of a folder only its last part."""
        name = self.perceiver.model_name
        return Path(name).name if Path(name).exists() else name

    async def load(self, address: str) -> bytes:
        """The bytes of an image that is given as a data URI or an address.

        Raises:
            RequestError: It is neither, or the address is refused.
        """
        if address[:8].lower().startswith(URLS):
            return await fetch(address, self.settings)
        return from_data_uri(address, "image")

    async def open_image(
        self, data: bytes, name: str = "image", *, with_alpha: bool = False
    ) -> tuple[ImageSession, Picture]:
        """Decode and encode an image; afterwards only its size and features are kept.

        Args:
            data: Encoded.
            name: What the user calls it.
            with_alpha: As in `read_picture`.

        Raises:
            MediaError: It is none, or not one that can be answered about.
        """
        async with self.decoding:
            picture = await asyncio.to_thread(
                read_picture, data, self.settings, with_alpha=with_alpha
            )
            session = await self.worker.call(lambda: self.perceiver.image(picture.array))
        session.source = name
        # The size stays, the memory goes.
        session.array = np.broadcast_to(np.zeros((), np.uint8), picture.array.shape)
        return session, Picture(session.array, picture.opaque)


def service_of(connection: HTTPConnection) -> Service:
    """The service of the app that a request or websocket came to."""
    service: Service = connection.app.state.service
    return service
