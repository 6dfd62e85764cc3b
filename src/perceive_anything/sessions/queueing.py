"""Frames from a source that runs at its own pace, for a consumer that may be slower.

Knows a thread and a bounded queue; nothing of models.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from perceive_anything.types import Frame

WAIT, DROP_OLDEST = "wait", "drop-oldest"


class FrameQueue:
    """Reads frames in a thread; full, it waits (files) or drops the oldest frame (live sources).

    Args:
        frames: The source.
        policy: "wait" or "drop-oldest".
        capacity: Frames that are held at most.

    Attributes:
        dropped: Frames that were dropped so far.
    """

    def __init__(self, frames: Iterator[Frame], policy: str, capacity: int = 8) -> None:
        self._frames, self._policy, self._capacity = frames, policy, capacity
        self._held: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._ended, self._stopped = False, False
        self._error: BaseException | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; an error of the source comes after the frames before it."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._held or self._ended)
                if not self._held:
                    break
                frame = self._held.popleft()
                self._changed.notify_all()
            yield frame
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Read no further; frames that are held are forgotten."""
        with self._changed:
            self._stopped = self._ended = True
            self._held.clear()
            self._changed.notify_all()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                if not self._put(frame):
                    break
        except BaseException as error:  # handed to the consumer
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        with self._changed:
            if self._policy == WAIT:
                self._changed.wait_for(lambda: len(self._held) < self._capacity or self._stopped)
            elif len(self._held) >= self._capacity:
                self._held.popleft()
                self.dropped += 1
            if self._stopped:
                return False
            self._held.append(frame)
            self._changed.notify_all()
            return True
