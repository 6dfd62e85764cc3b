"""Frames -> an H.264 file that can be played even if writing it was interrupted.

Knows PyAV's encoder and MP4; nothing of regions or models.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perceive_anything.errors import MediaError

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer

Pixels = npt.NDArray[np.uint8]
SUFFIXES = (".mp4", ".m4v", ".mov")
TICKS = 90_000  # a second, in which timestamps are written
KEYFRAME_S = 2.0
MAX_FPS = 1000
BT709 = 1  # of colours; as a range: the usual 16..235
# One fragment a keyframe, each complete in itself; pictures leave the encoder without delay.
CONTAINER = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
ENCODER = {"preset": "veryfast", "crf": "20", "tune": "zerolatency"}


class VideoWriter:
    """Writes an MP4 (H.264, yuv420p); use it in a `with`.

    If the process dies, all but the last 2 seconds can be played; if an exception leaves the
    `with`, all that was written can. Odd sizes are padded by repeating the last row or column.

    Args:
        path: File to write, ending in .mp4, .m4v or .mov; its folder exists.
        fps: Frames a second, of frames that are written without a time.
        size_wh: Width and height of all frames.

    Raises:
        MediaError: The file cannot be written, or the numbers make no video.

    Example:
        >>> with VideoWriter("out.mp4", 25, (640, 480)) as writer:
        ...     writer.write(np.zeros((480, 640, 3), np.uint8))
    """

    def __init__(self, path: str | Path, fps: float, size_wh: tuple[int, int]) -> None:
        import av

        self._path, self._size_wh = Path(path), (int(size_wh[0]), int(size_wh[1]))
        self._check(fps)
        self._step_s = 1 / fps
        self._next_s, self._origin_s = 0.0, 0.0  # of the file; of the times that are given
        self._timed, self._last, self._key = False, -1, 0  # ticks of the last and the key frame
        try:
            self._container: OutputContainer | None = av.open(
                str(self._path), "w", format="mp4", options=CONTAINER
            )
            rate = Fraction(fps).limit_denominator(1001)
            self._stream = self._container.add_stream("libx264", rate=rate, options=ENCODER)
            self._configure(fps)
            self._container.start_encoding()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise self._unwritable(str(getattr(error, "strerror", None) or error)) from error

    def write(self, array: Pixels, time_s: float | None = None) -> None:
        """Append a frame.

        Args:
            array: uint8 (H, W, 3), RGB, of the size of the file.
            time_s: When it is shown, in seconds on a clock of your own: the first frame is at 0 in
                the file. A time that does not grow is moved to just after the frame before. Without
                it the frame comes 1 / fps after the one before.

        Raises:
            MediaError: The frame does not fit, or the disk is full.
        """
        import av

        frame = self._encodable(array)
        if time_s is not None and not self._timed:
            self._timed, self._origin_s = True, time_s - self._next_s
        at_s = self._next_s if time_s is None else time_s - self._origin_s
        frame.pts = self._last = max(round(at_s * TICKS), self._last + 1)
        frame.time_base = Fraction(1, TICKS)
        self._next_s = self._last / TICKS + self._step_s
        if self._last - self._key >= KEYFRAME_S * TICKS:
            frame.pict_type, self._key = av.video.frame.PictureType.I, self._last
        self._mux(frame)

    def close(self) -> None:
        """Write what the encoder holds and end the file; a second call does nothing.

        Raises:
            MediaError: The disk is full.
        """
        if self._container is None:
            return
        try:
            self._mux(None)
        finally:
            container, self._container = self._container, None
            container.close()

    def __enter__(self) -> VideoWriter:
        """The writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the file, also after an exception."""
        self.close()

    def _check(self, fps: float) -> None:
        if not (0 < fps <= MAX_FPS and min(self._size_wh) > 0):
            width, height = self._size_wh
            raise MediaError(
                f"a video of {width}x{height} pixels and {fps:g} frames a second cannot be "
                f"written.\n  Expected at least 1x1 and more than 0, at most {MAX_FPS}.",
                code="out_unwritable",
            )
        if self._path.suffix.lower() not in SUFFIXES:
            raise self._unwritable(f'"{self._path.suffix}" names another format')
        if not self._path.parent.is_dir():
            raise self._unwritable(f'there is no folder "{self._path.parent}"')

    def _configure(self, fps: float) -> None:
        stream, context = self._stream, self._stream.codec_context
        stream.width, stream.height = (side + side % 2 for side in self._size_wh)
        stream.pix_fmt = "yuv420p"
        context.gop_size = max(1, round(KEYFRAME_S * fps))
        context.time_base = Fraction(1, TICKS)
        context.color_range = context.colorspace = BT709
        context.color_primaries = context.color_trc = BT709

    def _encodable(self, array: Pixels) -> VideoFrame:
        import av

        width, height = self._size_wh
        if array.dtype != np.uint8 or array.shape != (height, width, 3):
            raise MediaError(
                f"a frame of {array.dtype} {array.shape} does not fit into "
                f'"{self._path}".\n  Expected uint8 ({height}, {width}, 3), as every frame of it.',
                code="frame_size",
            )
        even = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        return frame.reformat(format="yuv420p", dst_colorspace="ITU709")

    def _mux(self, frame: VideoFrame | None) -> None:
        import av

        if self._container is None:
            raise self._unwritable("it is closed already")
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise self._unwritable(str(getattr(error, "strerror", None) or error)) from error

    def _unwritable(self, reason: str) -> MediaError:
        return MediaError(
            f'cannot write the video "{self._path}": {reason}.\n'
            "  Expected a file ending in .mp4 in a folder that exists and has room.",
            code="out_unwritable",
        )
