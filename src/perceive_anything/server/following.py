"""A video's regions followed frame by frame, as events; the client's reading sets the pace.

Knows video sessions and the worker; between two frames the worker is free for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from functools import partial

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
        steps = session.propagate()
        held = stack.pop_all()

    def close() -> None:
        # The worker may be within a step, so it must be the one that ends them.
        ending = asyncio.ensure_future(_ended(service, steps))
        ending.add_done_callback(lambda _: held.close())

    return Events(_events(service, kept, session, steps, writing, ask.language), close)


async def _ended(service: Service, steps: Iterator[Step]) -> None:
    with suppress(RequestError):  # the server stops, and nobody works any more
        await service.worker.call(steps.close)  # type: ignore[attr-defined]


async def _events(
    service: Service,
    kept: Kept,
    session: VideoSession,
    steps: Iterator[Step],
    writing: Writing,
    language: str,
) -> AsyncIterator[bytes]:
    try:
        try:
            while (step := await service.worker.call(lambda: next(steps, None))) is not None:
                if kept.deleted:
                    raise RequestError("the session was deleted.", code="not_found")
                check_frames(step[0].index + 1, service.settings)
                for line in _frame_event(step, session.size_wh).to_lines():
                    yield event("frame", line)
        except MediaError as error:  # what came before is good
            if error.code != "video_truncated":
                raise
            yield error_event(
                MediaError(str(error).replace(session.source.source, session.name), code=error.code)
            )
        tracks = []
        for track_id in session.track_ids:
            track = await service.worker.call(partial(session.track, track_id, writing))
            tracks.append(track)
            if track.caption is not None:
                yield event("caption", _caption_event(track).to_dict())
        result = VideoResult(
            session.name, session.size_wh, session.source.fps, session.num_frames,
            service.model_name, language, tuple(tracks), session.timing_s,
        )  # fmt: skip
        yield event("result", await asyncio.to_thread(result.to_json))
    except Exception as error:
        yield error_event(error)


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
