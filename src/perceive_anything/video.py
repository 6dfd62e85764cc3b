"""Videos on disk or in memory -> frames with exact numbers and real times.

Knows what a frame's number is: it counts the frames that can be decoded, as they are shown.
Nothing of regions or models; packets and codecs are the business of `decoding`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from perceive_anything.decoding import (
    Decoder,
    display_matrix,
    opened,
    to_pixels,
    transposes,
    unreadable,
)
from perceive_anything.errors import MediaError
from perceive_anything.media import load_image
from perceive_anything.types import Frame
from perceive_anything.video_writer import VideoWriter as VideoWriter

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

Pixels = npt.NDArray[np.uint8]
Picture = Pixels | Image.Image | Frame
BLOCK_BYTES, MIN_BLOCK = 192 * 2**20, 4
MAX_FPS = 1000


class VideoFile:
    """A video file. Nothing stays open between calls, so it can be read more than once at a time.

    Args:
        path: The file.

    Attributes:
        source: The path as text.
        size_wh: As displayed: after the rotation that the file asks for.
        fps: Average frames a second as the file says, or 25.
        num_frames: What the file says, or None; exact once the end was seen.
        duration_s: What the file says, or None until the end was seen.

    Raises:
        MediaError: The file is missing, damaged, or holds no moving pictures.

    Example:
        >>> sum(frame.time_s < 1 for frame in VideoFile("clip.mp4").frames())
        24
    """

    def __init__(self, path: str | Path) -> None:
        self.source = str(path)
        self._keyframes: dict[int, int] = {}  # number -> pts; counted while decoding, so exact
        with opened(self.source) as (container, stream):
            self.fps = _fps(stream)
            self.num_frames: int | None = stream.frames or None
            self.duration_s = _duration_s(container, stream)
            first = next(iter(Decoder(container, stream, self.source)), None)
            if first is None:
                raise unreadable(self.source, "no picture in it can be decoded")
            # AVI stores no times of showing; with reordered frames only dts grows.
            self._clock = "dts" if container.format.name == "avi" else "pts"
            self._start: int | None = getattr(first, self._clock)
            self._start_pts, self._matrix = first.pts, display_matrix(first)
            self._coded_wh = width, height = first.width, first.height
        self.size_wh = (height, width) if transposes(self._matrix) else (width, height)

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Decode to the end, a frame at a time; what cannot be decoded is skipped with a warning.

        Args:
            start: Number of the first frame; past the end there are none.

        Yields:
            Frames; `time_s` is 0 for frame 0 and follows the timestamps of the file.

        Raises:
            MediaError: `start` is negative; or, after the last good frame, the file ends too early.
        """
        return self._frames(_number(start, self))

    def frames_backward(self, start: int) -> Iterator[Frame]:
        """Frames start, start-1, ..., 0.

        They are decoded forward in blocks; a block holds at most 192 MiB of pixels, or 4 frames.

        Args:
            start: Number of the frame to begin with.

        Raises:
            MediaError: There is no such frame, or the file ends before it.
        """
        return self._backward(_number(start, self))

    def frame(self, index: int) -> Frame:
        """One frame.

        Args:
            index: Its number, from 0.

        Raises:
            MediaError: There is no such frame, or the file ends before it.
        """
        with closing(self._frames(_number(index, self))) as frames:
            for frame in frames:
                return frame
        raise _missing(index, self)

    def _frames(self, start: int) -> Generator[Frame, None, None]:
        for index, picture in self._pictures(start):
            if index >= start:
                array = to_pixels(picture, self._matrix, self._coded_wh)
                yield Frame(array, self._time_s(index, picture), index)

    def _backward(self, start: int) -> Iterator[Frame]:
        width, height = self.size_wh
        block = max(MIN_BLOCK, BLOCK_BYTES // (3 * width * height))
        for end in range(start + 1, 0, -block):
            begin = max(0, end - block)
            with closing(self._frames(begin)) as frames:
                held = list(islice(frames, end - begin))
            if len(held) < end - begin:
                raise _missing(start, self)
            while held:
                yield held.pop()

    def _pictures(self, start: int) -> Iterator[tuple[int, VideoFrame]]:
        """Numbered pictures to the end, from a keyframe at or before `start` if that is safe.

        Safe is a keyframe whose number is known, and at which the jump arrives exactly.
        """
        key = max((number for number in list(self._keyframes) if number <= start), default=0)
        for begin in (key, 0) if key else (0,):
            with opened(self.source) as (container, stream):
                decoder = Decoder(container, stream, self.source, self._start_pts)
                pictures, index = iter(decoder), begin
                if begin > 0:
                    first = decoder.seek(pictures, self._keyframes[begin])
                    if first is None:
                        continue
                    yield begin, first
                    index += 1
                yield from self._numbered(pictures, index)
                self._ended(decoder.broken)
                return

    def _numbered(
        self, pictures: Iterator[VideoFrame], index: int
    ) -> Iterator[tuple[int, VideoFrame]]:
        newest = None
        for picture in pictures:
            if picture.pts is not None and (newest is None or picture.pts > newest):
                newest = picture.pts
                if picture.key_frame:
                    self._keyframes[index] = newest
            yield index, picture
            index += 1
        self.num_frames = index

    def _ended(self, broken: str) -> None:
        if self.duration_s is None:
            self.duration_s = (self.num_frames or 0) / self.fps
        if broken:
            raise MediaError(
                f'the video "{self.source}" ends too early: {broken}.\n'
                f"  {self.num_frames} frames were read; copy or export it again to have the rest.",
                code="video_truncated",
            )

    def _time_s(self, index: int, picture: VideoFrame) -> float:
        ticks: int | None = getattr(picture, self._clock)
        if ticks is None or picture.time_base is None or self._start is None:
            return index / self.fps
        return float((ticks - self._start) * picture.time_base)


class FrameList:
    """Frames in memory, with the interface of `VideoFile`.

    Args:
        arrays: uint8 arrays (H, W, 3) or PIL images, all of one size; at least one.
        fps: Frames a second; frame i is shown at i / fps.

    Attributes:
        source: "frames".
        size_wh: Width and height of every frame.
        fps: As given.
        num_frames: How many there are.
        duration_s: num_frames / fps.

    Raises:
        MediaError: There is none, one is no picture, or their sizes differ.
    """

    def __init__(self, arrays: Iterable[Picture], fps: float = 25.0) -> None:
        self.source, self.fps = "frames", float(fps)
        self._arrays = [as_pixels(array, index) for index, array in enumerate(arrays)]
        if not self._arrays:
            raise MediaError(
                "a video of no frames cannot be read.\n  Expected at least one array (H, W, 3).",
                code="unsupported_source",
            )
        height, width = self._arrays[0].shape[:2]
        self.size_wh = width, height
        for index, array in enumerate(self._arrays):
            if array.shape != (height, width, 3):
                raise MediaError(
                    f"frame {index} is {array.shape[1]}x{array.shape[0]} but frame 0 is "
                    f"{width}x{height}.\n  Expected frames of one size; resize or pad them.",
                    code="frame_size",
                )
        self.num_frames: int | None = len(self._arrays)
        self.duration_s: float | None = len(self._arrays) / self.fps

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Frames from `start` to the end.

        Raises:
            MediaError: `start` is negative.
        """
        return map(self.frame, range(_number(start, self), len(self._arrays)))

    def frames_backward(self, start: int) -> Iterator[Frame]:
        """Frames start, start-1, ..., 0.

        Raises:
            MediaError: There is no frame `start`.
        """
        return map(self.frame, range(self.frame(start).index, -1, -1))

    def frame(self, index: int) -> Frame:
        """One frame; its array is the one given, not a copy.

        Raises:
            MediaError: There is no such frame.
        """
        if _number(index, self) >= len(self._arrays):
            raise _missing(index, self)
        return Frame(self._arrays[index], index / self.fps, index)


def open_video(
    source: str | Path | Iterable[Picture] | VideoFile | FrameList, *, fps: float = 25.0
) -> VideoFile | FrameList:
    """Open a video.

    Args:
        source: Path of a file; or a list, tuple or other finite iterable of frames (uint8 arrays
            (H, W, 3) or PIL images), which are all held in memory.
        fps: Frames a second of given frames; a file has its own.

    Raises:
        MediaError: The source is missing, damaged, or of another kind.
    """
    if isinstance(source, (VideoFile, FrameList)):
        return source
    if isinstance(source, (str, Path)):
        return VideoFile(source)
    one_picture = isinstance(source, np.ndarray) and source.ndim != 4
    if one_picture or isinstance(source, (bytes, dict)) or not isinstance(source, Iterable):
        shape = f" of shape {source.shape}" if isinstance(source, np.ndarray) else ""
        raise MediaError(
            f"cannot read a video from {type(source).__name__}{shape}.\n"
            "  Expected a path or a list of uint8 arrays (H, W, 3); cameras are streams.",
            code="unsupported_source",
        )
    return FrameList(source, fps)


def as_pixels(item: object, index: int) -> Pixels:
    """A frame in memory as an array.

    Args:
        item: uint8 array (H, W, 3), which is not copied; PIL image; or `Frame`.
        index: Its number, for the message.

    Returns:
        uint8 (H, W, 3).

    Raises:
        MediaError: It is none of these.
    """
    if isinstance(item, Frame):
        item = item.image
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.shape[2:] == (3,):
        if item.size > 0:
            return item
    elif isinstance(item, Image.Image):
        return load_image(item)
    got = f"{item.dtype} {item.shape}" if isinstance(item, np.ndarray) else type(item).__name__
    raise MediaError(
        f"frame {index} is no picture but {got}.\n"
        "  Expected a uint8 array (H, W, 3) or a PIL image. Floats 0..1? multiply by 255.",
        code="unsupported_source",
    )


def _fps(stream: VideoStream) -> float:
    rates = (float(rate or 0) for rate in (stream.average_rate, stream.guessed_rate))
    return next((rate for rate in rates if 0 < rate <= MAX_FPS), 25.0)


def _duration_s(container: InputContainer, stream: VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _number(index: int, video: VideoFile | FrameList) -> int:
    if index < 0:
        raise _missing(index, video)
    return index


def _missing(index: int, video: VideoFile | FrameList) -> MediaError:
    return MediaError(
        f'there is no frame {index} in "{video.source}".\n'
        f"  Expected a number from 0 to {(video.num_frames or 1) - 1}.",
        code="frame_missing",
    )
