"""What all routes share: the model, its worker, the sessions, the numbers and the queue's limit.

Knows how an image becomes an encoded session; nothing of HTTP but how many requests may wait.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from fastapi.requests import HTTPConnection

from perceive_anything.pipeline import Perceiver
from perceive_anything.server.failures import BusyError
from perceive_anything.server.fetching import fetch
from perceive_anything.server.memory import Budget
from perceive_anything.server.metrics import Metrics
from perceive_anything.server.pictures import Picture, from_data_uri, read_picture
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.store import SessionStore
from perceive_anything.server.worker import Worker
from perceive_anything.sessions.image import ImageSession

DECODED_AT_ONCE = 2  # images whose pixels are held; encoded ones need them no more
LONGEST_RETRY_S = 60.0
URLS = ("http://", "https://")


class Gate:
    """Counts requests that wait or compute, and turns away those that are too many.

    Args:
        most: Requests inside.
        budget: Of what they hold.

    Attributes:
        inside: Now.
    """

    def __init__(self, most: int, budget: Budget) -> None:
        self._most, self.budget = most, budget
        self.inside = 0
        self._spent_s, self._promised_s = 1.0, 0.0

    def enter(self) -> Ticket:
        """A place.

        Raises:
            BusyError: There is none; each that is turned away is told a time of its own.
        """
        now_s = time.monotonic()
        if self.inside >= self._most:
            # A crowd that comes again all at once would find places for a few once more.
            self._promised_s = max(now_s, self._promised_s) + self._spent_s / self._most
            self._promised_s = min(self._promised_s, now_s + LONGEST_RETRY_S)
            raise BusyError(
                f"{self.inside} requests are waiting already.\n"
                "  Come again after the seconds of Retry-After.",
                self._promised_s - now_s,
            )
        self.inside += 1
        return Ticket(self, now_s)

    def left(self, entered_s: float) -> None:
        """One request is answered; how long it took says when others may come."""
        self._spent_s += 0.1 * (time.monotonic() - entered_s - self._spent_s)
        self.inside -= 1


class Ticket:
    """A place behind the gate, and what is held there; leaving twice is leaving once.

    Attributes:
        share: Of the gate's budget.
    """

    def __init__(self, gate: Gate, entered_s: float) -> None:
        self._gate: Gate | None = gate
        self._entered_s = entered_s
        self.share = gate.budget.share()

    def leave(self) -> None:
        """Give the place back."""
        gate, self._gate = self._gate, None
        if gate is not None:
            self.share.leave()
            gate.left(self._entered_s)


class Upload:
    """An image on its way in, held here until it is taken: afterwards nobody needs it.

    Args:
        data: Encoded, or where it is: a data URI or an address.
    """

    def __init__(self, data: bytes | str) -> None:
        self._data = data

    def take(self) -> bytes | str:
        """It; once."""
        data, self._data = self._data, b""
        return data


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
    # Threads of its own: one whose client has gone decodes on, and still counts.
    decoders: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(DECODED_AT_ONCE, "decode")
    )

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
        self, upload: Upload, name: str = "image", *, with_alpha: bool = False
    ) -> tuple[ImageSession, Picture]:
        """Decode and encode an image; afterwards only its size and features are kept.

        Args:
            upload: Is taken.
            name: What the user calls it.
            with_alpha: As in `read_picture`.

        Raises:
            MediaError: It is none, or not one that can be answered about.
            RequestError: It is not given as it should be, or its address is refused.
        """
        data = upload.take()
        data = data if isinstance(data, bytes) else await self.load(data)
        reading = partial(read_picture, data, self.settings, with_alpha=with_alpha)
        del data
        async with self.decoding:
            picture = await asyncio.get_running_loop().run_in_executor(self.decoders, reading)
            del reading
            session = await self.worker.call(lambda: self.perceiver.image(picture.array))
        session.source = name
        # The size stays, the memory goes.
        session.array = np.broadcast_to(np.zeros((), np.uint8), picture.array.shape)
        return session, Picture(session.array, picture.opaque)


def service_of(connection: HTTPConnection) -> Service:
    """The service of the app that a request or websocket came to."""
    service: Service = connection.app.state.service
    return service
