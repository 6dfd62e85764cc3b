"""Pixels that do not lie in a file as they are: text in a table, a frame of a video.

Knows how to make the bytes of a picture from them; nothing of records.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

from perceive_anything.data.schema import ByteRange

if TYPE_CHECKING:
    from perceive_anything.video import VideoFile

__all__ = ["Base64Range", "VideoFrame", "frames_of_video"]


@dataclass(frozen=True, slots=True)
class Base64Range(ByteRange):
    """A picture written as base64 text; offset and size are those of the text."""

    def read(self) -> bytes:
        """The bytes of the picture, decoded on every call."""
        return base64.b64decode(ByteRange.read(self))


@dataclass(frozen=True, slots=True)
class VideoFrame(ByteRange):
    """One frame of a video file; `offset` is its number, counted from 0."""

    def read(self) -> bytes:
        """The frame as the bytes of an uncompressed picture, decoded on every call."""
        stream = io.BytesIO()
        pixels = _opened(self.path).frame(self.offset).image
        Image.fromarray(pixels).save(stream, "BMP")
        return stream.getvalue()


def frames_of_video(path: str) -> tuple[tuple[VideoFrame, ...], tuple[int, int]]:
    """All frames of a video file, and their size (width, height).

    Raises:
        MediaError: It is no video that can be decoded.
    """
    video = _opened(path)
    count = video.num_frames or sum(1 for _ in video.frames())
    return tuple(VideoFrame(path, number) for number in range(count)), video.size_wh


@lru_cache(maxsize=4)  # opening finds and decodes the first frame; key frames are remembered
def _opened(path: str) -> VideoFile:
    from perceive_anything.video import VideoFile

    return VideoFile(path)
