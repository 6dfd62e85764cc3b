"""What the server counted, as Prometheus text.

Knows numbers and names; everybody else says what happened.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

PREFIX = "perceive_"
HELP = {
    "requests_total": "Requests by method, route and status.",
    "request_seconds_total": "Seconds spent on requests, by method and route.",
    "batches_total": "Batches that the model answered.",
    "batch_requests_total": "Requests in these batches.",
    "regions_total": "Regions that were asked about.",
    "tokens_total": "Tokens that were written.",
    "stream_frames_total": "Frames of live streams that were seen.",
    "stream_frames_dropped_total": "Frames of live streams that were dropped.",
    "waiting": "Requests that wait for the model or compute.",
    "held_bytes": "Bytes of request bodies and masks that are held.",
    "sessions": "Images and videos that are kept.",
    "streams": "Open websockets.",
}


class Metrics:
    """Counters, and gauges that are read when somebody looks."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._gauges: dict[str, Callable[[], float]] = {}
        self._lock = threading.Lock()

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter; `HELP` has the names."""
        with self._lock:
            self._counts[name, tuple(sorted(labels.items()))] += value  # type: ignore[assignment]

    def gauge(self, name: str, read: Callable[[], float]) -> None:
        """Have a number read whenever the text is made."""
        self._gauges[name] = read

    def batch(self, num_requests: int, num_regions: int) -> None:
        """A batch goes to the model."""
        self.count("batches_total")
        self.count("batch_requests_total", num_requests)
        self.count("regions_total", num_regions)

    def tokens(self, number: int) -> None:
        """Tokens were written."""
        self.count("tokens_total", number)

    def text(self) -> str:
        """All of it in Prometheus' text format."""
        with self._lock:
            counted = dict(self._counts)
        values = counted | {(name, ()): read() for name, read in self._gauges.items()}
        lines = []
        for name, told in HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {PREFIX}{name} {told}", f"# TYPE {PREFIX}{name} {kind}"]
            for (own, labels), value in sorted(values.items()):
                if own == name:
                    pairs = ",".join(f'{key}="{text}"' for key, text in labels)
                    lines.append(f"{PREFIX}{name}{'{' + pairs + '}' if pairs else ''} {value:g}")
        return "\n".join(lines) + "\n"
