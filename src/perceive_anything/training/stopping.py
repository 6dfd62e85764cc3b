"""Ctrl-C and SIGTERM end a run between two steps, so that it can be saved.

Knows signals.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Takes the signals while it is open; the second one stops at once.

    Args:
        report: Is told of the first one.

    Attributes:
        asked: Whether the run is to stop.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self.asked, self._report = False, report
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # others may not take signals
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._report("stopping after this step; once more stops at once")
