"""Containers -> pictures in the order in which they are shown, past damage and turned upright.

Knows PyAV; nothing of frame numbers, of files in memory or of who reconnects what.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from perceive_anything.errors import MediaError

if TYPE_CHECKING:
    from av import Packet, VideoFrame, VideoStream
    from av.container import InputContainer

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.int32]
STILL_BRANDS = {"avif", "heic", "heix", "mif1"}


class Decoder:
    """Pictures of an open container in the order in which they are shown.

    Data that cannot be decoded is skipped with one warning a gap, as soon as a later picture shows
    that it goes on.

    Args:
        container: Opened for reading.
        stream: Its pictures.
        name: What to call it in warnings.
        start_pts: Of the first picture, which is at 0 s; that of the first decoded one if None.

    Attributes:
        broken: Once decoded to the end: why the pictures end too early, or empty.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        name: str,
        start_pts: int | None = None,
    ) -> None:
        self.broken = ""
        self._container, self._stream, self._name = container, stream, name
        self._start_pts = start_pts
        self._last_pts: int | None = None  # of the newest picture; gap: the longest between two
        self._gap = 0
        self._lost: list[tuple[int | None, str]] = []  # pts and reason of what was skipped

    def __iter__(self) -> Iterator[VideoFrame]:
        """Decode to the end."""
        import av

        last_failed = ""
        for packet in self._packets():
            try:
                pictures = self._decode(packet)
            except (av.FFmpegError, ValueError) as error:
                last_failed = reason(error)
                self._lost.append((packet.pts if packet else None, last_failed))
                continue
            if packet is not None and packet.size > 0:
                last_failed = ""
            for picture in pictures:
                self._pass(picture)
                yield picture
        self.broken = self.broken or last_failed or self._missing_tail()
        if not self.broken:
            self._warn(self._lost)

    def seek(self, pictures: Iterator[VideoFrame], pts: int) -> VideoFrame | None:
        """Jump to a keyframe.

        Args:
            pictures: The iterator over this decoder, not begun yet.
            pts: Of the keyframe, in the stream's time base.

        Returns:
            The keyframe, or None if the container cannot jump exactly to it.
        """
        import av

        try:
            self._container.seek(pts, stream=self._stream)
        except av.FFmpegError:
            return None
        after = (picture for picture in pictures if picture.pts is None or picture.pts >= pts)
        first = next(after, None)
        return first if first is not None and first.pts == pts else None

    def _packets(self) -> Iterator[Packet[VideoStream] | None]:
        import av

        while True:
            try:
                yield from self._container.demux(self._stream)
                return
            except av.BlockingIOError:  # a camera on macOS that has no picture yet
                time.sleep(0.005)
            except av.FFmpegError as error:
                self.broken = reason(error)
                yield None  # lets the decoder give what it holds
                return

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        if packet is not None and packet.is_corrupt:
            raise ValueError("the data is incomplete")
        return self._stream.decode(packet)

    def _pass(self, picture: VideoFrame) -> None:
        pts = (self._last_pts or 0) if picture.pts is None else picture.pts
        if self._start_pts is None:
            self._start_pts = pts
        self._gap = max(self._gap, pts - (pts if self._last_pts is None else self._last_pts))
        self._last_pts = pts
        self._warn([lost for lost in self._lost if lost[0] is None or lost[0] < pts])

    def _warn(self, gap: list[tuple[int | None, str]]) -> None:
        if not gap:
            return
        self._lost = [lost for lost in self._lost if lost not in gap]
        times = [(self._last_pts or 0) if pts is None else pts for pts, _ in gap]
        begin, end = (
            self._seconds(pts - (self._start_pts or 0)) for pts in (min(times), max(times))
        )
        at = f"at {begin:.2f} s" if begin == end else f"from {begin:.2f} s to {end:.2f} s"
        warnings.warn(
            f'"{self._name}" cannot be decoded {at} and goes on after that: {gap[0][1]}',
            stacklevel=2,
        )

    def _missing_tail(self) -> str:
        """Matroska ends silently when it is cut, but says how long its pictures last."""
        stated_s, end_s = _tagged_s(self._stream), self._seconds(self._last_pts or 0)
        if stated_s is None or stated_s - end_s <= max(0.5, 2 * self._seconds(self._gap)):
            return ""
        return f"it should last {stated_s:.2f} s and stops at {end_s:.2f} s"

    def _seconds(self, pts: int) -> float:
        return float(pts * (self._stream.time_base or 0))


