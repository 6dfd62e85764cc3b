"""What the server keeps for each open page: bounded in number, freed when idle or closed.

Knows page ids and what hangs on them; nothing of Gradio and models.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perceive_anything.demo.clip import Clip
    from perceive_anything.demo.live import Live
    from perceive_anything.demo.photo import Photo


@dataclass(slots=True)
class Visitor:
    """One open page: what it shows in its three tabs."""

    photo: Photo | None = None
    clip: Clip | None = None
    live: Live | None = None

    def close(self) -> None:
        """End what runs for it and free what it holds."""
        for part in (self.photo, self.clip, self.live):
            if part is not None:
                part.close()
        self.photo = self.clip = self.live = None


class Visitors:
    """Pages by id, the one that was used last at the end.

    Args:
        most: Pages at once; one more closes the one that was idle longest.
        idle_s: Seconds without use after which a page's state is freed.
        clock: Seconds that only grow.
    """

    def __init__(
        self, most: int = 24, idle_s: float = 1800, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._idle_s, self._clock = most, idle_s, clock
        self._pages: OrderedDict[str, tuple[Visitor, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, page: str) -> Visitor:
        """The visitor of a page, new if need be; frees what is too old or too many."""
        now_s = self._clock()
        with self._lock:
            visitor, _ = self._pages.pop(page, (Visitor(), 0.0))
            self._pages[page] = (visitor, now_s)
            gone = [
                self._pages.pop(old)[0]
                for old, (_, used_s) in list(self._pages.items())
                if now_s - used_s > self._idle_s
            ]
            while len(self._pages) > self._most:
                gone.append(self._pages.popitem(last=False)[1][0])
        for old in gone:
            old.close()
        return visitor

    def forget(self, page: str) -> None:
        """A page was closed."""
        with self._lock:
            visitor, _ = self._pages.pop(page, (None, 0.0))
        if visitor is not None:
            visitor.close()
