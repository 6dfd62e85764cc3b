"""Where one event of a region ends and the next begins.

Knows times and a few numbers a frame; no pictures, no text. An event ends for one of these reasons:

- "interval": a fixed time is over;
- "visibility": the region left or came back;
- "appearance": cosine distance between its mean token of the last half second and that of the
  event's first half second is above `APPEARANCE_DISTANCE`;
- "motion": it began or stopped to move: faster than `MOVING` or slower than `STILL` of its own
  diagonals a second;
- "length": the longest event is over;
- "given": a time that was given is reached.

A change counts when it has held for `SETTLE_S` seconds, "for good". Except for visibility nothing
ends an event before `min_s`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

APPEARANCE_DISTANCE = 0.25
MOVING, STILL = 0.5, 0.2
SETTLE_S = 0.5


@dataclass(frozen=True, slots=True)
class Sight:
    """What boundaries are found from, one a frame.

    Attributes:
        time_s: Of the frame.
        visible: Whether the region is there.
        center_xy: Middle of its box in pixels; ignored while it is away.
        diagonal: Of its box in pixels.
        token: (C,) features of the region.
    """

    time_s: float
    visible: bool
    center_xy: tuple[float, float]
    diagonal: float
    token: np.ndarray


class IntervalBoundaries:
    """An event every so many seconds.

    Args:
        every_s: Length of an event in seconds.
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self._start: float | None = None

    def update(self, sight: Sight) -> str | None:
        """The reason why the event ends with this frame, if it does."""
        if self._start is None:
            self._start = sight.time_s
        if sight.time_s - self._start < self.every_s:
            return None
        self._start = sight.time_s
        return "interval"


class GivenBoundaries:
    """Events that end at given times; one without a frame of its own ends with the next.

    Args:
        ends_s: Seconds, rising.
    """

    def __init__(self, ends_s: Sequence[float]) -> None:
        self._ends = deque(ends_s)

    def update(self, sight: Sight) -> str | None:
        """The reason why the event ends with this frame, if it does."""
        reached = False
        while self._ends and sight.time_s >= self._ends[0]:
            self._ends.popleft()
            reached = True
        return "given" if reached else None


class AutoBoundaries:
    """Events that end when the region changes for good.

    Args:
        min_s: Shortest event in seconds.
        max_s: Longest event in seconds.
    """

    def __init__(self, min_s: float = 2.0, max_s: float = 15.0) -> None:
        self.min_s, self.max_s = min_s, max_s
        self._recent: deque[Sight] = deque()
        self._first: list[Sight] = []
        self._since: dict[str, float] = {}
        self._moving: bool | None = None

    def update(self, sight: Sight) -> str | None:
        """The reason why the event ends with this frame, if it does."""
        self._recent.append(sight)
        while sight.time_s - self._recent[0].time_s > SETTLE_S:
            self._recent.popleft()
        if not self._first or sight.time_s - self._first[0].time_s < SETTLE_S:
            self._first.append(sight)
            return None
        age = sight.time_s - self._first[0].time_s
        for reason, differs in self._differences(sight).items():
            if not differs:
                self._since.pop(reason, None)
            elif sight.time_s - self._since.setdefault(reason, sight.time_s) >= SETTLE_S and (
                age >= self.min_s or reason == "visibility"
            ):
                return self._end(sight, reason)
        return self._end(sight, "length") if age >= self.max_s else None

    def _end(self, sight: Sight, reason: str) -> str:
        self._first, self._since, self._moving = [sight], {}, None
        return reason

    def _differences(self, sight: Sight) -> dict[str, bool]:
        """What is different now from how the event began."""
        began_visible = sum(s.visible for s in self._first) * 2 >= len(self._first)
        both = began_visible and sight.visible
        return {
            "visibility": sight.visible != began_visible,
            "appearance": both and self._distance() > APPEARANCE_DISTANCE,
            "motion": both and self._motion_changed(),
        }

    def _distance(self) -> float:
        first, now = (
            np.mean([s.token for s in sights if s.visible], axis=0)
            for sights in (self._first, self._recent)
        )
        norm = float(np.linalg.norm(first) * np.linalg.norm(now))
        return 1.0 - float(first @ now) / norm if norm else 0.0

    def _motion_changed(self) -> bool:
        """Set off or stopped; between the two speeds neither is said."""
        speed = _speed(list(self._recent))
        if speed is None or STILL <= speed <= MOVING:
            return False
        moving = speed > MOVING
        if self._moving is None:
            began = _speed(self._first)
            self._moving = moving if began is None else began > MOVING
        return moving != self._moving


def _speed(sights: list[Sight]) -> float | None:
    """Diagonals a second between the first and last time the region is visible."""
    seen = [sight for sight in sights if sight.visible]
    if len(seen) < 2 or seen[-1].time_s <= seen[0].time_s:
        return None
    (x1, y1), (x2, y2) = seen[0].center_xy, seen[-1].center_xy
    way = float(np.hypot(x2 - x1, y2 - y1)) / max(1.0, seen[0].diagonal)
    return way / (seen[-1].time_s - seen[0].time_s)