@contextmanager
def opened(source: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video file, open.

    Args:
        source: Its path.

    Yields:
        The container and its pictures.

    Raises:
        MediaError: It is missing, damaged, or holds no moving pictures.
    """
    import av

    path = Path(source)
    if not path.is_file():
        what = f'"{source}" is a folder' if path.is_dir() else f'there is no file "{source}"'
        raise MediaError(
            f"{what}.\n  Expected a video file, relative to {Path.cwd()}; "
            "cameras and addresses are streams.",
            code="file_missing",
        )
    try:
        container = av.open(str(path.absolute()))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise unreadable(source, reason(error)) from error
    with container:
        yield container, _moving(container, source)


def _moving(container: InputContainer, source: str) -> VideoStream:
    stream, kind = picture_stream(container), container.format.name
    if stream is None:
        raise unreadable(source, "only sound" if container.streams.audio else "no pictures")
    brand = container.metadata.get("major_brand")
    if kind == "image2" or kind.endswith("_pipe") or brand in STILL_BRANDS:
        raise unreadable(source, "a still image")
    return stream


def count_packets(container: InputContainer, stream: VideoStream, most: int) -> int:
    """Coded pictures of an open file, without decoding any; counting stops beyond `most`."""
    import av

    number = 0
    try:
        for packet in container.demux(stream):
            number += packet.size > 0
            if number > most:
                break
    except av.FFmpegError:  # it ends too early, which whoever decodes it will say
        pass
    return number


def unreadable(source: str, found: str) -> MediaError:
    """The error for what is no video.

    Args:
        source: Path.
        found: What was found instead.
    """
    return MediaError(
        f'"{source}" is not a video that can be read: {found}.\n'
        "  Expected MP4, MKV, WebM, AVI or the like. If it is one, it is cut or damaged: "
        "copy or export it again.",
        code="file_unreadable",
    )


def picture_stream(container: InputContainer) -> VideoStream | None:
    """The first stream of moving pictures; the cover picture of a song is none."""
    from av.stream import Disposition

    cover = Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


def to_pixels(
    picture: VideoFrame, matrix: Matrix | None, coded_wh: tuple[int, int] | None = None
) -> Pixels:
    """A decoded picture as RGB.

    Args:
        picture: As it comes from the decoder.
        matrix: From `display_matrix`.
        coded_wh: Scale it to this width and height before it is turned.

    Returns:
        uint8 (H, W, 3), contiguous.
    """
    width, height = coded_wh or (picture.width, picture.height)
    array = picture.to_ndarray(format="rgb24", width=width, height=height)
    return oriented(cast(Pixels, array), matrix)


def display_matrix(picture: VideoFrame) -> Matrix | None:
    """How a picture is to be turned and mirrored: int32 (3, 3), or None if not at all."""
    stored = picture.side_data.get("DISPLAYMATRIX")
    if stored is None:
        return None
    return np.frombuffer(cast(bytes, stored), np.int32).reshape(3, 3)


def oriented(array: Pixels, matrix: Matrix | None) -> Pixels:
    """Turn and mirror a picture by quarter turns.

    Args:
        array: (H, W, 3) as coded.
        matrix: From `display_matrix`: x' = m00 x + m10 y and y' = m01 x + m11 y.

    Returns:
        (H, W, 3) or (W, H, 3) as displayed, contiguous.
    """
    if matrix is None:
        return array
    to_x, to_y = matrix[0, 0], matrix[1, 1]
    if transposes(matrix):
        array, to_x, to_y = array.swapaxes(0, 1), matrix[1, 0], matrix[0, 1]
    return np.ascontiguousarray(array[:: -1 if to_y < 0 else 1, :: -1 if to_x < 0 else 1])


def transposes(matrix: Matrix | None) -> bool:
    """Whether width and height change places."""
    return matrix is not None and bool(abs(int(matrix[0, 1])) > abs(int(matrix[0, 0])))


def reason(error: BaseException) -> str:
    """What FFmpeg or the system says, without number and file name."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def _tagged_s(stream: VideoStream) -> float | None:
    """Matroska's statement of where a stream ends, as 00:01:02.500000000."""
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    except (KeyError, ValueError):
        return None
