"""What all requests together may hold, and how memory that is free goes back to the system.

Knows numbers of bytes; what they are of is the business of others.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from perceive_anything.errors import RequestError
from perceive_anything.server.failures import BusyError

MIB = 2**20


class Budget:
    """Bytes that may be held at one time.

    Args:
        most: By all together.

    Attributes:
        held: Now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    def share(self) -> Share:
        """What one request or session holds of it: nothing yet."""
        return Share(self)


class Share:
    """One holder's part of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.num_bytes = 0

    def take(self, num_bytes: int) -> None:
        """Hold more.

        Raises:
            BusyError: So much is not free now.
            RequestError: So much never is.
        """
        budget = self._budget
        if self.num_bytes + num_bytes > budget.most:
            raise RequestError(
                f"this needs {(self.num_bytes + num_bytes) // MIB} MiB of masks and uploads.\n"
                f"  At most {budget.most // MIB} MiB are held here; send fewer masks, or a smaller "
                "picture.",
                code="limit_exceeded",
            )
        if budget.held + num_bytes > budget.most:
            raise BusyError("the server holds too many uploads.\n  Send it again later.", 2.0)
        budget.held += num_bytes
        self.num_bytes += num_bytes

    def leave(self) -> None:
        """Hold nothing any more; leaving twice is leaving once."""
        self._budget.held -= self.num_bytes
        self.num_bytes = 0


def trim() -> None:
    """Give freed memory back to the system.

    Tensors of many sizes leave holes between those that stay, and glibc keeps the holes: without
    this a server that was busy once looks as if it leaked.
    """
    _trim()()


@functools.cache
def _trim() -> Callable[[], object]:
    """What the C library has for it; nothing where that is not glibc."""
    try:
        return functools.partial(ctypes.CDLL(None).malloc_trim, 0)
    except (AttributeError, OSError, TypeError):  # another C library; no symbols; Windows
        return lambda: None
