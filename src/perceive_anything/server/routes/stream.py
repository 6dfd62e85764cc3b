"""WS /v1/stream: frames in, events out, while both sides stay as fast as they can.

Frames that the model has no time for are dropped, the oldest first, and counted; nothing of a
stream grows with its length.
"""

from __future__ import annotations

import asyncio
import math
import struct
from collections import deque
from dataclasses import replace

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import TypeAdapter, ValidationError

from perceive_anything.errors import PerceiveError, RequestError
from perceive_anything.events import EndEvent, FrameEvent
from perceive_anything.server.failures import (
    BusyError,
    as_error,
    error_body,
    error_response,
    field_error,
)
from perceive_anything.server.pictures import read_picture
from perceive_anything.server.prompts import read_prompts
from perceive_anything.server.service import Service, service_of
from perceive_anything.server.uploads import parsed
from perceive_anything.server.wire import (
    AddMessage,
    Control,
    RemoveMessage,
    StartMessage,
)
from perceive_anything.sessions.stream import Event, StreamSession

router = APIRouter()
CONTROL: TypeAdapter[Control] = TypeAdapter(Control)
TIME = struct.Struct(">d")
MOST_CONTROLS = 64
NORMAL, GOING_AWAY, POLICY, BUG = 1000, 1001, 1008, 1011


@router.websocket("/v1/stream")
async def stream(websocket: WebSocket) -> None:
    """Follow regions in frames as they arrive."""
    service = service_of(websocket)
    if service.streams >= service.settings.max_streams:
        error = BusyError(
            f"{service.streams} streams are open already.\n  Come again later.",
            service.settings.session_idle_s,
        )
        await websocket.send_denial_response(error_response(error))
        return
    service.streams += 1
    try:
        await websocket.accept()
        await _Live(service, websocket).run()
    finally:
        service.streams -= 1


class _Inbox:
    """Messages in order; of frames only the newest, of controls only a few."""

    def __init__(self, max_frames: int) -> None:
        self._held: deque[bytes | str] = deque()
        self._max_frames = max_frames
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, message: bytes | str) -> None:
        held = self._held
        held.append(message)
        frames = sum(isinstance(one, bytes) for one in held)
        if frames > self._max_frames:
            held.remove(next(one for one in held if isinstance(one, bytes)))
            self.dropped += 1
        if len(held) - frames > MOST_CONTROLS:
            raise RequestError(
                f"more than {MOST_CONTROLS} control messages wait.\n  Wait for their answers.",
                code="limit_exceeded",
            )
        self._filled.set()

    async def get(self) -> bytes | str:
        while not self._held:
            self._filled.clear()
            await self._filled.wait()
        return self._held.popleft()


class _Live:
    """One websocket."""

    def __init__(self, service: Service, websocket: WebSocket) -> None:
        self._service, self._websocket = service, websocket
        self._inbox = _Inbox(service.settings.max_stream_frames)
        self._session: StreamSession | None = None
        self._size_wh: tuple[int, int] | None = None
        self._time_s = -math.inf
        self._tracks: set[int] = set()

    async def run(self) -> None:
        """Until one side ends it."""
        reading = asyncio.ensure_future(self._read())
        working = asyncio.ensure_future(self._work())
        try:
            await asyncio.wait({reading, working}, return_when=asyncio.FIRST_COMPLETED)
            ended = working if working.done() else reading
            await self._close(ended.exception())
        finally:
            reading.cancel()
            working.cancel()
            await asyncio.gather(reading, working, return_exceptions=True)
            self._service.metrics.count("stream_frames_dropped_total", self._inbox.dropped)

    async def _close(self, error: BaseException | None) -> None:
        if isinstance(error, (WebSocketDisconnect, ConnectionError)):
            return
        code = NORMAL
        if isinstance(error, TimeoutError):
            code = GOING_AWAY
        elif error is not None:
            await self._say_error(as_error(error))
            code = POLICY if isinstance(error, PerceiveError) else BUG
        await self._websocket.close(code)
        if code == BUG and error is not None:
            raise error

    async def _read(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            text = message.get("text")
            self._inbox.put(message["bytes"] if text is None else text)

    async def _work(self) -> None:
        going = True
        while going:
            async with asyncio.timeout(self._service.settings.session_idle_s):
                message = await self._inbox.get()
            try:
                going = await self._handle(message)
            except ValidationError as error:
                await self._say_error(*field_error(error.errors()))
            except PerceiveError as error:
                if error.code == "server_stopping":
                    raise
                await self._say_error(error)

    async def _handle(self, message: bytes | str) -> bool:
        """Whether more may come."""
        control = None if isinstance(message, bytes) else CONTROL.validate_python(parsed(message))
        if isinstance(control, StartMessage):
            await self._start(control)
            return True
        session = self._session or await self._start(StartMessage(type="start"))
        call = self._service.worker.call
        if isinstance(message, bytes):
            await self._frame(session, message)
        elif isinstance(control, AddMessage):
            await self._add(session, control)
        elif isinstance(control, RemoveMessage):
            await call(lambda: session.remove(control.track))
            self._tracks.discard(control.track)
            await self._websocket.send_json({"type": "removed", "track": control.track})
        else:
            await self._say(await call(session.close))
            return False
        return True

    async def _start(self, message: StartMessage) -> StreamSession:
        if self._session is not None:
            raise RequestError(
                "the stream has begun already.\n  Send start first, and once.", code="bad_request"
            )
        self._session = await self._service.worker.call(
            lambda: self._service.perceiver.stream(
                caption_every=message.caption_every, language=message.language
            )
        )
        return self._session

    async def _add(self, session: StreamSession, message: AddMessage) -> None:
        settings = self._service.settings
        if len(self._tracks) >= settings.max_prompts:
            raise RequestError(
                f"{len(self._tracks)} regions are followed already.\n  Remove one first.",
                code="limit_exceeded",
            )
        (prompt,) = await asyncio.to_thread(read_prompts, [message.prompt], self._size_wh, settings)
        track = await self._service.worker.call(lambda: session.add(prompt))
        self._tracks.add(track)
        await self._websocket.send_json({"type": "added", "track": track})

    async def _frame(self, session: StreamSession, message: bytes) -> None:
        if len(message) <= TIME.size:
            raise RequestError(
                f"a frame has {len(message)} bytes.\n"
                "  Expected its time in seconds as a big-endian float64, then an encoded image.",
                code="bad_body",
            )
        (time_s,) = TIME.unpack_from(message)
        if not (math.isfinite(time_s) and time_s > self._time_s):
            raise RequestError(
                f"a frame is of {time_s} s.\n  Expected times that rise.", code="bad_number"
            )
        data = message[TIME.size :]
        picture = await asyncio.to_thread(read_picture, data, self._service.settings)
        array = picture.array
        self._time_s = time_s
        events = await self._service.worker.call(lambda: session.push(array, time_s))
        self._size_wh = (array.shape[1], array.shape[0])
        self._service.metrics.count("stream_frames_total")
        await self._say(events)

    async def _say(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, (FrameEvent, EndEvent)):
                event = replace(event, dropped=self._inbox.dropped)
            for line in event.to_lines():
                await self._websocket.send_json(line)

    async def _say_error(self, error: PerceiveError, param: str | None = None) -> None:
        await self._websocket.send_json({"type": "error"} | error_body(error, param))
