"""Uploaded images and videos that are kept for a while.

Knows when they were last used and how many there may be; what is done with them is the routes'.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from perceive_anything.errors import RequestError
from perceive_anything.server.failures import BusyError
from perceive_anything.server.memory import Share
from perceive_anything.server.settings import ServerSettings
from perceive_anything.server.wire import SessionInfo
from perceive_anything.sessions.image import ImageSession
from perceive_anything.sessions.video import VideoSession


@dataclass(eq=False)
class Kept:
    """One session.

    Attributes:
        session: The image or video.
        share: Of what may be held: masks that regions of a video were pointed at with.
        file: Of a video.
        users: Requests that work with it.
        deleted: Nobody may begin anything more; the file goes with the last user.
        id: Its name in addresses.
        used_s: When it was last used, by `time.monotonic`.
    """

    session: ImageSession | VideoSession
    share: Share
    file: Path | None = None
    users: int = 0
    deleted: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    used_s: float = field(default_factory=time.monotonic)

    @contextmanager
    def use(self, *, alone: bool = False) -> Iterator[None]:
        """While inside it does not expire.

        Args:
            alone: Nobody else may be inside.

        Raises:
            RequestError: Somebody is.
        """
        if alone and self.users:
            raise RequestError(
                f"the session {self.id} is at work.\n"
                "  Wait for its answer, or break it off by closing the connection.",
                code="session_busy",
            )
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1
            self.used_s = time.monotonic()
            self.clear()

    def clear(self) -> None:
        """Let go of the file and the share, if this is deleted and unused."""
        if self.deleted and not self.users:
            self.share.leave()
            if self.file is not None:
                self.file.unlink(missing_ok=True)


class SessionStore:
    """All sessions.

    Args:
        settings: How many, and how long.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._kept: dict[str, Kept] = {}
        self._reserved = 0

    def __len__(self) -> int:
        return len(self._kept)

    @contextmanager
    def reserved(self) -> Iterator[None]:
        """Room for one more, while it is uploaded and opened.

        Raises:
            BusyError: There is none.
        """
        self.sweep()
        if len(self) + self._reserved >= self._settings.max_sessions:
            idle = [kept for kept in self._kept.values() if not kept.users]
            soonest = min(map(self._left_s, idle), default=self._settings.session_idle_s)
            raise BusyError(
                f"{len(self)} sessions are kept already.\n"
                "  Delete one that is not needed any more, or wait until one expires.",
                soonest,
            )
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    def add(self, kept: Kept) -> None:
        """Keep a session."""
        self._kept[kept.id] = kept

    def get(self, session_id: str) -> Kept:
        """A session by its id.

        Raises:
            RequestError: There is none.
        """
        self.sweep()
        if session_id not in self._kept:
            raise RequestError(
                "there is no such session.\n"
                f"  It was deleted, or not used for {self._settings.session_idle_s:g} s; "
                "upload the image or video again.",
                code="not_found",
            )
        return self._kept[session_id]

    def remove(self, session_id: str) -> None:
        """Forget a session; who works with it is stopped at the next frame.

        Raises:
            RequestError: There is none.
        """
        kept = self.get(session_id)
        del self._kept[session_id]
        kept.deleted = True
        kept.clear()

    def sweep(self) -> None:
        """Forget those that nobody used for too long."""
        for kept in list(self._kept.values()):
            if not kept.users and self._left_s(kept) <= 0:
                del self._kept[kept.id]
                kept.deleted = True
                kept.clear()

    def info(self, kept: Kept) -> SessionInfo:
        """What is told of a session."""
        session = kept.session
        width, height = session.size_wh
        video = isinstance(session, VideoSession)
        return SessionInfo(
            id=kept.id,
            kind="video" if video else "image",
            width=width,
            height=height,
            fps=round(session.source.fps, 4) if isinstance(session, VideoSession) else None,
            frames=session.num_frames if isinstance(session, VideoSession) else None,
            tracks=session.track_ids if isinstance(session, VideoSession) else [],
            expires_in_s=round(max(0.0, self._left_s(kept)), 1),
        )

    def _left_s(self, kept: Kept) -> float:
        return kept.used_s + self._settings.session_idle_s - time.monotonic()
