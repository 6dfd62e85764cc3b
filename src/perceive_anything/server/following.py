"""A video's regions followed frame by frame, as events; the client's reading sets the pace.

Knows video sessions and the worker; between two frames the worker is free for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi.responses import Response

from perceive_anything.errors import MediaError, PromptError, RequestError
from perceive_anything.events import CaptionEvent, FrameEvent, TrackedRegion
from perceive_anything.server.answering import Events, error_event, event, writing_of
from perceive_anything.server.pictures import check_frames
from perceive_anything.server.service import Service
from perceive_anything.server.store import Kept
from perceive_anything.server.wire import PropagateRequest
from perceive_anything.sessions.regions import Writing
from perceive_anything.sessions.video import VideoSession
from perceive_anything.tracks import Track, TrackPoint, VideoResult
from perceive_anything.types import Frame

Step = tuple[Frame, dict[int, TrackPoint]]


def follow(service: Service, kept: Kept, session: VideoSession, ask: PropagateRequest) -> Response:
    """Follow and describe the regions of a video.

    Raises:
        PromptError: There is no region.
        RequestError: The session is at work, or too many requests wait.
    """
    writing = writing_of(ask, service.settings)
    if not session.track_ids:
        raise PromptError(
            "the video has no region yet.\n  Point at one: POST /v1/sessions/ID/tracks.",
            code="prompt_missing",
        )
    with ExitStack() as stack:
        stack.enter_context(kept.use(alone=True))
        stack.callback(service.gate.enter().leave)
        following = _Following(service, kept, session, writing, ask.language, stack.pop_all())
    return Events(following.events(), lambda: asyncio.ensure_future(following.end()))


@dataclass
class _Following:
    """One pass through a video.

    Attributes:
        held: The session and a place behind the gate, until it has ended.
    """

    service: Service
    kept: Kept
    session: VideoSession
    writing: Writing
    language: str
    held: ExitStack

    def __post_init__(self) -> None:
        self._steps = self.session.propagate()

    async def end(self) -> None:
        """Let go of the session; the worker may be within a step, so it is the one that ends it."""
        with suppress(RequestError):  # the server stops, and nobody works any more
            await self.service.worker.call(self._steps.close)  # type: ignore[attr-defined]
        self.held.close()

    async def events(self) -> AsyncIterator[bytes]:
        """Frames, then captions, then the result; an error in its place if it cannot be."""
        try:
            async for line in self._frames():
                yield event("frame", line)
            tracks = []
            for track_id in self.session.track_ids:
                tracks.append(await self._track(track_id))
                if tracks[-1].caption is not None:
                    yield event("caption", _caption_event(tracks[-1]).to_dict())
            last = event("result", await asyncio.to_thread(self._result(tracks).to_json))
        except Exception as error:
            last = error_event(error)
        await self.end()  # before the client knows that it may ask again
        yield last

    async def _frames(self) -> AsyncIterator[dict[str, Any]]:
        call, source = self.service.worker.call, self.session.source.source
        try:
            while (step := await call(lambda: next(self._steps, None))) is not None:
                if self.kept.deleted:
                    raise RequestError("the session was deleted.", code="not_found")
                check_frames(step[0].index + 1, self.service.settings)
                for line in _frame_event(step, self.session.size_wh).to_lines():
                    yield line
        except MediaError as error:
            if error.code != "video_truncated":  # else what came before is good
                told = str(error).replace(source, self.session.name)
                raise MediaError(told, code=error.code) from error

    async def _track(self, track_id: int) -> Track:
        track = partial(self.session.track, track_id, self.writing)
        return await self.service.worker.call(track)

    def _result(self, tracks: list[Track]) -> VideoResult:
        session = self.session
        return VideoResult(
            session.name, session.size_wh, session.source.fps, session.num_frames,
            self.service.model_name, self.language, tuple(tracks), session.timing_s,
        )  # fmt: skip


def _frame_event(step: Step, size_wh: tuple[int, int]) -> FrameEvent:
    frame, points = step
    seen = tuple(
        TrackedRegion(track_id, point.box_xyxy, point.score, point.visible, point.rle)
        for track_id, point in points.items()
    )
    return FrameEvent(frame.time_s, frame.index, size_wh, seen)


def _caption_event(track: Track) -> CaptionEvent:
    first, last = track.points[0], track.points[-1]
    return CaptionEvent(
        track.id, first.time_s, last.time_s, first.frame, last.frame, track.caption or "", "end"
    )
