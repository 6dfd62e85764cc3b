"""One live picture of a visitor, webcam or source: regions are followed, captions are events.

Knows the stream session; frames are pushed into it while the lock is held.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from perceive_anything.demo.gestures import begins_new, prompt_of, read_gesture
from perceive_anything.demo.photo import TICKS
from perceive_anything.demo.pictures import color_hex, photo_uri
from perceive_anything.errors import PromptError
from perceive_anything.events import CaptionEvent, FrameEvent
from perceive_anything.live import is_live, open_stream
from perceive_anything.sessions.queueing import DROP_OLDEST, WAIT, FrameQueue

if TYPE_CHECKING:
    from perceive_anything.media import Pixels
    from perceive_anything.pipeline import Perceiver
    from perceive_anything.types import Frame

MAX_EVENTS, MAX_TRACKS, LIVE_PX = 40, 6, 640


class Live:
    """A stream with its regions and what was said of them.

    Args:
        perceiver: The model.
        lock: Around all calls of models.
        language: "en" or "zh".

    Attributes:
        events: What was said, the newest last.
        tracks: Numbers of the regions that are followed.
        frame_uri: The newest frame with its regions drawn, for the browser.
    """

    def __init__(self, perceiver: Perceiver, lock: threading.Lock, language: str) -> None:
        self._lock = lock
        self._session = perceiver.stream(language=language)
        self.language, self.model_name = language, perceiver.model_name
        self.events: deque[CaptionEvent] = deque(maxlen=MAX_EVENTS)
        self.tracks: list[int] = []
        self.frame_uri = ""
        self._size_wh: tuple[int, int] | None = None
        self._began_s = time.monotonic()
        self.stopped = False

    def fits(self, array: Pixels, language: str, model: str) -> bool:
        """Whether a picture and settings are those that this stream began with."""
        size_wh = (array.shape[1], array.shape[0])
        same = (self.language, self.model_name) == (language, model)
        return same and self._size_wh in (None, size_wh)

    def push(self, array: Pixels, time_s: float | None = None) -> None:
        """The next frame.

        Args:
            array: uint8 (H, W, 3).
            time_s: When it was taken; by default, now.

        Raises:
            OptionError: It is of another size than those before it.
        """
        now_s = time.monotonic() - self._began_s if time_s is None else time_s
        with self._lock:
            if self.stopped:
                return
            events = self._session.push(array, now_s)
        self._size_wh = (array.shape[1], array.shape[0])
        for event in events:
            if isinstance(event, CaptionEvent):
                self.events.append(event)
            elif isinstance(event, FrameEvent):
                said = {caption.track: caption.text for caption in self.events}
                names = {track: f"Region {track + 1}" for track in self.tracks}
                drawn = event.plot(array, said, names) if event.tracks else array
                self.frame_uri = photo_uri(drawn, LIVE_PX)

    def point(self, data: object) -> None:
        """Follow what a gesture points at, from the next frame on.

        Raises:
            PromptError: The gesture is malformed, there is no picture yet, or there are too many
                regions.
        """
        if self._size_wh is None:
            raise PromptError(
                "there is no picture yet.\n  Start the webcam or a source first.",
                code="prompt_missing",
            )
        if len(self.tracks) >= MAX_TRACKS:
            raise PromptError(
                f"a stream follows {MAX_TRACKS} regions here.\n  Remove one first.",
                code="prompt_syntax",
            )
        gesture = read_gesture(data, self._size_wh)
        assert begins_new(gesture, None, self._size_wh)
        prompt = prompt_of(gesture, None, self._size_wh)
        with self._lock:
            self.tracks.append(self._session.add(prompt))

    def remove(self, track: int) -> None:
        """Follow a region no more; one that is not there is no matter."""
        with self._lock:
            if track in self.tracks:
                self.tracks.remove(track)
                self._session.remove(track)

    def play(self, source: str) -> Iterator[None]:
        """Push the frames of a source, files at their own pace, until it ends or is stopped.

        Args:
            source: What the operator allowed.

        Yields:
            After each frame.

        Raises:
            MediaError: It cannot be opened, or is lost.
        """
        live = is_live(source)
        queue = FrameQueue(open_stream(source), DROP_OLDEST if live else WAIT)
        began_s = time.monotonic()
        try:
            for frame in queue:
                if self.stopped:
                    return
                if not live:
                    _wait_for(frame, began_s)
                self.push(frame.image, frame.time_s)
                yield
        finally:
            queue.stop()
            self.close()

    def close(self) -> None:
        """Say what is left to say, and end."""
        with self._lock:
            if not self.stopped:
                self.stopped = True
                said = self._session.close()
                self.events.extend(event for event in said if isinstance(event, CaptionEvent))

    def view(self) -> dict[str, Any]:
        """What the canvas shows; the regions are drawn into the frame."""
        return {
            "size": list(self._size_wh or (4, 3)),
            "tick": next(TICKS),
            "selected": None,
            "can_undo": False,
            "status": "The stream has ended." if self.stopped else "",
            "regions": [],
        }

    def html(self, empty: str) -> str:
        """Regions to remove and events, the newest first."""
        if not self.tracks and not self.events:
            return f'<p class="pa-hint">{escape(empty)}</p>'
        cards = "".join(_card(track) for track in self.tracks)
        events = "".join(_event(event) for event in reversed(self.events))
        return f'<div class="pa-cards">{cards}</div><ul class="pa-events">{events}</ul>'


def _wait_for(frame: Frame, began_s: float) -> None:
    early_s = frame.time_s - (time.monotonic() - began_s)
    if early_s > 0:
        time.sleep(min(early_s, 1.0))


def _card(track: int) -> str:
    return (
        f'<article class="pa-card" style="--region: {color_hex(track)}"><header>'
        f'<span class="pa-select"><i class="pa-dot"></i><span class="pa-name">Region {track + 1}'
        f'</span></span><button class="pa-remove" data-remove="{track}" '
        f'title="Follow it no more" aria-label="Remove region {track + 1}">×</button>'
        "</header></article>"
    )


def _event(event: CaptionEvent) -> str:
    return (
        f'<li style="--region: {color_hex(event.track)}"><time>{event.start_s:.1f}–'
        f"{event.end_s:.1f} s</time>{escape(event.text)}</li>"
    )
