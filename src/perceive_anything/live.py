"""Cameras, network streams, files and iterators -> frames as they arrive.

Knows when a source is live, when it is lost and how to connect again; nothing of regions or models.
"""

from __future__ import annotations

import asyncio
import platform
import re
import time
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from perceive_anything.decoding import Decoder, display_matrix, picture_stream, reason, to_pixels
from perceive_anything.errors import MediaError
from perceive_anything.types import Frame
from perceive_anything.video import FrameList, VideoFile, as_pixels

Pixels = npt.NDArray[np.uint8]
Picture = Pixels | Image.Image | Frame
StreamSource = str | Path | int | Iterable[Picture] | AsyncIterable[Picture] | VideoFile | FrameList
Connect = Callable[[], Iterable[Pixels]]

URL = re.compile(r"(rtsps?|https?|rtmps?|rtp|udp|tcp|srt)://", re.IGNORECASE)
CAMERA = re.compile(r"\d+|/dev/video\d+")
SECRET = re.compile(r"(?<=://)[^/@]*@")
TIMEOUT_S = 10.0
OPTIONS = {
    "rtsp": {"rtsp_transport": "tcp"},
    "http": {"reconnect": "1", "reconnect_delay_max": "4"},  # goes on at the byte where it broke
}


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How often and how fast to connect again to a network source.

    Args:
        attempts: In a row without a frame; then the source is given up.
        first_s: Seconds to wait before the first.
        factor: By which the wait grows with each.
        max_s: The longest wait.
    """

    attempts: int = 5
    first_s: float = 0.5
    factor: float = 2.0
    max_s: float = 10.0

    def wait_s(self, attempt: int) -> float:
        """Seconds to wait before an attempt, counted from 1."""
        return min(self.max_s, self.first_s * self.factor ** (attempt - 1))


DEFAULT_RECONNECT = Reconnect()


def is_live(source: object) -> bool:
    """Whether a source runs at its own pace: a camera or an address, no file and no iterator."""
    if isinstance(source, str):
        return bool(URL.match(source) or CAMERA.fullmatch(source))
    return isinstance(source, int)


def open_stream(
    source: StreamSource,
    *,
    reconnect: Reconnect | None = DEFAULT_RECONNECT,
    fps: float = 25.0,
    _connect: Connect | None = None,
) -> Iterator[Frame]:
    """Frames as they arrive.

    Args:
        source: Path; camera index (0 or "0") or Linux device; rtsp or http address; iterator or
            async iterator of uint8 arrays (H, W, 3), PIL images or `Frame`s, which pass unchanged.
        reconnect: For addresses that never end; each attempt warns. None: a loss is final.
        fps: Frames a second of arrays from an iterator.

    Returns:
        Frames numbered from 0. `time_s` is the time since the first frame arrived for cameras and
        addresses, that of the file for files, and index / fps for arrays.

    Raises:
        MediaError: The file cannot be read; or, while iterating, the source is lost for good.
    """
    if isinstance(source, (VideoFile, FrameList)):
        return source.frames()
    if isinstance(source, int) or (isinstance(source, str) and is_live(source)):
        address = _address(source)
        again = reconnect if URL.match(address.file) else None
        return _connected(address.name, _connect or address.pictures, again)
    if isinstance(source, (str, Path)):
        return VideoFile(source).frames()
    if isinstance(source, AsyncIterable):
        return _numbered(_drained(aiter(source)), fps)
    if isinstance(source, (bytes, dict)) or not isinstance(source, Iterable):
        raise MediaError(
            f"cannot read a stream from {type(source).__name__}.\n"
            "  Expected a path, a camera index, an address or an iterator of arrays (H, W, 3).",
            code="unsupported_source",
        )
    return _numbered(source, fps)


def _numbered(items: Iterable[object], fps: float) -> Iterator[Frame]:
    for index, item in enumerate(items):
        if isinstance(item, Frame):
            yield item
        else:
            yield Frame(as_pixels(item, index), index / fps, index)


def _drained(items: AsyncIterator[object]) -> Iterator[object]:
    """Runs an async iterator in a loop of its own, in a thread: the caller may be in a loop too."""
    end = object()

    async def following() -> object:
        return await anext(items, end)

    with ThreadPoolExecutor(1, "async frames") as worker:
        runner = asyncio.Runner()
        try:
            while (item := worker.submit(runner.run, following()).result()) is not end:
                yield item
        finally:
            worker.submit(runner.close).result()


def _connected(name: str, connect: Connect, reconnect: Reconnect | None) -> Iterator[Frame]:
    """Frames of a live source; `connect` raises OSError when the source is lost."""
    index, failed, began_s = 0, 0, 0.0
    while True:
        try:
            for array in connect():
                now_s = time.monotonic()
                began_s = began_s if index else now_s
                yield Frame(array, now_s - began_s, index)
                index, failed = index + 1, 0
            return
        except _RefusedError as error:
            if index == 0:
                raise _given_up(name, error, index) from error
            problem: OSError = error
        except OSError as error:
            problem = error
        failed += 1
        if reconnect is None or failed > reconnect.attempts:
            raise _given_up(name, problem, index) from problem
        wait_s = reconnect.wait_s(failed)
        warnings.warn(
            f'"{name}" {_fate(index)} ({problem}); connecting again in {wait_s:g} s, '
            f"attempt {failed} of {reconnect.attempts}",
            stacklevel=2,
        )
        time.sleep(wait_s)


def _fate(num_frames: int) -> str:
    return f"is lost after {num_frames} frames" if num_frames else "cannot be opened"


def _given_up(name: str, problem: OSError, num_frames: int) -> MediaError:
    return MediaError(
        f'the stream "{name}" {_fate(num_frames)}: {problem}.\n'
        "  Expected a camera or a video address; check that it is plugged in or can be reached, "
        "and that no other program uses it.",
        code="stream_lost",
    )


class _RefusedError(ConnectionError):
    """Nothing that is worth another attempt, unless there were frames before."""


@dataclass(slots=True)
class _Address:
    """What PyAV opens for a camera or an address, and how many pictures it gave so far."""

    name: str
    file: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)
    given: int = 0

    def pictures(self) -> Iterator[Pixels]:
        """Pictures until the source ends; what says how long it is goes on where it was lost.

        Raises:
            OSError: It cannot be reached or is lost, or ends without having said how long it is.
        """
        import av

        try:
            container = av.open(
                self.file, format=self.format, options=self.options, timeout=TIMEOUT_S
            )
        except (av.error.HTTPClientError, av.InvalidDataError, av.ProtocolNotFoundError) as error:
            raise _RefusedError(reason(error)) from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ConnectionError(reason(error)) from error
        with container:
            stream = picture_stream(container)
            if stream is None:
                raise _RefusedError("there are no pictures in it")
            by_length = self.file.startswith("http") and "hls" not in container.format.name
            finite = container.size > 0 if by_length else bool(container.duration)
            decoder = Decoder(container, stream, self.name)
            for picture in islice(decoder, self.given if finite else 0, None):
                self.given += 1
                yield to_pixels(picture, display_matrix(picture))
        if decoder.broken or not finite:
            raise ConnectionError(decoder.broken or "it ended")


def _address(source: int | str) -> _Address:
    text = str(source)
    if URL.match(text):
        kind = next((kind for kind in OPTIONS if text.lower().startswith(kind)), "")
        return _Address(SECRET.sub("", text), text, None, OPTIONS.get(kind, {}))
    index = int(text.removeprefix("/dev/video"))
    system = platform.system()
    if system == "Darwin":
        return _Address(f"camera {index}", str(index), "avfoundation", {"framerate": "30"})
    if system == "Windows":
        return _Address(f"camera {index}", f"video={_windows_camera(index)}", "dshow")
    return _Address(f"camera {index}", f"/dev/video{index}", "v4l2")


def _windows_camera(index: int) -> str:
    """DirectShow knows cameras by name only."""
    import av

    devices = av.enumerate_input_devices("dshow")
    names = [device.name for device in devices if "video" in device.media_types]
    return names[index] if index < len(names) else f"number {index}"
